import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from callbacks.metrics.pck import PCK
from detectors.errors import ConfigError
from detectors.structures import DatasetInfo, Detections, Target
from tests.callbacks.metrics.animals import (
    INFO,
    animal,
    as_found,
    nothing_found,
    random_animals,
    without_points,
)
from tests.callbacks.toy import truth

HEAD, TAIL = (100.0, 100.0), (200.0, 100.0)
"""A body of 100 px; the box of `animal` has a longer side of 120 px."""
POOLED = {
    *(f"pck_{unit}_{percent}" for unit in ("box", "body") for percent in ("05", "10", "20")),
    *("nme_box", "nme_body", "error_px", "median_px"),
}


def score(
    found: list[Detections], targets: list[Target], info: DatasetInfo = INFO
) -> dict[str, float]:
    metric = PCK(info)
    metric.update(found, targets)
    return metric.compute()


def moved(target: Target, point: int, by: tuple[float, float]) -> Detections:
    """A detector that errs in one point."""
    found = as_found(target)
    assert found.keypoints is not None
    found.keypoints = found.keypoints.clone()
    found.keypoints[:, point, :2] += torch.tensor(by)
    return found


def test_the_names_of_the_values() -> None:
    values = score(*random_animals(0))
    by_point = {f"{key}/{point}" for key in POOLED for point in INFO.keypoint_names}
    assert values.keys() == POOLED | by_point | {"swap_rate", "match_recall"}


def test_perfect_points_are_all_correct_without_error_or_swap() -> None:
    _, targets = random_animals(0)
    values = score([as_found(t) for t in targets], targets)
    assert {v for k, v in values.items() if k.startswith("pck")} == {1.0}
    assert {v for k, v in values.items() if k.startswith(("nme", "error", "median"))} == {0.0}
    assert (values["swap_rate"], values["match_recall"]) == (0.0, 1.0)


def test_an_error_in_px_is_measured_in_units_of_the_boxs_longer_side_and_of_the_body() -> None:
    target = animal(HEAD, TAIL)
    values = score([moved(target, 2, (9.0, 12.0))], [target])  # 15 px
    assert values["error_px/tail"] == values["median_px/tail"] == pytest.approx(15)
    assert values["nme_box/tail"] == pytest.approx(15 / 120)
    assert values["nme_body/tail"] == pytest.approx(15 / 100)
    assert values["error_px"] == pytest.approx(5)
    assert values["median_px"] == values["error_px/head"] == 0.0
    correct = [values[f"pck_box_{p}/tail"] for p in ("05", "10", "20")]
    assert correct == [0.0, 0.0, 1.0]
    assert values["pck_box_10/head"] == 1.0
    assert values["pck_box_10"] == pytest.approx(2 / 3)


@pytest.mark.parametrize(("error", "correct"), [(9.5, 1.0), (10.0, 1.0), (10.5, 0.0)])
def test_a_point_is_correct_up_to_and_including_the_threshold(error: float, correct: float) -> None:
    target = animal(HEAD, TAIL)
    values = score([moved(target, 0, (error, 0.0))], [target])
    assert values["pck_body_10/head"] == correct


def test_the_points_of_an_object_that_nobody_found_are_wrong_but_have_no_error_in_px() -> None:
    targets = [animal(HEAD, TAIL), animal(HEAD, TAIL)]
    found = [moved(targets[0], 0, (3.0, 4.0)), nothing_found(targets[1])]
    values = score(found, targets)
    assert values["match_recall"] == 0.5
    assert values["pck_box_20"] == values["pck_body_20/tail"] == 0.5
    assert values["error_px/head"] == pytest.approx(5)
    assert values["nme_body/tail"] == 0.0
    assert values["swap_rate"] == 0.0


def test_nothing_found_is_all_wrong_and_has_no_error() -> None:
    _, targets = random_animals(1)
    values = score([nothing_found(t) for t in targets], targets)
    assert {v for k, v in values.items() if k.startswith("pck")} == {0.0}
    assert values["match_recall"] == 0.0
    rest = [v for k, v in values.items() if k.startswith(("nme", "error", "median", "swap"))]
    assert np.isnan(rest).all()


def test_head_and_tail_exchanged_are_a_swap_and_the_middle_stays_right() -> None:
    target = animal(HEAD, TAIL)
    found = as_found(target)
    assert found.keypoints is not None
    found.keypoints = found.keypoints.flip(dims=[1])
    values = score([found], [target])
    assert values["swap_rate"] == 1.0
    assert values["pck_box_20/body"] == 1.0
    assert values["pck_box_20/head"] == values["pck_box_20/tail"] == 0.0
    assert values["error_px/head"] == pytest.approx(100)


@given(st.lists(st.floats(-50, 50, width=32), min_size=4, max_size=4))
@settings(max_examples=50, deadline=None)
def test_a_swap_is_when_the_exchanged_ends_have_the_smaller_squared_distance(by: list) -> None:
    target = animal((100.0, 100.0), (140.0, 130.0))
    found = moved(target, 0, (by[0], by[1]))
    assert found.keypoints is not None
    assert target.keypoints is not None
    found.keypoints[:, 2, :2] += torch.tensor(by[2:])
    p, t = (points[0, [0, 2], :2].double() for points in (found.keypoints, target.keypoints))
    kept, exchanged = (p - t).square().sum(), (p - t.flip(dims=[0])).square().sum()
    if abs(kept - exchanged) > 1e-6:
        assert score([found], [target])["swap_rate"] == float(exchanged < kept)


def test_a_swap_needs_both_true_ends() -> None:
    target = animal(HEAD, TAIL, v=(2, 2, 0))
    values = score([as_found(target)], [target])
    assert math.isnan(values["swap_rate"])
    assert math.isnan(values["pck_body_10"])
    assert math.isnan(values["pck_box_10/tail"])
    assert values["pck_box_10"] == 1.0


def test_hidden_points_count() -> None:
    target = animal(HEAD, TAIL, v=(1, 2, 2))
    assert score([moved(target, 0, (50.0, 0.0))], [target])["pck_box_20/head"] == 0.0


def test_the_ends_of_the_body_are_configuration() -> None:
    target = animal(HEAD, TAIL)
    metric = PCK(INFO, thresholds=[0.15], body=[0, 1])
    metric.update([moved(target, 2, (10.0, 0.0))], [target])
    values = metric.compute()
    assert values["nme_body/tail"] == pytest.approx(10 / 50)
    assert values["pck_body_15/tail"] == 0.0
    assert values["pck_box_15/tail"] == 1.0


def test_crowd_difficult_and_pointless_objects_do_not_count_but_keep_their_detections() -> None:
    boxes = torch.tensor([[0.0, 0, 100, 100], [20, 0, 120, 100]])  # IoU 2/3
    target = truth("a", boxes, hw=(512, 512))
    target.keypoints = torch.tensor([[10.0, 10, 2], [50, 50, 2], [90, 90, 2]]).repeat(2, 1, 1)
    of_second = as_found(target)[torch.tensor([False, True])]
    for flag in ("crowd", "difficult"):
        values = score([of_second], [replace(target, **{flag: torch.tensor([False, True])})])
        assert values["match_recall"] == 0.0
        assert values["pck_box_20"] == 0.0
    pointless = replace(
        target, keypoints=target.keypoints * torch.tensor([1.0, 0.0])[:, None, None]
    )
    assert score([of_second], [pointless])["match_recall"] == 0.0
    assert score([of_second], [target])["match_recall"] == 0.5


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_point_that_is_no_number_is_wrong_and_spoils_no_mean(value: float) -> None:
    target = animal(HEAD, TAIL)
    found = moved(target, 0, (value, 0.0))
    values = score([found], [target])
    assert values["pck_box_20/head"] == 0.0
    assert values["pck_box_20/tail"] == 1.0
    assert values["error_px"] == 0.0
    assert math.isnan(values["error_px/head"])
    assert math.isnan(values["swap_rate"])


def all_nan(values: dict[str, float]) -> bool:
    names = score(*random_animals(0)).keys()
    return values.keys() == names and all(map(math.isnan, values.values()))


def test_without_images_objects_or_labelled_points_everything_is_nan() -> None:
    unlabelled = animal(HEAD, TAIL, v=(0, 0, 0))
    pointless = replace(unlabelled, keypoints=None)
    empty = unlabelled[torch.tensor([False])]
    assert all_nan(score([], []))
    assert all_nan(score([nothing_found(empty)], [empty]))
    assert all_nan(score([as_found(unlabelled)], [unlabelled]))
    assert all_nan(score([as_found(unlabelled)], [pointless]))


def test_a_detector_without_points_is_nan() -> None:
    found, targets = random_animals(2)
    assert all_nan(score(without_points(found), targets))


def test_a_dataset_without_points_is_nan() -> None:
    found, targets = random_animals(3)
    plain = [replace(target, keypoints=None) for target in targets]
    values = score(without_points(found), plain, DatasetInfo("boxes", INFO.class_names))
    assert values.keys() == POOLED | {"swap_rate", "match_recall"}
    assert all(map(math.isnan, values.values()))


def test_one_point_has_no_body_and_no_swap() -> None:
    info = DatasetInfo("dots", ["dot"], keypoint_names=["centre"])
    target = truth("a", torch.tensor([[0.0, 0, 10, 20]]))
    target.keypoints = torch.tensor([[[5.0, 5.0, 2.0]]])
    values = score([as_found(target)], [target], info)
    assert values["pck_box_05/centre"] == 1.0
    assert math.isnan(values["pck_body_20"])
    assert math.isnan(values["swap_rate"])


@given(seed=st.integers(0, 1000), order=st.permutations(range(6)))
@settings(max_examples=15, deadline=None)
def test_the_order_of_images_and_batches_does_not_matter(seed: int, order: Sequence[int]) -> None:
    found, targets = random_animals(seed, count=6)
    metric = PCK(INFO)
    for i in order:
        metric.update([found[i]], [targets[i]])
    assert metric.compute() == pytest.approx(score(found, targets), nan_ok=True)


@given(seed=st.integers(0, 1000), scale=st.sampled_from([0.5, 2.0, 8.0]))
@settings(max_examples=15, deadline=None)
def test_larger_pictures_change_px_and_nothing_else(seed: int, scale: float) -> None:
    found, targets = random_animals(seed, count=4)
    before = score(found, targets)
    for each in (*found, *targets):
        assert each.keypoints is not None
        each.boxes = each.boxes * scale
        each.keypoints = each.keypoints * torch.tensor([scale, scale, 1.0])
    for name, value in score(found, targets).items():
        factor = scale if "_px" in name else 1
        assert value == pytest.approx(before[name] * factor, nan_ok=True), name


def test_reset_forgets_the_images_before() -> None:
    found, targets = random_animals(5)
    metric = PCK(INFO)
    metric.update(without_points(found), targets)
    metric.reset()
    metric.update(found, targets)
    assert metric.compute() == pytest.approx(score(found, targets), nan_ok=True)


def test_another_number_of_points_is_refused_in_one_line() -> None:
    target = animal(HEAD, TAIL)
    found = replace(as_found(target), keypoints=torch.zeros(1, 5, 3))
    with pytest.raises(ConfigError, match="predicts 5 points") as caught:
        PCK(INFO).update([found], [target])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("body", [[0], [0, 3], [-4, 0]])
def test_a_body_between_points_that_do_not_exist_is_refused(body: list[int]) -> None:
    with pytest.raises(ConfigError, match=r"metrics\.pck\.body=.* 3 points .* -3 to 2"):
        PCK(INFO, body=body)
