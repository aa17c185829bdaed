"""The contract of a neck: it mixes the maps of a backbone's pyramid."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor, nn


class Neck(nn.Module, ABC):
    """Maps, finest first -> one map per entry of `channels` and `strides`, finest first.

    The configuration gives it as a partial; the family completes it with the backbone's
    `in_channels` and `strides`.
    """

    channels: list[int]
    strides: list[int]

    @abstractmethod
    def forward(
        self, features: Sequence[Float[Tensor, "b _ _ _"]]
    ) -> list[Float[Tensor, "b _ _ _"]]:
        """The mixed maps."""
