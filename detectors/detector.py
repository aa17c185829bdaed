"""The contract every detector family fulfils. `Raw` is the family's own small dataclass."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, Generic, Protocol, TypeVar, runtime_checkable

import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor, nn

from detectors.errors import ConfigError
from detectors.structures import Detections, Frame, Losses, Target

Raw = TypeVar("Raw")


class Detector(nn.Module, ABC, Generic[Raw]):
    """What do you see (`forward`), how wrong is it (`loss`), what is there (`decode`).

    - Return types never depend on train / eval mode: validation takes loss and detections from one
      forward.
    - The detector owns its mean / std / channel order and takes uint8 RGB.
    - `loss` computes the same terms with the same modules whatever the batch holds
      (`sum / max(n, 1)`, empty index tensors, no early return): anything else hangs DDP.
    - It never logs, prints, reads a global, or knows a threshold that is no constructor argument.
    """

    num_classes: int
    size_divisor: int = 1
    """Height and width of the input are multiples of this."""
    input_hw: tuple[int, int] | None = None
    """The only input size the network takes, for families that have one; `None`: any."""

    @abstractmethod
    def forward(self, images: UInt8[Tensor, "b 3 h w"]) -> Raw:
        """The raw outputs of the network, before any decision."""

    @abstractmethod
    def loss(self, raw: Raw, targets: Sequence[Target]) -> Losses:
        """Unweighted loss terms of the batch; the weights live in the configuration."""

    @abstractmethod
    def decode(self, raw: Raw, frames: Sequence[Frame]) -> list[Detections]:
        """Per image, the detections in input pixels, sorted by falling score, inside the image."""

    def representable(self, target: Target) -> Bool[Tensor, " n"]:
        """Which objects of a target (input pixels) the output can hold at all; default: every one.

        A grid that holds one object per cell bounds recall before any training: say so here.
        """
        return torch.ones(len(target), dtype=torch.bool, device=target.boxes.device)

    def check_size(self, images: Tensor) -> None:
        """Refuses, with one line, an input the network was not built for."""
        height, width = images.shape[-2:]
        if self.input_hw is not None and (height, width) != tuple(self.input_hw):
            wanted = "x".join(map(str, self.input_hw))
            raise ConfigError(
                f"{type(self).__name__} was built for {wanted} px (h x w) and got"
                f" {height}x{width}: set protocol.input_hw to the size of the images"
            )
        if height % self.size_divisor or width % self.size_divisor:
            raise ConfigError(
                f"{type(self).__name__} needs height and width divisible by {self.size_divisor} "
                f"and got {height}x{width}: change protocol.input_hw"
            )


@runtime_checkable
class Proposer(Protocol):
    """A detector of two stages that can be trained one after the other (regime=alternating).

    It also has an argument `frozen`: the names of its parts that do not learn.
    """

    given: Mapping[str, Tensor] | None
    """image_id -> proposals, xyxy in ORIGINAL px, on which the second stage trains in place of the
    first one's; they follow the augmentation by the frame. Null: the first one's own."""

    def proposals_to_keep(self, raw: Any) -> list[Float[Tensor, "_ 4"]]:
        """Per image, the proposals that a later fit may be `given`; xyxy in px of the input."""
        ...
