"""What a cell of a feature map can see of the image, and where it stands there.

Positions count pixels (or cells) from 0 at their centres: the first pixel's centre is 0, as in the
papers. In the continuous coordinates of boxes the same point lies 0.5 px further.
"""

from collections.abc import Callable
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor, nn

WINDOWED = (nn.Conv2d, nn.MaxPool2d, nn.AvgPool2d)


@dataclass(frozen=True, slots=True)
class Window:
    """A convolution or a pool along one axis; `kernel` counts the gaps of a dilated one."""

    kernel: int
    stride: int = 1
    padding: int = 0

    def receptive_field(self, cells: int) -> int:
        """How many cells of the input `cells` neighbouring ones of the output see: (n - 1) s + k.

        Padding moves what they see, and changes nothing about how much it is.
        """
        return (cells - 1) * self.stride + self.kernel

    def input_extent(self, cells: int) -> int:
        """How long an input makes an output of `cells`: (n - 1) s + k - 2 p.

        The inverse of the formula of the output's length. The notes (faster-rcnn-notes.txt) call it
        the receptive field, and it is not: over VGG16's layers it gives 16 px in place of 196.
        """
        return self.receptive_field(cells) - 2 * self.padding

    def centre(self, cell: float | int) -> float:
        """Where a cell of the output stands among the cells of the input."""
        return self.stride * cell + (self.kernel - 1) / 2 - self.padding


@dataclass(frozen=True, slots=True)
class Field:
    """The first cell of a map sees the pixels `low` to `high`; each further cell, `stride` on.

    Pixels beyond the border of the image are counted: they are the padding.
    """

    low: float = 0.0
    high: float = 0.0
    stride: float = 1.0

    @property
    def size(self) -> float:
        """Pixels that a cell sees, along one axis."""
        return self.high - self.low + 1

    @property
    def offset(self) -> float:
        """The middle of what the first cell sees, px."""
        return (self.low + self.high) / 2

    def through(self, window: Window) -> "Field":
        """The field after one more layer."""
        return Field(
            low=self.low - window.padding * self.stride,
            high=self.high + (window.kernel - 1 - window.padding) * self.stride,
            stride=self.stride * window.stride,
        )

    def joined(self, other: "Field") -> "Field":
        """Of the sum of two maps: what either sees."""
        return Field(
            low=min(self.low, other.low),
            high=max(self.high, other.high),
            stride=max(self.stride, other.stride),
        )

    def position(self, cell: float | int) -> float:
        """Where a cell stands in the image, px: the middle of what it sees."""
        return self.offset + self.stride * cell

    def cell(self, position: float | int) -> float:
        """The inverse of `position`."""
        return (position - self.offset) / self.stride

    def map_to(self, other: "Field", cell: float | int) -> float:
        """The cell of another map that stands where this cell does."""
        return other.cell(self.position(cell))


def fields_of(
    modules: dict[str, nn.Module],
    forward: Callable[[Tensor], object],
    images: Float[Tensor, "1 3 h w"],
) -> dict[str, Field]:
    """The vertical field of each convolution and pool among `modules`, in the order they run.

    Read off the graph that autograd keeps of `forward(images)`, so that branches need no
    description. Only convolutions, pools and element-wise layers keep a field finite: a mean over
    the whole map is ignored as if it were element-wise. The device may be `meta`.
    """
    images = images.detach().requires_grad_()
    outputs: dict[str, Tensor] = {}
    hooks = [
        module.register_forward_hook(lambda _, __, out, name=name: outputs.update({name: out}))
        for name, module in modules.items()
        if isinstance(module, WINDOWED)
    ]
    try:
        kept = forward(images)  # the graph lives as long as its outputs
    finally:
        for hook in hooks:
            hook.remove()
    seen: dict[object, Field | None] = {}
    found = {name: _field(output.grad_fn, images, seen) for name, output in outputs.items()}
    del kept
    return {name: field for name, field in found.items() if field is not None}


def _field(node: object, images: Tensor, seen: dict[object, Field | None]) -> Field | None:
    """The field of a node's output; None if the images have no part in it."""
    if node not in seen:
        seen[node] = None
        if getattr(node, "variable", None) is images:
            seen[node] = Field()
        inputs = [_field(before, images, seen) for before, _ in _before(node)]
        for field in (field for field in inputs if field is not None):
            after = field.through(_window(node))
            known = seen[node]
            seen[node] = after if known is None else known.joined(after)
    return seen[node]


def _before(node: object) -> tuple:
    return tuple(pair for pair in getattr(node, "next_functions", ()) if pair[0] is not None)


def _window(node: object) -> Window:
    """What a node of autograd's graph looks at along the vertical axis."""
    name = type(node).__name__
    if name.startswith("ConvolutionBackward"):
        return _convolution(node)
    if name.startswith(("MaxPool2D", "AvgPool2D")):
        kernel = node._saved_kernel_size[0]  # pyright: ignore[reportAttributeAccessIssue]
        stride = node._saved_stride[0] if node._saved_stride else kernel  # pyright: ignore[reportAttributeAccessIssue]
        return Window(kernel, stride, node._saved_padding[0])  # pyright: ignore[reportAttributeAccessIssue]
    return Window(1)


def _convolution(node: object) -> Window:
    saved = {key: getattr(node, f"_saved_{key}")[0] for key in ("stride", "padding", "dilation")}
    kernel = node._saved_weight.shape[2]  # pyright: ignore[reportAttributeAccessIssue]
    reach = saved["dilation"] * (kernel - 1) + 1
    return Window(reach, saved["stride"], saved["padding"])
