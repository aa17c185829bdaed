import logging

import pytest
import torch

from datamodules.sources.voc_xml import VocXml
from detectors.errors import ConfigError, DataError
from tests.datamodules.folders import INFO, listed, object_xml, voc_folder, write_xml


def error_of(*args, **kwargs) -> str:
    with pytest.raises(DataError) as caught:
        VocXml(*args, **kwargs)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_a_one_based_inclusive_box_becomes_continuous_pixels(tmp_path):
    root = voc_folder(tmp_path, {"a": object_xml("dog", (1, 1, 120, 100))})
    target = VocXml(INFO, root, listed("train")).target(0)
    assert target.boxes.tolist() == [[0, 0, 120, 100]]
    assert target.labels.tolist() == [1]
    assert target.area.tolist() == [120 * 100]
    assert target.frame.original_hw == (100, 120)
    assert torch.equal(target.frame.affine, torch.eye(2, 3))


def test_a_zero_based_set_keeps_its_numbers(tmp_path):
    root = voc_folder(tmp_path, {"a": object_xml("cat", (1.5, 2, 30, 40.25))})
    target = VocXml(INFO, root, listed("train"), one_based=False).target(0)
    assert target.boxes.tolist() == [[1.5, 2, 30, 40.25]]


def test_the_difficult_flag_is_kept_and_absent_means_no(tmp_path):
    body = object_xml(extra="<difficult>1</difficult>") + object_xml()
    target = VocXml(INFO, voc_folder(tmp_path, {"a": body})).target(0)
    assert target.difficult.tolist() == [True, False]
    assert target.crowd.tolist() == [False, False]


def test_parts_of_an_object_are_not_objects(tmp_path):
    part = "<part><name>head</name><bndbox><xmin>1</xmin></bndbox></part>"
    target = VocXml(INFO, voc_folder(tmp_path, {"a": object_xml(extra=part)})).target(0)
    assert target.boxes.tolist() == [[10, 20, 60, 70]]


def test_an_image_without_objects_is_legal(tmp_path):
    image, target = VocXml(INFO, voc_folder(tmp_path, {"a": ""}))[0]
    assert image.shape == (100, 120, 3)
    assert target.boxes.shape == (0, 4)


def test_a_list_takes_the_first_column_and_no_list_takes_all(tmp_path):
    root = voc_folder(tmp_path, {"b": "", "a": "", "c": ""})
    (root / "ImageSets/Main/dog_val.txt").write_text("c  1\n\nb -1\n")
    assert VocXml(INFO, root, listed("dog_val")).ids == ["c", "b"]
    assert VocXml(INFO, root).ids == ["a", "b", "c"]
    assert VocXml(INFO, root, limit=2).ids == ["a", "b"]


@pytest.mark.parametrize("box", [(0, 0, 122, 50), (5, 6, 122, 102)])
def test_a_box_that_overhangs_by_a_way_of_counting_is_clipped(tmp_path, box):
    (x1, y1, x2, y2) = (
        VocXml(INFO, voc_folder(tmp_path, {"a": object_xml(box=box)})).target(0).boxes[0].tolist()
    )
    assert (x1, y1) == (max(box[0] - 1, 0), max(box[1] - 1, 0))
    assert (x2, y2) == (120, min(box[3], 100))


BAD_BOXES = {
    "outside": ((10, 10, 500, 60), "lies outside the 120x100 px image"),
    "left of it": ((-40, 10, -10, 60), "lies outside"),
    "zero area": ((30, 10, 30, 60), "has no area"),
    "inverted": ((60, 10, 30, 60), "has no area"),
    "NaN": (("nan", 10, 30, 60), "is not finite"),
    "infinite": ((10, 10, "inf", 60), "is not finite"),
}


@pytest.mark.parametrize(("box", "reason"), BAD_BOXES.values(), ids=BAD_BOXES)
def test_an_impossible_box_is_named_with_file_object_numbers_and_remedy(tmp_path, box, reason):
    root = voc_folder(tmp_path, {"a": object_xml() + object_xml(box=box)})
    message = error_of(INFO, root)
    numbers = ", ".join(str(value) for value in box)
    assert f"a.xml: object 2: box ({numbers}) {reason}" in message
    assert "datamodule.mistakes=drop_boxes" in message


@pytest.mark.parametrize("box", [box for box, _ in BAD_BOXES.values()], ids=list(BAD_BOXES))
def test_impossible_boxes_can_be_dropped_and_are_counted_in_one_line(tmp_path, box, caplog):
    body = object_xml(box=box) + object_xml() + object_xml(box=box)
    with caplog.at_level(logging.WARNING):
        source = VocXml(INFO, voc_folder(tmp_path, {"a": body}), mistakes="drop_boxes")
    assert source.target(0).boxes.tolist() == [[10, 20, 60, 70]]
    assert len(source.dropped) == 2
    (record,) = caplog.records
    assert record.getMessage().startswith("2 mistakes left out; the first: ")
    assert "\n" not in record.getMessage()


def test_an_unknown_class_is_answered_with_the_nearest_name(tmp_path):
    root = voc_folder(tmp_path, {"a": object_xml("Dgo")})
    assert "object 1: unknown class 'Dgo': did you mean 'dog'?" in error_of(INFO, root)


def test_an_unknown_class_like_no_other_is_answered_with_the_list(tmp_path):
    root = voc_folder(tmp_path, {"a": object_xml("zebra crossing")})
    assert "known: cat, dog" in error_of(INFO, root)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("<annotation><object></annotation>", "malformed XML"),
        ("", "malformed XML"),
        ("<html></html>", "the root is <html>"),
        ("<annotation><object><name>dog</name></object></annotation>", "<bndbox/xmin> is missing"),
        (f"<annotation>{object_xml(box=('x', 1, 2, 3))}</annotation>", "<bndbox/xmin> is 'x'"),
        (
            f"<annotation>{object_xml(extra='<difficult>maybe</difficult>')}</annotation>",
            "<difficult> is 'maybe'",
        ),
    ],
)
def test_a_damaged_annotation_is_named_in_one_line(tmp_path, text, expected):
    root = voc_folder(tmp_path, {"a": ""})
    path = write_xml(root, "a", text)
    message = error_of(INFO, root)
    assert message.startswith(str(path))
    assert expected in message


def test_a_missing_root_says_how_to_give_one(tmp_path):
    assert "set datamodule.root=FOLDER" in error_of(INFO)
    assert "set datamodule.root=FOLDER" in error_of(INFO, tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("folder", "key"), [("JPEGImages", "image_dir"), ("Annotations", "annotation_dir")]
)
def test_a_missing_or_empty_folder_names_the_key_that_points_to_it(tmp_path, folder, key):
    root = voc_folder(tmp_path, {"a": ""})
    for file in (root / folder).iterdir():
        file.unlink()
    assert f"check {key}" in error_of(INFO, root)
    (root / folder).rmdir()
    message = error_of(INFO, root)
    assert "no such folder" in message
    assert key in message


def test_a_missing_list_names_those_there_are(tmp_path):
    root = voc_folder(tmp_path, {"a": ""})
    message = error_of(INFO, root, listed("trian"))
    assert "trian.txt: no such list: choose from train.txt" in message


def test_an_empty_list_is_refused(tmp_path):
    root = voc_folder(tmp_path, {"a": ""})
    (root / "ImageSets/Main/val.txt").write_text("\n")
    assert "val.txt: the list names no image" in error_of(INFO, root, listed("val"))


def test_labels_without_image_and_the_reverse_are_told_apart(tmp_path):
    root = voc_folder(tmp_path, {"a": "", "b": ""})
    image = root / "JPEGImages/b.jpg"
    kept = image.read_bytes()
    image.unlink()
    for split in (None, listed("train")):
        assert "b.xml: labels without an image" in error_of(INFO, root, split)
    image.write_bytes(kept)
    (root / "Annotations/b.xml").unlink()
    for split in (None, listed("train")):
        assert "b.jpg: an image without labels" in error_of(INFO, root, split)
    image.unlink()
    assert "neither image nor annotation" in error_of(INFO, root, listed("train"))


def test_two_images_of_one_name_are_refused(tmp_path):
    root = voc_folder(tmp_path, {"a": ""})
    (root / "JPEGImages/a.png").write_bytes((root / "JPEGImages/a.jpg").read_bytes())
    assert "shares its name with a.jpg" in error_of(INFO, root)


def test_a_file_that_is_no_image_is_refused_when_the_source_is_built(tmp_path):
    root = voc_folder(tmp_path, {"a": ""})
    (root / "JPEGImages/a.jpg").write_text("not a picture")
    assert "a.jpg: not a readable image (13 bytes)" in error_of(INFO, root)


def test_an_unknown_treatment_of_mistakes_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="mistakes=skip is unknown"):
        VocXml(INFO, voc_folder(tmp_path, {"a": ""}), mistakes="skip")


def test_whatever_cannot_be_used_can_be_left_out_and_is_listed(tmp_path):
    bodies = {
        "good": object_xml(),
        "half": object_xml("zebra") + object_xml(),
        "broken": "<object>",
        "pixels": "",
        "unlabelled": "",
    }
    root = voc_folder(tmp_path, bodies)
    (root / "JPEGImages/pixels.jpg").write_text("none")
    (root / "Annotations/unlabelled.xml").unlink()
    source = VocXml(INFO, root, mistakes="drop_all")
    assert source.ids == ["good", "half"]
    assert len(source.target(1)) == 1
    assert len(source.dropped) == 4
    assert all(mistake.remedy for mistake in source.dropped)


def test_a_class_map_merges_renames_and_leaves_out(tmp_path):
    body = "".join(object_xml(name) for name in ("kitten", "dog", "car", "tree"))
    root = voc_folder(tmp_path, {"a": body})
    source = VocXml(INFO, root, class_map={"kitten": "cat", "car": None, "*": None})
    assert source.target(0).labels.tolist() == [0, 1]
    merged = VocXml(INFO, root, class_map={"kitten": "cat", "*": "dog", "dog": "cat"})
    assert merged.target(0).labels.tolist() == [0, 0, 1, 1]


def test_a_class_map_that_leads_nowhere_is_answered_like_an_unknown_class(tmp_path):
    root = voc_folder(tmp_path, {"a": object_xml("kitten")})
    assert "unknown class 'cta': did you mean 'cat'?" in error_of(
        INFO, root, class_map={"kitten": "cta"}
    )


def test_the_fingerprint_follows_names_boxes_and_flags_and_nothing_else(tmp_path):
    one = VocXml(INFO, voc_folder(tmp_path / "1", {"a": object_xml()})).fingerprint()
    again = VocXml(INFO, voc_folder(tmp_path / "2", {"a": object_xml()})).fingerprint()
    others = [
        voc_folder(tmp_path / "3", {"b": object_xml()}),
        voc_folder(tmp_path / "4", {"a": object_xml(box=(11, 21, 60, 71))}),
        voc_folder(tmp_path / "5", {"a": object_xml(extra="<difficult>1</difficult>")}),
        voc_folder(tmp_path / "6", {"a": object_xml("cat")}),
        voc_folder(tmp_path / "7", {"a": object_xml()}, hw=(101, 120)),
    ]
    assert one == again
    assert len({one, *(VocXml(INFO, root).fingerprint() for root in others)}) == 6
