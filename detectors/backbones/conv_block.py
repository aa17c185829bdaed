"""The convolution block of YOLOv7, of which all its parts are made."""

from collections.abc import Callable
from functools import partial

from torch import nn
from torchvision.ops import Conv2dNormActivation

Conv = Callable[..., nn.Module]
"""Makes a convolution block from channels in, channels out, kernel (1) and stride (1)."""

norm = partial(nn.BatchNorm2d, eps=1e-3, momentum=0.03)
"""The reference sets both in every batch norm after construction; they are not PyTorch's."""


def conv_block(
    channels_in: int,
    channels: int,
    kernel: int = 1,
    stride: int = 1,
    activation: Callable[..., nn.Module] | None = nn.SiLU,
) -> Conv2dNormActivation:
    """CBS: convolution without bias, batch norm, SiLU (or another activation, or none)."""
    return Conv2dNormActivation(
        channels_in, channels, kernel, stride, norm_layer=norm, activation_layer=activation
    )


leaky_block: Conv = partial(conv_block, activation=partial(nn.LeakyReLU, 0.1))
"""The same with a leaky ReLU of slope 0.1, as in YOLOv7-tiny."""
