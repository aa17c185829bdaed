"""`lineup data convert`: a copy in another format, and what it costs."""

import re
from pathlib import Path

import pytest

from datamodules.guess import guess
from datamodules.sources.coco_json import CocoJson
from detectors.errors import ConfigError, DataError
from experiments.data_convert import main
from tests.datamodules.folders import object_xml, voc_folder
from tests.datamodules.sources.formats import (
    COCO_NOTE,
    PETS,
    POINTS,
    coco_content,
    coco_folder,
    csv_folder,
)


@pytest.fixture
def poses(tmp_path: Path) -> Path:
    notes = [
        {**COCO_NOTE, "keypoints": POINTS},
        {**COCO_NOTE, "id": 2, "iscrowd": 1, "area": 2500},
    ]
    return coco_folder(tmp_path / "poses", coco_content(notes, ["head", "tail"]))


def rows(text: str) -> dict[str, list[str]]:
    """Split -> images, objects and what got lost, as printed."""
    lines = [re.split(r" {2,}", line.strip()) for line in text.splitlines()]
    return {line[0]: line[1:] for line in lines if line[0] in ("train", "val", "test")}


@pytest.mark.parametrize(
    ("form", "lost"),
    [
        ("coco", "nothing"),
        ("yolo", "crowd flags: 1, areas: 1"),
        ("voc", "points: 1, crowd flags: 1, areas: 1"),
    ],
)
def test_a_folder_is_converted_and_what_got_lost_is_told(poses, tmp_path, capsys, form, lost):
    out = tmp_path / form
    assert main([str(poses), str(out), "--to", form]) == 0
    printed = capsys.readouterr()
    assert rows(printed.out) == {"train": ["2", "2", lost]}
    assert f"{poses}: COCO" in printed.err
    copy = guess(out)
    source = copy.sources["train"](info=copy.info)
    assert source.target(0).boxes.tolist() == [[10, 20, 60, 70]] * 2


def test_overrides_name_the_data_as_in_training(tmp_path, capsys):
    voc_folder(tmp_path / "pets", {"a": object_xml(), "b": object_xml("cat")})
    voc_folder(tmp_path / "pets", {"c": object_xml()}, split="val")
    main(
        [
            *("--to", "coco", "datamodule=voc", f"datamodule.root={tmp_path / 'pets'}"),
            *("datamodule.info.class_names=[cat,dog]", str(tmp_path / "out")),
        ]
    )
    assert rows(capsys.readouterr().out) == {
        "train": ["2", "2", "nothing"],
        "val": ["1", "1", "nothing"],
    }
    copy = CocoJson(PETS, tmp_path / "out", annotations="annotations/instances_val.json")
    assert (copy.ids, copy.target(0).boxes.tolist()) == (["c"], [[10, 20, 60, 70]])


def test_scenes_that_have_no_files_are_written_as_png(tmp_path):
    overrides = ["datamodule=synthetic_easy", *(f"datamodule.{s}.length=2" for s in SPLITS)]
    main([*overrides, str(tmp_path / "out"), "--to", "yolo"])
    copy = guess(tmp_path / "out")
    assert set(copy.sources) == set(SPLITS)
    assert len(list((tmp_path / "out/images/train").glob("*.png"))) == 2


SPLITS = ("train", "val", "test")


def test_mistakes_end_the_conversion_unless_they_may_be_left_out(tmp_path, capsys):
    lines = ("a.jpg,120,100,dog,10,20,10,70", "sub/b.png,120,100,dog,1,2,3,4")
    root = csv_folder(tmp_path / "boxes", *lines)
    with pytest.raises(DataError, match=r"annotations\.csv: line 2: box .* has no area"):
        main([str(root), str(tmp_path / "out"), "--to", "voc"])
    assert not (tmp_path / "out").exists()
    main([str(root), str(tmp_path / "out"), "--to", "voc", "--mistakes", "drop_boxes"])
    assert rows(capsys.readouterr().out) == {"train": ["2", "1", "left out as mistakes: 1"]}


def test_a_filled_folder_is_refused_before_anything_is_read(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out/mine.txt").write_text("precious")
    with pytest.raises(ConfigError, match="not empty: name a new folder"):
        main([str(tmp_path / "nowhere"), str(tmp_path / "out"), "--to", "voc"])


@pytest.mark.parametrize(
    "arguments", [[], ["a", "b"], ["a", "--to", "coco"], ["a", "b=c", "--to", "coco"]]
)
def test_a_command_that_lacks_something_ends_with_2(arguments):
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2
