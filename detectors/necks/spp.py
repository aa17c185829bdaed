"""Spatial pyramid pooling with a shortcut around it, as YOLOv7 has it."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from detectors.backbones.conv_block import Conv


class SPPCSPC(nn.Module):
    """Max pools of 5, 9 and 13 cells beside the map itself, in one of two branches.

    Paper: Wang et al. 2022, reference code; SPP: He et al. 2014; the branches: CSPNet (Wang et al.
    2020).
    """

    def __init__(self, conv: Conv, channels_in: int, channels: int) -> None:
        super().__init__()
        self.before = nn.Sequential(
            conv(channels_in, channels), conv(channels, channels, 3), conv(channels, channels)
        )
        self.pool = nn.MaxPool2d(5, 1, padding=2)
        self.after = nn.Sequential(conv(4 * channels, channels), conv(channels, channels, 3))
        self.shortcut = conv(channels_in, channels)
        self.fuse = conv(2 * channels, channels)

    def forward(self, x: Float[Tensor, "b _ h w"]) -> Float[Tensor, "b _ h w"]:
        """A map of the same size."""
        pooled = self.after(torch.cat(pyramid(self.before(x), self.pool), dim=1))
        return self.fuse(torch.cat([pooled, self.shortcut(x)], dim=1))


class TinySPP(nn.Module):
    """The same without the 3x3 convolutions: YOLOv7-tiny's."""

    def __init__(self, conv: Conv, channels_in: int, channels: int) -> None:
        super().__init__()
        self.shortcut = conv(channels_in, channels)
        self.before = conv(channels_in, channels)
        self.pool = nn.MaxPool2d(5, 1, padding=2)
        self.after = conv(4 * channels, channels)
        self.fuse = conv(2 * channels, channels)

    def forward(self, x: Float[Tensor, "b _ h w"]) -> Float[Tensor, "b _ h w"]:
        """A map of the same size."""
        pooled = self.after(torch.cat(pyramid(self.before(x), self.pool)[::-1], dim=1))
        return self.fuse(torch.cat([pooled, self.shortcut(x)], dim=1))


def pyramid(x: Tensor, pool: nn.Module) -> list[Tensor]:
    """The map, and its maxima over 5, 9 and 13 cells: two pools of 5 make one of 9."""
    maps = [x]
    for _ in range(3):
        maps.append(pool(maps[-1]))
    return maps
