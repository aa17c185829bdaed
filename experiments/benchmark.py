"""`lineup benchmark`: what the platform costs beside the bare work, as ratios.

Each ratio comes from one process: the two sides take turns, and the median over the pairs is
printed with its bound. Seconds depend on the machine, ratios much less. Nothing here is a test.
"""

import argparse
import itertools
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from callbacks.files import write_json_atomically
from experiments import provenance
from experiments.quiet import quiet_libraries

ROUNDS = 5


@dataclass
class Figure:
    """One measured value against its bound (the value should not be above, or not below it)."""

    what: str
    value: float
    bound: float
    at_most: bool
    setting: str

    @property
    def holds(self) -> bool:
        """Whether the bound is kept."""
        return self.value <= self.bound if self.at_most else self.value >= self.bound


def main() -> None:
    """Measures the named parts (all by default), prints a table and writes JSON."""
    parts: dict[str, Callable[[], list[Figure]]] = {
        "cli": cli,
        "trainer": trainer,
        "loader": loader,
        "validation": validation,
    }
    parser = argparse.ArgumentParser("lineup benchmark", description=__doc__)
    parser.add_argument(
        "parts", nargs="*", choices=[*parts, []], help=f"default: {' '.join(parts)}"
    )
    parser.add_argument("--out", type=Path, default=Path("runs/benchmark.json"))
    arguments = parser.parse_args()
    figures: list[Figure] = []
    with quiet_libraries():
        for name in arguments.parts or parts:
            print(f"measuring {name} ...", flush=True)
            figures += parts[name]()
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
        bound = f"{'<=' if f.at_most else '>='} {f.bound:g}"
        table.add_row(
            f.what, f"{f.value:.3f}", bound, "ok" if f.holds else "[red]MISSED", f.setting
        )
    Console().print(table)


def cli() -> list[Figure]:
    """Seconds until the command line answers, as a process of its own."""

    def seconds(*arguments: str) -> float:
        command = [sys.executable, "-m", "experiments.cli", *arguments]
        return statistics.median(
            _seconds(lambda: subprocess.run(command, check=True, capture_output=True))
            for _ in range(ROUNDS)
        )

    return [
        Figure("lineup --help, s", seconds("--help"), 0.5, True, "process"),
        Figure("lineup train --cfg job, s", seconds("train", "--cfg", "job"), 1.5, True, "process"),
    ]


def trainer() -> list[Figure]:
    """Lightning's step with callbacks and CSV log / bare forward, loss, backward, optimiser."""

    steps, overrides = (
        8,
        ("backbone=darknet24", "protocol.input_hw=[224,224]", "protocol.batch_size=16"),
    )
    batches = _batches(steps, overrides)
    ratios, bare_seconds = [], []
    with tempfile.TemporaryDirectory() as folder:
        for number in range(ROUNDS):
            lightning = _lightning_steps(batches, overrides, Path(folder) / str(number))
            bare = _bare_steps(batches, overrides)
            ratios.append(statistics.median(lightning) / statistics.median(bare))
            bare_seconds.append(statistics.median(bare))
    step = statistics.median(bare_seconds)
    setting = f"{_setting('224 px, batch 16')}, bare step {step * 1e3:.0f} ms"
    return [Figure("trainer: step / bare step", statistics.median(ratios), 1.05, True, setting)]


def loader() -> list[Figure]:
    """Images per second of the loader / the same reading and albumentations in a bare loop."""
    import torch

    with tempfile.TemporaryDirectory() as folder:
        _write_jpegs(Path(folder), 192)
        data = ("datamodule=voc", f"datamodule.root={folder}", "transform=yolov1")
        large = (*data, "datamodule.num_workers=0", "protocol.input_hw=[448,448]")
        pairs = [(_bare_decode(large), _loader_seconds(large)) for _ in range(ROUNDS)]
        wait = statistics.median(_data_wait(data) for _ in range(3))
    rate = statistics.median(bare / ours for bare, ours in pairs)
    jpeg = f"500x375 JPEG, batch 16, yolov1 augmentation, {torch.get_num_threads()} threads"
    return [
        Figure("loader: images/s / bare loop", rate, 0.85, False, f"448 px, {jpeg}, no workers"),
        Figure("loader: wait / nano step", wait, 0.05, True, f"darknet24, 96 px, {jpeg}, 1 worker"),
    ]


def validation() -> list[Figure]:
    """Share of a validation epoch (trained weights, 500 images) that is spent outside forward."""
    overrides = (
        *("backbone=darknet24", "protocol.input_hw=[448,448]", "datamodule=synthetic_varied"),
        *("datamodule.train.length=160", "datamodule.val.length=500"),
    )
    with tempfile.TemporaryDirectory() as folder:
        shares = _validation_shares(overrides, Path(folder))
    share = statistics.median(shares)
    setting = _setting("448 px, 500 images, batch 16, one worker")
    return [Figure("validation: outside forward / total", share, 0.15, True, setting)]


def _setting(rest: str) -> str:
    import torch

    return f"yolov1-darknet24 nano, {rest}, {torch.get_num_threads()} threads"


def _batches(count: int, overrides: tuple[str, ...]) -> list[Any]:
    from experiments import api

    datamodule = api.build_datamodule(*overrides, "datamodule.num_workers=0")
    datamodule.setup("fit")
    return list(itertools.islice(itertools.cycle(datamodule.train_dataloader()), count))


def _module(overrides: tuple[str, ...]) -> Any:
    import torch

    from experiments import build

    torch.manual_seed(0)
    return build.instantiate(build.compose(overrides).detector)


def _lightning_steps(batches: list[Any], overrides: tuple[str, ...], folder: Path) -> list[float]:
    import lightning as L
    from torch.utils.data import DataLoader

    from experiments import build

    class Clock(L.Callback):
        def __init__(self) -> None:
            self.ends: list[float] = []

        def on_train_batch_end(self, *_: Any) -> None:
            self.ends.append(time.perf_counter())

    clock, config = Clock(), build.compose([*overrides, f"paths.runs={folder}", "logger=[csv]"])
    kept = ("non_finite", "lr_monitor", "progress")
    callbacks = [build.instantiate(config.callbacks[name]) for name in kept] + [clock]
    fit = build.instantiate(
        config.trainer,
        callbacks=callbacks,
        logger=[build.instantiate(config.logger.csv)],
        max_epochs=1,
        enable_checkpointing=False,
    )
    loader: Any = DataLoader(batches, batch_size=None, collate_fn=lambda b: b)  # pyright: ignore
    fit.fit(_module(overrides), train_dataloaders=loader)
    return [after - before for before, after in itertools.pairwise(clock.ends)][1:]


def _bare_steps(batches: list[Any], overrides: tuple[str, ...]) -> list[float]:
    module = _module(overrides)
    optimizer = module.optimizer(module.net.parameters())

    def step(batch: Any) -> None:
        total = module.total(module.net.loss(module.net(batch.images), batch.targets))
        optimizer.zero_grad()
        total.backward()
        optimizer.step()

    return [_seconds(lambda batch=batch: step(batch)) for batch in batches][2:]


def _write_jpegs(folder: Path, count: int) -> None:
    """A small VOC folder of our own scenes, so that decoding is measured too."""
    import cv2

    from experiments import api

    shape = (
        "datamodule=synthetic_varied",
        f"datamodule.train.length={count}",
        "datamodule.train.image_hw=[375,500]",
    )
    datamodule = api.build_datamodule(*shape)
    datamodule.setup("fit")
    source = datamodule.source("train")
    for name in ("JPEGImages", "Annotations", "ImageSets/Main"):
        (folder / name).mkdir(parents=True)
    for index in range(count):
        image, target = source[index]
        cv2.imwrite(
            str(folder / f"JPEGImages/{index:04d}.jpg"), cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
        )
        (folder / f"Annotations/{index:04d}.xml").write_text(
            _voc_xml(image.shape, target.boxes.tolist())
        )
    for split in ("train", "val", "trainval"):
        (folder / f"ImageSets/Main/{split}.txt").write_text(
            "".join(f"{i:04d}\n" for i in range(count))
        )


def _voc_xml(shape: tuple[int, ...], boxes: list[list[float]]) -> str:
    objects = "".join(
        f"<object><name>dog</name><bndbox><xmin>{x1 + 1:.0f}</xmin><ymin>{y1 + 1:.0f}</ymin>"
        f"<xmax>{x2:.0f}</xmax><ymax>{y2:.0f}</ymax></bndbox></object>"
        for x1, y1, x2, y2 in boxes
    )
    size = f"<size><width>{shape[1]}</width><height>{shape[0]}</height><depth>3</depth></size>"
    return f"<annotation>{size}{objects}</annotation>"


def _train_data(overrides: tuple[str, ...]) -> Any:
    from experiments import api

    datamodule = api.build_datamodule(*overrides)
    datamodule.setup("fit")
    return datamodule


def _loader_seconds(overrides: tuple[str, ...]) -> float:
    """Seconds per image of one epoch of the loader."""
    data = _train_data(overrides).train_dataloader()
    start, images = time.perf_counter(), 0
    for batch in data:
        images += len(batch)
    return (time.perf_counter() - start) / images


def _bare_decode(overrides: tuple[str, ...]) -> float:
    """Seconds per image of reading and the same albumentations transforms, nothing else."""
    import albumentations as A
    import cv2
    import numpy as np

    from experiments import build

    source = _train_data(overrides).source("train")
    nodes = build.compose(overrides).datamodule.augment.values()
    points = A.KeypointParams("xy", remove_invisible=False)
    augment = A.Compose(
        [build.instantiate(n) for n in nodes if n is not None], keypoint_params=points
    )
    probes = np.full((9, 2), 100.0)
    paths = [source.where(index) for index in range(len(source))]
    start = time.perf_counter()
    for path in paths:
        image = cv2.cvtColor(cv2.imread(path), cv2.COLOR_BGR2RGB)  # pyright: ignore
        augment(image=image, keypoints=probes)
    return (time.perf_counter() - start) / len(paths)


def _data_wait(overrides: tuple[str, ...]) -> float:
    """Share of an epoch that the training loop waits for its loader, one worker."""
    data = _train_data((*overrides, "datamodule.num_workers=1")).train_dataloader()
    module = _module((*overrides, "backbone=darknet24"))
    optimizer = module.optimizer(module.net.parameters())
    batches: Iterator[Any] = iter(data)
    next(batches)  # the worker has started
    waited = worked = 0.0
    while True:
        start = time.perf_counter()
        batch = next(batches, None)
        waited += time.perf_counter() - start
        if batch is None:
            return waited / (waited + worked)
        start = time.perf_counter()
        total = module.total(module.net.loss(module.net(batch.images), batch.targets))
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        worked += time.perf_counter() - start


def _validation_shares(overrides: tuple[str, ...], folder: Path) -> list[float]:
    """Trains two epochs, so that there is something to decode, then times three validations."""
    import lightning as L

    from experiments import build

    config = build.compose([*overrides, f"paths.runs={folder}", "datamodule.num_workers=1"])
    module, datamodule = _module(overrides), build.instantiate(config.datamodule)
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


def _seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
