"""`lineup data VERB`: look at a dataset before a network does.

Only the standard library is imported at the top, so that `lineup data --help` answers at once.
"""

import importlib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from detectors.errors import ConfigError
from experiments.cli import listed, unknown_verb

if TYPE_CHECKING:
    from omegaconf import DictConfig
    from rich.console import Console

    from datamodules.detection import DetectionDataModule

VERBS = {
    "check": "what is wrong, file by file: lineup data check FOLDER --fix CORRECTED",
    "stats": "what is in it, as text and HTML: lineup data stats datamodule=voc datamodule.root=F",
    "preview": "what the network will see: lineup data preview FOLDER transform=yolov7",
    "convert": "the same set in another format: lineup data convert FOLDER OUT --to coco",
}

PIPE_WIDTH = 160
"""Characters."""

USAGE = """usage: lineup data VERB (FOLDER | key=value ...)

{verbs}

A folder in a usual layout is recognised; else name the data in overrides, as for `lineup train`.
`lineup data VERB --help` tells more."""


def main() -> None:
    """Runs a verb; it returns the exit code."""
    arguments = sys.argv[1:]
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(USAGE.format(verbs=listed(VERBS)))
        return
    verb = arguments[0]
    if verb not in VERBS:
        raise ConfigError(unknown_verb(verb, VERBS))
    sys.exit(importlib.import_module(f"experiments.data_{verb}").main(arguments[1:]))


def open_data(
    words: Sequence[str], settings: Sequence[str] = (), mistakes: str | None = None
) -> "DetectionDataModule":
    """The data that the words of a command line name; no file is read yet, but of a folder.

    Args:
        words: Hydra overrides (`key=value`), and at most one folder, which is recognised. Beside a
            folder, overrides still choose the transforms and the input size.
        settings: overrides of the verb's own; they win.
        mistakes: `drop_all` opens data that training would refuse; None: as configured.
    """
    from experiments import build

    folders = [word for word in words if "=" not in word]
    overrides = [word for word in words if "=" in word]
    if len(folders) > 1:
        raise ConfigError(f"one folder at a time, not {', '.join(folders)}: run it for each")
    if folders and any(word.startswith("datamodule=") for word in overrides):
        raise ConfigError(
            f"{folders[0]} would be recognised, and datamodule= names another set: remove one of "
            f"the two, or write datamodule.root={folders[0]}"
        )
    config = build.compose([*overrides, *settings])
    if folders:
        return _recognised(Path(folders[0]), config.datamodule, mistakes)
    if mistakes is not None and "mistakes" in config.datamodule:
        config.datamodule.mistakes = mistakes
    return build.instantiate(config.datamodule)


def report_console() -> "Console":
    """Where a report is printed: a file or a pipe, which has no width, gets wide lines."""
    from rich.console import Console

    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = PIPE_WIDTH
    return console


def _recognised(folder: Path, node: "DictConfig", mistakes: str | None) -> "DetectionDataModule":
    """The data of a folder, loaded as `node` says."""
    from datamodules.guess import guess
    from experiments import build

    found = guess(folder)
    print(f"{folder}: {found.note}", file=sys.stderr)
    make = build.instantiate(node, _partial_=True)
    splits = {split: found.sources.get(split) for split in ("train", "val", "test")}
    return make(info=found.info, mistakes=mistakes, **splits)


if __name__ == "__main__":
    main()
