"""Attention at named points of a network: squeeze-and-excitation, alone or behind a convolution."""

from collections.abc import Callable, Mapping, Sequence

from jaxtyping import Float
from timm.layers.squeeze_excite import SEModule
from torch import Tensor, nn

from detectors.backbones.conv_block import conv_block
from detectors.checks import check_choice

MakeAttention = Callable[[int], nn.Module]
"""Makes a module from the number of channels, which it keeps."""


class CBSS(nn.Sequential):
    """Convolution, batch norm, SiLU, then squeeze-and-excitation; shape unchanged.

    `kernel`: of the convolution; null: squeeze-and-excitation alone, which turns the block before
    it into one of these. `reduction`: channels / squeezed channels, of which there are 8 or more.

    Paper: yolov7-tinyobject.txt, figure 1: "add SE after the CBS module to become the CBSS module";
    neither kernel nor reduction stands there, 1 and 16 are ours. SE: Hu et al. 2018, section 3, two
    fully connected layers without bias.
    """

    def __init__(self, channels: int, *, kernel: int | None = 1, reduction: int = 16) -> None:
        convolution = [] if kernel is None else [conv_block(channels, channels, kernel)]
        super().__init__(*convolution, SEModule(channels, rd_ratio=1 / reduction, bias=False))


class AttentionPoints(nn.ModuleDict):
    """One module behind each of the chosen `points`, none behind the others.

    Args:
        make: completed with the channels of each point; None: there are no points.
        channels: of every point that can be chosen, by name.
        points: the chosen ones.
        where: the part of the network, for the message.
    """

    def __init__(
        self,
        make: MakeAttention | None,
        channels: Mapping[str, int],
        points: Sequence[str],
        where: str,
    ) -> None:
        for point in points:
            check_choice(f"detector.net.{where}.attention_points", point, list(channels))
        chosen = points if make is not None else ()
        super().__init__({point: make(channels[point]) for point in chosen if make is not None})

    def forward(self, point: str, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """What the rest of the network sees of the map at `point`."""
        return self[point](x) if point in self else x
