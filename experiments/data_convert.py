"""`lineup data convert`: the same dataset in another format; what that cannot hold is told."""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.table import Table

from datamodules.formats import WRITERS
from datamodules.sources.source import Source
from datamodules.sources.writing import Lost, check_new
from experiments.data import open_data, report_console


def main(arguments: Sequence[str]) -> int:
    """Converts every split; returns the exit code."""
    options = _parser().parse_intermixed_args(arguments)
    *words, target = options.words
    if not words or "=" in target:
        _parser().error("name the dataset first, then the new folder")
    check_new(Path(target))
    datamodule = open_data(words, mistakes=options.mistakes)
    sources = {split: datamodule.source(split) for split in datamodule.splits}
    lost = WRITERS[options.to](sources, Path(target))
    report_console().print(_table(sources, lost))
    print(f"written to {target}: look at it with `lineup data check {target}`")
    return 0


def _table(sources: Mapping[str, Source], lost: Lost) -> Table:
    table = Table("split", box=None, padding=(0, 2))
    for title in ("images", "objects"):
        table.add_column(title, justify="right")
    table.add_column("lost", overflow="fold")
    for split, source in sources.items():
        objects = sum(len(source.target(index)) for index in range(len(source)))
        table.add_row(split, str(len(source)), str(objects), _lost(source, lost[split]))
    return table


def _lost(source: Source, lost: Mapping[str, int]) -> str:
    """What the format cannot hold, and what the mistakes in the files cost."""
    counts = {**lost, "left out as mistakes": len(source.dropped)}
    return ", ".join(f"{what}: {count}" for what, count in counts.items() if count) or "nothing"


def _parser() -> argparse.ArgumentParser:
    usage = "lineup data convert (FOLDER | key=value ...) NEW_FOLDER --to FORMAT [options]"
    parser = argparse.ArgumentParser(usage=usage, description=__doc__)
    parser.add_argument("words", nargs="+", help="the dataset, then where its copy goes")
    parser.add_argument("--to", required=True, choices=WRITERS, help="the copy's format")
    parser.add_argument(
        *("--mistakes",),
        choices=("error", "drop_boxes", "drop_all"),
        help="what to do with what cannot be used; default: as the dataset is configured",
    )
    return parser
