"""`lineup data check`: what is wrong with a dataset, file by file; exits with 1 on errors."""

import argparse
import logging
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.progress import track
from rich.table import Table

from callbacks.files import write_json_atomically
from datamodules.detection import DetectionDataModule
from datamodules.formats import WRITERS
from datamodules.inspect.check import full_check, quick_check
from datamodules.inspect.corrected import corrected
from datamodules.inspect.dataset import Dataset, read_dataset
from datamodules.inspect.finding import Finding, Severity
from datamodules.inspect.look import Look, look_at_all
from datamodules.sources.voc_xml import VocXml
from datamodules.sources.writing import check_new
from datamodules.sources.yolo_txt import YoloTxt
from experiments.data import open_data, report_console

log = logging.getLogger(__name__)

SHOWN = 5
"""Findings of a kind that are printed without --all."""

SEVERITIES: dict[Severity, str] = {"error": "bold red", "warning": "yellow", "note": "cyan"}
"""Severity -> colour, the worst first."""


def main(arguments: Sequence[str]) -> int:
    """Looks at every image; returns the exit code."""
    options = _parser().parse_intermixed_args(arguments)
    if options.fix:
        check_new(options.fix)
    logging.getLogger("datamodules").setLevel(logging.ERROR)  # mistakes are about to be listed
    data = read_dataset(open_data(options.words, mistakes="drop_all"))
    progress = Console(stderr=True)
    looks = list(track(look_at_all(data), "looking at images", len(data.images), console=progress))
    findings = full_check(data, looks)
    show(data, findings, None if options.all else SHOWN)
    print(summary(data, findings))
    if options.json:
        write_json_atomically(options.json, as_json(data, findings), indent=2)
    if options.fix:
        _write_corrected(data, looks, options.fix)
    return 1 if any(finding.severity == "error" for finding in findings) else 0


def warn_before_training(datamodule: DetectionDataModule) -> None:
    """The check that needs no pixel, one line per kind of finding; made scenes are right."""
    splits = [s for s in ("train", "val") if datamodule.source(s).file(0) is not None]
    for group in grouped(quick_check(read_dataset(datamodule, splits))):
        first = group[0]
        log.warning(
            "data %s: %s (%d), the first: %s: %s. %s (`lineup data check` tells all)",
            *(first.severity, first.kind, len(group), first.file, first.what, first.consequence),
        )


def grouped(findings: Sequence[Finding]) -> list[list[Finding]]:
    """Findings of one severity and kind, the worst first."""
    groups: dict[tuple[Severity, str], list[Finding]] = {}
    for finding in findings:
        groups.setdefault((finding.severity, finding.kind), []).append(finding)
    order = list(SEVERITIES)
    return sorted(groups.values(), key=lambda group: order.index(group[0].severity))


def show(data: Dataset, findings: Sequence[Finding], limit: int | None) -> None:
    """One table per kind: consequence and remedy, then the first `limit` files and findings."""
    console = report_console()
    folder = _folder(data)
    if findings and folder is not None:
        console.print(f"in {escape(str(folder))}:\n")
    for group in grouped(findings):
        first, remedies = group[0], {finding.remedy for finding in group}
        colour = SEVERITIES[first.severity]
        console.print(f"[{colour}]{first.severity}[/]: [bold]{first.kind}[/] ({len(group)})")
        console.print(escape(first.consequence), style="italic")
        if len(remedies) == 1:
            console.print(f"Remedy: {escape(first.remedy)}")
        console.print(_table(group[:limit], folder, with_remedy=len(remedies) > 1))
        more = len(group) - len(group[:limit])
        console.print(f"  and {more} more: --all lists them\n" if more else "")


def summary(data: Dataset, findings: Sequence[Finding]) -> str:
    """One line: how much was looked at, and how much of each severity was found."""
    counts = Counter(finding.severity for finding in findings)
    objects = sum(len(image.target) for image in data.images)
    splits = ", ".join(f"{len(data.split(split))} {split}" for split in data.sources)
    found = ", ".join(f"{counts[s]} {s}{'' if counts[s] == 1 else 's'}" for s in SEVERITIES)
    return f"{data.info.name}: {len(data.images)} images ({splits}), {objects} objects: {found}"


def as_json(data: Dataset, findings: Sequence[Finding]) -> dict[str, object]:
    """The whole report."""
    counts = Counter(finding.severity for finding in findings)
    return {
        "dataset": data.info.name,
        "images": {split: len(source) for split, source in data.sources.items()},
        "counts": {severity: counts[severity] for severity in SEVERITIES},
        "findings": [asdict(finding) for finding in findings],
    }


def _write_corrected(data: Dataset, looks: Sequence[Look], folder: Path) -> None:
    """In the format of the source, where we write it; else as COCO, which holds everything."""
    sources = corrected(data, looks)
    first = next(iter(data.sources.values()))
    format_name = {VocXml: "voc", YoloTxt: "yolo"}.get(type(first), "coco")
    lost = sum(WRITERS[format_name](sources, folder).values(), Counter())
    images = sum(map(len, sources.values()))
    print(f"corrected copy ({format_name}) of {images} images: {folder}")
    for what, number in lost.items():
        print(f"lost, because {format_name} does not hold them: {number} {what}")


def _table(group: Sequence[Finding], folder: Path | None, *, with_remedy: bool) -> Table:
    table = Table(box=None, padding=(0, 2), show_header=False)
    for finding in group:
        columns = [finding.file, finding.what, *([finding.remedy] if with_remedy else [])]
        table.add_row(*(escape(text.replace(f"{folder}{os.sep}", "")) for text in columns))
    for column in table.columns:
        column.overflow = "fold"
    return table


def _folder(data: Dataset) -> Path | None:
    """The folder that need not be repeated in each line: above that of all the images."""
    folders = {image.file.parent for image in data.images if image.file is not None}
    return Path(os.path.commonpath(folders)).parent if folders else None


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("lineup data check", description=__doc__)
    parser.add_argument("words", nargs="+", metavar="FOLDER | key=value")
    parser.add_argument("--all", action="store_true", help=f"list all, not {SHOWN} of a kind")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the findings as JSON")
    parser.add_argument(
        *("--fix",),
        type=Path,
        metavar="OUT",
        help="write a copy without what cannot be used into a new folder",
    )
    return parser
