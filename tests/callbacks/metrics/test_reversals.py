"""Head-tail reversals, on sequences made by hand and on a film whose truth is known."""

import math
from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from callbacks.metrics.pck import PCK
from callbacks.metrics.reversals import head_tail_reversals
from datamodules.sources.mouse_video import MouseVideo
from datamodules.sources.worlds.mice import Mice
from detectors.errors import ConfigError
from detectors.structures import DatasetInfo, Detections, Frame
from tests.callbacks.metrics.animals import INFO, animal, as_found

MICE = DatasetInfo("mice", ["mouse"], keypoint_names=["head", "body", "tail"])


def points(*objects: Sequence[tuple[float, float]], visibility: float = 2.0) -> Detections:
    """Objects by their points, the best first."""
    keypoints = torch.tensor(objects, dtype=torch.float32).reshape(len(objects), -1, 2)
    v = torch.full((*keypoints.shape[:2], 1), visibility)
    scores = torch.linspace(0.9, 0.5, len(objects))
    boxes, labels = torch.tensor([[0.0, 0.0, 9.0, 9.0]] * len(objects)), torch.zeros(len(objects))
    frame = Frame("", (100, 100), torch.eye(2, 3))
    return Detections(boxes, scores, labels.long(), frame, torch.cat([keypoints, v], dim=-1))


def heading(degrees: float, at: tuple[float, float] = (50.0, 50.0)) -> Detections:
    """A body of three points; degrees from the x axis, from head to tail."""
    angle = math.radians(degrees)
    step = (10 * math.cos(angle), 10 * math.sin(angle))
    return points(
        [at, (at[0] + step[0], at[1] + step[1]), (at[0] + 2 * step[0], at[1] + 2 * step[1])]
    )


NOTHING = points([(0.0, 0.0)] * 3)[torch.zeros(1, dtype=torch.bool)]


def test_a_body_that_is_turned_round_and_back_makes_two_reversals():
    frames = [heading(d) for d in (0, 10, 190, 200, 210, 30)]
    result = head_tail_reversals(frames)
    assert (result.frames, result.pairs, result.share) == ([2, 5], 5, pytest.approx(2 / 5))


@pytest.mark.parametrize(("step", "reversals"), [(89.9, 0), (90.1, 9), (180.0, 9), (-89.9, 0)])
def test_a_reversal_is_a_turn_by_more_than_90_degrees(step, reversals):
    frames = [heading(step * index) for index in range(10)]
    assert len(head_tail_reversals(frames).frames) == reversals


def test_a_right_angle_is_none():
    up, right = points([(0, 0), (0, -8)]), points([(0, 0), (8, 0)])
    assert head_tail_reversals([up, right, up]).frames == []
    assert head_tail_reversals([up, right, up]).pairs == 2


def test_where_the_body_is_does_not_count():
    frames = [heading(0, at=(10, 10)), heading(0, at=(90, 70)), heading(0, at=(0, 90))]
    assert head_tail_reversals(frames).frames == []


def test_a_frame_without_detection_interrupts():
    frames = [heading(0), NOTHING, heading(180), heading(0), NOTHING, NOTHING, heading(0)]
    result = head_tail_reversals(frames)
    assert (result.frames, result.pairs) == ([3], 1)


def test_the_best_scored_detection_counts_in_whatever_row_it_stands():
    a, b = [(0.0, 0.0), (9.0, 0.0)], [(9.0, 0.0), (0.0, 0.0)]
    frames = [points(a, b), points(a, b, a), points(b, a)]
    assert head_tail_reversals(frames).frames == [2]
    assert head_tail_reversals([f[torch.arange(len(f)).flip(0)] for f in frames]).frames == [2]


def test_the_ends_of_the_body_are_configuration_and_points_may_be_as_many_as_they_like():
    first = points([(0, 0), (9, 0), (5, 5), (3, 3), (0, 9)])
    then = points([(0, 0), (9, 0), (5, 5), (30, 30), (0, -9)])
    assert head_tail_reversals([first, then]).frames == [1]
    assert head_tail_reversals([first, then], body=[0, 1]).frames == []
    assert head_tail_reversals([first, then], body=[3, -3]).frames == [1]


@pytest.mark.parametrize("body", [[0, 3], [0], [-4, 0]])
def test_ends_that_do_not_exist_are_told_by_the_key(body):
    with pytest.raises(ConfigError, match=r"metrics\.pck\.body"):
        head_tail_reversals([heading(0), heading(0)], body)


def test_what_a_detector_says_of_visibility_does_not_count():
    frames = [heading(0), points([(5, 0), (0, 0), (-5, 0)], visibility=0.0)]
    assert head_tail_reversals(frames).frames == [1]


@pytest.mark.parametrize("place", [(math.nan, 0.0), (math.inf, 0.0), (0.0, 0.0)])
def test_a_body_without_direction_is_in_no_pair(place):
    frames = [heading(0), points([(0, 0), (0, 0), place]), heading(180)]
    result = head_tail_reversals(frames)
    assert (result.frames, result.pairs, result.share) == ([], 0, None)


@pytest.mark.parametrize("frames", [[], [heading(0)], [NOTHING, NOTHING]])
def test_without_two_bodies_there_is_no_share(frames):
    result = head_tail_reversals(frames)
    assert (result.frames, result.pairs, result.share) == ([], 0, None)


place = st.tuples(*[st.integers(0, 60).map(float)] * 2)


@given(place, place, place, place)
@settings(deadline=None)
def test_a_reversal_is_what_pck_calls_a_swap_if_the_frame_before_is_the_truth(a, b, c, d):
    before, after = animal(a, b), replace(as_found(animal(c, d)), boxes=animal(a, b).boxes)
    pck = PCK(INFO)
    pck.update([after], [before])
    swapped = pck.compute()["swap_rate"]
    result = head_tail_reversals([as_found(before), after])
    if a == b or c == d:  # no direction
        assert (result.frames, result.pairs) == ([], 0)
    else:
        assert (len(result.frames), result.pairs) == (swapped, 1)


@pytest.fixture(scope="module")
def film() -> list[Detections]:
    """Four seconds of a mouse, found without error."""
    source = MouseVideo(MICE, Mice(count=[1, 1], length=[0.2, 0.3]), 120, (128, 128), seed=5)
    return [as_found(source.target(index)) for index in range(120)]


def test_a_mouse_that_is_filmed_at_30_frames_per_second_is_never_reversed(film):
    result = head_tail_reversals(film)
    assert (result.frames, result.pairs) == ([], 119)


def test_frames_with_head_and_tail_exchanged_make_a_reversal_at_either_end(film):
    exchanged = list(film)
    for index in range(40, 50):
        keypoints = film[index].keypoints
        assert keypoints is not None
        exchanged[index] = replace(film[index], keypoints=keypoints.flip(dims=[1]))
    assert head_tail_reversals(exchanged).frames == [40, 50]
