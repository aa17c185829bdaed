"""`lineup data stats`: what a dataset holds, as text and as one HTML page."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from rich.markup import escape
from rich.table import Table

from callbacks.files import write_text_atomically
from datamodules.inspect.counts import Counts, count
from datamodules.inspect.dataset import read_dataset
from experiments import build
from experiments.data import open_data, report_console
from experiments.data_page import page
from experiments.data_sections import Section, sections, totals


def main(arguments: Sequence[str]) -> int:
    """Prints the numbers and writes the page."""
    parser = argparse.ArgumentParser("lineup data stats", description=__doc__)
    parser.add_argument("words", nargs="+", metavar="FOLDER | key=value")
    parser.add_argument("--html", type=Path, metavar="FILE", help="default: RUNS/data/NAME.html")
    options = parser.parse_intermixed_args(arguments)
    data = read_dataset(open_data(options.words))
    config = build.compose([word for word in options.words if "=" in word])
    bins = dict(config.protocol.size_bins)
    counts = count(data, bins)
    found = sections(counts, bins)
    show(data.info.name, counts, found)
    file = options.html or Path(config.paths.runs) / "data" / f"{data.info.name}.html"
    write_text_atomically(file, page(data.info.name, counts, found))
    print(f"with plots: {file}")
    return 0


def show(name: str, counts: Sequence[Counts], found: Sequence[Section]) -> None:
    """One table; a column per split."""
    table = Table(name, box=None, padding=(0, 2), header_style="bold")
    for each in counts:
        table.add_column(each.split, justify="right")
    for label, *cells in totals(counts):
        table.add_row(label, *cells)
    for section in found:
        table.add_row()
        table.add_row(f"[bold]{section.title}[/] ({section.unit})")
        for label, numbers in section.rows:
            shares = zip(numbers, section.totals, strict=True)
            table.add_row(f"  {escape(label)}", *(_with_share(n, total) for n, total in shares))
    report_console().print(table)


def _with_share(number: int, total: int) -> str:
    return f"{number} {f'({number / max(total, 1):.1%})':>8}"
