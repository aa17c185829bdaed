"""YOLOv7's part of `lineup benchmark`: its losses, OTA beside the usual loop, and fusing."""

from collections.abc import Iterator
from typing import Any

from experiments.benchmark_clock import paired
from experiments.benchmark_figure import Figure
from experiments.benchmark_trained import Trained, inference

NANO, PAPER = (("detector=yolov7", f"scale={scale}") for scale in ("nano", "paper"))
DATA = "synthetic_varied"


def yolov7() -> Iterator[Figure]:
    """Shares of the loss at both scales; at nano also OTA and the fused network, as ratios."""
    nano = Trained(NANO, 320, 16, DATA)
    yield nano.loss_share(320, 16, 0.15, what="assignment and loss")
    yield _ota(nano, 320, 16)
    yield _fused(nano, 320, 1)
    paper = Trained(PAPER, 160, 4, DATA)
    yield paper.loss_share(640, 4, 0.08, what="assignment and loss")


def _ota(trained: Trained, size: int, batch: int) -> Figure:
    """Assignment for the batch at once / image by image and object by object."""
    from detectors.families.yolov7_assign import OTA, AnchorRatio
    from detectors.families.yolov7_raw import side_by_side
    from experiments.plain_ota import plain_ota

    assign, net = OTA(AnchorRatio()), trained.module.net
    with inference(trained.module):
        items = [(net(each.images), each.targets) for each in trained.scenes(size, batch)]
    pairs = paired(lambda s: assign(s[0], side_by_side(s[1])), lambda s: plain_ota(*s), items)
    return trained.ratio("OTA of the batch / plain loop", pairs, 0.6, f"{size} px, batch {batch}")


def _fused(trained: Trained, size: int, batch: int) -> Figure:
    """Inference of the fused network / of the one that was trained."""
    from detectors.fusing import fuse

    net: Any = trained.module.net
    fused, scenes = fuse(net), trained.scenes(size, batch)
    with inference(trained.module):
        pairs = paired(lambda s: fused(s.images), lambda s: net(s.images), scenes)
    return trained.ratio("fused forward / forward", pairs, 1.0, f"{size} px, batch {batch}")
