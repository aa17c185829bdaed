"""The contract of a backbone: anything that yields a feature pyramid."""

from abc import ABC, abstractmethod

from jaxtyping import Float
from torch import Tensor, nn


class Backbone(nn.Module, ABC):
    """Images (b, 3, h, w) -> one map per entry of `channels` and `strides`, finest first."""

    channels: list[int]
    strides: list[int]

    @abstractmethod
    def forward(self, images: Float[Tensor, "b 3 h w"]) -> list[Float[Tensor, "b _ _ _"]]:
        """The maps; `channels[i]` deep and about (h, w) / `strides[i]` large."""
