"""Every kind of finding, on a small set that has exactly this one."""

import json
import os
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

import cv2
import pytest

from datamodules.detection import DetectionDataModule
from datamodules.inspect.check import quick_check
from datamodules.inspect.dataset import Dataset, read_dataset
from datamodules.sources.coco_json import CocoJson
from datamodules.sources.synthetic import SyntheticScenes
from datamodules.sources.worlds.shapes import easy
from detectors.errors import DataError
from detectors.structures import DatasetInfo
from tests.datamodules.folders import object_xml, write_xml
from tests.datamodules.inspect.sets import CLEAN, add, check, clean, dataset, picture


def annotate(objects: str) -> Callable[[Path], object]:
    """Image `a` gets these objects."""
    return lambda root: write_xml(root, "a", f"<annotation>{objects}</annotation>")


def cut_off(root: Path) -> None:
    file = root / "JPEGImages/a.jpg"
    file.write_bytes(file.read_bytes()[:-300])


def copied(root: Path, split: str) -> None:
    add(root, split, m=CLEAN)
    shutil.copy(root / "JPEGImages/a.jpg", root / "JPEGImages/m.jpg")


def saved_again(root: Path, split: str) -> None:
    add(root, split, m=CLEAN)
    smaller = cv2.resize(picture("a"), (90, 75), interpolation=cv2.INTER_AREA)
    cv2.imwrite(str(root / "JPEGImages/m.png"), cv2.resize(smaller, (120, 100)))
    (root / "JPEGImages/m.jpg").unlink()


def tiles(root: Path) -> None:
    add(root, "train", farm_1_1=CLEAN, barn_1_1=CLEAN, mill_2_7=CLEAN)
    add(root, "val", farm_1_2=CLEAN)


def panorama(root: Path) -> None:
    cv2.imwrite(str(root / "JPEGImages/a.jpg"), picture("a", (100, 900)))


def unlisted(root: Path) -> None:
    file = root / "ImageSets/Main/train.txt"
    file.write_text(file.read_text().replace("a\n", ""))


CASES: dict[str, tuple[Callable[[Path], object], str, str, str]] = {
    "no area": (
        annotate(CLEAN + object_xml(box=(9, 9, 9, 20))),
        *("impossible boxes", "error", "a.xml: object 3"),
    ),
    "outside": (
        annotate(CLEAN + object_xml(box=(9, 9, 140, 20))),
        *("impossible boxes", "error", "a.xml: object 3"),
    ),
    "unknown class": (
        annotate(CLEAN + object_xml("cow")),
        *("unknown classes", "error", "a.xml: object 3"),
    ),
    "malformed": (
        lambda root: write_xml(root, "a", "<annotation>"),
        *("unusable annotations", "error", "a.xml"),
    ),
    "no labels": (
        lambda root: (root / "Annotations/a.xml").unlink(),
        *("images or labels alone", "error", "a.jpg"),
    ),
    "no image": (
        lambda root: (root / "JPEGImages/a.jpg").unlink(),
        *("images or labels alone", "error", "a.xml"),
    ),
    "cut off": (cut_off, "unreadable images", "error", "a.jpg"),
    "no image inside": (
        lambda root: (root / "JPEGImages/a.jpg").write_bytes(b"hello"),
        *("unreadable images", "error", "a.jpg"),
    ),
    "twice": (
        annotate(CLEAN + object_xml("dog", (61, 31, 110, 90))),
        *("duplicate boxes", "warning", "a.jpg"),
    ),
    "nearly twice": (
        annotate(CLEAN + object_xml("dog", (62, 31, 110, 90))),
        *("duplicate boxes", "warning", "a.jpg"),
    ),
    "two classes": (
        annotate(CLEAN + object_xml("cat", (61, 31, 110, 90))),
        *("duplicate boxes", "warning", "a.jpg"),
    ),
    "tiny": (
        annotate(CLEAN + object_xml("cat", (1, 1, 2, 30))),
        *("vanishing objects", "warning", "a.jpg"),
    ),
    "empty": (annotate(""), "images without objects", "note", "train"),
    "same file": (
        partial(copied, split="val"),
        *("same image in two splits", "error", "m.jpg"),
    ),
    "same picture": (
        partial(saved_again, split="val"),
        *("similar images in two splits", "warning", "m.png"),
    ),
    "repeated": (partial(copied, split="train"), "repeated images", "note", "m.jpg"),
    "repeated picture": (
        partial(saved_again, split="train"),
        *("similar images in one split", "note", "m.png"),
    ),
    "tiles": (tiles, "images cut from one picture", "warning", "farm*"),
    "panorama": (panorama, "odd sizes", "warning", "a.jpg"),
    "unlisted": (unlisted, "images in no split", "note", "JPEGImages"),
}


@pytest.mark.parametrize("case", CASES)
def test_a_set_with_one_defect_has_exactly_one_finding(case: str, tmp_path: Path):
    spoil, kind, severity, file = CASES[case]
    root = clean(tmp_path)
    spoil(root)
    found = [f for f in check(dataset(root)) if not f.kind.startswith("classes ")]
    assert [(f.kind, f.severity) for f in found] == [(kind, severity)]
    assert file in found[0].file
    assert found[0].what
    assert found[0].consequence.endswith(".")
    assert found[0].remedy


def test_a_clean_set_has_no_finding(tmp_path: Path):
    data = dataset(clean(tmp_path))
    assert check(data) == []
    assert quick_check(data) == []


def test_a_class_that_only_val_knows_is_an_error(tmp_path: Path):
    root = clean(tmp_path)
    info = DatasetInfo("pets", ("cat", "dog", "cow"))
    write_xml(root, "i", f"<annotation>{CLEAN}{object_xml('cow', (1, 1, 40, 18))}</annotation>")
    (found,) = check(dataset(root, info))
    assert (found.kind, found.severity) == ("classes without training", "error")
    assert "'cow' has no object in train, but 1 in val" in found.what


def test_what_is_difficult_does_not_train_a_class(tmp_path: Path):
    root = clean(tmp_path)
    info = DatasetInfo("pets", ("cat", "dog", "cow"))
    hard = object_xml("cow", (1, 1, 40, 18), "<difficult>1</difficult>")
    write_xml(root, "a", f"<annotation>{CLEAN}{hard}</annotation>")
    write_xml(root, "i", f"<annotation>{CLEAN}{object_xml('cow', (1, 1, 40, 18))}</annotation>")
    assert [f.kind for f in check(dataset(root, info))] == ["classes without training"]


def test_a_class_that_no_file_knows_is_a_warning(tmp_path: Path):
    (found,) = check(dataset(clean(tmp_path), DatasetInfo("pets", ("cat", "dog", "cow"))))
    assert (found.kind, found.severity) == ("classes never seen", "warning")


@pytest.mark.parametrize("link", [os.symlink, os.link])
def test_training_notices_one_file_under_two_names(link: Callable[..., None], tmp_path: Path):
    root = clean(tmp_path)
    (root / "JPEGImages/i.jpg").unlink()
    link(root / "JPEGImages/a.jpg", root / "JPEGImages/i.jpg")
    (found,) = quick_check(dataset(root))
    assert (found.kind, found.severity) == ("files in two splits", "error")
    assert "i.jpg" in found.file
    assert "a.jpg" in found.what


def frames(root: Path, train: range, val: range) -> None:
    """A window that moves over a wide picture: a video of 20 frames."""
    scene = picture("scene", (100, 200))
    for split, numbers in (("train", train), ("val", val)):
        add(root, split, **{f"film_{number:02d}": CLEAN for number in numbers})
        for number in numbers:
            frame = scene[:, 2 * number : 2 * number + 120]
            cv2.imwrite(str(root / f"JPEGImages/film_{number:02d}.jpg"), frame)


def test_a_video_divided_frame_by_frame_is_a_warning(tmp_path: Path):
    frames(clean(tmp_path), train=range(0, 20, 2), val=range(1, 20, 2))
    (found,) = [f for f in check(dataset(tmp_path)) if f.kind == "video frames in two splits"]
    assert found.severity == "warning"
    assert found.file == "film_*"
    assert "19 of 19 neighbouring frames" in found.what


def test_a_video_divided_in_blocks_is_a_note(tmp_path: Path):
    frames(clean(tmp_path), train=range(15), val=range(15, 20))
    (found,) = [f for f in check(dataset(tmp_path)) if f.kind == "video frames in two splits"]
    assert found.severity == "note"
    assert "1 of 19" in found.what
    assert "film_14 (train) and film_15 (val)" in found.what


def test_numbered_images_that_do_not_look_alike_are_no_video(tmp_path: Path):
    add(clean(tmp_path), "train", web_1=CLEAN, web_3=CLEAN)
    add(tmp_path, "val", web_2=CLEAN, web_4=CLEAN)
    assert check(dataset(tmp_path)) == []


def points(root: Path, keypoints: list[float], **more: object) -> Dataset:
    """A COCO set of one image, whose mouse has two points."""
    cv2.imwrite(str(root / "a.png"), picture("a"))
    mouse = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [20, 20, 60, 40]}
    mouse |= {"keypoints": keypoints}
    content = {
        "images": [{"id": 1, "file_name": "a.png", "height": 100, "width": 120}],
        "annotations": [mouse, *([mouse | more] if more else [])],
        "categories": [{"id": 1, "name": "mouse", "keypoints": ["head", "tail"]}],
    }
    (root / "a.json").write_text(json.dumps(content))
    info = DatasetInfo("mice", ("mouse",), ("head", "tail"))
    source = partial(CocoJson, root=str(root), annotations="a.json", image_dir=".")
    module = DetectionDataModule(info, source, None, (96, 96), mistakes="drop_all")
    return read_dataset(module)


def test_a_point_outside_its_box_is_named_with_its_distance(tmp_path: Path):
    (found,) = check(points(tmp_path, [30, 30, 2, 84.5, 50, 1]))
    assert found.kind == "points outside their box"
    assert "object 1 (mouse): point 'tail' lies 4.5 px outside the box" in found.what


def test_a_point_on_the_border_and_an_absent_one_are_fine(tmp_path: Path):
    assert check(points(tmp_path, [80, 60, 2, 0, 0, 0])) == []


def test_a_point_outside_the_image_is_an_error(tmp_path: Path):
    found = check(points(tmp_path, [30, 30, 2, 184.5, 50, 1]))
    assert found[0].kind == "impossible points"
    assert found[0].severity == "error"


def test_an_annotation_id_that_stands_twice_is_an_error(tmp_path: Path):
    (found,) = check(points(tmp_path, [30, 30, 2, 50, 50, 2], bbox=[70, 50, 30, 30]))
    assert found.kind == "unusable annotations"
    assert "annotation 1" in found.file


def test_errors_come_first(tmp_path: Path):
    root = clean(tmp_path)
    annotate("")(root)
    cut_off(root)
    (root / "Annotations/b.xml").unlink()
    severities = [f.severity for f in check(dataset(root))]
    assert severities == sorted(severities, key=("error", "warning", "note").index)
    assert len(set(severities)) > 1


def test_a_split_that_cannot_be_opened_does_not_hide_the_others(tmp_path: Path):
    (clean(tmp_path) / "ImageSets/Main/val.txt").unlink()
    annotate("")(tmp_path)
    found = {f.kind: f for f in check(dataset(tmp_path))}
    assert found["splits that cannot be opened"].severity == "error"
    assert "val.txt" in found["splits that cannot be opened"].file
    assert "1 of 8 images have no object" in found["images without objects"].what


def test_a_set_of_which_no_split_opens_ends_with_one_line(tmp_path: Path):
    shutil.rmtree(clean(tmp_path) / "ImageSets")
    with pytest.raises(DataError, match=r"train\.txt"):
        dataset(tmp_path)


def test_sets_without_files_are_checked_too():
    make = partial(SyntheticScenes, world=easy(), image_hw=(64, 64), seed=1)
    train, val = partial(make, length=6), partial(make, length=3)
    info = DatasetInfo("balls", ("ball",))
    found = check(read_dataset(DetectionDataModule(info, train, val, (64, 64))))
    assert {f.kind for f in found} == {"same image in two splits"}
    assert len(found) == 3
