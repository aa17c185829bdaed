from dataclasses import replace

import numpy as np
import pytest
import torch

from datamodules.affine import apply, ellipse_hulls, hulls, scale_and_shift
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


def turned(degrees: float) -> np.ndarray:
    """Turns about (50, 40)."""
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    linear = np.array([[c, -s], [s, c]])
    return np.concatenate([linear, (np.array([50.0, 40.0]) - linear @ [50.0, 40.0])[:, None]], 1)


@pytest.mark.parametrize("degrees", [0, 17, 45, 90, 133, 270])
def test_the_box_of_a_turned_ellipse_is_that_of_its_turned_outline(degrees: float):
    box = np.array([[20.0, 30.0, 90.0, 55.0]])
    angle = np.linspace(0, 2 * np.pi, 20_000)
    outline = np.stack([55 + 35 * np.cos(angle), 42.5 + 12.5 * np.sin(angle)], axis=1)
    moved_outline = apply(turned(degrees), outline)
    expected = np.concatenate([moved_outline.min(0), moved_outline.max(0)])
    assert np.abs(ellipse_hulls(turned(degrees), box)[0] - expected).max() < 1e-3


def test_turned_by_right_angles_mirrored_or_scaled_the_outline_does_not_matter():
    boxes = np.array([[20.0, 30.0, 90.0, 55.0], [1.0, 2.0, 3.0, 40.0]])
    mirror = np.array([[-1.0, 0.0, 100.0], [0.0, 1.0, 0.0]])
    for affine in (turned(90), turned(180), mirror, scale_and_shift((2.0, 0.5), (3.0, 4.0))):
        assert np.allclose(ellipse_hulls(affine, boxes), hulls(affine, boxes))


def test_keep_says_what_fills_a_box():
    _, target = red_box(0, (100, 100), [[30, 30, 70, 50]])
    whole = np.array([0.0, 0.0, 100.0, 100.0])
    sizes = [
        (found.boxes[:, 2:] - found.boxes[:, :2])[0].tolist()
        for found in (moved(target, turned(45), whole, Keep(outline=o)) for o in ("box", "ellipse"))
    ]
    assert sizes[0] == pytest.approx([60 / 2**0.5] * 2, rel=1e-5)
    assert sizes[1] == pytest.approx([(40**2 + 20**2) ** 0.5 / 2**0.5] * 2, rel=1e-5)
    with pytest.raises(ConfigError, match="is unknown: choose box, ellipse"):
        Keep(outline="elipse")
