"""YOLOv7's raw output, the cells it belongs to, and the objects of a batch beside each other."""

from collections.abc import Sequence
from dataclasses import dataclass

from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional as F
from torch.nn.utils.rnn import pad_sequence

from detectors.structures import Target


@dataclass(slots=True)
class Level:
    """One map: rows and columns of cells `stride` px apart, and the (w, h) of its anchors, px."""

    rows: int
    columns: int
    stride: int
    sizes: list[tuple[float, float]]

    def __len__(self) -> int:
        """Priors: one per cell and anchor."""
        return self.rows * self.columns * len(self.sizes)


@dataclass(slots=True)
class YOLOv7Raw:
    """What the network says of every prior: an anchor in a cell.

    Priors are ordered by level, row, column, anchor. `codes` are those of `CellCoder`, the others
    are logits. `anchors` are xyxy, px of the input, `strides` those of their levels.
    """

    codes: Float[Tensor, "b a 4"]
    objectness: Float[Tensor, "b a"]
    class_logits: Float[Tensor, "b a c"]
    anchors: Float[Tensor, "a 4"]
    strides: Float[Tensor, " a"]
    levels: list[Level]
    image_hw: tuple[int, int]

    def images(self, rows: slice) -> "YOLOv7Raw":
        """That of some images."""
        outputs = self.codes[rows], self.objectness[rows], self.class_logits[rows]
        return YOLOv7Raw(*outputs, self.anchors, self.strides, self.levels, self.image_hw)


@dataclass(slots=True)
class Objects:
    """The objects of a batch, padded to one number g >= 1 per image.

    `trained`: neither padding nor crowd nor difficult. `ignored`: crowd or difficult. `counts`:
    objects per image.
    """

    boxes: Float[Tensor, "b g 4"]
    labels: Int[Tensor, "b g"]
    trained: Bool[Tensor, "b g"]
    ignored: Bool[Tensor, "b g"]
    counts: list[int]

    def images(self, rows: slice) -> "Objects":
        """Those of some images, padded no further than needed."""
        counts = self.counts[rows]
        part = rows, slice(max(counts) + 1)
        columns = self.boxes[part], self.labels[part], self.trained[part], self.ignored[part]
        return Objects(*columns, counts)


def side_by_side(targets: Sequence[Target]) -> Objects:
    """The objects of all images; padding has empty boxes."""
    ignored = [target.crowd | target.difficult for target in targets]
    return Objects(
        boxes=_padded([target.boxes for target in targets]),
        labels=_padded([target.labels.long() for target in targets]),
        trained=_padded([~flags for flags in ignored]),
        ignored=_padded(ignored),
        counts=[len(target) for target in targets],
    )


def _padded(columns: Sequence[Tensor]) -> Tensor:
    """(b, g, ...): at least one row of zeros behind each column, so that there always is one."""
    rest = [0, 0] * (columns[0].dim() - 1)
    return pad_sequence([F.pad(column, [*rest, 0, 1]) for column in columns], batch_first=True)
