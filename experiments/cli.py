"""The `lineup` command: picks a verb and runs its module; a user's mistake costs one line.

Only the standard library is imported here, so that `lineup --help` answers at once.
"""

import contextlib
import os
import runpy
import sys
from collections.abc import Iterator

VERBS = {
    "train": "one run: lineup train detector=yolov1 backbone=resnet152 seed=1",
    "sweep": "many runs and their table: lineup sweep backbone=darknet24,vgg16_bn seed=0,1",
    "table": "the table of any runs: lineup table runs/*",
    "evaluate": "score a run again, or on other data: lineup evaluate RUN datamodule.root=FOLDER",
    "predict": "pictures and COCO JSON: lineup predict RUN IMAGE_OR_FOLDER",
    "benchmark": "overheads as ratios, measured side by side: lineup benchmark",
    "doctor": "what this machine has and what is missing: lineup doctor",
}

USAGE = """lineup: which detector family is better on my data, by how much, and at what cost?

usage: lineup VERB [arguments]

{verbs}

`train` and `sweep` take Hydra overrides (key=value); `lineup train --cfg job` shows every key.
`lineup VERB --help` tells more. Results go to runs/ (paths.runs=FOLDER)."""


def main() -> None:
    """Entry point of the console script."""
    arguments = sys.argv[1:]
    _strip_verb_from_completion()
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(usage())
        return
    verb = arguments[0]
    if verb == "--version":
        import importlib.metadata

        print(importlib.metadata.version("detector-lineup"))
        return
    if verb not in VERBS:
        fail(_unknown_verb(verb))
    sys.argv = [f"lineup {verb}", *arguments[1:]]
    sys.exit(run(verb))


def usage() -> str:
    """The text of `lineup --help`."""
    width = max(map(len, VERBS))
    return USAGE.format(verbs="\n".join(f"  {v:<{width}}  {text}" for v, text in VERBS.items()))


def run(verb: str) -> int:
    """Runs a verb's module as `__main__` (Lightning starts further ranks from it)."""
    os.environ["HYDRA_FULL_ERROR"] = "1"  # exceptions reach us instead of Hydra's own report
    with one_line_errors():
        runpy.run_module(f"experiments.{verb}", run_name="__main__", alter_sys=True)
    return 0


@contextlib.contextmanager
def one_line_errors() -> Iterator[None]:
    """A user's mistake becomes one line on stderr and exit code 2; a bug keeps its traceback."""
    try:
        yield
    except KeyboardInterrupt:
        sys.exit(
            _report("interrupted: the same command goes on from the last checkpoint", code=130)
        )
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except Exception as error:
        from experiments.mistakes import explain

        line = explain(error)
        if line is None:
            raise
        sys.exit(_report(line))


def fail(message: str) -> None:
    """Prints one line and exits with 2."""
    sys.exit(_report(message))


def _report(message: str, code: int = 2) -> int:
    sys.stdout.flush()
    print(f"lineup: {message}", file=sys.stderr)
    return code


def _unknown_verb(verb: str) -> str:
    import difflib

    near = difflib.get_close_matches(verb, VERBS, n=1)
    hint = f"did you mean '{near[0]}'?" if near else f"there are {', '.join(VERBS)}"
    return f"unknown verb '{verb}': {hint}"


def _strip_verb_from_completion() -> None:
    """Hydra's tab completion expects its overrides right behind the command."""
    words = os.environ.get("COMP_LINE", "").split(" ", 2)
    if len(words) > 1 and words[1] in VERBS:
        os.environ["COMP_LINE"] = " ".join([words[0], *words[2:]])


if __name__ == "__main__":
    main()
