from pathlib import Path

import pytest
import torch
from pycocotools.coco import COCO

from datamodules.sources.coco_json import CocoJson
from detectors.structures import DatasetInfo
from tests.datamodules.sources.formats import (
    COCO_NOTE,
    PETS,
    POINTS,
    coco_content,
    coco_folder,
    error_of,
    write,
)

POSES = Path(__file__).parents[4] / "shared/data/human_pose_mini"


def source_of(root, *notes, info=PETS, keypoints=(), **options) -> CocoJson:
    return CocoJson(info, coco_folder(root, coco_content(notes, keypoints)), **options)


def test_boxes_are_xywh_and_classes_are_found_by_name(tmp_path):
    source = source_of(tmp_path, COCO_NOTE)
    assert source.ids == ["a", "sub/b"]
    target = source.target(0)
    assert target.boxes.tolist() == [[10, 20, 60, 70]]
    assert [PETS.class_names[i] for i in target.labels] == ["dog"]
    assert target.area.tolist() == [1000.5]
    assert len(source.target(1)) == 0
    assert source.image(1).shape == (100, 120, 3)


def test_crowd_and_ignore_are_kept_apart_and_a_missing_area_is_the_boxs(tmp_path):
    crowd = {**COCO_NOTE, "iscrowd": 1}
    bare = {key: COCO_NOTE[key] for key in ("image_id", "category_id", "bbox")}
    target = source_of(tmp_path, crowd, {**bare, "id": 2, "ignore": 1}).target(0)
    assert target.crowd.tolist() == [True, False]
    assert target.difficult.tolist() == [False, True]
    assert target.area.tolist() == [1000.5, 2500]


@pytest.mark.parametrize(
    ("written", "wanted", "expected"),
    [
        (("head", "tail"), ("head", "tail"), [[15, 25, 2], [40, 60, 1]]),
        (("head", "tail"), ("tail", "head"), [[40, 60, 1], [15, 25, 2]]),
        (("head", "tail"), ("tail",), [[40, 60, 1]]),
    ],
)
def test_keypoints_are_ordered_by_their_names(tmp_path, written, wanted, expected):
    note = {**COCO_NOTE, "keypoints": POINTS}
    info = DatasetInfo("pets", ("cat", "dog"), wanted)
    target = source_of(tmp_path, note, info=info, keypoints=written).target(0)
    assert target.keypoints is not None
    assert target.keypoints.tolist() == [expected]


def test_objects_without_keypoints_have_all_of_them_absent(tmp_path):
    info = DatasetInfo("pets", ("cat", "dog"), ("head", "tail"))
    cat = {**COCO_NOTE, "category_id": 3, "id": 2}
    target = source_of(tmp_path, COCO_NOTE, cat, info=info, keypoints=("head", "tail")).target(0)
    assert target.keypoints is not None
    assert target.keypoints.tolist() == [[[0, 0, 0]] * 2] * 2


def test_keypoints_that_nobody_asks_for_are_not_read(tmp_path):
    note = {**COCO_NOTE, "keypoints": ["x"]}
    assert source_of(tmp_path, note).target(0).keypoints is None


WRONG_NOTES = {
    "unknown image": ({"image_id": 9}, "annotation 1: image_id 9 is no listed image's"),
    "no image": ({"image_id": None}, "annotation 1: image_id None is no listed image's"),
    "unknown category": ({"category_id": 1}, "annotation 1: category_id 1 is no category's"),
    "no id": ({"id": None}, "annotations[0]: id is None"),
    "no box": ({"bbox": None}, "annotation 1: bbox is None: write 4 numbers"),
    "short box": ({"bbox": [1, 2, 3]}, "annotation 1: bbox is [1, 2, 3]"),
    "text": ({"bbox": [1, 2, 3, "x"]}, "annotation 1: bbox is 'x'"),
    "zero box": ({"bbox": [1, 2, 0, 3]}, "annotation 1: box (1, 2, 0, 3) has no area"),
    "far outside": ({"bbox": [1, 2, 500, 3]}, "annotation 1: box (1, 2, 500, 3) lies outside"),
    "area": ({"area": -1}, "annotation 1: area -1 is not between 0"),
    "huge area": ({"area": 1e300}, "annotation 1: area 1e+300 is not between 0"),
    "crowd": ({"iscrowd": 2}, "annotation 1: iscrowd is 2: write 0 or 1"),
}


@pytest.mark.parametrize(("change", "expected"), WRONG_NOTES.values(), ids=WRONG_NOTES)
def test_a_wrong_annotation_is_named_with_file_id_and_remedy(tmp_path, change, expected):
    root = coco_folder(tmp_path, coco_content([{**COCO_NOTE, **change}]))
    message = error_of(CocoJson, PETS, root)
    assert message.startswith(f"{root}/annotations/instances_train.json: {expected}")
    good = {**COCO_NOTE, "id": 2}
    write_notes = coco_content([{**COCO_NOTE, **change}, good])
    tolerant = CocoJson(PETS, coco_folder(tmp_path, write_notes), mistakes="drop_all")
    assert tolerant.target(0).boxes.tolist() == [[10, 20, 60, 70]]
    assert [str(mistake) for mistake in tolerant.dropped] == [message]


def test_annotation_ids_must_differ(tmp_path):
    notes = [COCO_NOTE, COCO_NOTE]
    assert "annotation 1: the id stands there twice" in error_of(source_of, tmp_path, *notes)
    tolerant = source_of(tmp_path, *notes, mistakes="drop_all")
    assert (len(tolerant.target(0)), len(tolerant.dropped)) == (1, 1)


def wrong_images() -> dict:
    def changed(**change):
        content = coco_content()
        content["images"][0] |= change
        return content

    return {
        "same id": (changed(id=2), "image 2: the id stands there twice"),
        "no id": (changed(id=None), "images[0]: id is None"),
        "no name": (changed(file_name=None), "image 1: file_name is None"),
        "no file": (changed(file_name="c.jpg"), "image 1: the image "),
        "escape": (changed(file_name="../a.jpg"), "image 1: file_name '../a.jpg' leaves"),
        "absolute": (changed(file_name="/a.jpg"), "image 1: file_name '/a.jpg' leaves"),
        "same name": (changed(file_name="sub/b.png"), "image 2: the image sub/b stands there"),
        "other size": (changed(height=99), "image 1: made for 120x99 px (w x h), but "),
        "half a size": (changed(height=None), "image 1: height is missing"),
        "half a pixel": (changed(height=99.5), "image 1: height is 99.5: write a whole"),
    }


@pytest.mark.parametrize(("content", "expected"), wrong_images().values(), ids=wrong_images())
def test_a_wrong_image_is_named_with_file_id_and_remedy(tmp_path, content, expected):
    content["annotations"] = []
    root = coco_folder(tmp_path, content)
    message = error_of(CocoJson, PETS, root)
    assert message.startswith(f"{root}/annotations/instances_train.json: {expected}")


def test_a_file_without_sizes_is_read(tmp_path):
    content = coco_content()
    for image in content["images"]:
        del image["height"], image["width"]
    assert CocoJson(PETS, coco_folder(tmp_path, content)).target(0).boxes.shape == (1, 4)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{", "malformed JSON"),
        ("[]", "has no list 'images'"),
        ('{"images": {}}', "has no list 'images'"),
        ('{"images": [], "annotations": []}', "has no list 'categories'"),
    ],
)
def test_a_damaged_file_is_named(tmp_path, text, expected):
    root = coco_folder(tmp_path)
    file = write(root / "annotations/instances_train.json", text)
    assert error_of(CocoJson, PETS, root).startswith(f"{file}: {expected}")


def test_categories_are_checked(tmp_path):
    content = coco_content()
    content["categories"].append({"id": 3, "name": "bird"})
    assert "category 3: the id stands there twice" in error_of(
        CocoJson, PETS, coco_folder(tmp_path, content)
    )
    info = DatasetInfo("pets", ("cat", "dog"), ("head", "hand"))
    message = error_of(source_of, tmp_path, info=info, keypoints=("head", "tail"))
    assert "no category has a keypoint 'hand', but head, tail" in message


@pytest.mark.skipif(not POSES.is_dir(), reason="shared/data/human_pose_mini is not here")
def test_real_poses_are_what_pycocotools_reads(capsys):
    theirs = COCO(POSES / "coco/test_coco.json")
    (person,) = theirs.loadCats(theirs.getCatIds())
    info = DatasetInfo("poses", ("person",), person["keypoints"])
    source = CocoJson(info, POSES / "coco", annotations="test_coco.json", image_dir=".")
    assert len(source) == len(theirs.imgs)
    for index, name in enumerate(source.ids):
        target = source.target(index)
        notes = theirs.loadAnns(theirs.getAnnIds([int(name)]))
        expected = torch.tensor([note["keypoints"] for note in notes]).reshape(-1, 17, 3)
        boxes = torch.tensor([note["bbox"] for note in notes])
        boxes[:, 2:] += boxes[:, :2]
        assert torch.equal(target.keypoints, expected.float())
        torch.testing.assert_close(target.boxes, boxes)
        torch.testing.assert_close(target.area, torch.tensor([note["area"] for note in notes]))
