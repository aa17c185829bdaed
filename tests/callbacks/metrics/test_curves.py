import contextlib
import io
import json
import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from callbacks import figures
from callbacks.coco_files import dataset, results
from callbacks.metrics.curves import GRID, Curves
from detectors.structures import DatasetInfo, Detections, Target
from tests.callbacks.metrics.test_coco_ap import CLASSES, none, perfect, random_images
from tests.callbacks.toy import truth

STEP = 25
"""Of the 1001 confidences, every so many are compared; all scores of the scenes are among them."""
LEFT, RIGHT, FAR = [0.0, 0, 40, 40], [50.0, 0, 90, 40], [0.0, 50, 40, 90]


def measured(detections: list[Detections], targets: list[Target], min_iou: float = 0.5) -> Curves:
    metric = Curves(CLASSES, min_iou)
    metric.update(detections, targets)
    return metric


def score(detections: list[Detections], targets: list[Target]) -> dict[str, float]:
    return measured(detections, targets).compute()


def found(target: Target, boxes: list[list[float]], scores: list[float], label: int = 0) -> Any:
    labels = torch.full((len(boxes),), label)
    return Detections(
        torch.tensor(boxes).reshape(-1, 4), torch.tensor(scores), labels, target.frame
    )


class FromCoco:
    """Hits, mistakes and objects as pycocotools' matching tells them, at one IoU."""

    def __init__(self, detections: list[Detections], targets: list[Target], min_iou: float) -> None:
        numbers = {target.frame.image_id: i for i, target in enumerate(targets, start=1)}
        with contextlib.redirect_stdout(io.StringIO()):
            known = COCO()
            known.dataset = {"info": {}, **dataset(targets, numbers, DatasetInfo("x", CLASSES))}
            known.createIndex()
            # pycocotools refuses an empty list of results
            entries = results(detections, numbers) or [
                {"image_id": 1, "category_id": 99, "bbox": [0, 0, 1, 1], "score": 0.5}
            ]
            evaluation = COCOeval(known, known.loadRes(entries), "bbox")
            evaluation.params.iouThrs = np.array([min_iou])
            evaluation.params.maxDets = [10_000]
            evaluation.params.areaRng, evaluation.params.areaRngLbl = [[0, 1e10]], ["all"]
            evaluation.evaluate()
        cells = [cell for cell in evaluation.evalImgs if cell is not None]
        counted = [~cell["dtIgnore"][0].astype(bool) for cell in cells]
        columns = list(zip(cells, counted, strict=True))
        self.scores = _joined([np.array(c["dtScores"])[k] for c, k in columns])
        self.hits = _joined([c["dtMatches"][0][k] > 0 for c, k in columns])
        self.labels = _joined([np.full(k.sum(), c["category_id"]) for c, k in columns])
        self.objects = {
            label: sum(int((c["gtIgnore"] == 0).sum()) for c in cells if c["category_id"] == label)
            for label in range(len(CLASSES))
        }

    def at(self, confidence: float, label: int | None = None) -> tuple[float, float, float]:
        """Precision, recall and F1 of all classes, or of one."""
        chosen = self.scores >= confidence
        objects = sum(self.objects.values()) if label is None else self.objects[label]
        if label is not None:
            chosen &= self.labels == label
        hits, number = int(self.hits[chosen].sum()), int(chosen.sum())
        if not objects:
            return math.nan, math.nan, math.nan
        precision = hits / number if number else math.nan
        return precision, hits / objects, 2 * hits / (number + objects)


def _joined(columns: list[np.ndarray]) -> np.ndarray:
    return np.concatenate([np.zeros(0), *columns])


def equal_at_every_confidence(
    detections: list[Detections], targets: list[Target], min_iou: float
) -> None:
    theirs = FromCoco(detections, targets, min_iou)
    metric = measured(detections, targets, min_iou)
    record, values = metric.record(), metric.compute()
    assert record["pooled"]["objects"] == sum(theirs.objects.values())
    rows = {None: record["pooled"]} | {i: record["classes"][n] for i, n in enumerate(CLASSES)}
    for label, row in rows.items():
        ours = [row[key][::STEP] for key in ("precision", "recall", "f1")]
        expected = np.array([theirs.at(t, label) for t in GRID[::STEP]]).T
        np.testing.assert_allclose(np.array(ours, np.float64), expected, atol=6e-5)
    at_scores = {s: theirs.at(s) for s in np.unique(theirs.scores)}
    best = max((f1 for _, _, f1 in at_scores.values()), default=math.nan)
    if not best > 0:
        assert math.isnan(values["confidence"])
        return
    confidence = max(s for s, (_, _, f1) in at_scores.items() if f1 == best)
    assert values["confidence"] == confidence
    assert [values[k] for k in ("precision", "recall", "f1")] == pytest.approx(
        at_scores[confidence], abs=1e-12
    )
    for label, name in enumerate(CLASSES):
        expected_f1 = theirs.at(confidence, label)[2]
        assert values[f"f1/{name}"] == pytest.approx(expected_f1, abs=1e-12, nan_ok=True)


@pytest.mark.parametrize("min_iou", [0.5, 0.75])
@pytest.mark.parametrize("seed", range(6))
def test_all_three_are_those_of_the_matches_of_pycocotools(seed: int, min_iou: float) -> None:
    equal_at_every_confidence(*random_images(seed), min_iou)


SIDE = st.integers(0, 6)
BOX = st.tuples(SIDE, SIDE, st.integers(1, 4), st.integers(1, 4), st.integers(0, 1))
OBJECT = st.tuples(BOX, st.sampled_from(["", "", "crowd", "difficult"]))
FOUND = st.tuples(BOX, st.sampled_from([0.25, 0.5, 0.75, 1.0]))


BETWEEN = [((1, 0, 4, 4, 0), 1.0), ((0, 0, 4, 4, 0), 0.75)]
"""The first overlaps two objects alike, 12 of 20 px²; the second fits only one of them."""


@example([((0, 0, 4, 4, 0), ""), ((2, 0, 4, 4, 0), "")], BETWEEN)
@example([((2, 0, 4, 4, 0), ""), ((0, 0, 4, 4, 0), "")], BETWEEN)
@given(objects=st.lists(OBJECT, max_size=5), guesses=st.lists(FOUND, max_size=7))
@settings(max_examples=100, deadline=None)
def test_equal_overlaps_and_equal_scores_are_resolved_as_pycocotools_does(objects, guesses) -> None:
    """Small whole boxes: equal IoUs, and IoUs of exactly 0.5, are common."""
    guesses = sorted(guesses, key=lambda guess: -guess[1])
    target = truth("a", *_columns([box for box, _ in objects]))
    target.crowd = torch.tensor([kind == "crowd" for _, kind in objects], dtype=torch.bool)
    target.difficult = torch.tensor([kind == "difficult" for _, kind in objects], dtype=torch.bool)
    boxes, labels = _columns([box for box, _ in guesses])
    scores = torch.tensor([s for _, s in guesses], dtype=torch.float32)
    equal_at_every_confidence([Detections(boxes, scores, labels, target.frame)], [target], 0.5)


def _columns(boxes: list[tuple[int, ...]]) -> tuple[torch.Tensor, torch.Tensor]:
    rows = torch.tensor(boxes).reshape(-1, 5)
    corners = torch.cat([rows[:, :2], rows[:, :2] + rows[:, 2:4]], dim=1).float()
    return corners, rows[:, 4].long()


def test_a_worked_example() -> None:
    """Two objects; hit, mistake, hit by falling score: F1 is 2/3, 1/2 and 4/5."""
    target = truth("a", torch.tensor([LEFT, RIGHT]))
    metric = measured([found(target, [LEFT, FAR, RIGHT], [0.75, 0.5, 0.25])], [target])
    pooled = metric.record()["pooled"]
    for at, precision, recall, f1 in [
        (0, 0.6667, 1.0, 0.8),
        (250, 0.6667, 1.0, 0.8),
        (251, 0.5, 0.5, 0.5),
        (500, 0.5, 0.5, 0.5),
        (501, 1.0, 0.5, 0.6667),
        (750, 1.0, 0.5, 0.6667),
        (751, None, 0.0, 0.0),
        (1000, None, 0.0, 0.0),
    ]:
        assert [pooled[key][at] for key in ("precision", "recall", "f1")] == [precision, recall, f1]
    values = metric.compute()
    assert values["f1"] == values["f1/cat"] == 0.8
    assert (values["precision"], values["recall"]) == (pytest.approx(2 / 3), 1.0)
    assert values["confidence"] == 0.25


def test_equal_scores_cannot_be_told_apart_by_a_threshold() -> None:
    target = truth("a", torch.tensor([LEFT]))
    values = score([found(target, [LEFT, FAR, RIGHT], [0.5, 0.5, 0.5])], [target])
    assert (values["f1"], values["precision"], values["recall"]) == (0.5, pytest.approx(1 / 3), 1.0)


def test_a_second_detection_of_an_object_is_a_mistake() -> None:
    target = truth("a", torch.tensor([LEFT]))
    double = measured([found(target, [LEFT, LEFT], [0.75, 0.5])], [target])
    assert double.record()["pooled"]["precision"][0] == 0.5
    assert double.compute()["confidence"] == 0.75


def test_of_equally_good_confidences_the_highest_is_named() -> None:
    target = truth("a", torch.tensor([LEFT, RIGHT]))
    # F1 is 2/3 at the first, 1/2 at the second, and 4/6 at the fourth
    guesses = found(target, [LEFT, FAR, FAR, RIGHT], [0.9, 0.8, 0.7, 0.6])
    assert score([guesses], [target])["confidence"] == pytest.approx(0.9)


def test_perfect_detections_score_one_in_every_class_that_occurs() -> None:
    _, targets = random_images(0)
    values = score(perfect(targets), targets)
    assert {v for v in values.values() if not math.isnan(v)} == {1.0}
    assert [name for name, v in values.items() if math.isnan(v)] == ["f1/never seen"]


def test_swapped_classes_hit_nothing() -> None:
    targets = [truth("a", torch.tensor([LEFT, RIGHT]), torch.tensor([0, 1]))]
    swapped = perfect(targets)
    swapped[0].labels = 1 - swapped[0].labels
    values = score(swapped, targets)
    assert values["f1"] == values["recall"] == values["f1/cat"] == 0.0
    assert math.isnan(values["confidence"])


def test_without_detections_recall_is_zero_and_precision_unknown() -> None:
    _, targets = random_images(1)
    values = score(none(targets), targets)
    assert values["f1"] == values["recall"] == values["f1/dog"] == 0.0
    assert math.isnan(values["precision"])
    assert math.isnan(values["confidence"])


@pytest.mark.parametrize("images", [0, 2])
def test_without_any_object_everything_is_nan(images: int) -> None:
    targets = [truth(str(i), torch.zeros(0, 4)) for i in range(images)]
    metric = measured([found(target, [LEFT], [0.5]) for target in targets], targets)
    assert np.isnan(list(metric.compute().values())).all()
    record = metric.record()
    assert {*record["pooled"]["precision"], *record["pooled"]["f1"]} == {None}


def test_a_detection_of_a_class_without_objects_is_a_mistake_and_its_class_unmeasured() -> None:
    target = truth("a", torch.tensor([LEFT]))
    stray = found(target, [LEFT, RIGHT], [0.9, 0.95])
    stray.labels[1] = 3
    values = score([stray], [target])
    assert values["precision"] == 0.5
    assert values["f1/cat"] == 1.0
    assert math.isnan(values["f1/never seen"])


def test_crowd_and_difficult_objects_are_neither_missed_nor_mistakes() -> None:
    target = truth("a", torch.tensor([LEFT, RIGHT, FAR]))
    target.crowd[1] = target.difficult[2] = True
    alone = score([found(target, [LEFT], [0.5])], [target])
    parts = [[50.0, 0, 70, 20], [70.0, 20, 90, 40], FAR, FAR]
    among = score([found(target, [*parts, LEFT], [0.9, 0.9, 0.8, 0.7, 0.5])], [target])
    assert alone == pytest.approx(among, nan_ok=True)
    assert among["f1"] == 1.0


def test_a_scored_object_is_preferred_to_an_ignored_one() -> None:
    target = truth("a", torch.tensor([[0.0, 0, 40, 30], LEFT]))
    target.difficult[1] = True
    assert score([found(target, [LEFT], [0.5])], [target])["f1"] == 1.0


@given(seed=st.integers(0, 1000))
@settings(max_examples=20, deadline=None)
def test_recall_never_rises_with_confidence_and_f1_is_the_harmonic_mean(seed: int) -> None:
    record = measured(*random_images(seed, count=3)).record()
    for curve in (record["pooled"], *record["classes"].values()):
        precision, recall, f1 = (np.array(curve[k], float) for k in ("precision", "recall", "f1"))
        assert not (np.diff(recall) > 0).any()
        both = precision + recall > 0  # and not NaN
        harmonic = 2 * precision[both] * recall[both] / (precision + recall)[both]
        np.testing.assert_allclose(f1[both], harmonic, atol=2e-4)


def test_images_may_come_in_pieces_and_reset_forgets_them() -> None:
    detections, targets = random_images(2)
    whole = measured(detections, targets)
    parts = measured(perfect(targets), targets)
    parts.reset()
    for one, target in zip(detections, targets, strict=True):
        parts.update([one], [target])
    assert parts.record() == whole.record()


def test_the_record_is_strict_json_and_holds_the_best_values() -> None:
    metric = measured(*random_images(3))
    record = json.loads(json.dumps(metric.record(), allow_nan=False))
    best = {k: None if math.isnan(v) else v for k, v in metric.compute().items()}
    assert record["best"] == best
    assert record["min_iou"] == 0.5
    assert record["confidence"][:3] == [0.0, 0.001, 0.002]
    assert max(record["pooled"]["f1"]) <= best["f1"] + 5e-5


def shown(picture: np.ndarray, color: str) -> bool:
    rgb = [int(color[i : i + 2], 16) for i in (1, 3, 5)]
    return bool((picture == rgb).all(axis=-1).any())


def picture_of(names: list[str], detections: list[Detections], targets: list[Target]) -> np.ndarray:
    metric = Curves(names)
    metric.update(detections, targets)
    return metric.picture(metric.record())


@pytest.mark.parametrize(("classes", "colors"), [(4, 4), (10, 6), (11, 0)])
def test_single_classes_are_drawn_up_to_ten_and_all_together_always(classes, colors) -> None:
    names = [f"class {i}" for i in range(classes)]
    picture = picture_of(names, *random_images(0))
    assert [shown(picture, color) for color in figures.COLORS] == [i < colors for i in range(6)]
    assert shown(picture, figures.INK)


def test_one_class_is_one_line() -> None:
    target = truth("a", torch.tensor([LEFT]))
    picture = picture_of(["cat"], [found(target, [LEFT, FAR], [0.9, 0.8])], [target])
    assert not any(shown(picture, color) for color in figures.COLORS)
    assert shown(picture, figures.INK)


@pytest.mark.parametrize("names", [["5$ to 10$", "_hidden", "猫", "a\\b{"], ["a"] + ["b"] * 3])
def test_any_class_name_can_be_drawn(names: list[str]) -> None:
    assert picture_of(names, *random_images(0)).ndim == 3


def test_nothing_to_measure_can_be_drawn() -> None:
    _, targets = random_images(0)
    empty = [truth(t.frame.image_id, torch.zeros(0, 4)) for t in targets]
    for objects in (targets, empty):
        picture = picture_of(CLASSES, none(objects), objects)
        assert picture.shape[1] > 1000
