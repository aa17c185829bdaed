from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from datamodules.objects import Keep, Sample
from datamodules.paste import Paste
from datamodules.patch import blank
from detectors.errors import ConfigError
from tests.datamodules.arrays import Arrays, covered, is_red, red_box, red_boxes

HW = (120, 160)
KEEP = Keep(min_visibility=0.0, min_side=0.0)
seeds = st.integers(0, 2**31)


def paste(paster: Paste, boxes: list[list[int]], source: Arrays, seed: int) -> Sample:
    image, target = red_box(0, HW, boxes)
    return paster(Sample(image, target, {"mosaic": 3}), source, KEEP, np.random.default_rng(seed))


@settings(max_examples=60, deadline=None)
@given(seed=seeds)
def test_what_is_pasted_is_where_its_box_is_and_the_rest_is_counted(seed: int):
    source = red_boxes(seed, most=4)
    paster = Paste(p=1.0, cover=0.0)
    sample = paste(paster, [[10, 10, 60, 50], [100, 70, 150, 110]], source, seed)
    assert source.objects_read == len(sample.target) - 2 + sample.dropped["paste"]
    assert sample.dropped["mosaic"] == 3
    red = is_red(sample.image)
    assert not (red & ~covered(sample, 2.0)).any()
    assert not (covered(sample, -2.0) & ~red).any()


@settings(max_examples=60, deadline=None)
@given(seed=seeds)
def test_no_object_is_covered_by_more_than_its_share(seed: int):
    sample = paste(Paste(p=1.0, cover=0.3), [[10, 10, 60, 50]], red_boxes(seed, most=4), seed)
    first, *pasted = sample.target.boxes.tolist()
    for x1, y1, x2, y2 in pasted:
        width = max(min(x2, first[2]) - max(x1, first[0]), 0)
        height = max(min(y2, first[3]) - max(y1, first[1]), 0)
        assert width * height <= 0.3 * 50 * 40 + 1e-3


def test_covered_keypoints_become_hidden_not_absent():
    source = red_boxes(2, count=1, most=1)
    source.images[0], source.targets[0] = red_box(1, HW, [[20, 20, 60, 60]])
    hidden = 0
    for seed in range(40):
        sample = paste(Paste(p=1.0, cover=1.0), [[10, 10, 150, 110]], source, seed)
        assert sample.target.keypoints is not None
        old = sample.target.keypoints[0]
        torch.testing.assert_close(
            old[:, :2], torch.tensor([[10.0, 10], [150, 10], [10, 110], [150, 110]])
        )
        assert (old[:, 2] >= 1).all()
        for box in sample.target.boxes[1:]:
            covered_points = (old[:, :2] >= box[:2]).all(1) & (old[:, :2] <= box[2:]).all(1)
            assert (old[covered_points, 2] == 1).all()
            hidden += int(covered_points.sum())
    assert hidden > 0


def test_crowds_are_not_pasted_and_at_most_count_objects_are():
    image, target = red_box(0, (100, 100), [[5 * i, 5 * i, 5 * i + 4, 5 * i + 4] for i in range(9)])
    target = replace(target, crowd=torch.arange(9) < 3)
    tried = []
    for count in (4, 20):
        sample = paste(Paste(p=1.0, count=count), [], Arrays([image], [target]), 0)
        assert not sample.target.crowd.any()
        tried.append(len(sample.target) + sample.dropped["paste"])
    assert tried == [4, 6]


def test_an_image_without_objects_is_not_even_read():
    source = Arrays([blank((20, 20))], [red_box(0, (20, 20), [])[1]])
    sample = paste(Paste(p=1.0), [[10, 10, 60, 50]], source, 0)
    assert source.images_read == 0
    assert len(sample.target) == 1
    assert sample.dropped["paste"] == 0


@pytest.mark.parametrize(
    "options", [{"p": 1.2}, {"count": -1}, {"scale": (1.0, 0.5)}, {"cover": 1.1}]
)
def test_impossible_options_are_refused(options):
    with pytest.raises(ConfigError, match=r"datamodule\.mosaic\.paste with"):
        Paste(**options)
