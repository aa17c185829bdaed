"""One set through every format: what a format can hold survives within 0.01 px."""

import csv
from collections.abc import Collection
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from pycocotools.coco import COCO

from datamodules.formats import WRITERS
from datamodules.guess import guess
from datamodules.sources.boxes_csv import BoxesCsv
from datamodules.sources.dlc_csv import DlcCsv
from datamodules.sources.source import Source, original_target
from detectors.errors import ConfigError, DataError
from detectors.structures import DatasetInfo, Target
from tests.datamodules.sources.formats import MadeSource, picture

INFO = DatasetInfo("set", ("cat", "dog", "no"), ("head", "tail"), skeleton=((0, 1),))
"""`no` is a class that YAML takes for a boolean, and that no image shows."""

ALL = {"points", "crowd", "difficult", "area"}
HELD = {"coco": ALL, "yolo": {"points"}, "voc": {"difficult"}, "csv": set()}
"""What a format holds besides images, boxes and classes."""


def labels(
    name: str, rows: int, hw: tuple[int, int] = (60, 80), *, special: bool = False
) -> Target:
    """Boxes with fractions; with `special` all the rest there is, but not in all objects."""
    corner = np.array([[3.217 + 5 * i, 1.05 + 7 * i] for i in range(rows)]).reshape(-1, 2)
    number = np.arange(rows)
    points = np.zeros((rows, 2, 3))
    if special:
        points[:, 0] = [*corner[0] + 1.333, 2]
        points[1:, 1] = [*corner[0] + 2.666, 1]
    return original_target(
        name,
        hw,
        boxes=np.hstack([corner, corner + np.array([20.5, 30.123])]),
        labels=number % 2,
        difficult=(number % 3 == 1) & special,
        crowd=(number % 3 == 2) & special,
        area=number + 123.456 if special else None,
        keypoints=points,
    )


def made(folder: Path) -> MadeSource:
    """An empty image, a turned one, odd names, subfolders, and one that has no file."""
    turned = Image.Exif()
    turned[0x0112] = 6
    files = {
        "plain": picture(folder / "plain.JPG", (60, 80)),
        "turned": picture(folder / "turned.jpg", (80, 60), exif=turned),
        "empty": picture(folder / "empty.png", (60, 80)),
        "näme of two wörds.v2": picture(folder / "näme of two wörds.v2.webp", (60, 80)),
        "a/b/deep": picture(folder / "deep.bmp", (60, 80)),
    }
    targets = [
        labels("plain", 4, special=True),
        labels("turned", 1),
        labels("empty", 0),
        labels("näme of two wörds.v2", 3, special=True),
        labels("a/b/deep", 1),
        labels("without file", 2),
    ]
    return MadeSource(INFO, targets, files)


def read(folder: Path) -> dict[str, Source]:
    found = guess(folder)
    return {split: make(info=found.info) for split, make in found.sources.items()}


COLUMNS = ("class", "more", "filename", "height", "width", "ymax", "xmax", "ymin", "xmin")


def write_csv(source: Source, folder: Path) -> None:
    """Nothing in the library writes it: the images of a COCO copy, and a table."""
    WRITERS["coco"]({"train": source}, folder)
    (folder / "annotations/instances_train.json").unlink()
    with (folder / "annotations.csv").open("w", newline="") as stream:
        table = csv.writer(stream)
        table.writerow(COLUMNS)
        for index, name in enumerate(source.ids):
            target = source.target(index)
            for box, label in zip(target.boxes.tolist(), target.labels, strict=True):
                corners = [f"{value:.3f}" for value in reversed(box)]
                class_name = source.info.class_names[int(label)]
                table.writerow([class_name, "", f"{name}.jpg", *target.frame.original_hw, *corners])


def assert_same(found: Source, expected: Source, held: Collection[str] = ()) -> None:
    """Images, boxes and classes are the same, and so is what `held` names."""
    rows = {name: index for index, name in enumerate(expected.ids)}
    assert sorted(found.ids) == sorted(rows)
    for index, name in enumerate(found.ids):
        assert np.array_equal(found.image(index), expected.image(rows[name]))
        here, there = found.target(index), expected.target(rows[name])
        assert here.frame.original_hw == there.frame.original_hw
        assert here.labels.tolist() == there.labels.tolist()
        close(here.boxes, there.boxes)
        for what in held:
            field = "keypoints" if what == "points" else what
            close(getattr(here, field), getattr(there, field))


def close(found: torch.Tensor, expected: torch.Tensor) -> None:
    torch.testing.assert_close(found, expected, atol=0.01, rtol=0.0)


@pytest.mark.parametrize("form", WRITERS)
def test_what_a_format_can_hold_survives(form, tmp_path):
    source = made(tmp_path / "original")
    WRITERS[form]({"train": source}, tmp_path / "set")
    copy = read(tmp_path / "set")["train"]
    assert_same(copy, source, HELD[form])
    assert copy.info.name == "set"
    assert list(copy.info.class_names) == list(INFO.class_names)
    if "points" in HELD[form]:
        assert list(copy.info.keypoint_names) == list(INFO.keypoint_names)


def test_one_set_survives_all_formats_in_a_row(tmp_path):
    original = source = made(tmp_path / "original")
    held = ALL
    for step, form in enumerate(["coco", "yolo", "coco", "csv", "voc", "yolo", "csv", "coco"]):
        folder = tmp_path / str(step)
        if form == "csv":
            write_csv(source, folder)
            source = BoxesCsv(source.info, folder, unlabelled="empty")
        else:
            WRITERS[form]({"train": source}, folder)
            source = read(folder)["train"]
        held = held & HELD[form]
        assert_same(source, original, held)


def test_the_points_of_an_animal_survive_deeplabcut(tmp_path):
    info = DatasetInfo("mice", ("mouse",), ("head", "tail"))
    points = [[[10.123, 20.456, 2], [30.25, 40.5, 2]]]
    truth = original_target(
        "v/img 0",
        (60, 80),
        boxes=np.array([[5.0, 5.0, 50.0, 50.0]]),
        labels=np.array([0]),
        keypoints=np.array(points),
    )
    (x1, y1, _), (x2, y2, _) = (np.array(point) - 0.5 for point in points[0])
    picture(tmp_path / "labeled-data/v/img 0.png", (60, 80))
    (tmp_path / "labeled-data/v/CollectedData_me.csv").write_text(
        "scorer,me,me,me,me\nbodyparts,head,head,tail,tail\ncoords,x,y,x,y\n"
        f"labeled-data/v/img 0.png,{x1},{y1},{x2},{y2}\n"
    )
    found = DlcCsv(info, tmp_path)
    assert found.ids == [truth.frame.image_id]
    close(found.target(0).keypoints, truth.keypoints)
    for form in ("coco", "yolo"):
        WRITERS[form]({"train": found}, tmp_path / form)
        assert_same(read(tmp_path / form)["train"], found, ["points"])


def test_what_gets_lost_is_counted_and_only_that(tmp_path):
    source = made(tmp_path / "original")
    thin = original_target(
        "thin", (60, 80), np.array([[1.0, 1.0, 2.0, 9.0], [1.0, 1.0, 9.0, 9.0]]), np.array([0, 1])
    )
    plain = MadeSource(DatasetInfo("set", INFO.class_names), [thin])
    lost = {
        form: write({"train": source, "val": plain}, tmp_path / form)
        for form, write in WRITERS.items()
    }
    own = {"crowd flags": 2, "areas": 7}
    assert lost["coco"]["train"] == {}
    assert lost["yolo"]["train"] == {**own, "difficult flags": 2}
    assert lost["voc"]["train"] == {**own, "points": 7}
    assert lost["coco"]["val"] == lost["yolo"]["val"] == {}
    assert lost["voc"]["val"] == {"objects of up to 1 px": 1}
    (kept,) = read(tmp_path / "voc")["val"].target(0).boxes.tolist()
    assert kept == [1, 1, 9, 9]


@pytest.mark.parametrize("form", WRITERS)
def test_different_images_of_one_name_stay_apart_and_a_shared_one_stays_one(form, tmp_path):
    def split(name: str) -> MadeSource:
        file = picture(tmp_path / f"original/{name}/{'x' * len(name)}.png", (60, 80))
        return MadeSource(INFO, [labels("same", 1)], {"same": file})

    train, val = split("train"), split("val")
    WRITERS[form]({"train": train, "val": val}, tmp_path / "clash")
    copy = read(tmp_path / "clash")
    for part, source in (("train", train), ("val", val)):
        assert np.array_equal(copy[part].image(0), source.image(0))
    WRITERS[form]({"train": train, "test": train}, tmp_path / "shared")
    copy = read(tmp_path / "shared")
    assert copy["train"].ids == copy["test"].ids == ["same"]
    copies = list((tmp_path / "shared").rglob("same.png"))
    assert len(copies) == (2 if form == "yolo" else 1)  # whose splits are folders


@pytest.mark.parametrize("form", WRITERS)
def test_a_folder_that_holds_something_is_refused_and_an_empty_one_is_filled(form, tmp_path):
    source = {"train": made(tmp_path / "original")}
    (tmp_path / "full").mkdir()
    (tmp_path / "full/mine.txt").write_text("precious")
    with pytest.raises(ConfigError, match="full is there already and not empty"):
        WRITERS[form](source, tmp_path / "full")
    assert (tmp_path / "full/mine.txt").read_text() == "precious"
    (tmp_path / "void").mkdir()
    WRITERS[form](source, tmp_path / "void")
    assert read(tmp_path / "void")["train"].ids


@pytest.mark.parametrize("form", WRITERS)
def test_what_fails_halfway_leaves_nothing_behind(form, tmp_path):
    source = made(tmp_path / "original")
    (tmp_path / "original/deep.bmp").unlink()
    with pytest.raises(DataError, match=r"cannot be written .*deep\.bmp"):
        WRITERS[form]({"train": source}, tmp_path / "new/set")
    assert list((tmp_path / "new").iterdir()) == []


def test_a_name_that_no_list_can_hold_is_refused_by_voc(tmp_path):
    source = MadeSource(INFO, [labels("two\nlines", 0)])
    with pytest.raises(DataError, match="no list can hold it") as caught:
        WRITERS["voc"]({"train": source}, tmp_path / "set")
    assert str(caught.value).isprintable()


def test_pycocotools_reads_the_written_coco_file(tmp_path, capsys):
    source = made(tmp_path / "original")
    WRITERS["coco"]({"train": source}, tmp_path / "set")
    theirs = COCO(tmp_path / "set/annotations/instances_train.json")
    assert [c["name"] for c in theirs.loadCats(theirs.getCatIds())] == list(INFO.class_names)
    for index, image_id in enumerate(theirs.getImgIds()):
        target = source.target(index)
        notes = theirs.loadAnns(theirs.getAnnIds(image_id))
        boxes = torch.tensor([note["bbox"] for note in notes]).reshape(-1, 4)
        boxes[:, 2:] += boxes[:, :2]
        close(boxes, target.boxes)
        assert [note["iscrowd"] for note in notes] == target.crowd.int().tolist()
        close(torch.tensor([note["area"] for note in notes]), target.area)


@st.composite
def targets(draw: st.DrawFn) -> Target:
    height, width = draw(st.integers(4, 90)), draw(st.integers(4, 90))
    rows = draw(st.integers(0, 4))
    share = st.floats(0, 1, width=32)

    def shares(*shape: int) -> np.ndarray:
        count = int(np.prod(shape))
        return np.array(draw(st.lists(share, min_size=count, max_size=count))).reshape(shape)

    size = shares(rows, 2) * (np.array([width, height]) - 1.1) + 1.1
    corner = shares(rows, 2) * ([width, height] - size)
    points = np.concatenate([shares(rows, 2, 2) * [width, height], np.ones((rows, 2, 1))], axis=2)
    seen = np.array(draw(st.lists(st.integers(0, 2), min_size=2 * rows, max_size=2 * rows)))
    points = np.where(seen.reshape(rows, 2, 1) > 0, points, 0.0)
    points[..., 2] = seen.reshape(rows, 2)
    flags = draw(st.lists(st.booleans(), min_size=2 * rows, max_size=2 * rows))
    difficult, crowd = np.array(flags, np.bool_).reshape(2, rows)
    return original_target(
        "image",
        (height, width),
        boxes=np.hstack([corner, corner + size]),
        labels=np.arange(rows) % 3,
        difficult=difficult,
        crowd=crowd,
        area=shares(rows) * height * width,
        keypoints=points,
    )


@pytest.mark.parametrize("form", WRITERS)
@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(target=targets())
def test_any_labels_survive(form, tmp_path_factory, target):
    folder = tmp_path_factory.mktemp("any") / "set"
    source = MadeSource(INFO, [target])
    WRITERS[form]({"train": source}, folder)
    assert_same(read(folder)["train"], source, HELD[form])
