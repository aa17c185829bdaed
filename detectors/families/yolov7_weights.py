"""Public weights of YOLOv7 and YOLOv7-tiny: the numbered layers of the reference, and ours."""

import re
from collections.abc import Mapping

from torch import Tensor, nn

from detectors.pretrained import load_matching, read_weights

Layers = dict[str, str]
"""Where a layer stands in the reference (`4`, or `51.cv1`) -> in our network."""


def _elan(start: int, path: str, depth: int = 4) -> Layers:
    """Two 1x1, `depth` 3x3, the concatenation, the last 1x1."""
    chain = {f"{start + 2 + i}": f"{path}.chain.{i}" for i in range(depth)}
    ends = {f"{start}": f"{path}.first", f"{start + 1}": f"{path}.second"}
    return ends | chain | {f"{start + depth + 3}": f"{path}.fuse"}


def _shrink(start: int, path: str) -> Layers:
    """The pool, its 1x1, the 1x1 and the strided 3x3 beside it."""
    parts = ("pooled", "reduce", "stride")
    return {f"{start + 1 + i}": f"{path}.{part}" for i, part in enumerate(parts)}


def _named(path: str, start: int, names: str) -> Layers:
    """Single layers by number, `-` where one has no weights."""
    numbered = enumerate(names.split(), start)
    return {f"{number}": path + name for number, name in numbered if name != "-"}


FULL: Layers = {
    **_named("backbone.stem.", 0, "0 1 2 3"),
    **_elan(4, "backbone.stages.0"),
    **_shrink(12, "backbone.shrink.1"),
    **_elan(17, "backbone.stages.1"),
    **_shrink(25, "backbone.shrink.2"),
    **_elan(30, "backbone.stages.2"),
    **_shrink(38, "backbone.shrink.3"),
    **_elan(43, "backbone.stages.3"),
    **{f"51.cv{n}": f"neck.spp.before.{i}" for i, n in enumerate((1, 3, 4))},
    **{f"51.cv{n}": f"neck.spp.after.{i}" for i, n in enumerate((5, 6))},
    "51.cv2": "neck.spp.shortcut",
    "51.cv7": "neck.spp.fuse",
    **_named("neck.", 52, "reduce4 - lateral4"),
    **_elan(56, "neck.up4"),
    **_named("neck.", 64, "reduce3 - lateral3"),
    **_elan(68, "neck.up3"),
    **_shrink(76, "neck.shrink3"),
    **_elan(81, "neck.down4"),
    **_shrink(89, "neck.shrink4"),
    **_elan(94, "neck.down5"),
    **{f"{102 + i}.rbr_dense": f"neck.last.{i}.dense" for i in range(3)},
    **{f"{102 + i}.rbr_1x1": f"neck.last.{i}.point" for i in range(3)},
}
TINY: Layers = {
    **_named("backbone.stem.", 0, "0 1"),
    **_elan(2, "backbone.stages.0", 2),
    **_elan(9, "backbone.stages.1", 2),
    **_elan(16, "backbone.stages.2", 2),
    **_elan(23, "backbone.stages.3", 2),
    **_named("neck.spp.", 29, "shortcut before - - - - after - fuse"),
    **_named("neck.", 38, "reduce4 - lateral4"),
    **_elan(42, "neck.up4", 2),
    **_named("neck.", 48, "reduce3 - lateral3"),
    **_elan(52, "neck.up3", 2),
    **_named("neck.", 58, "shrink3"),
    **_elan(60, "neck.down4", 2),
    **_named("neck.", 66, "shrink4"),
    **_elan(68, "neck.down5", 2),
    **_named("neck.last.", 74, "0 1 2"),
}
HEADS = {105: FULL, 77: TINY}
"""The number of the last layer tells the networks apart."""
PARTS = {"conv.": "0.", "bn.": "1."}
"""Of a convolution block."""
OF_HEAD = {"m": "layers", "ia": "add", "im": "multiply"}


def load_reference(net: nn.Module, path: str) -> None:
    """Loads what fits of a state dict of the reference, such as that of yolov7_training.pt.

    Raises:
        CheckpointError: unreadable, or nothing fits.
    """
    load_matching(net, renamed(read_weights(path)), path)


def renamed(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The reference's state dict under our names; unknown names stay as they are."""
    head = next((n for n in HEADS if f"model.{n}.m.0.weight" in state), 105)
    return {_renamed(key, head): tensor for key, tensor in state.items()}


def _renamed(key: str, head: int) -> str:
    if found := re.fullmatch(rf"model\.{head}\.(m|ia|im)\.(\d)\.(\w+)", key):
        leaf = "" if found[3] == "implicit" else f".{found[3]}"
        return f"head.{OF_HEAD[found[1]]}.{found[2]}{leaf}"
    if not (found := re.fullmatch(r"model\.(\d+(?:\.(?:cv\d|rbr_\w+))?)\.(.+)", key)):
        return key
    if (ours := HEADS[head].get(found[1])) is None:
        return key
    rest = found[2]
    for theirs, number in PARTS.items():
        if rest.startswith(theirs):
            rest = number + rest.removeprefix(theirs)
    return f"{ours}.{rest}"
