"""World: the contract of a kind of synthetic scene."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import cv2
import numpy as np
from jaxtyping import Bool, Float, UInt8

from detectors.errors import ConfigError

SMALLEST = 8
"""px, the shorter side of a box."""

Stuff = TypeVar("Stuff")


@dataclass(slots=True)
class Layout(Generic[Stuff]):
    """What stands in a scene and what of it can be seen; the picture follows from it.

    `visible` says what a pixel shows: 0 no object, k the k-th one, counted from 1. `drawn` counts
    the pixels an object would show alone, those beyond the picture's edge included.
    """

    things: Sequence[Stuff]
    labels: list[int]
    drawn: list[int]
    visible: UInt8[np.ndarray, "h w"]
    boxes: Float[np.ndarray, "n 4"]
    keypoints: Float[np.ndarray, "n k 3"] | None = None

    def areas(self) -> Float[np.ndarray, " n"]:
        """Visible pixels of each object."""
        windows = self.boxes.astype(int).tolist()
        counts = [
            np.count_nonzero(self.visible[top:bottom, left:right] == number)
            for number, (left, top, right, bottom) in enumerate(windows, start=1)
        ]
        return np.array(counts, np.float32)


class World(ABC):
    """A kind of scene: draws a layout at random, and paints a layout.

    Worlds hold settings only, and all randomness comes from the generators they are handed; so a
    layout need not be painted to know the truth about a scene.
    """

    name: str
    """Begins the ids of the images."""
    class_names: tuple[str, ...]
    keypoint_names: tuple[str, ...] = ()

    @abstractmethod
    def layout(self, rng: np.random.Generator, image_hw: tuple[int, int]) -> Layout:
        """What stands where, and what of it can be seen."""

    @abstractmethod
    def paint(self, layout: Layout, rng: np.random.Generator) -> UInt8[np.ndarray, "h w 3"]:
        """The picture of a layout, RGB."""


def tight_box(mask: Bool[np.ndarray, "h w"]) -> tuple[int, int, int, int]:
    """x1, y1, x2, y2 around the True pixels; all 0 if there are none."""
    x, y, width, height = cv2.boundingRect(mask.view(np.uint8))
    return x, y, x + width, y + height


def check_settings(count: Sequence[int], **shares: float) -> None:
    """`count` is fewest and most, at least 0; every share lies in 0 to 1."""
    if len(count) != 2 or not 0 <= count[0] <= count[1] < 256:
        raise ConfigError(f"count={list(count)}: give fewest and most objects, such as [0, 4]")
    for name, share in shares.items():
        if not 0 <= share <= 1:
            raise ConfigError(f"{name}={share}: a share lies between 0 and 1")


def draw_count(rng: np.random.Generator, count: Sequence[int], empty: float) -> int:
    """How many objects a scene is planned with; none with probability `empty`."""
    planned = int(rng.integers(count[0], count[1], endpoint=True))
    return 0 if rng.random() < empty else planned
