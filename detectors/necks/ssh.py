"""SSH's context module: larger receptive fields for dense heads."""

from collections.abc import Sequence
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torchvision.ops import Conv2dNormActivation

from detectors.errors import ConfigError
from detectors.necks.neck import Neck
from detectors.necks.retinaface_fpn import RetinaFaceFPN, leaky_slope


class SSH(nn.Module):
    """Context of one map: 3x3, 5x5 and 7x7 fields beside each other; shape unchanged.

    5x5 and 7x7 are two and three 3x3 convolutions, and share the first: half of the channels come
    from 3x3, a quarter from each of the others.

    Paper: SSH (Najibi et al. 2017), section 3.3, figure 4; RetinaFace, section 3.1.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        if channels % 4:
            raise ConfigError(f"neck.channels={channels}: SSH divides them by 4; give a multiple")
        block = partial(Conv2dNormActivation, kernel_size=3)
        active = partial(block, activation_layer=partial(nn.LeakyReLU, leaky_slope(channels)))
        linear = partial(block, activation_layer=None)
        quarter = channels // 4
        self.field3 = linear(channels, 2 * quarter)
        self.shared = active(channels, quarter)
        self.field5 = linear(quarter, quarter)
        self.third = active(quarter, quarter)
        self.field7 = linear(quarter, quarter)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """The three fields, concatenated, then ReLU."""
        shared = self.shared(x)
        fields = [self.field3(x), self.field5(shared), self.field7(self.third(shared))]
        return torch.cat(fields, dim=1).relu()


class FPNWithSSH(Neck):
    """`RetinaFaceFPN` with one SSH module per level; `channels` as there.

    Paper: RetinaFace (Deng et al. 2019), section 3.2.
    """

    def __init__(
        self, *, in_channels: Sequence[int], strides: Sequence[int], channels: int | None = None
    ) -> None:
        super().__init__()
        self.fpn = RetinaFaceFPN(in_channels=in_channels, strides=strides, channels=channels)
        self.channels, self.strides = self.fpn.channels, self.fpn.strides
        self.ssh = nn.ModuleList(SSH(c) for c in self.channels)

    def forward(
        self, features: Sequence[Float[Tensor, "b _ _ _"]]
    ) -> list[Float[Tensor, "b _ _ _"]]:
        """The maps with context, finest first."""
        maps = self.fpn(features)
        return [context(x) for context, x in zip(self.ssh, maps, strict=True)]
