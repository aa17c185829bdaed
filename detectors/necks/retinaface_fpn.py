"""RetinaFace's feature pyramid: coarse maps are added to the finer ones."""

from collections.abc import Sequence
from functools import partial

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.ops import Conv2dNormActivation

from detectors.necks.neck import Neck


class RetinaFaceFPN(Neck):
    """All maps get `channels`; null: those of the finest map, at most 256.

    That is 64 on MobileNet-0.25 and 256 on ResNet50, as in the PyTorch reference.

    Paper: RetinaFace (Deng et al. 2019), section 3.2, after Lin et al. 2017, section 3.
    Differs: from the latter (`FPN`) as the reference does: batch norm and leaky ReLU after every
    convolution, the merged map is what the next finer one receives, the coarsest has no 3x3, and
    there is no further level.
    """

    def __init__(
        self, *, in_channels: Sequence[int], strides: Sequence[int], channels: int | None = None
    ) -> None:
        super().__init__()
        width = channels or min(in_channels[0], 256)
        activation = partial(nn.LeakyReLU, leaky_slope(width))
        block = partial(Conv2dNormActivation, out_channels=width, activation_layer=activation)
        self.lateral = nn.ModuleList(block(c, kernel_size=1) for c in in_channels)
        self.merge = nn.ModuleList(block(width, kernel_size=3) for _ in in_channels[:-1])
        self.channels = [width] * len(in_channels)
        self.strides = list(strides)

    def forward(
        self, features: Sequence[Float[Tensor, "b _ _ _"]]
    ) -> list[Float[Tensor, "b _ _ _"]]:
        """The merged maps, sizes unchanged; a coarse map need not be half of the finer one."""
        maps = [lateral(f) for lateral, f in zip(self.lateral, features, strict=True)]
        for level in reversed(range(len(self.merge))):
            above = F.interpolate(maps[level + 1], size=maps[level].shape[-2:], mode="nearest")
            maps[level] = self.merge[level](maps[level] + above)
        return maps


def leaky_slope(channels: int) -> float:
    """Of the reference's necks: 0.1 in narrow ones, 0 (plain ReLU) in wide ones."""
    return 0.1 if channels <= 64 else 0.0
