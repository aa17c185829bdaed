"""The families' part of `lineup benchmark`: what losses and decoding cost beside the network."""

from collections.abc import Iterator
from importlib import resources

from experiments.benchmark_figure import Figure
from experiments.benchmark_torchvision import faster_rcnn
from experiments.benchmark_trained import Trained
from experiments.benchmark_yolov7 import yolov7

RETINAFACE = ("detector=retinaface_3pt", "backbone=mobilenet025")


def families() -> Iterator[Figure]:
    """Every family at one common size, then the members for which a bound is set."""
    for name in detectors():
        yield from _common(name)
    yield Trained(RETINAFACE, 320, 32).loss_share(320, 32, 0.15)
    yield Trained((*RETINAFACE, "scale=paper"), 640, 8).decode_share(640, 1, 0.20)
    yield from faster_rcnn()
    yield from yolov7()


def detectors() -> list[str]:
    """The names in conf/detector: a new family has its rows without being named here."""
    files = (file.name for file in resources.files("conf.detector").iterdir())
    return sorted(name.removesuffix(".yaml") for name in files if name.endswith(".yaml"))


def _common(name: str) -> Iterator[Figure]:
    trained = Trained((f"detector={name}", "scale=nano"), 320, 16)
    yield trained.loss_share(320, 16)
    yield trained.decode_share(320, 16)
