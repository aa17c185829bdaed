from pathlib import Path

import pytest
from PIL import Image

from datamodules.sources.yolo_txt import YoloTxt, read_names
from detectors.errors import ConfigError
from detectors.structures import DatasetInfo
from tests.datamodules.sources.formats import PETS, error_of, picture, write, yolo_folder

POSED = DatasetInfo("pets", ("cat", "dog"), ("head", "tail"))
CARS = Path(__file__).parents[4] / "shared/data/aerial_cars_tiny"


def names_of(tmp_path, text: str, name: str = "data.yaml"):
    return read_names(write(tmp_path / name, text))


def posed(root, line: str, yaml: str, info=POSED) -> YoloTxt:
    return YoloTxt(info, yolo_folder(root, line, f"[cat, dog]\n{yaml}"))


def test_shares_of_the_upright_image_become_pixels(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    root = yolo_folder(tmp_path, "1 0.25 0.5 0.5 0.25")
    picture(root / "images/a.jpg", (120, 100), exif=exif)
    source = YoloTxt(PETS, root)
    assert source.ids == ["a", "sub/b"]
    assert source.target(0).frame.original_hw == (100, 120)
    assert source.target(0).boxes.tolist() == [[0, 37.5, 60, 62.5]]
    assert source.target(0).labels.tolist() == [1]
    assert len(source.target(1)) == 0


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("names: [cat, no, 1]", "data.yaml"),
        ("nc: 9\nnames:\n  0: cat\n  2: 1\n  1: no\n", "data.yml"),
        ("cat\nno\n1\n\n", "x.names"),
        ("\ufeffcat\r\nno\r\n1\r\n", "classes.txt"),
    ],
)
def test_class_names_are_texts_whatever_yaml_takes_them_for(tmp_path, text, name):
    assert names_of(tmp_path, text, name).classes == {0: "cat", 1: "no", 2: "1"}


def test_a_class_is_found_by_its_name_not_its_number(tmp_path):
    root = yolo_folder(tmp_path, "2 0.5 0.5 0.5 0.5", "[bird, cow, cat]")
    assert YoloTxt(PETS, root).target(0).labels.tolist() == [0]


def test_rounding_may_overhang_the_image_by_a_pixel(tmp_path):
    root = yolo_folder(tmp_path, "0 0.5 0.5 1.01 1.0000001")
    assert YoloTxt(PETS, root).target(0).boxes.tolist() == [[0, 0, 120, 100]]


@pytest.mark.parametrize(
    ("line", "yaml", "expected"),
    [
        ("0.1 0.2 2 0.5 0.5 1", "kpt_shape: [2, 3]", [[12, 20, 2], [60, 50, 1]]),
        ("0.1 0.2 0.5 0.5", "kpt_shape: [2, 2]", [[12, 20, 2], [60, 50, 2]]),
        ("0 0 0.5 0.5", "kpt_shape: [2, 2]", [[0, 0, 0], [60, 50, 2]]),
        ("0 0 0 -1 -1 0", "kpt_shape: [2, 3]", [[0, 0, 0], [0, 0, 0]]),
        (
            "0.1 0.2 2 0.9 0.9 2 0.5 0.5 1",
            "kpt_shape: [3, 3]\nkpt_names: [tail, nose, head]",
            [[60, 50, 1], [12, 20, 2]],
        ),
        (
            "0.1 0.2 2 0.5 0.5 1",
            "kpt_shape: [2, 3]\nkpt_names: {0: [tail, head], 1: [tail, head]}",
            [[60, 50, 1], [12, 20, 2]],
        ),
    ],
)
def test_points_follow_the_box_by_name_or_in_order(tmp_path, line, yaml, expected):
    target = posed(tmp_path, f"0 0.5 0.5 1 1 {line}", yaml).target(0)
    assert target.keypoints is not None
    assert target.keypoints[0].tolist() == [pytest.approx(point) for point in expected]


def test_points_that_nobody_asks_for_are_not_read(tmp_path):
    source = posed(tmp_path, "0 0.5 0.5 1 1 7 7 7", "kpt_shape: [1, 3]", PETS)
    assert source.target(0).keypoints is None


WRONG_LINES = {
    "polygon": ("0 .1 .1 .9 .1 .9 .9", "7 numbers, not 5, so a polygon, or points without kpt"),
    "short": ("0 .5 .5 .5", "4 numbers, not 5: complete or remove the line"),
    "text": ("0 .5 .5 x .5", "number 4 is 'x': write a number"),
    "name": ("dog .5 .5 .5 .5", "number 1 is 'dog': write a number"),
    "half a class": ("0.5 .5 .5 .5 .5", "the class is '0.5': write a whole number"),
    "unknown class": ("7 .5 .5 .5 .5", "class 7 has no name: correct it, or add its name to the 2"),
    "pixels": ("0 50 50 20 20", "box (50, 50, 20, 20) lies outside"),
    "nan": ("0 nan .5 .5 .5", "box (nan, 0.5, 0.5, 0.5) is not finite"),
}


@pytest.mark.parametrize(("line", "expected"), WRONG_LINES.values(), ids=WRONG_LINES)
def test_a_wrong_line_is_named(tmp_path, line, expected):
    root = yolo_folder(tmp_path, f"1 0.5 0.5 0.5 0.5\n\n{line}")
    message = error_of(YoloTxt, PETS, root)
    assert message.startswith(f"{root}/labels/a.txt: line 3: {expected}")
    tolerant = YoloTxt(PETS, root, mistakes="drop_all")
    assert (len(tolerant.target(0)), len(tolerant.dropped)) == (1, 1)


WRONG_NAMES = {
    "malformed": ("names: [", "malformed YAML"),
    "none": ("nc: 2", "names is None: write a list"),
    "nested": ("names: [[a]]", "names is [['a']]"),
    "keys": ("names: {a: b}", "a key of names is 'a'"),
    "shape": ("names: [a]\nkpt_shape: [2, 4]", "kpt_shape is ['2', '4']: write [number of"),
    "shape text": ("names: [a]\nkpt_shape: x", "kpt_shape is 'x'"),
    "names": ("names: [a]\nkpt_shape: [2, 3]\nkpt_names: [a]", "kpt_names is ['a']: write a list"),
    "two lists": (
        "names: [a]\nkpt_shape: [1, 3]\nkpt_names: {0: [a], 1: [b]}",
        "kpt_names is {'0': ['a'], '1': ['b']}: write a list of 1 names, the same for each class",
    ),
}


@pytest.mark.parametrize(("text", "expected"), WRONG_NAMES.values(), ids=WRONG_NAMES)
def test_a_wrong_data_yaml_is_named(tmp_path, text, expected):
    assert error_of(names_of, tmp_path, text).startswith(f"{tmp_path}/data.yaml: {expected}")


@pytest.mark.parametrize(
    ("yaml", "expected"),
    [
        ("", "kpt_shape gives 0 points, datamodule.info.keypoint_names has 2"),
        ("kpt_shape: [3, 2]", "kpt_shape gives 3 points"),
        ("kpt_shape: [2, 2]\nkpt_names: [head, leg]", "kpt_names has no 'tail'"),
    ],
)
def test_points_that_the_files_do_not_have_are_refused(tmp_path, yaml, expected):
    assert expected in error_of(posed, tmp_path, "", yaml)


def test_an_image_without_text_is_a_mistake_an_empty_image_or_left_out(tmp_path):
    root = yolo_folder(tmp_path)
    (root / "labels/sub/b.txt").unlink()
    message = error_of(YoloTxt, PETS, root)
    assert message.startswith(f"{root}/images/sub/b.png: an image without labels")
    assert "unlabelled=empty" in message
    empty = YoloTxt(PETS, root, unlabelled="empty")
    assert (empty.ids, len(empty.target(1))) == (["a", "sub/b"], 0)
    assert YoloTxt(PETS, root, unlabelled="skip").ids == ["a"]
    with pytest.raises(ConfigError, match="unlabelled=ignore is unknown: choose error, empty"):
        YoloTxt(PETS, root, unlabelled="ignore")


def test_labels_without_an_image_are_a_mistake_but_lists_beside_them_are_not(tmp_path):
    root = yolo_folder(tmp_path)
    write(root / "labels/classes.txt", "cat\ndog\n")
    write(root / "labels/train.txt", "images/a.jpg\n")
    assert YoloTxt(PETS, root, names="labels/classes.txt").ids == ["a", "sub/b"]
    write(root / "labels/lost.txt", "0 0.5 0.5 0.5 0.5\n")
    assert error_of(YoloTxt, PETS, root).startswith(
        f"{root}/labels/lost.txt: labels without an image"
    )


@pytest.mark.skipif(not CARS.is_dir(), reason="shared/data/aerial_cars_tiny is not here")
def test_images_and_labels_may_share_a_folder():
    names = list(read_names(CARS / "aerial.names").classes.values())
    info = DatasetInfo("cars", names)
    source = YoloTxt(info, CARS, image_dir=".", label_dir=".", names="aerial.names")
    assert len(source) == 20
    assert sum(len(source.target(index)) for index in range(20)) == 746
