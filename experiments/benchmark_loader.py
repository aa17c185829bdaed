"""The loader's part of `lineup benchmark`: images per second, workers, memory, waiting."""

import multiprocessing
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import resources
from pathlib import Path
from typing import Any

from experiments.benchmark_figure import ROUNDS, Figure, bare_step, timed

IMAGES = 192
SIZE = "protocol.input_hw=[640,640]"
JPEG = "500x375 JPEG, batch 16"


class Reads:
    """Counts the images that a source reads."""

    def __init__(self, source: Any) -> None:
        self.count = 0
        self._read = source.image
        source.image = self

    def __call__(self, index: int) -> Any:
        """The image, counted."""
        self.count += 1
        return self._read(index)


def loader() -> Iterator[Figure]:
    """Each preset beside the same calls in a bare loop; two workers beside one; memory; waiting."""
    with tempfile.TemporaryDirectory() as folder, _one_thread():
        _write_jpegs(Path(folder), IMAGES)
        data = ("datamodule=voc", f"datamodule.root={folder}", "protocol.batch_size=16")
        presets = sorted(f.name[:-5] for f in resources.files("conf.transform").iterdir())
        for preset in presets:
            yield _rate((*data, SIZE, f"transform={preset}"), preset)
        yield _two_workers((*data, SIZE, "transform=yolov1"))
        yield _memory((*data, SIZE, "transform=yolov7"))
        yield _wait((*data, "transform=yolov1"))


def _rate(overrides: tuple[str, ...], preset: str) -> Figure:
    """Images per second of the loader / those of a bare loop, all in this process.

    Processor time, because it says images per second and core, and other processes do not count. Of
    a mosaic the images read are counted, not those made of them.
    """
    from experiments import build

    datamodule = _train_data((*overrides, "datamodule.num_workers=0"))
    source, loaded = datamodule.source("train"), datamodule.train_dataloader()
    loops, reads = _bare_loops(overrides, source), Reads(source)
    rounds = []
    for _ in range(ROUNDS):
        bare = [timed(loop, time.process_time) / IMAGES for loop in loops]
        reads.count = 0
        ours = timed(lambda: _exhaust(loaded), time.process_time) / reads.count
        rounds.append((bare[0] / ours, bare[1] / ours, 1 / ours))
    ratio, of_points, rate = (statistics.median(values) for values in zip(*rounds, strict=True))
    composed = build.compose(overrides).datamodule.mosaic is not None
    what = "source images/s" if composed else "images/s"
    setting = (
        f"640 px, {JPEG}, no workers, 1 thread: {rate:.0f} {what} per core; "
        f"{of_points:.2f} of a loop that moves corners, not boxes"
    )
    return Figure(
        f"loader, {preset}: {what} / bare loop", ratio, 0.5 if composed else 0.85, False, setting
    )


def _bare_loops(overrides: tuple[str, ...], source: Any) -> list[Callable[[], None]]:
    """What one writes by hand: decoding, albumentations' letterbox, the preset's own transforms.

    The first moves boxes and labels, the second only the boxes' corners as keypoints, which costs
    less. They lack jitter and crops of the framing, a seed per sample, a Frame and a batch. Nothing
    in them is ours.
    """
    import albumentations as A

    from experiments import build

    node = build.compose(overrides).datamodule
    height, width = node.input_hw
    letterbox = [A.LongestMaxSize(max(height, width)), A.PadIfNeeded(height, width, fill=114)]
    steps = [build.instantiate(step) for step in node.augment.values() if step is not None]
    boxes = A.BboxParams("pascal_voc", label_fields=["labels"], min_visibility=0.1)
    points = A.KeypointParams("xy", remove_invisible=False)
    paths = [source.where(index) for index in range(len(source))]
    targets = [source.target(index) for index in range(len(source))]
    rows = [{"bboxes": t.boxes.numpy(), "labels": t.labels.numpy()} for t in targets]
    corners = [{"keypoints": t.boxes.reshape(-1, 2).numpy()} for t in targets]
    with_boxes = A.Compose([*letterbox, *steps], bbox_params=boxes)
    with_corners = A.Compose([*letterbox, *steps], keypoint_params=points)
    return [
        lambda: _read_and_augment(paths, rows, with_boxes),
        lambda: _read_and_augment(paths, corners, with_corners),
    ]


def _read_and_augment(paths: list[str], annotations: list[dict[str, Any]], augment: Any) -> None:
    import cv2

    for path, annotation in zip(paths, annotations, strict=True):
        image: Any = cv2.imread(path)
        augment(image=cv2.cvtColor(image, cv2.COLOR_BGR2RGB), **annotation)


def _two_workers(overrides: tuple[str, ...]) -> Figure:
    """Images per second of two workers / those of one."""
    one, two = (
        _train_data((*overrides, f"datamodule.num_workers={n}")).train_dataloader() for n in (1, 2)
    )
    for loaded in (one, two):
        _exhaust(loaded)  # the workers have started
    pairs = [[timed(lambda c=c: _exhaust(c)) for c in (one, two)] for _ in range(ROUNDS)]
    ratio = statistics.median(alone / together for alone, together in pairs)
    return Figure("loader: two workers / one", ratio, 1.8, False, f"640 px, {JPEG}, yolov1")


def _memory(overrides: tuple[str, ...]) -> Figure:
    """Resident memory of this process and a worker after the third epoch / after the first."""
    loaded = _train_data((*overrides, "datamodule.num_workers=1")).train_dataloader()
    before = set(multiprocessing.active_children())
    after_epoch = []
    for _ in range(3):
        _exhaust(loaded)
        workers = set(multiprocessing.active_children()) - before
        pids = ["self", *(worker.pid for worker in workers)]
        after_epoch.append(sum(map(_resident_mib, pids)))
    setting = f"640 px, {JPEG}, yolov7, 1 worker: {after_epoch[-1]:.0f} MiB"
    ratio = after_epoch[-1] / after_epoch[0]
    return Figure("loader: memory after 3 epochs / 1", ratio, 1.05, True, setting)


def _wait(overrides: tuple[str, ...]) -> Figure:
    """Share of an epoch that the training loop waits for its loader, one worker."""
    import torch

    share = statistics.median(_waited(overrides) for _ in range(3))
    setting = f"darknet24, 96 px, {JPEG}, yolov1, 1 worker, {torch.get_num_threads()} threads"
    return Figure("loader: wait / nano step", share, 0.05, True, setting)


def _waited(overrides: tuple[str, ...]) -> float:
    loaded = _train_data((*overrides, "datamodule.num_workers=1")).train_dataloader()
    step = bare_step((*overrides, "backbone=darknet24"))
    batches: Iterator[Any] = iter(loaded)
    next(batches)  # the worker has started
    waited = worked = 0.0
    while True:
        start = time.perf_counter()
        batch = next(batches, None)
        waited += time.perf_counter() - start
        if batch is None:
            return waited / (waited + worked)
        worked += timed(lambda batch=batch: step(batch))


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


def _exhaust(loaded: Any) -> None:
    for _ in loaded:
        pass


def _resident_mib(pid: object) -> float:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * 4096 / 2**20


@contextmanager
def _one_thread() -> Iterator[None]:
    """OpenCV on one thread, as in a worker."""
    import cv2

    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(before)
