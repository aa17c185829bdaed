"""`lineup data stats`: the text and the page."""

import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from datamodules.inspect.counts import count
from datamodules.inspect.dataset import read_dataset
from detectors.structures import DatasetInfo
from experiments import data_stats
from experiments.data_page import page
from experiments.data_sections import sections
from tests.datamodules.folders import object_xml, write_xml
from tests.datamodules.inspect.sets import CLEAN, clean, datamodule

BINS = {"tiny": 0, "small": 16, "medium": 32, "large": 96}


def parsed(html: str) -> ET.Element:
    """The page is XML, too, but for its doctype, its two void elements and its one entity."""
    body = html.removeprefix("<!doctype html>\n").replace("&nbsp;", " ")
    lines = [line for line in body.splitlines() if not line.startswith("<meta")]
    return ET.fromstring("\n".join(lines))


def test_the_text_and_the_page_agree_with_a_set_counted_by_hand(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    root = clean(tmp_path / "pets")
    write_xml(root, "a", "<annotation></annotation>")
    write_xml(root, "b", f"<annotation>{CLEAN}{object_xml('dog', (1, 1, 10, 10))}</annotation>")
    file = tmp_path / "pets.html"
    assert data_stats.main([str(root), "--html", str(file)]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    for row in (
        "images 8 4",
        "images without objects 1 0",
        "objects 15 8",
        "objects per image, mean 1.88 2.00",
        "cat 7 (46.7%) 4 (50.0%)",
        "dog 8 (53.3%) 4 (50.0%)",
        "tiny (0 to 16 px) 1 (6.7%) 0 (0.0%)",
        "medium (32 to 96 px) 14 (93.3%) 8 (100.0%)",
        "120x100 8 (100.0%) 4 (100.0%)",
    ):
        assert row.split() in rows
    texts = {element.text for element in parsed(file.read_text()).iter() if element.text}
    assert {"pets", "cat", "dog", "7 (46.7%)", "tiny (0 to 16 px)", "1.88"} <= texts


def test_the_page_parses_whatever_the_names_and_asks_the_network_for_nothing(tmp_path: Path):
    strange = ('<b>cat</b> & "co"', "a class name that is much too long for its column")
    info = DatasetInfo("pets & <friends>", strange)
    module = datamodule(clean(tmp_path), info)
    data = read_dataset(module)
    counts = count(data, BINS)
    html = page(info.name, counts, sections(counts, BINS))
    root = parsed(html)
    texts = {element.text for element in root.iter()}
    assert {info.name, *strange} <= texts
    assert not list(root.iter("script"))
    assert "http" not in html
    assert "url(" not in html


def test_a_bar_is_as_long_as_its_share(tmp_path: Path):
    data = read_dataset(datamodule(clean(tmp_path)))
    counts = count(data, BINS)
    root = parsed(page("pets", counts, sections(counts, BINS)))
    svg = next(svg for svg in root.iter("svg"))
    widths = [float(rect.attrib["width"]) for rect in svg.iter("rect")]
    assert len(widths) == 4
    assert widths[0] == widths[1] == widths[2] == widths[3] > 0


def test_many_objects_per_image_share_rows_that_cover_everything(tmp_path: Path):
    root = clean(tmp_path)
    write_xml(root, "a", f"<annotation>{object_xml() * 100}</annotation>")
    counts = count(read_dataset(datamodule(root)), BINS)
    section = next(s for s in sections(counts, BINS) if s.title == "objects per image")
    assert len(section.rows) <= 15
    assert [sum(numbers) for numbers in zip(*(n for _, n in section.rows), strict=True)] == [8, 4]
