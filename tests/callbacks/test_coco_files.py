import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from pycocotools.coco import COCO

from callbacks.coco_files import dataset, predicted_dataset, results
from detectors.structures import Detections
from tests.callbacks.metrics.animals import INFO, animal, as_found, without_points

HEAD, TAIL = (100.0, 100.0), (200.0, 100.0)


def two_found() -> Detections:
    """The first point of the second one is said to be absent."""
    found = as_found(animal(HEAD, TAIL))[torch.tensor([0, 0])]
    assert found.keypoints is not None
    found.keypoints[..., 2] = torch.tensor([[0.9, 0.4, 1.0], [0.0, 0.2, 2.0]])
    return found


def test_predictions_are_a_coco_dataset_with_scores_and_keypoints(tmp_path: Path) -> None:
    file = tmp_path / "predictions.json"
    found = [two_found(), two_found()[torch.tensor([False, False])]]
    file.write_text(json.dumps(predicted_dataset(found, ["a.png", "b.png"], INFO)))
    coco = COCO(file)
    assert [image["file_name"] for image in coco.loadImgs(coco.getImgIds())] == ["a.png", "b.png"]
    first, second = coco.loadAnns(coco.getAnnIds(imgIds=[1]))
    assert first["bbox"] == [90, 90, 120, 20]
    assert (first["area"], first["iscrowd"]) == (2400, 0)
    assert first["score"] == pytest.approx(0.9)
    assert first["keypoints"] == [100, 100, 2, 150, 100, 2, 200, 100, 2]
    assert (first["num_keypoints"], second["num_keypoints"]) == (3, 2)
    assert second["keypoints"][2] == 0
    category = coco.loadCats([0])[0]
    assert category["keypoints"] == ["head", "body", "tail"]
    assert category["skeleton"] == [[1, 2], [2, 3]]


def test_predictions_of_a_box_detector_have_no_keypoints() -> None:
    (found,) = without_points([two_found()])
    annotations = predicted_dataset([found], ["a.png"], INFO)["annotations"]
    assert [annotation["id"] for annotation in annotations] == [1, 2]
    assert not any(key for annotation in annotations for key in annotation if "keypoints" in key)


def test_results_keep_what_the_detector_says_of_a_point() -> None:
    first, _ = results([two_found()], {"a": 7})
    assert first["image_id"] == 7
    assert first["keypoints"][2::3] == pytest.approx([0.9, 0.4, 1.0])


def test_an_object_without_points_has_absent_ones_where_the_dataset_has_keypoints() -> None:
    target = replace(animal(HEAD, TAIL), keypoints=None)
    (annotation,) = dataset([target], {"a": 1}, INFO)["annotations"]
    assert annotation["keypoints"] == [0] * 9
    assert annotation["num_keypoints"] == 0
    (annotation,) = dataset([target], {"a": 1}, replace(INFO, keypoint_names=[]))["annotations"]
    assert "keypoints" not in annotation
