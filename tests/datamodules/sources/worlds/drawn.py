"""Scenes that several tests look at, drawn once: run-time type checks make drawing slow."""

import functools

import numpy as np

from datamodules.sources.synthetic import SyntheticScenes
from datamodules.sources.worlds.faces import Faces
from datamodules.sources.worlds.mice import Mice
from datamodules.sources.worlds.shapes import easy, tiny, varied
from datamodules.sources.worlds.signs import Signs
from datamodules.sources.worlds.windmills import Windmills
from datamodules.sources.worlds.world import Layout, World
from detectors.structures import DatasetInfo, Target

FLAT_WORLDS = (easy(), tiny(), varied())
PAINTED_WORLDS = (Windmills(), Mice(), Faces(), Signs())
HW = (256, 256)
MANY, SOME = 60, 20


def scenes(world: World, length: int, image_hw=(96, 128), seed: int = 1) -> SyntheticScenes:
    info = DatasetInfo(world.name, world.class_names, world.keypoint_names)
    return SyntheticScenes(info, world, length, image_hw, seed)


@functools.cache
def layouts(world: World) -> list[Layout]:
    """MANY of them."""
    source = scenes(world, MANY, HW)
    return [source.layout(index) for index in range(MANY)]


@functools.cache
def targets(world: World) -> list[Target]:
    """Of the same scenes."""
    source = scenes(world, MANY, HW)
    return [source.target(index) for index in range(MANY)]


@functools.cache
def pictures(world: World) -> list[np.ndarray]:
    """Of the first SOME, before the lens: no blur, no noise."""
    canvases = []
    for index, layout in enumerate(layouts(world)[:SOME]):
        canvas = np.zeros((*HW, 3), np.uint8)
        for thing in layout.things:
            thing.paint(canvas, np.random.default_rng(index))
        canvases.append(canvas)
    return canvases
