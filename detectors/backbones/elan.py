"""ELAN: the blocks that YOLOv7 is made of, and its two backbones."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from jaxtyping import Float
from timm.layers.helpers import make_divisible
from torch import Tensor, nn

from detectors.backbones.attention import AttentionPoints, MakeAttention
from detectors.backbones.backbone import Backbone
from detectors.backbones.conv_block import Conv, conv_block, leaky_block
from detectors.checks import check_choice
from detectors.errors import CheckpointError
from detectors.pretrained import IMAGENET, load_matching, read_weights


class ELAN(nn.Module):
    """Two 1x1 of `branch` channels; behind the second, `depth` 3x3 of `width` in a row.

    Both 1x1 and every `every`-th 3x3 are concatenated, the last first, and fused by a 1x1.

    Paper: Wang et al. 2022 (YOLOv7), section 3.1, figure 2 (c).
    """

    def __init__(
        self,
        conv: Conv,
        channels_in: int,
        channels: int,
        *,
        branch: int,
        width: int,
        depth: int,
        every: int,
    ) -> None:
        super().__init__()
        self.first = conv(channels_in, branch)
        self.second = conv(channels_in, branch)
        inputs = [branch, *[width] * (depth - 1)]
        self.chain = nn.ModuleList(conv(c, width, 3) for c in inputs)
        self.fuse = conv(2 * branch + depth // every * width, channels)
        self.every = every

    def forward(self, x: Float[Tensor, "b _ h w"]) -> Float[Tensor, "b _ h w"]:
        """A map of the same size."""
        maps = [self.first(x), self.second(x)]
        for layer in self.chain:
            maps.append(layer(maps[-1]))
        kept = maps[:2] + maps[1 + self.every :: self.every]
        return self.fuse(torch.cat(kept[::-1], dim=1))


class PoolAndStride(nn.Module):
    """Halves a map twice, by a max pool and by a 3x3 of stride 2, `channels` each ("MP")."""

    def __init__(self, conv: Conv, channels_in: int, channels: int) -> None:
        super().__init__()
        self.pool = nn.MaxPool2d(2)
        self.pooled = conv(channels_in, channels)
        self.reduce = conv(channels_in, channels)
        self.stride = conv(channels, channels, 3, 2)

    def forward(self, x: Float[Tensor, "b _ h w"]) -> Float[Tensor, "b _ _ _"]:
        """The strided half first."""
        return torch.cat([self.stride(self.reduce(x)), self.pooled(self.pool(x))], dim=1)


@dataclass(frozen=True, slots=True)
class Plan:
    """One of the published networks: channels, kernel, stride of the stem; then the stages.

    `stages` are branch and output channels; `elan` the further numbers of each `ELAN`. Maps are
    halved by `PoolAndStride`, or (`plain_pool`) by a max pool alone.
    """

    conv: Conv
    stem: Sequence[tuple[int, int, int]]
    stages: Sequence[tuple[int, int]]
    elan: dict[str, int]
    plain_pool: bool


PLANS = {
    "full": Plan(
        conv=conv_block,
        stem=((32, 3, 1), (64, 3, 2), (64, 3, 1), (128, 3, 2)),
        # the last stage has half the branches that its row would have
        stages=((64, 256), (128, 512), (256, 1024), (256, 1024)),
        elan={"depth": 4, "every": 2},
        plain_pool=False,
    ),
    "tiny": Plan(
        conv=leaky_block,
        stem=((32, 3, 2), (64, 3, 2)),
        stages=((32, 64), (64, 128), (128, 256), (256, 512)),
        elan={"depth": 2, "every": 1},
        plain_pool=True,
    ),
}


class ELANBackbone(Backbone):
    """Images (b, 3, h, w) -> maps at strides 8, 16 and 32: p3, p4, p5.

    Args:
        plan: `full` (YOLOv7) or `tiny` (YOLOv7-tiny).
        width: multiplies every channel count, to multiples of 8.
        attention: makes the module that stands behind each of `attention_points`, such as `CBSS`.
        attention_points: of p3, p4, p5; all that follows sees the module's output.
        weights: null, or the path of a state dict of this class.

    Paper: Wang et al. 2022, section 3.1; the numbers are those of the reference's yolov7.yaml and
    yolov7-tiny.yaml.
    """

    def __init__(
        self,
        *,
        plan: str = "full",
        width: float = 1.0,
        attention: MakeAttention | None = None,
        attention_points: Sequence[str] = (),
        weights: str | None = None,
    ) -> None:
        super().__init__()
        check_choice("backbone.plan", plan, PLANS)
        chosen = PLANS[plan]
        scaled = partial(_scaled, width=width)
        self.stem = nn.Sequential(*_stem(chosen, scaled))
        before = scaled(chosen.stem[-1][0])
        self.shrink, self.stages = nn.ModuleList(), nn.ModuleList()
        for number, (branch, channels) in enumerate(chosen.stages):
            narrow, wide = scaled(branch), scaled(channels)
            self.shrink.append(_shrink(chosen, before, first=number == 0))
            elan: dict[str, Any] = {**chosen.elan, "branch": narrow, "width": narrow}
            self.stages.append(ELAN(chosen.conv, before, wide, **elan))
            before = wide
        self.channels = [scaled(channels) for _, channels in chosen.stages[1:]]
        self.strides = [8, 16, 32]
        maps: dict[str, int] = dict(zip(("p3", "p4", "p5"), self.channels, strict=True))
        self.attention = AttentionPoints(attention, maps, attention_points, "backbone")
        if weights == IMAGENET:
            raise CheckpointError(
                "there are no public ImageNet weights for ELANBackbone: start from scratch with "
                "protocol.pretraining=null, or from COCO with detector.net.weights=FILE"
            )
        if weights is not None:
            load_matching(self, read_weights(weights), weights)

    def forward(self, images: Float[Tensor, "b 3 h w"]) -> list[Float[Tensor, "b _ _ _"]]:
        """The maps of the last three stages."""
        x = self.stem(images)
        maps: list[Tensor] = []
        for number, (shrink, stage) in enumerate(zip(self.shrink, self.stages, strict=True)):
            x = self.attention(f"p{number + 2}", stage(shrink(x)))
            maps.append(x)
        return maps[1:]


def _stem(plan: Plan, scaled: Callable[[int], int]) -> list[nn.Module]:
    inputs = [3, *(scaled(channels) for channels, _, _ in plan.stem)]
    return [
        plan.conv(before, scaled(channels), kernel, stride)
        for before, (channels, kernel, stride) in zip(inputs, plan.stem, strict=False)
    ]


def _shrink(plan: Plan, channels: int, *, first: bool) -> nn.Module:
    """The stem leads straight into the first stage; the others see a map of half the size."""
    if first:
        return nn.Identity()
    return nn.MaxPool2d(2) if plan.plain_pool else PoolAndStride(plan.conv, channels, channels // 2)


def _scaled(channels: int, width: float) -> int:
    return make_divisible(channels * width, 8)
