"""`lineup benchmark`: what the platform costs beside the bare work, as ratios.

Each ratio comes from one process: the two sides take turns, and the median over the pairs is
printed with its bound. Seconds depend on the machine, ratios much less. Nothing here is a test.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from callbacks.files import write_json_atomically
from experiments import provenance
from experiments.benchmark_families import families
from experiments.benchmark_figure import (
    ROUNDS,
    Figure,
    bare_step,
    batches,
    fresh_module,
    timed,
)
from experiments.benchmark_loader import loader
from experiments.quiet import quiet_libraries


def main() -> None:
    """Measures the named parts (all by default), prints a table and writes JSON."""
    parts: dict[str, Callable[[], Iterator[Figure]]] = {
        "cli": cli,
        "trainer": trainer,
        "loader": loader,
        "validation": validation,
        "families": families,
    }
    parser = argparse.ArgumentParser("lineup benchmark", description=__doc__)
    parser.add_argument(
        "parts",
        nargs="*",
        choices=[*parts, []],
        metavar="part",
        help=f"{', '.join(parts)}; default: all",
    )
    parser.add_argument("--out", type=Path, default=Path("runs/benchmark.json"))
    arguments = parser.parse_args()
    figures: list[Figure] = []
    with quiet_libraries():
        for name in arguments.parts or parts:
            print(f"measuring {name} ...", flush=True)
            for figure in parts[name]():
                print(f"  {figure.value:.3f}  {figure.what}", flush=True)
                figures.append(figure)
    show(figures)
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    rows = [asdict(figure) | {"holds": figure.holds} for figure in figures]
    write_json_atomically(arguments.out, {"figures": rows, "provenance": provenance.collect()})
    print(arguments.out)


def show(figures: list[Figure]) -> None:
    """The figures as a table."""
    from rich.console import Console
    from rich.table import Table

    table = Table(
        "measured", "median", "bound", "", "model, size, batch, threads", header_style="bold"
    )
    for f in figures:
        bound = "" if f.bound is None else f"{'<=' if f.at_most else '>='} {f.bound:g}"
        verdict = {True: "ok", False: "[red]MISSED", None: ""}[f.holds]
        table.add_row(f.what, f"{f.value:.3f}", bound, verdict, f.setting)
    Console().print(table)


def cli() -> Iterator[Figure]:
    """Seconds until the command line answers, as a process of its own."""

    def seconds(*arguments: str) -> float:
        command = [sys.executable, "-m", "experiments.cli", *arguments]
        return statistics.median(
            timed(lambda: subprocess.run(command, check=True, capture_output=True))
            for _ in range(ROUNDS)
        )

    yield Figure("lineup --help, s", seconds("--help"), 0.5, True, "process")
    composed = seconds("train", "--cfg", "job")
    yield Figure("lineup train --cfg job, s", composed, 1.5, True, "process")


def trainer() -> Iterator[Figure]:
    """Lightning's step with callbacks and CSV log / bare forward, loss, backward, optimiser."""
    steps = 40
    size = ("protocol.input_hw=[224,224]", "protocol.batch_size=16")
    overrides = ("backbone=darknet24", *size)
    with tempfile.TemporaryDirectory() as folder:
        pairs = _paired_steps(batches(steps, overrides), overrides, Path(folder))
    ratio = statistics.median(ours / bare for ours, bare in pairs)
    step = statistics.median(bare for _, bare in pairs)
    setting = f"{_setting('224 px, batch 16')}, {len(pairs)} pairs, bare step {step * 1e3:.0f} ms"
    yield Figure("trainer: step / bare step", ratio, 1.05, True, setting)


def validation() -> Iterator[Figure]:
    """Share of a validation epoch (trained weights, 500 images) that is spent outside forward.

    At two sizes: the smaller the image, the cheaper forward is, and the rest costs the same.
    """
    for size in (448, 224):
        yield _validation_at(size)


def _validation_at(size: int) -> Figure:
    overrides = (
        *(
            "backbone=darknet24",
            f"protocol.input_hw=[{size},{size}]",
            "datamodule=synthetic_varied",
        ),
        *("datamodule.train.length=160", "datamodule.val.length=500"),
    )
    with tempfile.TemporaryDirectory() as folder:
        share = statistics.median(_validation_shares(overrides, Path(folder)))
    setting = _setting(f"{size} px, 500 images, batch 16, one worker")
    return Figure(f"validation, {size} px: outside forward / total", share, 0.15, True, setting)


def _setting(rest: str) -> str:
    import torch

    return f"yolov1-darknet24 nano, {rest}, {torch.get_num_threads()} threads"


def _paired_steps(
    given: list[Any], overrides: tuple[str, ...], folder: Path
) -> list[tuple[float, float]]:
    """Seconds of Lightning's step and, right after it, of a bare step on the same batch."""
    import lightning as L
    from torch.utils.data import DataLoader

    from experiments import build

    bare = bare_step(overrides)
    pairs: list[tuple[float, float]] = []

    class TakeTurns(L.Callback):
        start = 0.0

        def on_train_batch_end(self, trainer: Any, module: Any, outputs: Any, batch: Any, *_: Any):
            ours = time.perf_counter() - self.start
            pairs.append((ours, timed(lambda: bare(batch))))
            self.start = time.perf_counter()

    config = build.compose([*overrides, f"paths.runs={folder}", "logger=[csv]"])
    kept = ("non_finite", "lr_monitor", "progress")
    fit = build.instantiate(
        config.trainer,
        callbacks=[*(build.instantiate(config.callbacks[name]) for name in kept), TakeTurns()],
        logger=[build.instantiate(config.logger.csv)],
        max_epochs=1,
        enable_checkpointing=False,
    )
    loader: Any = DataLoader(given, batch_size=None, collate_fn=lambda b: b)  # pyright: ignore
    fit.fit(fresh_module(overrides), train_dataloaders=loader)
    return pairs[2:]


def _validation_shares(overrides: tuple[str, ...], folder: Path) -> list[float]:
    """Trains two epochs, so that there is something to decode, then times three validations."""
    import lightning as L

    from experiments import build

    config = build.compose([*overrides, f"paths.runs={folder}", "datamodule.num_workers=1"])
    module, datamodule = fresh_module(overrides), build.instantiate(config.datamodule)
    seconds = {"forward": 0.0, "total": 0.0}

    class Clock(L.Callback):
        def on_validation_start(self, *_: Any) -> None:
            seconds["total"] -= time.perf_counter()

        def on_validation_end(self, *_: Any) -> None:
            seconds["total"] += time.perf_counter()

    trainer = build.instantiate(
        config.trainer,
        callbacks=[build.instantiate(config.callbacks.evaluator), Clock()],
        logger=False,
        max_epochs=2,
        enable_checkpointing=False,
        limit_val_batches=1,
        enable_progress_bar=False,
    )
    trainer.fit(module, datamodule=datamodule)
    trainer.limit_val_batches = 1.0
    module.net.register_forward_pre_hook(lambda *_: _add(seconds, "forward", -time.perf_counter()))
    module.net.register_forward_hook(lambda *_: _add(seconds, "forward", time.perf_counter()))
    shares = []
    for _ in range(3):
        seconds.update(forward=0.0, total=0.0)
        trainer.validate(module, datamodule=datamodule, verbose=False)
        shares.append(1 - seconds["forward"] / seconds["total"])
    return shares


def _add(seconds: dict[str, float], key: str, value: float) -> None:
    seconds[key] += value


if __name__ == "__main__":
    main()
