import contextlib
import io
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from callbacks.coco_files import dataset, results
from callbacks.metrics.oks import OKS
from detectors.errors import ConfigError
from detectors.structures import DatasetInfo, Detections, Target
from tests.callbacks.metrics.animals import (
    INFO,
    all_found,
    animal,
    as_found,
    nothing_found,
    random_animals,
    without_points,
)
from tests.callbacks.toy import truth


def score(
    found: list[Detections], targets: list[Target], info: DatasetInfo = INFO
) -> dict[str, float]:
    metric = OKS(info)
    metric.update(found, targets)
    return metric.compute()


def pycocotools_score(
    found: list[Detections], targets: list[Target], info: DatasetInfo, maximum: int
) -> dict[str, float]:
    numbers = {target.frame.image_id: i for i, target in enumerate(targets, start=1)}
    with contextlib.redirect_stdout(io.StringIO()):
        known = COCO()
        known.dataset = {"info": {}, **dataset(targets, numbers, info)}
        known.createIndex()
        evaluation = COCOeval(known, known.loadRes(results(found, numbers)), "keypoints")
        evaluation.params.kpt_oks_sigmas = np.array(info.oks_sigmas)
        evaluation.params.maxDets = [maximum]
        evaluation.evaluate()
        evaluation.accumulate()
    precision = evaluation.eval["precision"][..., 0, 0]  # (thresholds, recalls, classes)
    recall = evaluation.eval["recall"][..., 0, 0]
    expected = {
        "oks_map": precision,
        "oks_map_50": precision[0],
        "oks_map_75": precision[5],
        f"oks_mar_{maximum}": recall,
    }
    for label, name in enumerate(info.class_names):
        expected[f"oks_ap/{name}"] = precision[..., label]
        expected[f"oks_ap_50/{name}"] = precision[0, ..., label]
    return {k: v[v > -1].mean() if (v > -1).any() else math.nan for k, v in expected.items()}


def assert_equal(ours: dict[str, float], theirs: dict[str, float]) -> None:
    assert ours.keys() == theirs.keys()
    for name, value in theirs.items():
        assert ours[name] == pytest.approx(value, abs=1e-9, nan_ok=True), name


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("maximum", [2, 20])
def test_it_equals_pycocotools_in_every_number(seed: int, maximum: int) -> None:
    found, targets = random_animals(seed)
    metric = OKS(INFO, max_detections=maximum)
    metric.update(found, targets)
    expected = pycocotools_score(found, targets, INFO, maximum)
    assert 0 < expected["oks_map"] < 1
    assert_equal(metric.compute(), expected)


def real_mice(folder: Path) -> list[Target]:
    """Snout, left and right ear and tail base of one mouse in 96 frames; the box is 25 px wider."""
    rows = np.genfromtxt(folder / "CollectedData_Pranav.csv", delimiter=",", skip_header=3)[:, 1:]
    points = torch.tensor(rows).float().reshape(-1, 4, 2)
    targets = []
    for i, xy in enumerate(points):
        box = torch.cat([xy.amin(dim=0) - 25, xy.amax(dim=0) + 25])
        target = truth(str(i), box[None], hw=(480, 640))
        target.keypoints = torch.cat([xy, torch.full((4, 1), 2.0)], dim=1)[None]
        targets.append(target)
    return targets


def test_it_equals_pycocotools_on_the_points_of_a_real_mouse(real_data: Path) -> None:
    targets = real_mice(real_data / "mouse_openfield" / "labeled-data" / "m4s1")
    info = DatasetInfo("mouse", ["mouse"], ["a", "b", "c", "d"], oks_sigmas=[0.03, 0.02, 0.02, 0.1])
    random = torch.Generator().manual_seed(0)
    found = [as_found(target, score=0.5 + i / 200) for i, target in enumerate(targets)]
    for each in found:
        assert each.keypoints is not None
        noise = 5 * torch.randn(each.keypoints.shape, generator=random)
        each.keypoints = each.keypoints + noise
    expected = pycocotools_score(found, targets, info, 20)
    assert 0.2 < expected["oks_map"] < 0.95
    assert_equal(score(found, targets, info), expected)


def test_perfect_points_score_one_in_every_class_that_occurs() -> None:
    _, targets = random_animals(0)
    values = score(all_found(targets), targets)
    assert values["oks_map"] == values["oks_mar_20"] == values["oks_ap/rat"] == 1.0
    assert math.isnan(values["oks_ap/never seen"])


def test_nothing_found_scores_zero() -> None:
    _, targets = random_animals(1)
    values = score([nothing_found(t) for t in targets], targets)
    assert values["oks_map"] == values["oks_mar_20"] == values["oks_ap_50/mouse"] == 0.0


def test_head_and_tail_exchanged_score_zero() -> None:
    target = animal((100.0, 100.0), (200.0, 100.0))
    found = as_found(target)
    assert found.keypoints is not None
    found.keypoints = found.keypoints.flip(dims=[1])
    assert score([found], [target])["oks_map_50"] == 0.0


@pytest.mark.parametrize("off", [3.0, 8.0, 11.9, 12.2, 20.0])
def test_one_point_off_passes_the_thresholds_that_its_closed_form_says(off: float) -> None:
    target = animal((100.0, 100.0), (200.0, 100.0))
    found = as_found(target)
    assert found.keypoints is not None
    found.keypoints = found.keypoints.clone()
    found.keypoints[0, 2, 1] += off
    area, sigma = float(target.area[0]), INFO.oks_sigmas[2]
    oks = (2 + math.exp(-(off**2) / (2 * area * (2 * sigma) ** 2))) / 3
    passed = sum(oks >= 0.5 + 0.05 * i for i in range(10)) / 10
    assert score([found], [target])["oks_map"] == pytest.approx(passed)


def test_points_on_a_line_are_measured_by_the_area_of_the_body() -> None:
    target = animal((100.0, 100.0), (200.0, 100.0))
    found = as_found(target)
    assert found.keypoints is not None
    found.keypoints = found.keypoints + torch.tensor([0.0, 1.0, 0.0])
    assert score([found], [target])["oks_map_50"] == 1.0
    target.area = target.area * 0
    assert score([found], [target])["oks_map_50"] == 0.0


def test_hidden_points_count_and_absent_ones_do_not() -> None:
    target = animal((100.0, 100.0), (200.0, 100.0), v=(2, 1, 0))
    found = as_found(target)
    assert found.keypoints is not None
    far = torch.tensor([200.0, 200.0, 0.0])
    absent_off, hidden_off = found.keypoints.clone(), found.keypoints.clone()
    absent_off[0, 2] += far
    hidden_off[0, 1] += far
    assert score([replace(found, keypoints=absent_off)], [target])["oks_map"] == 1.0
    assert score([replace(found, keypoints=hidden_off)], [target])["oks_map_75"] == 0.0


def test_objects_without_points_crowd_and_difficult_ones_are_neither_missed_nor_mistakes() -> None:
    targets = [animal((100.0, 100.0), (200.0, 100.0)) for _ in range(4)]
    found = [as_found(target, score=0.5 + 0.1 * i) for i, target in enumerate(targets)]
    for i, target in enumerate(targets):
        target.frame = found[i].frame = replace(target.frame, image_id=str(i))
    assert score(found[1:], targets[1:])["oks_map"] == 1.0
    targets[1].keypoints = torch.zeros(1, 3, 3)
    targets[2].crowd = torch.tensor([True])
    targets[3].difficult = torch.tensor([True])
    assert score(found, targets)["oks_map"] == 1.0
    missed = [nothing_found(target) for target in targets]
    assert score([found[0], *missed[1:]], targets)["oks_map"] == 1.0
    assert score([missed[0], *found[1:]], targets)["oks_map"] == 0.0


def all_nan(values: dict[str, float]) -> bool:
    return values.keys() == score(*random_animals(0)).keys() and all(
        map(math.isnan, values.values())
    )


def test_without_images_objects_or_labelled_points_everything_is_nan() -> None:
    empty = truth("a", torch.zeros(0, 4))
    unlabelled = animal((100.0, 100.0), (200.0, 100.0), v=(0, 0, 0))
    pointless = replace(unlabelled, keypoints=None)
    assert all_nan(score([], []))
    empty_found = Detections(
        torch.zeros(0, 4), torch.zeros(0), torch.zeros(0).long(), empty.frame, torch.zeros(0, 3, 3)
    )
    assert all_nan(score([empty_found], [empty]))
    assert all_nan(score([as_found(unlabelled)], [unlabelled]))
    assert all_nan(score([as_found(unlabelled)], [pointless]))


def test_a_detector_without_points_is_nan() -> None:
    found, targets = random_animals(2)
    assert all_nan(score(without_points(found), targets))


def test_a_dataset_without_points_is_nan() -> None:
    found, targets = random_animals(3)
    plain = [replace(target, keypoints=None) for target in targets]
    boxes_only = DatasetInfo("boxes", INFO.class_names)
    assert all_nan(score(without_points(found), plain, boxes_only))


def test_an_image_whose_target_has_no_points_is_scored_like_one_with_absent_points() -> None:
    found, targets = random_animals(4)
    absent = [replace(targets[0], keypoints=torch.zeros(len(targets[0]), 3, 3)), *targets[1:]]
    missing = [replace(targets[0], keypoints=None), *targets[1:]]
    assert len(targets[0]) > 0
    assert_equal(score(found, missing), score(found, absent))


@given(seed=st.integers(0, 1000), order=st.permutations(range(6)))
@settings(max_examples=15, deadline=None)
def test_the_order_of_images_and_batches_does_not_matter(seed: int, order: Sequence[int]) -> None:
    found, targets = random_animals(seed, count=6)
    for i, each in enumerate(found):  # equal scores are ranked by image, in COCO
        each.scores = each.scores + 0.001 * i
    metric = OKS(INFO)
    for i in order:
        metric.update([found[i]], [targets[i]])
    assert_equal(metric.compute(), score(found, targets))


def test_reset_forgets_the_images_before() -> None:
    found, targets = random_animals(5)
    metric = OKS(INFO)
    metric.update(without_points(found), targets)
    metric.reset()
    metric.update(found, targets)
    assert_equal(metric.compute(), score(found, targets))


def test_another_number_of_points_is_refused_in_one_line() -> None:
    target = animal((100.0, 100.0), (200.0, 100.0))
    found = replace(as_found(target), keypoints=torch.zeros(1, 5, 3))
    with pytest.raises(ConfigError, match=r"predicts 5 points .* has 3: train it") as caught:
        OKS(INFO).update([found], [target])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("sigmas", [[], [0.1, 0.1], [0.1, 0.0, 0.1]])
def test_sigmas_that_do_not_fit_the_points_are_refused(sigmas: list[float]) -> None:
    with pytest.raises(ConfigError, match=r"oks_sigmas=\[.*does not fit the 3 keypoint_names"):
        OKS(replace(INFO, oks_sigmas=sigmas))


def test_it_prints_and_logs_nothing(
    capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO"):
        score(*random_animals(6))
    assert capfd.readouterr() == ("", "")
    assert not caplog.records
