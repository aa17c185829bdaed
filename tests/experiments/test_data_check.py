"""`lineup data check` from the outside: exit codes, what is printed, JSON, the corrected copy."""

import hashlib
import json
import logging
from pathlib import Path

import pytest

from detectors.errors import ConfigError, DataError
from experiments import data_check
from tests.datamodules.folders import object_xml, write_xml
from tests.datamodules.inspect.sets import CLEAN, add, clean, datamodule
from tests.experiments.test_mistakes import lineup

TWICE = object_xml("dog", (61, 31, 110, 90))


def broken(root: Path) -> Path:
    """Three images of eight with errors, and one with a box drawn twice."""
    clean(root)
    write_xml(root, "a", f"<annotation>{CLEAN}{object_xml(box=(9, 9, 300, 20))}</annotation>")
    write_xml(root, "b", f"<annotation>{CLEAN}{TWICE}</annotation>")
    (root / "JPEGImages/c.jpg").write_bytes(b"hello")
    (root / "Annotations/d.xml").unlink()
    return root


def digest(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(p): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def test_a_clean_set_exits_with_0_and_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert data_check.main([str(clean(tmp_path / "pets"))]) == 0
    assert capsys.readouterr().out == (
        "pets: 12 images (8 train, 4 val), 24 objects: 0 errors, 0 warnings, 0 notes\n"
    )


def test_a_broken_set_exits_with_1_and_names_every_file(tmp_path: Path):
    done = lineup("data", "check", str(broken(tmp_path / "pets")))
    assert done.returncode == 1
    for name in ("Annotations/a.xml: object 3", "b.jpg", "c.jpg", "d.jpg"):
        assert name in done.stdout
    assert "3 errors, 1 warning, 0 notes" in done.stdout


def test_only_the_first_of_a_kind_are_printed_unless_all_are_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    root = clean(tmp_path / "pets")
    for name in "abcdefg":
        (root / f"Annotations/{name}.xml").unlink()
    assert data_check.main([str(root)]) == 1
    short = capsys.readouterr().out
    assert "and 2 more" in short
    assert "g.jpg" not in short
    assert data_check.main([str(root), "--all"]) == 1
    full = capsys.readouterr().out
    assert "more: --all" not in full
    assert "g.jpg" in full


def test_the_json_holds_every_finding_whole(tmp_path: Path):
    file = tmp_path / "report.json"
    assert data_check.main([str(broken(tmp_path / "pets")), "--json", str(file)]) == 1
    report = json.loads(file.read_text())
    assert report["dataset"] == "pets"
    assert report["images"] == {"train": 6, "val": 4}
    assert report["counts"] == {"error": 3, "warning": 1, "note": 0}
    assert len(report["findings"]) == 4
    for finding in report["findings"]:
        assert set(finding) == {"kind", "severity", "file", "what", "consequence", "remedy"}
        assert all(finding.values())


def test_the_corrected_copy_passes_and_the_original_is_untouched(tmp_path: Path):
    root, out, report = broken(tmp_path / "pets"), tmp_path / "fixed", tmp_path / "report.json"
    before = digest(root)
    assert data_check.main([str(root), "--fix", str(out)]) == 1
    assert digest(root) == before
    assert data_check.main([str(out), "--json", str(report)]) == 0
    assert json.loads(report.read_text())["counts"] == {"error": 0, "warning": 0, "note": 0}
    assert json.loads(report.read_text())["images"] == {"train": 6, "val": 4}
    assert sorted(p.name for p in (out / "JPEGImages").iterdir()) == [
        f"{n}.jpg" for n in "abefghijkl"
    ]
    assert (out / "Annotations/b.xml").read_text().count("<object>") == 2


def test_an_image_that_fails_only_when_decoded_is_left_out_of_the_copy(tmp_path: Path):
    root, out = clean(tmp_path / "pets"), tmp_path / "fixed"
    file = root / "JPEGImages/a.jpg"
    file.write_bytes(file.read_bytes()[:-300])
    assert data_check.main([str(root), "--fix", str(out)]) == 1
    assert not (out / "JPEGImages/a.jpg").exists()
    assert data_check.main([str(out)]) == 0


def test_a_folder_that_holds_something_is_not_written_into(tmp_path: Path):
    root, out = clean(tmp_path / "pets"), tmp_path / "fixed"
    (out / "sub").mkdir(parents=True)
    with pytest.raises(ConfigError, match="not empty"):
        data_check.main([str(root), "--fix", str(out)])
    assert [path.name for path in out.rglob("*")] == ["sub"]


def test_training_is_warned_in_one_line_per_kind(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    root = clean(tmp_path / "pets")
    for name in "ab":
        write_xml(root, name, f"<annotation>{CLEAN}{TWICE}</annotation>")
    add(root, "val", a=CLEAN + TWICE)
    with caplog.at_level(logging.WARNING):
        data_check.warn_before_training(datamodule(root))
    shared, twice = (record.getMessage() for record in caplog.records)
    assert shared.startswith("data error: files in two splits (1), the first: ")
    assert twice.startswith("data warning: duplicate boxes (2), the first: ")
    assert "\n" not in shared + twice


def test_training_on_a_clean_set_is_told_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    data_check.warn_before_training(datamodule(clean(tmp_path)))
    assert caplog.records == []


def test_the_duplicates_of_the_real_sets_are_found(real_data: Path, tmp_path: Path):
    """Seen by eye: two bloodsmear images differ in focus only, two mask images are one file."""
    cases = {
        "bccd_voc_subset": ("similar images in two splits", "BloodImage_00037", "BloodImage_00038"),
        "mask_wearing": ("repeated images", "maksssksksss146", "maksssksksss219"),
    }
    for folder, (kind, image, twin) in cases.items():
        report = tmp_path / f"{folder}.json"
        assert data_check.main([str(real_data / folder), "--json", str(report)]) == 0
        (found,) = [f for f in json.loads(report.read_text())["findings"] if f["kind"] == kind]
        assert image in found["file"]
        assert twin in found["what"]


def test_a_set_without_a_readable_image_has_no_corrected_copy(tmp_path: Path):
    root, out = clean(tmp_path / "pets"), tmp_path / "fixed"
    for file in (root / "JPEGImages").iterdir():
        file.write_bytes(file.read_bytes()[:-300])
    with pytest.raises(DataError, match="no readable image"):
        data_check.main([str(root), "--fix", str(out)])
    assert not out.exists()
