import pytest

from datamodules.sources.boxes_csv import BoxesCsv
from tests.datamodules.sources.formats import HEADER, PETS, csv_folder, error_of, write


def error_of_lines(root, *lines: str, **options) -> str:
    return error_of(BoxesCsv, PETS, csv_folder(root, *lines, **options))


def test_a_line_is_a_box_and_lines_of_one_image_belong_together(tmp_path):
    lines = ("a.jpg,120,100,dog,10,20,60,70", "sub/b.png,120,100,cat,0,0,1,1")
    root = csv_folder(tmp_path, *lines, "a.jpg,120,100,cat,1.5,2,3,4")
    source = BoxesCsv(PETS, root)
    assert source.ids == ["a", "sub/b"]
    assert source.target(0).boxes.tolist() == [[10, 20, 60, 70], [1.5, 2, 3, 4]]
    assert source.target(0).labels.tolist() == [1, 0]


def test_numbers_can_be_counted_from_one(tmp_path):
    root = csv_folder(tmp_path, "a.jpg,120,100,dog,1,1,120,100")
    source = BoxesCsv(PETS, root, one_based=True, unlabelled="skip")
    assert source.target(0).boxes.tolist() == [[0, 0, 120, 100]]


def test_columns_are_found_by_name_and_sizes_may_be_missing(tmp_path):
    header = "ymax, xmax,note,ymin,xmin,class,filename"
    root = csv_folder(tmp_path, '70,60,"a,\nb",20,10, dog ,a.png', header=header)
    assert BoxesCsv(PETS, root, unlabelled="skip").target(0).boxes.tolist() == [[10, 20, 60, 70]]


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a"])
def test_a_name_is_matched_without_its_ending(tmp_path, name):
    root = csv_folder(tmp_path, f"{name},120,100,dog,10,20,60,70")
    assert BoxesCsv(PETS, root, unlabelled="skip").ids == ["a"]


@pytest.mark.parametrize("name", ["c.jpg", "A.jpg", "../images/a.jpg"])
def test_a_name_without_an_image_is_a_mistake(tmp_path, name):
    root = csv_folder(tmp_path, f"{name},120,100,dog,10,20,60,70")
    message = error_of(BoxesCsv, PETS, root, unlabelled="skip")
    assert message.startswith(f"{root}/annotations.csv: line 2: labels without an image: ")


def test_an_image_outside_of_the_table_is_a_mistake_an_empty_image_or_left_out(tmp_path):
    root = csv_folder(tmp_path, "a.jpg,120,100,dog,10,20,60,70")
    message = error_of(BoxesCsv, PETS, root)
    assert message.startswith(f"{root}/images/sub/b.png: an image without labels")
    assert BoxesCsv(PETS, root, unlabelled="empty").ids == ["a", "sub/b"]
    assert BoxesCsv(PETS, root, unlabelled="skip").ids == ["a"]


WRONG_LINES = {
    "text": ("a.jpg,120,100,dog,x,20,60,70", "xmin is 'x': write a number"),
    "empty": ("a.jpg,120,100,dog,,20,60,70", "xmin is '': write a number"),
    "short": ("a.jpg,120,100,dog,10,20", "xmax is missing: write a number"),
    "class": ("a.jpg,120,100,dgo,10,20,60,70", "unknown class 'dgo': did you mean 'dog'?"),
    "outside": ("a.jpg,120,100,dog,10,20,160,70", "box (10, 20, 160, 70) lies outside"),
    "other size": ("a.jpg,121,100,dog,10,20,60,70", "made for 121x100 px (w x h), but "),
    "half a size": ("a.jpg,120,x,dog,10,20,60,70", "height is 'x'"),
    "no name": (",120,100,dog,10,20,60,70", "filename is empty"),
}


@pytest.mark.parametrize(("line", "expected"), WRONG_LINES.values(), ids=WRONG_LINES)
def test_a_wrong_line_is_named(tmp_path, line, expected):
    message = error_of_lines(tmp_path, line, "sub/b.png,120,100,cat,1,1,9,9")
    assert message.startswith(f"{tmp_path}/annotations.csv: line 2: {expected}")


def test_lines_of_one_image_must_agree_on_its_size(tmp_path):
    lines = ("a.jpg,120,100,dog,10,20,60,70", "a.jpg,120,101,dog,10,20,60,70")
    assert "line 2: lines of one image differ in width" in error_of_lines(tmp_path, *lines)


def test_a_header_without_the_columns_is_refused(tmp_path):
    message = error_of_lines(tmp_path, header="name,label,xmin,ymin,xmax,ymax")
    assert "annotations.csv: the header has no column filename, class" in message
    write(tmp_path / "annotations.csv", "")
    assert "the header has no column filename" in error_of(BoxesCsv, PETS, tmp_path)


def test_an_endless_cell_ends_in_one_error(tmp_path):
    message = error_of_lines(tmp_path, f'"{"x" * 200_000}')
    assert "annotations.csv: line 2: malformed CSV (field larger than" in message


def test_a_file_that_is_no_text_is_refused(tmp_path):
    root = csv_folder(tmp_path)
    write(root / "annotations.csv", HEADER.encode("utf-16"))
    assert "annotations.csv: not UTF-8 text (byte 0)" in error_of(BoxesCsv, PETS, root)
    (root / "annotations.csv").unlink()
    assert "annotations.csv: cannot be opened (No such file" in error_of(BoxesCsv, PETS, root)
