"""YOLOv7's neck: from the coarsest map up to the finest, and down again."""

from collections.abc import Callable, Sequence
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from detectors.backbones.attention import AttentionPoints, MakeAttention
from detectors.backbones.elan import ELAN, PLANS, PoolAndStride
from detectors.checks import check_choice
from detectors.necks.neck import Neck
from detectors.necks.rep_conv import RepConv
from detectors.necks.spp import SPPCSPC, TinySPP


class ELANPAFPN(Neck):
    """Maps at strides 8, 16, 32 -> as many, of 2, 4 and 8 times `channels`.

    Named points, with the layer of the reference's yolov7.yaml: spp (51), reduce4 (52), up4 (63),
    reduce3 (64), up3 (75), down4 (88), down5 (101).

    Args:
        plan: `full` (YOLOv7) or `tiny` (YOLOv7-tiny).
        channels: of up3; 128 in YOLOv7, 64 in tiny. up4 and down4 have twice as many, spp and down5
            four times.
        attention: makes the module that stands behind each of `attention_points`, such as `CBSS`;
            all that follows sees the module's output.
        attention_points: some of the names above.

    Paper: Wang et al. 2022, reference code; PANet (Liu et al. 2018).
    """

    def __init__(
        self,
        *,
        in_channels: Sequence[int],
        strides: Sequence[int],
        plan: str = "full",
        channels: int = 128,
        attention: MakeAttention | None = None,
        attention_points: Sequence[str] = (),
    ) -> None:
        super().__init__()
        check_choice("neck.plan", plan, PLANS)
        full, conv = plan == "full", PLANS[plan].conv
        c1, c2, c4, c8 = (factor * channels for factor in (1, 2, 4, 8))
        block, shrink = _block(plan), partial(PoolAndStride, conv) if full else _strided(plan)
        self.spp = (SPPCSPC if full else TinySPP)(conv, in_channels[2], c4)
        self.reduce4, self.lateral4 = conv(c4, c2), conv(in_channels[1], c2)
        self.up4 = block(c4, c2)
        self.reduce3, self.lateral3 = conv(c2, c1), conv(in_channels[0], c1)
        self.up3 = block(c2, c1)
        self.shrink3 = shrink(c1, c1)
        self.down4 = block(c4, c2)
        self.shrink4 = shrink(c2, c2)
        self.down5 = block(c8, c4)
        last = RepConv if full else partial(conv, kernel=3)
        self.last = nn.ModuleList(last(c, 2 * c) for c in (c1, c2, c4))
        self.channels, self.strides = [c2, c4, c8], list(strides)
        widths = {"spp": c4, "reduce4": c2, "up4": c2, "reduce3": c1, "up3": c1}
        points = widths | {"down4": c2, "down5": c4}
        self.attention = AttentionPoints(attention, points, attention_points, "neck")

    def forward(
        self, features: Sequence[Float[Tensor, "b _ _ _"]]
    ) -> list[Float[Tensor, "b _ _ _"]]:
        """The mixed maps, sizes unchanged."""
        p3, p4, p5 = features
        attend = self.attention
        spp = attend("spp", self.spp(p5))
        reduced = attend("reduce4", self.reduce4(spp))
        up4 = attend("up4", self.up4(_beside(self.lateral4(p4), _twice(reduced))))
        reduced = attend("reduce3", self.reduce3(up4))
        up3 = attend("up3", self.up3(_beside(self.lateral3(p3), _twice(reduced))))
        down4 = attend("down4", self.down4(_beside(self.shrink3(up3), up4)))
        down5 = attend("down5", self.down5(_beside(self.shrink4(down4), spp)))
        return [layer(x) for layer, x in zip(self.last, (up3, down4, down5), strict=True)]


def _block(plan: str) -> Callable[[int, int], nn.Module]:
    """Makes an ELAN from channels in and out; in the neck all its maps are concatenated."""
    conv, elan = PLANS[plan].conv, {"depth": PLANS[plan].elan["depth"], "every": 1}

    def make(channels_in: int, channels: int) -> nn.Module:
        branch = channels if plan == "full" else channels // 2
        return ELAN(conv, channels_in, channels, branch=branch, width=channels // 2, **elan)

    return make


def _strided(plan: str) -> Callable[[int, int], nn.Module]:
    """As `PoolAndStride`, with twice the channels, by one convolution."""
    return lambda channels_in, channels: PLANS[plan].conv(channels_in, 2 * channels, 3, 2)


def _beside(first: Tensor, second: Tensor) -> Tensor:
    return torch.cat([first, second], dim=1)


def _twice(x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c _ _"]:
    return F.interpolate(x, scale_factor=2, mode="nearest")
