"""The families' part of `lineup benchmark`: what losses and decoding cost beside the network."""

from importlib import resources

from experiments.benchmark_figure import Figure
from experiments.benchmark_torchvision import faster_rcnn
from experiments.benchmark_trained import Trained
from experiments.benchmark_yolov7 import yolov7

RETINAFACE = ("detector=retinaface_3pt", "backbone=mobilenet025")


def families() -> list[Figure]:
    """Every family at one common size, then the members for which a bound is set."""
    return [
        *(figure for name in detectors() for figure in _common(name)),
        Trained(RETINAFACE, 320, 32).loss_share(320, 32, 0.15),
        Trained((*RETINAFACE, "scale=paper"), 640, 8).decode_share(640, 1, 0.20),
        *faster_rcnn(),
        *yolov7(),
    ]


def detectors() -> list[str]:
    """The names in conf/detector: a new family has its rows without being named here."""
    files = (file.name for file in resources.files("conf.detector").iterdir())
    return sorted(name.removesuffix(".yaml") for name in files if name.endswith(".yaml"))


def _common(name: str) -> list[Figure]:
    trained = Trained((f"detector={name}", "scale=nano"), 320, 16)
    return [trained.loss_share(320, 16), trained.decode_share(320, 16)]
