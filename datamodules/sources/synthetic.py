"""Synthetic scenes: labelled images without files, a pure function of (seed, index)."""

import hashlib
from collections.abc import Sequence

import numpy as np
from jaxtyping import UInt8

from datamodules.sources.source import Source, original_target
from datamodules.sources.worlds.world import SMALLEST, Layout, World
from detectors.errors import ConfigError
from detectors.structures import DatasetInfo, Target

_HASHED_SCENES = 8


class SyntheticScenes(Source):
    """Scene `index` of stream `seed`; splits differ in their seed, each is another dataset.

    Boxes are tight around, and areas count, the pixels an object shows.

    Args:
        info: its class and keypoint names must be the world's.
        world: what the scenes show.
        length: number of scenes.
        image_hw: height and width, px.
        seed: of the stream, not of the run: all runs must see the same data.
    """

    def __init__(
        self, info: DatasetInfo, world: World, length: int, image_hw: Sequence[int], seed: int
    ) -> None:
        check_info(info, world)
        self.info = info
        self.world = world
        self.image_hw = checked_hw(image_hw)
        self.seed = seed
        self.ids: Sequence[str] = [f"{world.name}-{seed}-{index:06d}" for index in range(length)]

    def layout(self, index: int) -> Layout:
        """What stands where, without painting it."""
        return self.world.layout(np.random.default_rng([self.seed, index, 0]), self.image_hw)

    def image(self, index: int) -> UInt8[np.ndarray, "h w 3"]:
        """The painted scene."""
        rng = np.random.default_rng([self.seed, index, 1])
        return self.world.paint(self.layout(index), rng)

    def target(self, index: int) -> Target:
        """As `Source.target`; costs the layout, a fraction of the painting."""
        return target_of(self.layout(index), self.ids[index], len(self.info.keypoint_names))

    def fingerprint(self) -> str:
        """sha256 over what defines the stream, and its first scenes in case the recipe changes."""
        digest = hashlib.sha256(repr((self.world, self.seed, self.image_hw, len(self))).encode())
        for index in range(min(_HASHED_SCENES, len(self))):
            digest.update(self.image(index).tobytes())
        return digest.hexdigest()


def target_of(layout: Layout, image_id: str, keypoints: int) -> Target:
    """The truth about a layout, in a world of so many `keypoints` per object."""
    points = layout.keypoints
    if points is None and keypoints:
        points = np.zeros((0, keypoints, 3), np.float32)
    return original_target(
        image_id,
        layout.visible.shape,
        layout.boxes,
        np.array(layout.labels, np.int64),
        area=layout.areas(),
        keypoints=points,
    )


def check_info(info: DatasetInfo, world: World) -> None:
    """A world draws its own classes and keypoints, in its own order."""
    for key, drawn in (
        ("class_names", world.class_names),
        ("keypoint_names", world.keypoint_names),
    ):
        given = tuple(getattr(info, key))
        if given != drawn:
            raise ConfigError(
                f"datamodule.info.{key} is [{', '.join(given)}], "
                f"but the world '{world.name}' draws [{', '.join(drawn)}]: make them equal"
            )


def checked_hw(image_hw: Sequence[int]) -> tuple[int, int]:
    """Height and width, large enough for an object."""
    if min(image_hw) < 4 * SMALLEST:
        raise ConfigError(f"image_hw={list(image_hw)} is too small: use {4 * SMALLEST} px or more")
    return int(image_hw[0]), int(image_hw[1])
