"""`lineup table RUN...`: one comparison table from the manifests of finished runs.

Runs that differ only in their seed make one row: mean ± sample standard deviation over the seeds.
"""

import argparse
import csv
import io
import json
import math
import statistics
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from callbacks.files import write_text_atomically
from detectors.errors import RunError
from experiments import runs

HEADER = ("member", "data", "seeds", "AP50", "mAP", "parameters", "ms / image")


@dataclass
class Row:
    """The runs of one configuration over its seeds, in the order of the seeds."""

    manifests: list[dict[str, Any]]

    @property
    def first(self) -> dict[str, Any]:
        """What all runs of the row share stands in any of them."""
        return self.manifests[0]

    def scores(self, metric: str) -> list[float]:
        """One value per seed, NaN where the split has no such object."""
        values = [m["metrics"][m["scored_split"]].get(metric) for m in self.manifests]
        return [math.nan if value is None else value for value in values]

    def seconds(self) -> list[float]:
        """Median seconds per image, one value per seed."""
        return [m["cost"]["seconds_per_image"] for m in self.manifests]


def main() -> None:
    """Prints the table of the runs named on the command line, and writes it with --out."""
    parser = argparse.ArgumentParser("lineup table", description=__doc__)
    parser.add_argument("runs", nargs="+", type=Path, help="folders of finished runs")
    parser.add_argument("--out", type=Path, help="folder for table.md and table.csv")
    arguments = parser.parse_args()
    finished, failed = _split(arguments.runs)
    rows = rows_of(finished)
    if not rows:
        raise RunError(
            f"none of the {len(arguments.runs)} folders holds a finished run: "
            "`lineup train` makes one"
        )
    show(rows, failed)
    if arguments.out:
        write(rows, arguments.out, failed)


def rows_of(run_dirs: Sequence[Path]) -> list[Row]:
    """Groups finished runs that differ only in their seed; the best AP50 first."""
    groups: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for run_dir in dict.fromkeys(run_dirs):
        manifest = runs.read_manifest(run_dir)
        if manifest is not None and manifest["status"] == "finished":
            groups[_identity(manifest)].append(manifest)
    rows = [Row(sorted(group, key=lambda m: m["seed"])) for group in groups.values()]
    return sorted(rows, key=lambda row: -_mean(row.scores("map_50")))


def write(rows: Sequence[Row], folder: Path, failed: dict[str, str]) -> None:
    """table.md and table.csv."""
    folder.mkdir(parents=True, exist_ok=True)
    write_text_atomically(folder / "table.md", markdown(rows, failed))
    write_text_atomically(folder / "table.csv", as_csv(rows))


def markdown(rows: Sequence[Row], failed: dict[str, str]) -> str:
    """The table and its notes."""
    lines = ["| " + " | ".join(HEADER) + " |", "|" + "|".join(["---"] * len(HEADER)) + "|"]
    lines += ["| " + " | ".join(cells(row)) + " |" for row in rows]
    return "\n".join([*lines, "", *(f"- {note}" for note in notes(rows, failed))]) + "\n"


def as_csv(rows: Sequence[Row]) -> str:
    """One line per run, unrounded: for whoever computes something else from it."""
    text = io.StringIO()
    columns = ["name", "detector", "backbone", "variant", "dataset", "scale", "seed", "split"]
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*columns, "map_50", "map", "parameters", "seconds_per_image"])
    for row in rows:
        for m, ap50, ap in zip(row.manifests, row.scores("map_50"), row.scores("map"), strict=True):
            chosen = [m["choices"]["detector"], m["choices"]["backbone"], "+".join(_variant(m))]
            names = [m["name"], *chosen, m["dataset"], m["scale"], m["seed"], m["scored_split"]]
            writer.writerow(
                [*names, ap50, ap, m["cost"]["parameters"], m["cost"]["seconds_per_image"]]
            )
    return text.getvalue()


def show(rows: Sequence[Row], failed: dict[str, str]) -> None:
    """Prints the table to the terminal."""
    from rich.box import SIMPLE
    from rich.console import Console
    from rich.table import Table

    console = Console()
    one_dataset = len({row.first["dataset"] for row in rows}) == 1  # the notes name it
    shown = [i for i, title in enumerate(HEADER) if not (title == "data" and one_dataset)]
    table = Table(*[HEADER[i] for i in shown], box=SIMPLE, padding=0, header_style="bold")
    for row in rows:
        texts = cells(row)
        table.add_row(*[texts[i] for i in shown])
    console.print(table)
    for note in notes(rows, failed):
        console.print(f"- {note}", markup=False, highlight=False, soft_wrap=True)


def cells(row: Row) -> list[str]:
    """One line of the table, as text."""
    return [
        _member(row.first),
        row.first["dataset"],
        str(len(row.manifests)),
        _mean_and_spread(row.scores("map_50")),
        _mean_and_spread(row.scores("map")),
        f"{row.first['cost']['parameters'] / 1e6:.2f} M",
        f"{1e3 * statistics.median(row.seconds()):.1f}",
    ]


def notes(rows: Sequence[Row], failed: dict[str, str]) -> list[str]:
    """What a reader must know before trusting the table."""
    first = rows[0].first if rows else None
    found = [] if first is None else [_protocol(first), *_stages(rows), _cost(rows)]
    found += [*_verdict(rows), *_members(rows)]
    if len({_protocol(row.first) for row in rows}) > 1:
        found.append("NOT COMPARABLE as it stands: the rows were trained under different protocols")
    return found + [f"NOT IN THE TABLE {name}: {why}" for name, why in failed.items()]


def contact_sheet(run_dirs: Sequence[Path], folder: Path) -> Path | None:
    """The pictures that each row's first run drew last, on one sheet."""
    import cv2

    from callbacks.draw import contact_sheet as stack
    from datamodules.sources.images import read_image

    pictures, captions = [], []
    for row in rows_of(run_dirs):
        run_dir = next(d for d in run_dirs if d.name == row.first["name"])
        drawn = sorted((run_dir / "images").glob("epoch_*.png"))
        if drawn:
            pictures.append(read_image(drawn[-1]))
            captions.append(f"{_member(row.first)}  AP50 {_mean_and_spread(row.scores('map_50'))}")
    if not pictures:
        return None
    sheet = stack(pictures, captions, columns=2, cell=None)
    path = folder / "detections.png"
    cv2.imwrite(str(path), cv2.cvtColor(sheet, cv2.COLOR_RGB2BGR))
    return path


def _split(run_dirs: Sequence[Path]) -> tuple[list[Path], dict[str, str]]:
    """Finished runs, and what is known of the others; folders that hold no run are left out."""
    finished, failed = [], {}
    for run_dir in run_dirs:
        manifest = runs.read_manifest(run_dir) if run_dir.is_dir() else None
        if manifest is None:
            continue
        if manifest["status"] == "finished":
            finished.append(run_dir)
        else:
            failed[run_dir.name] = manifest.get("error", f"still {manifest['status']}")
    return finished, failed


def _identity(manifest: dict[str, Any]) -> str:
    shared = ("choices", "scale", "protocol", "members", "dataset", "data", "cost")
    fields = {key: manifest[key] for key in shared}
    fields["data"] = manifest["data"]["hashes"].get(manifest["scored_split"])
    fields["cost"] = manifest["cost"]["parameters"]
    fields["recipe"] = manifest.get("recipe")
    return json.dumps(fields, sort_keys=True)


def _member(manifest: dict[str, Any]) -> str:
    """Family, backbone and scale, then attention, regime and ablations."""
    name = f"{_parts(manifest)} {manifest['scale']}"
    return ": ".join([name, *filter(None, [", ".join(_variant(manifest))])])


def _parts(manifest: dict[str, Any]) -> str:
    chosen = manifest["choices"]
    return f"{chosen['detector']}-{chosen['backbone']}"


def _variant(manifest: dict[str, Any]) -> list[str]:
    chosen = manifest["choices"]
    attention = chosen.get("attention")
    named = [] if attention in (None, "none") else [f"attention={attention}"]
    names = [*named, chosen.get("regime"), *(chosen.get("ablation") or [])]
    return [str(name) for name in names if name]


def _protocol(manifest: dict[str, Any]) -> str:
    p = manifest["protocol"]
    height, width = p["input_hw"]
    chosen = "best checkpoint on val" if p["checkpoint"] == "best" else "last checkpoint"
    start = "from scratch" if p["pretraining"] is None else f"pre-trained: {p['pretraining']}"
    return (
        f"protocol: {manifest['scored_split']} split of {manifest['dataset']}, "
        f"input {height}x{width} px, {p['epochs']} epochs of batch {p['batch_size']}, {start}, "
        f"{chosen}; "
        f"AP as COCO counts it; ± is one standard deviation over seeds"
    )


def _stages(rows: Sequence[Row]) -> list[str]:
    """Who saw the images more often than the protocol's epochs say."""
    staged = [row.first for row in rows if row.first.get("stages")]
    said = [
        f"{m['choices'].get('regime') or _member(m)}: {sum(m['stages'].values())} epochs in all, "
        f"in stages ({', '.join(f'{name} {epochs}' for name, epochs in m['stages'].items())})"
        for m in staged
    ]
    return list(dict.fromkeys(said))


def _cost(rows: Sequence[Row]) -> str:
    first = rows[0].first
    cost, machine = first["cost"], first["provenance"]["machine"]
    return (
        f"ms / image: median of forward and decode, one image at a time, on {cost['device']} with "
        f"{cost['threads']} thread(s) of {machine['processor']}, other jobs may have run beside it"
    )


def _verdict(rows: Sequence[Row]) -> list[str]:
    """Says whether the best row is clear of the second, judged by the spread over seeds."""
    if len(rows) < 2:
        return []
    best, second = rows[0].scores("map_50"), rows[1].scores("map_50")
    gap = _mean(best) - _mean(second)
    if len(best) < 2 or len(second) < 2:
        return [
            "ranking: one seed per row says nothing about noise; run more seeds before you rank"
        ]
    noise = math.sqrt(
        statistics.variance(best) / len(best) + statistics.variance(second) / len(second)
    )
    names = " and ".join(_member(row.first) for row in rows[:2])
    if gap <= 2 * noise:
        return [
            f"ranking: {names} differ by {gap:.3f} AP50, within the seeds' noise "
            f"(two standard errors: {2 * noise:.3f}); do not rank them"
        ]
    return [
        f"ranking: {names} differ by {gap:.3f} AP50, "
        f"more than two standard errors ({2 * noise:.3f})"
    ]


def _members(rows: Sequence[Row]) -> list[str]:
    """At scale=nano the names stand for reduced members: says which, and each thing once."""
    reduced = [row.first for row in rows if row.first["scale"] != "paper"]
    said = [
        f"{_parts(m)} at scale={m['scale']} is a reduced member: {settings}"
        for m in reduced
        if (settings := _member_settings(m["members"]))
    ]
    return list(dict.fromkeys(said))


def _member_settings(members: dict[str, Any]) -> str:
    said = {part: _settings(values or {}) for part, values in members.items()}
    return "; ".join(f"{part} {settings}" for part, settings in said.items() if settings)


def _settings(values: dict[str, Any]) -> str:
    known = {k: v for k, v in values.items() if v is not None}
    return ", ".join(f"{key}={value}" for key, value in known.items()).replace("'", "")


def _mean(values: Sequence[float]) -> float:
    known = [value for value in values if math.isfinite(value)]
    return statistics.fmean(known) if known else -math.inf


def _mean_and_spread(values: Sequence[float]) -> str:
    known = [value for value in values if math.isfinite(value)]
    if not known:
        return "n/a (0 objects)"
    spread = f" ± {statistics.stdev(known):.3f}" if len(known) > 1 else ""
    return f"{statistics.fmean(known):.3f}{spread}"


if __name__ == "__main__":
    main()
