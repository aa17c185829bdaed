"""Public weights of RetinaFace: the key names of its PyTorch reference, and ours."""

import re
from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from detectors.errors import ConfigError
from detectors.ops.anchors import Size
from detectors.pretrained import load_matching, read_weights

SSH_PARTS = {
    "conv3X3": "field3",
    "conv5X5_1": "shared",
    "conv5X5_2": "field5",
    "conv7X7_2": "third",
    "conv7x7_3": "field7",
}
HEADS = {"ClassHead": "class_head", "BboxHead": "box_head", "LandmarkHead": "point_head"}

ANCHOR_SIZES = [[16, 32], [64, 128], [256, 512]]


def check_convention(pixels: str, sizes: Sequence[Sequence[Size]]) -> None:
    """Refuses what the checkpoints were not trained with: they would load, and find little."""
    if pixels != "reference":
        raise ConfigError(
            f"detector.net.weights were trained on BGR less its mean and pixels={pixels}: "
            "set detector.net.pixels=reference"
        )
    if [list(level) for level in sizes] != ANCHOR_SIZES:
        raise ConfigError(
            f"detector.net.weights were trained with anchors of {ANCHOR_SIZES} px and "
            f"detector.net.anchors.sizes={[list(level) for level in sizes]}: set scale=paper"
        )


def load_reference(net: nn.Module, path: str) -> None:
    """Loads what fits of a checkpoint of the reference, such as mobilenet0.25_Final.pth.

    Raises:
        CheckpointError: unreadable, or nothing fits.
    """
    # a backbone of timm stands one level deeper
    nested = any(key.startswith("backbone.net.") for key in net.state_dict())
    body = "backbone.net." if nested else "backbone."
    load_matching(net, renamed(read_weights(path), body), path)


def renamed(state: Mapping[str, Tensor], body: str = "backbone.") -> dict[str, Tensor]:
    """The reference's state dict under our names; `body` is what stands before the backbone's.

    Its pyramid and context levels count from 1, ours from 0. Unknown names stay as they are.
    """
    return {_renamed(key, body): tensor for key, tensor in state.items()}


def _renamed(key: str, body: str) -> str:
    if key.startswith("body."):
        return body + key.removeprefix("body.")
    if found := re.fullmatch(r"fpn\.(output|merge)(\d)\.(.+)", key):
        kind = {"output": "lateral", "merge": "merge"}[found[1]]
        return f"neck.fpn.{kind}.{int(found[2]) - 1}.{found[3]}"
    if (found := re.fullmatch(r"ssh(\d)\.(\w+)\.(.+)", key)) and found[2] in SSH_PARTS:
        return f"neck.ssh.{int(found[1]) - 1}.{SSH_PARTS[found[2]]}.{found[3]}"
    if (found := re.fullmatch(r"(\w+)\.(\d)\.conv1x1\.(.+)", key)) and found[1] in HEADS:
        return f"{HEADS[found[1]]}.layers.{found[2]}.{found[3]}"
    return key
