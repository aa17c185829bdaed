import hashlib

import numpy as np
import pytest
import torch

from datamodules.sources.synthetic import SyntheticScenes
from datamodules.sources.worlds.faces import Faces
from datamodules.sources.worlds.mice import Mice
from datamodules.sources.worlds.shapes import easy, tiny, varied
from datamodules.sources.worlds.windmills import Windmills
from detectors.errors import ConfigError
from detectors.structures import DatasetInfo
from tests.datamodules.sources.worlds.drawn import (
    FLAT_WORLDS,
    PAINTED_WORLDS,
    layouts,
    scenes,
    targets,
)

WORLDS = (*FLAT_WORLDS, *PAINTED_WORLDS)
each_world = pytest.mark.parametrize("world", WORLDS, ids=lambda world: world.name)


@each_world
def test_a_scene_depends_on_seed_and_index_alone(world):
    one, two = scenes(world, 20), scenes(world, 10)
    for index in (7, 3, 7):
        assert np.array_equal(one[index][0], two[index][0])
        assert torch.equal(one[index][1].boxes, two[index][1].boxes)
    assert not np.array_equal(one[7][0], one[8][0])
    assert not np.array_equal(one[7][0], scenes(world, 20, seed=2)[7][0])
    assert not set(one.ids) & set(scenes(world, 20, seed=2).ids)


@each_world
def test_boxes_are_tight_around_and_areas_count_the_visible_pixels(world):
    for layout, target in zip(layouts(world), targets(world), strict=True):
        assert set(np.unique(layout.visible)) - {0} == set(range(1, len(target) + 1))
        for number, box in enumerate(target.boxes.tolist(), start=1):
            y, x = np.nonzero(layout.visible == number)
            assert box == [x.min(), y.min(), x.max() + 1, y.max() + 1]
            assert target.area[number - 1] == len(x)


@each_world
def test_no_object_is_hidden_beyond_the_worlds_limit(world):
    for layout, target in zip(layouts(world), targets(world), strict=True):
        drawn = torch.tensor(layout.drawn, dtype=torch.float32)
        assert (target.area >= (1 - world.hidden) * drawn).all()


@each_world
def test_every_class_occurs(world):
    labels = torch.cat([target.labels for target in targets(world)])
    assert set(labels.tolist()) == set(range(len(world.class_names)))


@pytest.mark.parametrize("world", WORLDS[2:], ids=lambda world: world.name)
def test_some_scenes_are_empty_and_still_say_how_many_points_an_object_has(world):
    empty = [target for target in targets(world) if len(target) == 0]
    assert 1 <= len(empty) < 30
    points = empty[0].keypoints
    expected = (0, len(world.keypoint_names), 3) if world.keypoint_names else None
    assert (None if points is None else tuple(points.shape)) == expected


@pytest.mark.parametrize(
    ("world", "image_hw", "mean_levels", "truth"),
    [
        (
            easy(),
            (64, 64),
            [88.55, 90.85, 100.25, 45.88, 95.57, 74.37, 76.05, 96.54],
            "8960b814cce0f034f4f4e0347a340b5ac912adbb2b917c08b7b5a50a38879d1f",
        ),
        (
            easy(),
            (448, 448),
            [88.56, 91.18, 100.37, 45.8, 95.81, 74.94, 76.27, 96.76],
            "c97ae4195a1ad2c647ed7b87c48b697d2a2a2aa69dee19af9ef28153f3163e43",
        ),
        (
            tiny(),
            (128, 128),
            [81.54, 90.88, 97.87, 44.21, 91.16, 78.19, 72.82, 95.73],
            "18ccfaa4bf83e8c63983f783be21531094276abf4adaa23d52da516b92bfce3a",
        ),
        (
            varied(),
            (256, 320),
            [124.73, 147.21, 160.09, 66.43, 135.24, 126.07, 105.19, 153.2],
            "d406ba52ee176c887c7e292742ee99523d3e9d6df0d6736386b0df9eff1370d9",
        ),
    ],
    ids=["easy-nano", "easy-paper", "tiny", "varied"],
)
def test_scenes_with_published_results_never_change(world, image_hw, mean_levels, truth):
    source = scenes(world, 8, image_hw)
    annotations = hashlib.sha256()
    for index in range(8):
        target = source.target(index)
        for tensor in (target.boxes, target.labels, target.area):
            annotations.update(tensor.numpy().tobytes())
    assert annotations.hexdigest() == truth
    # another processor may round a blurred pixel the other way
    levels = [source.image(index).mean() for index in range(8)]
    assert levels == pytest.approx(mean_levels, abs=0.05)


@each_world
def test_the_fingerprint_names_the_stream(world):
    first = scenes(world, 3).fingerprint()
    assert first == scenes(world, 3).fingerprint()
    others = [scenes(world, 3, seed=2), scenes(world, 4), scenes(world, 3, (96, 129))]
    assert first not in [other.fingerprint() for other in others]


def test_the_fingerprint_knows_the_settings_of_a_world():
    assert scenes(Mice(), 1).fingerprint() != scenes(Mice(hidden=0.4), 1).fingerprint()


def test_mistakes_are_answered_in_one_line():
    info = DatasetInfo("a", ("ball",))
    for make, message in [
        (lambda: SyntheticScenes(info, varied(), 3, (96, 96), 0), "'varied' draws [disc, square"),
        (lambda: SyntheticScenes(info, easy(), 3, (16, 96), 0), "image_hw=[16, 96] is too small"),
        (
            lambda: SyntheticScenes(DatasetInfo("a", ("mouse",)), Mice(), 3, (96, 96), 0),
            "keypoint_names is [], but the world 'mice' draws [head, body, tail]",
        ),
        (lambda: Windmills(tiny_share=1.5), "tiny_share=1.5"),
        (lambda: Faces(count=(5, 2)), "count=[5, 2]"),
    ]:
        with pytest.raises(ConfigError) as caught:
            make()
        assert message in str(caught.value)
        assert "\n" not in str(caught.value)
