"""A film of mice: the frames of one continuous scene, with exact ground truth."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import UInt8

from datamodules.sources.synthetic import SyntheticScenes
from datamodules.sources.worlds.lens import Lens
from datamodules.sources.worlds.mice import INFRARED, Mice, mouse
from datamodules.sources.worlds.motion import tracks
from datamodules.sources.worlds.stage import Thing, lay_out
from datamodules.sources.worlds.world import Layout, draw_count
from detectors.structures import DatasetInfo


class MouseVideo(SyntheticScenes):
    """Frame `index` of the film `seed`; another seed films other mice in another arena.

    The mice run, pause and turn at what looks natural at 30 frames/s. They keep their distance, so
    that most of each shows, always; a box grows to hold a point that another mouse covers.

    Args:
        info: its class and keypoint names must be the world's.
        world: who is filmed.
        length: number of frames; a longer film begins with the same frames.
        image_hw: height and width, px.
        seed: of the film, not of the run.
    """

    world: Mice

    def __init__(
        self, info: DatasetInfo, world: Mice, length: int, image_hw: Sequence[int], seed: int
    ) -> None:
        super().__init__(info, world, length, image_hw, seed)
        self.ids = [f"{world.name}-film-{seed}-frame-{index:06d}" for index in range(length)]
        rng = np.random.default_rng([seed, 0])
        count = draw_count(rng, world.count, world.empty)
        self._arena, self._coats = world.cast(count, self.image_hw, rng)
        self._poses = tracks(self._coats, self._arena, length, [seed, 1])
        self._lens = Lens.random(rng, grey=INFRARED)
        self._stage = np.zeros((*self.image_hw, 3), np.uint8)
        self._arena.paint(self._stage, rng)

    def layout(self, index: int) -> Layout[Thing]:
        """What stands where, without painting it."""
        poses = zip(self._coats, self._poses[index], strict=True)
        layout = lay_out([mouse(coat, pose, self._arena) for coat, pose in poses], self.image_hw)
        if layout.keypoints is not None:
            points = layout.keypoints[..., :2]
            low, high = np.floor(points.min(axis=1)), np.ceil(points.max(axis=1))
            layout.boxes[:, :2] = np.minimum(layout.boxes[:, :2], low)
            layout.boxes[:, 2:] = np.maximum(layout.boxes[:, 2:], high)
        return layout

    def image(self, index: int) -> UInt8[np.ndarray, "h w 3"]:
        """The frame; from one to the next only mice and noise change."""
        rng = np.random.default_rng([self.seed, 2, index])
        canvas = self._stage.copy()
        for thing in self.layout(index).things:
            thing.paint(canvas, rng)
        return self._lens.develop(canvas, rng)
