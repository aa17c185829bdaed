"""Heads that say the same numbers of every anchor of every level."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn


class DenseHead(nn.Module):
    """One 1x1 convolution per level, with its own weights -> `outputs` numbers per anchor.

    `in_channels` and `per_cell` (anchors in one cell) are those of the levels.
    """

    def __init__(
        self, *, in_channels: Sequence[int], per_cell: Sequence[int], outputs: int
    ) -> None:
        super().__init__()
        self.outputs = outputs
        self.layers = nn.ModuleList(
            nn.Conv2d(c, count * outputs, 1) for c, count in zip(in_channels, per_cell, strict=True)
        )

    def forward(self, features: Sequence[Float[Tensor, "b _ _ _"]]) -> Float[Tensor, "b a out"]:
        """Ordered by level, row, column, anchor; in float32 or better, also under autocast."""
        levels = [
            self._level(number, x).permute(0, 2, 3, 1).reshape(len(x), -1, self.outputs)
            for number, x in enumerate(features)  # (b, h w anchors, out) each
        ]
        flat = torch.cat(levels, dim=1)
        return flat.to(torch.promote_types(flat.dtype, torch.float32))

    def _level(self, number: int, x: Float[Tensor, "b _ h w"]) -> Float[Tensor, "b _ h w"]:
        return self.layers[number](x)


class ImplicitDenseHead(DenseHead):
    """The same with implicit knowledge: y = m (W (x + a) + b) with learned a and m per channel.

    Paper: YOLOR (Wang et al. 2021), section 3; in YOLOv7: Wang et al. 2022, section 4.3.
    """

    def __init__(
        self, *, in_channels: Sequence[int], per_cell: Sequence[int], outputs: int
    ) -> None:
        super().__init__(in_channels=in_channels, per_cell=per_cell, outputs=outputs)
        added = [torch.randn(1, c, 1, 1) * 0.02 for c in in_channels]
        factors = [1 + torch.randn(1, count * outputs, 1, 1) * 0.02 for count in per_cell]
        self.add = nn.ParameterList(map(nn.Parameter, added))
        self.multiply = nn.ParameterList(map(nn.Parameter, factors))

    def _level(self, number: int, x: Float[Tensor, "b _ h w"]) -> Float[Tensor, "b _ h w"]:
        return self.multiply[number] * self.layers[number](x + self.add[number])

    def fused(self) -> DenseHead:
        """A plain head that says the same; it shares no weights."""
        per_cell = [layer.out_channels // self.outputs for layer in self._convolutions]
        channels = [layer.in_channels for layer in self._convolutions]
        plain = DenseHead(in_channels=channels, per_cell=per_cell, outputs=self.outputs)
        trained = zip(self._convolutions, self.add, self.multiply, plain.layers, strict=True)
        for layer, added, factor, target in trained:
            assert layer.bias is not None
            bias = layer.bias.data + (layer.weight.data * added.data).sum((1, 2, 3))
            weight = layer.weight.data * factor.data.reshape(-1, 1, 1, 1)
            state = {"weight": weight, "bias": bias * factor.data.flatten()}
            target.load_state_dict(state, assign=True)
        return plain

    @property
    def _convolutions(self) -> list[nn.Conv2d]:
        return [layer for layer in self.layers if isinstance(layer, nn.Conv2d)]
