import cv2
import numpy as np
import pytest
import torch

from datamodules.sources.synthetic import PRESETS, SyntheticScenes
from detectors.errors import ConfigError
from detectors.structures import DatasetInfo


def scenes(preset: str = "varied", length: int = 60, image_hw=(128, 160), seed: int = 1):
    return SyntheticScenes(
        DatasetInfo(preset, PRESETS[preset].shapes), preset, length, image_hw, seed
    )


@pytest.mark.parametrize("preset", PRESETS)
def test_a_scene_depends_on_seed_and_index_alone(preset):
    one, two = scenes(preset), scenes(preset, length=20)
    for index in (7, 3, 7):
        assert np.array_equal(one[index][0], two[index][0])
        assert torch.equal(one[index][1].boxes, two[index][1].boxes)
    assert not np.array_equal(one[7][0], one[8][0])
    assert not np.array_equal(one[7][0], scenes(preset, seed=2)[7][0])
    assert not set(one.ids) & set(scenes(preset, seed=2).ids)


@pytest.mark.parametrize("preset", PRESETS)
def test_boxes_are_tight_around_and_areas_count_the_visible_pixels(preset):
    source = scenes(preset)
    for index in range(len(source)):
        visible, target = source.layout(index).visible, source.target(index)
        assert set(np.unique(visible)) - {0} == set(range(1, len(target) + 1))
        for number, box in enumerate(target.boxes.tolist(), start=1):
            y, x = np.nonzero(visible == number)
            assert box == [x.min(), y.min(), x.max() + 1, y.max() + 1]
            assert target.area[number - 1] == len(x)


def test_the_picture_shows_the_things_where_the_layout_says():
    source = scenes("easy")
    for index in range(20):
        image, visible = source.image(index).astype(float), source.layout(index).visible
        grown = cv2.dilate((visible > 0).astype(np.uint8), np.ones((7, 7), np.uint8))
        ground = np.median(image[grown == 0], axis=0)
        shrunk = cv2.erode((visible > 0).astype(np.uint8), np.ones((5, 5), np.uint8))
        from_ground = np.abs(image - ground).max(axis=2)
        assert np.median(from_ground[shrunk > 0]) > 2 * np.median(from_ground[grown == 0])


def test_easy_scenes_hold_one_or_two_large_balls():
    source = scenes("easy", length=100, image_hw=(96, 96))
    targets = [source.target(i) for i in range(100)]
    assert {len(t) for t in targets} == {1, 2}
    sides = torch.cat([t.boxes[:, 2:] - t.boxes[:, :2] for t in targets]) / 96
    assert sides.min() > 0.2
    assert sides.max() < 0.63


def test_varied_scenes_hold_none_to_six_things_from_8_px_to_half_the_image():
    source = scenes("varied", length=200, image_hw=(256, 256))
    targets = [source.target(i) for i in range(200)]
    assert {len(t) for t in targets} == set(range(7))
    assert set(torch.cat([t.labels for t in targets]).tolist()) == set(range(6))
    sides = torch.cat([t.boxes[:, 2:] - t.boxes[:, :2] for t in targets])
    assert 8 <= sides.min() < 12
    assert 110 < sides.max() <= 130


def test_no_thing_is_covered_beyond_the_preset():
    source = scenes("varied", length=100)
    for index in range(100):
        layout, target = source.layout(index), source.target(index)
        drawn = torch.tensor(layout.drawn, dtype=torch.float32)
        assert (target.area >= (1 - source.preset.hidden) * drawn).all()


def test_the_fingerprint_names_the_stream():
    first = scenes().fingerprint()
    assert first == scenes().fingerprint()
    others = [scenes(seed=2), scenes(length=61), scenes(image_hw=(128, 161)), scenes("easy")]
    assert first not in [other.fingerprint() for other in others]


def test_mistakes_are_answered_in_one_line():
    info = DatasetInfo("a", ("ball",))
    for arguments, message in [
        (("easyy", 3, (96, 96), 0), "the preset 'easyy' is unknown: choose from easy, varied"),
        (("varied", 3, (96, 96), 0), "preset 'varied' draws disc, square"),
        (("easy", 3, (16, 96), 0), "image_hw=[16, 96] is too small"),
    ]:
        with pytest.raises(ConfigError) as caught:
            SyntheticScenes(info, *arguments)
        assert message in str(caught.value)
        assert "\n" not in str(caught.value)
