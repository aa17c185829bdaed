from functools import partial

import pytest
import torch

from datamodules.sources.joined import Joined
from datamodules.sources.voc_xml import VocXml
from datamodules.splits import ListedSplit
from detectors.errors import ConfigError, DataError
from tests.datamodules.folders import INFO, object_xml, voc_folder

CAT = object_xml("cat", (1, 1, 10, 10))
DOG = object_xml("dog", (21, 31, 60, 70))


def part(year: str):
    return partial(
        VocXml,
        split=ListedSplit(f"{year}/ImageSets/Main/train.txt"),
        image_dir=f"{year}/JPEGImages",
        annotation_dir=f"{year}/Annotations",
    )


@pytest.fixture
def root(tmp_path):
    """Two years with two images each; `b` is in both."""
    voc_folder(tmp_path / "2007", {"a": CAT, "b": CAT})
    voc_folder(tmp_path / "2012", {"b": DOG, "c": DOG * 2})
    return tmp_path


def joined(root, **options) -> Joined:
    return Joined(INFO, {"voc2007": part("2007"), "voc2012": part("2012")}, root, **options)


def test_all_images_of_the_parts_follow_each_other(root):
    source = joined(root)
    assert len(source) == 4
    assert [source.target(i).labels.tolist() for i in range(4)] == [[0], [0], [1], [1, 1]]
    assert [str(source.file(i).relative_to(root)) for i in range(4)] == [
        *("2007/JPEGImages/a.jpg", "2007/JPEGImages/b.jpg"),
        *("2012/JPEGImages/b.jpg", "2012/JPEGImages/c.jpg"),
    ]


def test_an_id_gets_its_parts_name_only_where_two_parts_use_it(root):
    source = joined(root)
    assert source.ids == ["a", "voc2007/b", "voc2012/b", "c"]
    assert [source.target(i).frame.image_id for i in range(4)] == source.ids


def test_pixels_and_annotations_are_the_parts(root):
    source, alone = joined(root), part("2012")(info=INFO, root=root)
    assert (source.image(3) == alone.image(1)).all()
    assert torch.equal(source.target(3).boxes, alone.target(1).boxes)
    assert source.where(3) == alone.where(1)


def test_the_limit_counts_over_all_parts(root):
    assert joined(root, limit=3).ids == ["a", "voc2007/b", "voc2012/b"]
    assert len(joined(root, limit=1)) == 1


def test_folder_class_map_and_policy_reach_the_parts_and_mistakes_come_back(root):
    voc_folder(root / "2012", {"c": DOG + object_xml("wolf") + object_xml(box=(5, 5, 5, 5))})
    with pytest.raises(DataError, match="unknown class 'wolf'"):
        joined(root)
    source = joined(root, class_map={"wolf": "dog"}, mistakes="drop_boxes")
    assert source.target(len(source) - 1).labels.tolist() == [1, 1]
    (mistake,) = source.dropped
    assert "c.xml: object 3: box (5, 5, 5, 5) has no area" in str(mistake)


def test_the_fingerprint_covers_every_part(root):
    before = joined(root).fingerprint()
    voc_folder(root / "2012", {"b": DOG, "c": DOG})
    assert joined(root).fingerprint() != before


def test_nothing_to_join_is_refused(root):
    with pytest.raises(ConfigError, match="parts is empty"):
        Joined(INFO, {}, root)
