"""`lineup data preview`: a sheet of pairs, drawn from what the loaders yield."""

from pathlib import Path

import numpy as np
import pytest

from datamodules.sources.images import read_image
from detectors.errors import ConfigError
from experiments import data_preview
from experiments.data import open_data
from tests.datamodules.inspect.sets import clean

TILE = (400 + 16 + 26, 400 + 16)
"""Height and width of a tile of the contact sheet, px."""


@pytest.mark.parametrize(("split", "count", "rows"), [("train", 4, 2), ("val", 3, 1)])
def test_the_sheet_holds_a_pair_per_image(split: str, count: int, rows: int, tmp_path: Path):
    out = tmp_path / "sheet.png"
    words = [str(clean(tmp_path / "pets")), "transform=yolov1"]
    options = ["--split", split, "--count", str(count), "--out", str(out)]
    assert data_preview.main([*words, *options]) == 0
    assert read_image(out).shape == (rows * TILE[0], 6 * TILE[1], 3)


def test_the_seed_chooses_the_images_and_the_same_seed_the_same_sheet(tmp_path: Path):
    root = clean(tmp_path / "pets")
    sheets = []
    for number, seed in enumerate((0, 0, 1)):
        out = tmp_path / f"{number}.png"
        data_preview.main([str(root), "--count", "3", "--seed", str(seed), "--out", str(out)])
        sheets.append(out.read_bytes())
    assert sheets[0] == sheets[1] != sheets[2]


def test_more_images_than_there_are_show_all_of_them(tmp_path: Path):
    out = tmp_path / "sheet.png"
    data_preview.main([str(clean(tmp_path / "pets")), "--count", "50", "--out", str(out)])
    assert read_image(out).shape == (3 * TILE[0], 6 * TILE[1], 3)


def test_without_augmentation_the_picture_after_is_the_letterboxed_one_before(tmp_path: Path):
    words = [str(clean(tmp_path / "pets")), "transform=none", "protocol.input_hw=[100,120]"]
    module = open_data([*words, "datamodule.num_workers=0"])
    image, target = next(iter(data_preview.samples(module, "val")))
    before, annotated = module.source("val")[0]
    assert np.array_equal(image, before)
    assert np.array_equal(target.boxes.numpy(), annotated.boxes.numpy())


def test_a_split_that_is_not_there_is_refused(tmp_path: Path):
    with pytest.raises(ConfigError, match="there is no test split"):
        data_preview.main([str(clean(tmp_path / "pets")), "--split", "test"])
