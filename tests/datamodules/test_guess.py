"""Folders in the layouts people have, recognised without a YAML."""

import shutil
from functools import partial
from pathlib import Path, PurePosixPath

import pytest

from datamodules.guess import Guess, guess
from datamodules.layout import split_of
from tests.datamodules.folders import object_xml, voc_folder
from tests.datamodules.sources.formats import (
    FORMATS,
    HEADER,
    coco_folder,
    csv_folder,
    dlc_folder,
    error_of,
    picture,
    write,
    yolo_folder,
)

DATA = Path(__file__).parents[3] / "shared/data"


def counts(found: Guess) -> dict[str, tuple[int, int]]:
    """Split -> images and objects."""
    sources = {split: make(info=found.info) for split, make in found.sources.items()}
    return {
        split: (len(source), sum(len(source.target(index)) for index in range(len(source))))
        for split, source in sources.items()
    }


@pytest.mark.parametrize("name", FORMATS)
def test_a_plain_folder_of_each_format_is_recognised(tmp_path, name):
    make, _, read = FORMATS[name]
    expected = read(make(tmp_path))
    found = guess(tmp_path)
    source = found.sources["train"](info=expected.info)
    assert found.info.name == tmp_path.name
    assert source.fingerprint() == expected.fingerprint()


@pytest.mark.parametrize(
    ("images", "labels"),
    [
        ("images/{}", "labels/{}"),
        ("{}/images", "{}/labels"),
        ("{}", "{}"),
        ("data/images/{}2017", "data/labels/{}2017"),
    ],
)
@pytest.mark.parametrize("val", ["val", "valid", "validation"])
def test_splits_in_folders_are_found(tmp_path, images, labels, val):
    for part in ("train", val, "test"):
        for name in ("a", "b")[: 1 if part == val else 2]:
            picture(tmp_path / images.format(part) / f"{name}.jpg")
            write(tmp_path / labels.format(part) / f"{name}.txt", "0 .5 .5 .5 .5\n")
    write(tmp_path / "data.yaml", "names: [cat]")
    assert counts(guess(tmp_path)) == {"train": (2, 2), "val": (1, 1), "test": (2, 2)}


def test_lists_name_the_splits_of_one_folder(tmp_path):
    voc_folder(tmp_path, {"a": object_xml(), "b": "", "c": object_xml("cat")}, split="trainval")
    write(tmp_path / "ImageSets/Main/test.txt", "b\n")
    write(tmp_path / "ImageSets/Main/dog_val.txt", "b -1\n")
    found = guess(tmp_path)
    assert counts(found) == {"test": (1, 0), "train": (3, 2)}
    assert list(found.info.class_names) == ["cat", "dog"]
    assert found.note == "PASCAL VOC (pixels counted from 1)"
    write(tmp_path / "ImageSets/Main/train.txt", "a\n")
    assert counts(guess(tmp_path))["train"] == (1, 1)


def test_a_list_of_classes_comes_first_and_what_it_lacks_follows(tmp_path):
    voc_folder(tmp_path, {"a": object_xml("dog") + object_xml("cow")})
    write(tmp_path / "classes.txt", "zebra\ndog\n")
    assert list(guess(tmp_path).info.class_names) == ["zebra", "dog", "cow"]


def test_annotation_files_are_given_to_the_split_they_name(tmp_path):
    for part in ("train", "val"):
        folder = coco_folder(tmp_path / part)
        shutil.move(folder / "annotations/instances_train.json", folder / "_annotations.coco.json")
    found = guess(tmp_path)
    assert counts(found) == {"train": (2, 1), "val": (2, 1)}
    assert list(found.info.class_names) == ["cat", "dog"]
    tables = [csv_folder(tmp_path / "tables" / part) for part in ("train", "test")]
    assert counts(guess(tables[0].parent)) == {"train": (2, 2), "test": (2, 2)}


def test_tables_that_share_a_folder_of_images_share_it_without_mistakes(tmp_path):
    csv_folder(tmp_path)
    (tmp_path / "annotations.csv").unlink()
    write(tmp_path / "train_labels.csv", f"{HEADER}\na.jpg,120,100,dog,1,1,9,9\n")
    write(tmp_path / "test_labels.csv", f"{HEADER}\nsub/b.png,120,100,dog,1,1,9,9\n")
    assert counts(guess(tmp_path)) == {"train": (1, 1), "test": (1, 1)}


def test_images_are_found_by_the_first_name_that_exists(tmp_path):
    csv_folder(
        tmp_path, ",1,1,dog,1,1,9,9", "lost.jpg,1,1,dog,1,1,9,9", "b.jpg,120,100,dog,1,1,9,9"
    )
    source = guess(tmp_path).sources["train"]
    assert isinstance(source, partial)
    assert source.keywords["image_dir"] == "images/sub"


def test_instances_win_over_other_annotations_of_the_split(tmp_path):
    root = coco_folder(tmp_path)
    write(root / "annotations/a_train.json", '{"images": [], "annotations": [], "categories": []}')
    assert counts(guess(root)) == {"train": (2, 1)}


def test_where_no_split_is_called_train_the_first_stands_for_it_and_that_is_said(tmp_path):
    root = coco_folder(tmp_path)
    (root / "annotations/instances_train.json").rename(root / "annotations/instances_val.json")
    found = guess(root)
    assert counts(found) == {"train": (2, 1)}
    assert found.note == "COCO; val stands for train"


def test_keypoints_and_skeleton_come_from_the_files(tmp_path):
    root = yolo_folder(tmp_path / "yolo", "0 .5 .5 1 1 .1 .2 2", "[cat]\nkpt_shape: [1, 3]")
    assert list(guess(root).info.keypoint_names) == ["point 1"]
    assert list(guess(dlc_folder(tmp_path / "dlc")).info.keypoint_names) == ["head", "tail"]
    text = (
        '{"images": [], "annotations": [], "categories": [{"id": 1, "name": "cat", '
        '"keypoints": ["a", "b", "c"], "skeleton": [[1, 2], [2, 3], [3, 4], "x"]}]}'
    )
    write(tmp_path / "coco/train.json", text)
    info = guess(tmp_path / "coco").info
    assert list(info.keypoint_names) == ["a", "b", "c"]
    assert [tuple(pair) for pair in info.skeleton] == [(0, 1), (1, 2)]


@pytest.mark.parametrize("files", [(), ("a.jpg", "notes.txt"), ("data.yaml",), ("a.csv", "b.json")])
def test_what_is_no_dataset_is_answered_with_what_was_looked_for(tmp_path, files):
    for name in files:
        write(tmp_path / name, "names: [cat]")
    message = error_of(guess, tmp_path)
    assert message.startswith(f"{tmp_path}: not recognised as a dataset: looked for PASCAL VOC")
    assert "set datamodule.root=FOLDER" in error_of(guess, tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("path", "split"),
    [
        ("annotations/instances_train2017.json", "train"),
        ("valid/_annotations.coco.json", "val"),
        ("test/train.txt", "train"),
        ("annotations/trainval.json", None),
        ("strained/latest.csv", None),
    ],
)
def test_a_path_names_a_split_by_a_whole_word_the_last_one_first(path, split):
    assert split_of(path) == split
    assert split_of(str(PurePosixPath(path).with_suffix(""))) == split


REAL = {
    "aerial_cars_tiny": ("YOLO", {"train": (20, 746)}, 5),
    "bccd_voc_subset": ("PASCAL VOC", {"train": (90, 1326), "val": (30, 430)}, 3),
    "mask_wearing": ("PASCAL VOC", {"train": (200, 815), "val": (50, 216)}, 3),
    "mouse_openfield": ("DeepLabCut", {"train": (96, 96)}, 1),
    "traffic_signs_gtsdb": ("YOLO", {"train": (56, 96), "val": (18, 39)}, 4),
    "voc2012_subset": ("PASCAL VOC", {"train": (64, 164), "val": (16, 52)}, 20),
    "windmill_naip": ("a table of boxes", {"train": (392, 394)}, 1),
    "windmill_uav_large": ("a table of boxes", {"train": (40, 63)}, 1),
}


@pytest.mark.skipif(not DATA.is_dir(), reason="shared/data is not here")
@pytest.mark.parametrize("name", REAL)
def test_the_real_sets_are_recognised(name):
    form, expected, classes = REAL[name]
    found = guess(DATA / name)
    assert found.note.startswith(form)
    assert counts(found) == expected
    assert len(found.info.class_names) == classes
