"""The `lineup` command: picks a verb and runs its module; a user's mistake costs one line.

Only the standard library is imported here, so that `lineup --help` answers at once.
"""

import contextlib
import os
import runpy
import sys
from collections.abc import Iterator, Mapping

VERBS = {
    "train": "one run: lineup train detector=yolov1 backbone=resnet152 seed=1",
    "sweep": "many runs and their table: lineup sweep backbone=darknet24,vgg16_bn seed=0,1",
    "table": "the table of any runs: lineup table runs/*",
    "evaluate": "score a run again, or on other data: lineup evaluate RUN datamodule.root=FOLDER",
    "predict": "pictures or a video, and COCO JSON: lineup predict RUN IMAGE_FOLDER_OR_VIDEO",
    "data": "check, stats, preview and convert of a dataset: lineup data check FOLDER",
    "receptive-field": "what layers see, what anchors cover: lineup receptive-field detector=...",
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
        fail(unknown_verb(verb, VERBS))
    sys.argv = [f"lineup {verb}", *arguments[1:]]
    sys.exit(run(verb))


def usage() -> str:
    """The text of `lineup --help`."""
    return USAGE.format(verbs=listed(VERBS))


def listed(verbs: Mapping[str, str]) -> str:
    """One line per verb, as a help text shows them."""
    width = max(map(len, verbs))
    return "\n".join(f"  {verb:<{width}}  {text}" for verb, text in verbs.items())


def unknown_verb(verb: str, verbs: Mapping[str, str]) -> str:
    """One line for a mistyped verb, with the nearest of the known ones."""
    import difflib

    near = difflib.get_close_matches(verb, verbs, n=1)
    hint = f"did you mean '{near[0]}'?" if near else f"there are {', '.join(verbs)}"
    return f"unknown verb '{verb}': {hint}"


def run(verb: str) -> int:
    """Runs a verb's module as `__main__` (Lightning starts further ranks from it)."""
    os.environ["HYDRA_FULL_ERROR"] = "1"  # exceptions reach us instead of Hydra's own report
    with one_line_errors():
        module = f"experiments.{verb.replace('-', '_')}"
        runpy.run_module(module, run_name="__main__", alter_sys=True)
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


def _strip_verb_from_completion() -> None:
    """Hydra's tab completion expects its overrides right behind the command."""
    words = os.environ.get("COMP_LINE", "").split(" ", 2)
    if len(words) > 1 and words[1] in VERBS:
        os.environ["COMP_LINE"] = " ".join([words[0], *words[2:]])


if __name__ == "__main__":
    main()
