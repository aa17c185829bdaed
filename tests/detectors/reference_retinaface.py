"""RetinaFace's PyTorch reference, as its state dict describes it: key names, shapes, arithmetic.

Written from the published description of the network, without its code.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

State = dict[str, Tensor]

WIDTHS = {
    "stage1": [(3, 8, 2), (8, 16, 1), (16, 32, 2), (32, 32, 1), (32, 64, 2), (64, 64, 1)],
    "stage2": [(64, 128, 2), *[(128, 128, 1)] * 5],
    "stage3": [(128, 256, 2), (256, 256, 1)],
}
"""Channels in and out and stride of MobileNet-0.25's blocks; the very first is a full 3x3."""

SSH_LAYERS = {
    "conv3X3": (1, 2),
    "conv5X5_1": (1, 4),
    "conv5X5_2": (4, 4),
    "conv7X7_2": (4, 4),
    "conv7x7_3": (4, 4),
}
"""What divides the channels in and out."""


def mobilenet_state(points: int = 5, seed: int = 0) -> State:
    """Random weights under the names of mobilenet0.25_Final.pth."""
    generator = torch.Generator().manual_seed(seed)
    state: State = {}

    def convolution(key: str, out: int, per_group: int, kernel: int) -> None:
        scale = (2 / (per_group * kernel**2)) ** 0.5
        shape = (out, per_group, kernel, kernel)
        state[f"{key}.weight"] = torch.randn(shape, generator=generator) * scale

    def norm(key: str, channels: int) -> None:
        for name in ("weight", "running_var"):
            state[f"{key}.{name}"] = 0.5 + torch.rand(channels, generator=generator)
        for name in ("bias", "running_mean"):
            state[f"{key}.{name}"] = torch.randn(channels, generator=generator) * 0.1
        state[f"{key}.num_batches_tracked"] = torch.tensor(7)

    def block(key: str, c_in: int, c_out: int, kernel: int) -> None:
        convolution(f"{key}.0", c_out, c_in, kernel)
        norm(f"{key}.1", c_out)

    for stage, blocks in WIDTHS.items():
        for i, (c_in, c_out, _) in enumerate(blocks):
            key = f"body.{stage}.{i}"
            if c_in == 3:
                block(key, 3, 8, 3)
                continue
            convolution(f"{key}.0", c_in, 1, 3)
            norm(f"{key}.1", c_in)
            convolution(f"{key}.3", c_out, c_in, 1)
            norm(f"{key}.4", c_out)
    neck_and_heads(block, state, generator, [64, 128, 256], 64, points)
    return state


def neck_and_heads(block, state, generator, channels, width, points) -> None:
    for level, c in enumerate(channels, start=1):
        block(f"fpn.output{level}", c, width, 1)
    for level in (1, 2):
        block(f"fpn.merge{level}", width, width, 3)
    for level in (1, 2, 3):
        for name, (c_in, c_out) in SSH_LAYERS.items():
            block(f"ssh{level}.{name}", width // c_in, width // c_out, 3)
    for head, numbers in (("ClassHead", 2), ("BboxHead", 4), ("LandmarkHead", 2 * points)):
        for level in range(3):
            shape = (2 * numbers, width, 1, 1)
            key = f"{head}.{level}.conv1x1"
            state[f"{key}.weight"] = torch.randn(shape, generator=generator) * 0.1
            state[f"{key}.bias"] = torch.randn(2 * numbers, generator=generator) * 0.1


def forward(state: State, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Class logits, box codes and point codes of RGB images, with the norms' stored statistics."""

    def norm(key: str, x: Tensor) -> Tensor:
        names = ("running_mean", "running_var", "weight", "bias")
        return F.batch_norm(x, *(state[f"{key}.{name}"] for name in names))

    def block(key: str, x: Tensor, stride: int = 1, slope: float | None = 0.1) -> Tensor:
        weight = state[f"{key}.0.weight"]
        x = norm(f"{key}.1", F.conv2d(x, weight, None, stride, weight.shape[-1] // 2))
        return x if slope is None else F.leaky_relu(x, slope)

    def separable(key: str, x: Tensor, stride: int) -> Tensor:
        x = F.conv2d(x, state[f"{key}.0.weight"], None, stride, 1, groups=x.shape[1])
        x = F.leaky_relu(norm(f"{key}.1", x), 0.1)
        return F.leaky_relu(norm(f"{key}.4", F.conv2d(x, state[f"{key}.3.weight"])), 0.1)

    def context(key: str, x: Tensor) -> Tensor:
        first = block(f"{key}.conv5X5_1", x)
        third = block(f"{key}.conv7X7_2", first)
        fields = [
            block(f"{key}.conv3X3", x, slope=None),
            block(f"{key}.conv5X5_2", first, slope=None),
            block(f"{key}.conv7x7_3", third, slope=None),
        ]
        return torch.cat(fields, 1).relu()

    bgr = images.float()[:, [2, 1, 0]]
    x = bgr - torch.tensor([104.0, 117.0, 123.0]).view(3, 1, 1)
    maps = []
    for stage, blocks in WIDTHS.items():
        for i, (c_in, _, stride) in enumerate(blocks):
            step = block if c_in == 3 else separable
            x = step(f"body.{stage}.{i}", x, stride)
        maps.append(x)
    p3, p4, p5 = (block(f"fpn.output{i}", m) for i, m in enumerate(maps, start=1))
    p4 = block("fpn.merge2", p4 + F.interpolate(p5, size=p4.shape[2:]))
    p3 = block("fpn.merge1", p3 + F.interpolate(p4, size=p3.shape[2:]))
    levels = [context(f"ssh{i}", p) for i, p in enumerate((p3, p4, p5), start=1)]

    def head(name: str) -> Tensor:
        outputs = []
        for i, x in enumerate(levels):
            key = f"{name}.{i}.conv1x1"
            out = F.conv2d(x, state[f"{key}.weight"], state[f"{key}.bias"])
            outputs.append(out.permute(0, 2, 3, 1).flatten(1).unflatten(1, (-1, out.shape[1] // 2)))
        return torch.cat(outputs, 1)

    return head("ClassHead"), head("BboxHead"), head("LandmarkHead")
