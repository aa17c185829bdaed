from dataclasses import replace

import numpy as np
import pytest
import torch

from datamodules.affine import scale_and_shift
from datamodules.objects import Keep, joined, moved, read
from detectors.errors import ConfigError, DataError
from tests.datamodules.arrays import Arrays, red_box

WHOLE = np.array([[0.0, 0, 100, 10], [0, 0, 10, 100], [-30, 0, 10, 10], [-10, 0, 30, 10]])
SEEN = np.array([[0.0, 0, 100, 10], [0, 0, 10, 100], [0, 0, 10, 10], [0, 0, 30, 10]])


@pytest.mark.parametrize(
    ("keep", "expected"),
    [
        (Keep(0.0, 0.0), [True, True, True, True]),
        (Keep(0.5, 0.0), [True, True, False, True]),
        (Keep(0.25, 0.0), [True, True, True, True]),
        (Keep(0.0, 10.0), [True, True, True, True]),
        (Keep(0.0, 10.5), [False, False, False, False]),
        (Keep(0.0, 0.0, max_aspect=9.9), [False, False, True, True]),
        (Keep(0.0, 0.0, max_aspect=10.0), [True, True, True, True]),
        (Keep(0.0, 0.0, centre_inside=True), [True, True, False, True]),
    ],
)
def test_each_limit_drops_what_is_beyond_it(keep: Keep, expected: list[bool]):
    assert keep(WHOLE, SEEN).tolist() == expected


def test_nothing_without_area_stays_whatever_the_limits():
    seen = np.array([[0.0, 0, 0, 10], [5, 5, 5, 5]])
    assert not Keep(0.0, 0.0)(seen, seen).any()


@pytest.mark.parametrize(
    "options", [{"min_visibility": 1.1}, {"min_side": -1.0}, {"max_aspect": 0.5}]
)
def test_impossible_limits_are_refused(options):
    with pytest.raises(ConfigError, match=r"datamodule\.keep with"):
        Keep(**options)


def test_objects_are_cut_to_the_region_and_points_outside_become_absent():
    _, target = red_box(0, (100, 100), [[10, 10, 50, 50]])
    region = np.array([30.0, 0.0, 200.0, 70.0])
    result = moved(target, scale_and_shift((2.0, 2.0), (0.0, 0.0)), region, Keep())
    assert result.boxes.tolist() == [[30, 20, 100, 70]]
    assert result.keypoints is not None
    assert result.keypoints[0].tolist() == [[0, 0, 0], [100, 20, 2], [0, 0, 0], [0, 0, 0]]
    assert result.area.tolist() == [1600]


def test_maps_compose_in_the_frame():
    _, target = red_box(0, (100, 100), [[10, 10, 50, 50]])
    region = np.array([0.0, 0.0, 500.0, 500.0])
    first = moved(target, scale_and_shift((2.0, 3.0), (1.0, 5.0)), region, Keep())
    both = moved(first, np.array([[-1.0, 0, 400], [0, 1, 0]]), region, Keep())
    torch.testing.assert_close(both.frame.affine, torch.tensor([[-2.0, 0, 399], [0, 3, 5]]))
    assert both.boxes.tolist() == [[299, 35, 379, 155]]


def test_joined_targets_keep_their_rows_in_order_and_the_first_frame():
    targets = [red_box(n, (50, 50), [[n, n, n + 9, n + 9]] * n)[1] for n in (0, 2, 1)]
    target = joined(targets)
    assert target.boxes[:, 0].tolist() == [2, 2, 1]
    assert target.frame is targets[0].frame
    assert target.keypoints is not None
    assert target.keypoints.shape == (3, 4, 3)
    without = joined([replace(t, keypoints=None) for t in targets])
    assert without.keypoints is None


def test_an_image_of_another_size_than_its_annotations_is_refused():
    image, target = red_box(0, (50, 60), [])
    source = Arrays([image[:40]], [target])
    with pytest.raises(DataError, match=r"image0: decodes to 60x40 px .* its header says 60x50"):
        read(source, 0, target)
