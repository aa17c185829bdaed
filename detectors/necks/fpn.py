"""The feature pyramid as its paper and torchvision have it: no norms, no activations."""

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor
from torchvision.ops.feature_pyramid_network import FeaturePyramidNetwork, LastLevelMaxPool

from detectors.necks.neck import Neck


class FPN(Neck):
    """Maps of a backbone, finest first -> as many of `channels`, and one of twice the last stride.

    The last is every second cell of the one before. `RetinaFaceFPN` is RetinaFace's variant.

    Paper: Lin et al. 2017, section 3; the further level for the proposals is section 4.1's.
    """

    def __init__(
        self, *, in_channels: Sequence[int], strides: Sequence[int], channels: int = 256
    ) -> None:
        super().__init__()
        self.net = FeaturePyramidNetwork(list(in_channels), channels, LastLevelMaxPool())
        self.channels = [channels] * (len(in_channels) + 1)
        self.strides = [*strides, 2 * strides[-1]]

    def forward(
        self, features: Sequence[Float[Tensor, "b _ _ _"]]
    ) -> list[Float[Tensor, "b _ _ _"]]:
        """The merged maps; a coarse map need not be half of the finer one."""
        return list(self.net({str(level): x for level, x in enumerate(features)}).values())
