import contextlib
import io
import math

import numpy as np
import pytest
import torch
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from callbacks.coco_files import dataset, results
from callbacks.metrics.coco_ap import CocoAP
from detectors.structures import DatasetInfo, Detections, Target
from tests.callbacks.toy import truth

CLASSES = ["cat", "dog", "emu", "never seen"]


def random_images(seed: int, count: int = 12) -> tuple[list[Detections], list[Target]]:
    """Objects of all sizes, some crowd or difficult; detections near them, wrong ones, and none."""
    random = torch.Generator().manual_seed(seed)
    detections, targets = [], []
    for index in range(count):
        n = int(torch.randint(0, 8, (1,), generator=random))
        corner = 200 * torch.rand(n, 2, generator=random)
        size = 4 + 220 * torch.rand(n, 2, generator=random) ** 2
        boxes = torch.cat([corner, corner + size], dim=1)
        target = truth(str(index), boxes, torch.randint(0, 3, (n,), generator=random), (512, 512))
        target.crowd = torch.rand(n, generator=random) < 0.1
        target.difficult = torch.rand(n, generator=random) < 0.1
        targets.append(target)
        detections.append(_around(target, random))
    return detections, targets


def _around(target: Target, random: torch.Generator) -> Detections:
    repeats = int(torch.randint(0, 4, (1,), generator=random))
    boxes = target.boxes.repeat(repeats, 1)
    boxes = boxes + 8 * torch.randn(boxes.shape, generator=random)
    boxes = torch.cat([boxes[:, :2], torch.maximum(boxes[:, 2:], boxes[:, :2] + 1)], dim=1)
    labels = target.labels.repeat(repeats)
    swapped = torch.rand(len(labels), generator=random) < 0.2
    labels = torch.where(swapped, (labels + 1) % 3, labels)
    scores = (20 * torch.rand(len(labels), generator=random)).round() / 20  # ties
    order = scores.argsort(descending=True, stable=True)
    return Detections(boxes, scores, labels, target.frame)[order]


def perfect(targets: list[Target]) -> list[Detections]:
    return [Detections(t.boxes, torch.ones(len(t)), t.labels, t.frame) for t in targets]


def none(targets: list[Target]) -> list[Detections]:
    empty = torch.zeros(0)
    return [Detections(empty.reshape(0, 4), empty, empty.long(), t.frame) for t in targets]


def score(detections: list[Detections], targets: list[Target]) -> dict[str, float]:
    metric = CocoAP(CLASSES)
    metric.update(detections, targets)
    return metric.compute()


def pycocotools_score(detections: list[Detections], targets: list[Target]) -> COCOeval:
    numbers = {target.frame.image_id: i for i, target in enumerate(targets, start=1)}
    with contextlib.redirect_stdout(io.StringIO()):
        known = COCO()
        known.dataset = {"info": {}, **dataset(targets, numbers, DatasetInfo("x", CLASSES))}
        known.createIndex()
        evaluation = COCOeval(known, known.loadRes(results(detections, numbers)), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation


@pytest.mark.parametrize("seed", range(8))
def test_it_equals_pycocotools_in_every_number(seed: int) -> None:
    detections, targets = random_images(seed)
    ours, theirs = score(detections, targets), pycocotools_score(detections, targets)
    names = ["map", "map_50", "map_75", "map_small", "map_medium", "map_large"]
    expected = dict(zip(names, theirs.stats[:6], strict=True)) | {"mar_100": theirs.stats[8]}
    for label, name in enumerate(CLASSES):
        precision = theirs.eval["precision"][:, :, label, 0, 2]  # (thresholds, recalls)
        expected[f"ap/{name}"] = precision.mean()
        expected[f"ap_50/{name}"] = precision[0].mean()
    expected = {name: math.nan if v == -1 else v for name, v in expected.items()}
    assert ours.keys() == expected.keys()
    for name, value in expected.items():
        assert ours[name] == pytest.approx(value, abs=1e-9, nan_ok=True), name


def test_perfect_detections_score_one_in_every_class_and_size_that_occurs() -> None:
    _, targets = random_images(0)
    values = score(perfect(targets), targets)
    assert values["map"] == values["map_50"] == values["mar_100"] == values["ap/cat"] == 1.0
    assert {v for v in values.values() if not math.isnan(v)} == {1.0}


def test_swapped_classes_score_zero() -> None:
    targets = [truth("a", torch.tensor([[0.0, 0, 50, 50], [60, 60, 90, 90]]), torch.tensor([0, 1]))]
    found = perfect(targets)
    found[0].labels = 1 - found[0].labels
    assert score(found, targets)["map"] == 0.0


def test_no_detections_score_zero_where_there_are_objects() -> None:
    _, targets = random_images(1)
    values = score(none(targets), targets)
    assert values["map"] == values["mar_100"] == values["ap/dog"] == 0.0


def test_a_class_without_objects_is_nan_and_does_not_lower_the_mean() -> None:
    targets = [truth("a", torch.tensor([[0.0, 0, 50, 50]]))]
    found = perfect(targets)
    found[0] = Detections(
        found[0].boxes.repeat(2, 1),
        torch.tensor([1.0, 0.9]),
        torch.tensor([0, 1]),
        found[0].frame,
    )
    values = score(found, targets)
    assert values["map"] == 1.0
    assert math.isnan(values["ap/dog"])
    assert math.isnan(values["ap_50/never seen"])
    assert math.isnan(values["map_small"])


@pytest.mark.parametrize("with_detections", [False, True])
def test_without_any_object_everything_is_nan_and_nothing_is_minus_one(
    with_detections: bool,
) -> None:
    targets = [truth("a", torch.zeros(0, 4)), truth("b", torch.zeros(0, 4))]
    found = none(targets)
    if with_detections:
        found[0] = Detections(
            torch.tensor([[0.0, 0, 9, 9]]), torch.ones(1), torch.zeros(1).long(), found[0].frame
        )
    values = score(found, targets)
    assert values.keys() == score(perfect(random_images(0)[1]), random_images(0)[1]).keys()
    assert np.isnan(list(values.values())).all()


def test_without_any_image_everything_is_nan() -> None:
    assert np.isnan(list(CocoAP(CLASSES).compute().values())).all()


def test_difficult_and_crowd_objects_are_neither_missed_nor_mistakes() -> None:
    target = truth("a", torch.tensor([[0.0, 0, 50, 50], [60, 60, 90, 90], [0, 60, 40, 95]]))
    target.difficult[1] = target.crowd[2] = True
    assert score(perfect([target]), [target])["map"] == 1.0
    only_first = perfect([target])[0][torch.tensor([True, False, False])]
    assert score([only_first], [target])["map"] == 1.0


def test_only_the_best_detections_up_to_the_limit_count() -> None:
    target = truth("a", torch.tensor([[0.0, 0, 50, 50]]))
    wrong_first = Detections(
        torch.tensor([[60.0, 60, 90, 90], [0, 0, 50, 50]]),
        torch.tensor([0.9, 0.8]),
        torch.zeros(2).long(),
        target.frame,
    )
    metric = CocoAP(CLASSES, max_detections=1)
    metric.update([wrong_first], [target])
    values = metric.compute()
    assert values["map"] == values["mar_1"] == 0.0
    assert score([wrong_first], [target])["map"] == pytest.approx(0.5)


def test_reset_forgets_the_images_before() -> None:
    detections, targets = random_images(2)
    metric = CocoAP(CLASSES)
    metric.update(none(targets), targets)
    metric.reset()
    metric.update(detections, targets)
    assert metric.compute() == pytest.approx(score(detections, targets), nan_ok=True)


def test_it_prints_and_logs_nothing(
    capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    score(*random_images(3))
    assert capfd.readouterr() == ("", "")
    assert not caplog.records
