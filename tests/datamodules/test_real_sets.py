"""Every YAML file of a dataset: on the real sets beside the checkout, else on small made ones."""

import shutil
from pathlib import Path

import pytest
import torch

from datamodules.detection import DetectionDataModule
from datamodules.sources.coco_json import write_coco
from datamodules.sources.yolo_txt import write_yolo
from experiments import api
from tests.datamodules.folders import object_xml, voc_folder

FOLDERS = {
    "voc": "voc2012_subset",
    "bccd": "bccd_voc_subset",
    "mask": "mask_wearing",
    "traffic": "traffic_signs_gtsdb",
    "aerial_cars": "aerial_cars_tiny",
    "windmill_naip": "windmill_naip",
    "windmill_uav": "windmill_uav_large",
    "mouse": "mouse_openfield",
}

IMAGES_AND_OBJECTS = {
    "voc": {"train": (64, 164), "val": (16, 52)},
    "bccd": {"train": (90, 1326), "val": (30, 430)},
    "mask": {"train": (200, 815), "val": (50, 216)},
    "traffic": {"train": (56, 96), "val": (18, 39)},
    "aerial_cars": {"train": (16, 601), "val": (4, 145)},
    "windmill_naip": {"train": (353, 355), "val": (39, 39)},
    "windmill_uav": {"train": (30, 46), "val": (10, 17)},
    "mouse": {"train": (72, 72), "val": (24, 24)},
}


@pytest.fixture(scope="module")
def opened(real_data: Path) -> dict[str, DetectionDataModule]:
    return {
        name: api.build_datamodule(f"datamodule={name}", f"datamodule.root={real_data / folder}")
        for name, folder in FOLDERS.items()
    }


@pytest.mark.parametrize("name", FOLDERS)
def test_a_real_set_holds_the_images_and_objects_that_were_counted(opened, name):
    module = opened[name]
    found = {}
    for split in module.splits:
        truth = module.ground_truth(split).values()
        found[split] = (len(truth), sum(len(target) for target in truth))
    assert found == IMAGES_AND_OBJECTS[name]


@pytest.mark.parametrize("name", FOLDERS)
def test_every_real_object_lies_inside_its_image_and_every_class_is_there(opened, name):
    module = opened[name]
    seen = set()
    for split in module.splits:
        assert module.source(split).dropped == []
        for target in module.ground_truth(split).values():
            height, width = target.frame.original_hw
            low, high = target.boxes[:, :2], target.boxes[:, 2:]
            assert (low >= 0).all()
            assert (low < high).all()
            assert (high <= torch.tensor([width, height])).all()
            seen |= {module.info.class_names[label] for label in target.labels}
    known = {"car", "minibus"} if name == "aerial_cars" else set(module.info.class_names)
    assert seen == known


@pytest.mark.parametrize("name", FOLDERS)
def test_no_real_image_is_in_two_splits_and_each_decodes_to_its_size(opened, name):
    module = opened[name]
    train, val = module.source("train"), module.source("val")
    assert set(train.ids).isdisjoint(val.ids)
    for source in (train, val):
        image, target = source[len(source) - 1]
        assert image.shape[:2] == target.frame.original_hw


def places(module: DetectionDataModule, length: int) -> list[set[str]]:
    return [{name[:length] for name in module.source(split).ids} for split in ("train", "val")]


def test_chips_of_one_photograph_and_pictures_of_one_site_are_on_one_side(opened):
    for name, length, count in (("windmill_naip", len("m_4209449_sw"), 21), ("windmill_uav", 4, 3)):
        train, val = places(opened[name], length)
        assert train.isdisjoint(val)
        assert len(train | val) == count


@pytest.mark.parametrize(("name", "block"), [("mouse", 24), ("aerial_cars", 4)])
def test_frames_of_a_video_are_split_in_blocks(opened, name, block):
    every = sorted(opened[name].source("train").ids + opened[name].source("val").ids)
    sides = [image_id in opened[name].source("val").ids for image_id in every]
    starts = range(0, len(every), block)
    assert all(len(set(sides[start : start + block])) == 1 for start in starts)


def test_every_point_of_the_mouse_is_visible_in_order_and_inside_its_box(opened):
    module = opened["mouse"]
    assert module.info.keypoint_names == ["head", "body", "tail"]
    for target in (t for split in module.splits for t in module.ground_truth(split).values()):
        assert target.keypoints is not None
        points, low, high = target.keypoints[..., :2], target.boxes[:, :2], target.boxes[:, 2:]
        assert (target.keypoints[..., 2] == 2).all()
        assert ((low[:, None] <= points) & (points <= high[:, None])).all()
        head, body, tail = points[0]
        assert torch.dot(body - head, tail - body) > 0


def test_the_mouse_is_dark_where_its_box_and_its_body_point_are(opened):
    source = opened["mouse"].source("val")
    for index in range(0, len(source), 4):
        image, target = source[index]
        assert target.keypoints is not None
        x, y = (int(value) for value in target.keypoints[0, 1, :2])
        x1, y1, x2, y2 = target.boxes[0].int().tolist()
        assert image[y, x].mean() < 60
        assert (image[y1:y2, x1:x2].mean(axis=2) < 90).mean() > 0.3
        assert (x2 - x1) * (y2 - y1) < 0.06 * image.shape[0] * image.shape[1]


def windmills(kind: str, root: Path) -> DetectionDataModule:
    return api.build_datamodule(f"datamodule={kind}", f"datamodule.root={root}")


def test_windmill_is_the_same_set_in_each_of_its_four_forms(tmp_path):
    lists = {"train": ["a", "b"], "val": ["c"], "test": ["d"]}
    for number, (split, names) in enumerate(lists.items()):
        box = (11 + number, 21, 60, 70)
        voc_folder(tmp_path, {name: object_xml("windmill", box) for name in names}, split=split)
    first = windmills("windmill", tmp_path)
    sources = {split: first.source(split) for split in lists}
    write_coco(sources, tmp_path / "coco")
    write_yolo(sources, tmp_path / "yolo")
    table = tmp_path / "csv"
    shutil.copytree(tmp_path / "JPEGImages", table / "images")
    rows = ["filename,width,height,class,xmin,ymin,xmax,ymax"]
    for split, names in lists.items():
        (table / f"{split}.txt").write_text("\n".join(names))
        for name, target in first.ground_truth(split).items():
            rows.append(
                ",".join([f"{name}.jpg,120,100,windmill", *map(str, target.boxes[0].tolist())])
            )
    (table / "annotations.csv").write_text("\n".join(rows))
    for kind in ("coco", "yolo", "csv"):
        other = windmills(f"windmill_{kind}", tmp_path / kind)
        for split in lists:
            truth, found = first.ground_truth(split), other.ground_truth(split)
            assert list(truth) == list(found)
            for name, target in found.items():
                torch.testing.assert_close(target.boxes, truth[name].boxes)


def devkit(root: Path) -> Path:
    """The official layout, with two images per list; the two years share no name."""
    person = object_xml("person")
    names = {
        "2007": {"train": "000001 000002", "val": "000003 000004", "test": "000005 000006"},
        "2012": {"train": "2008_000001 2008_000002", "val": "2008_000003 2008_000004"},
    }
    for year, lists in names.items():
        folder = root / "VOCdevkit" / f"VOC{year}"
        for split, images in lists.items():
            voc_folder(folder, dict.fromkeys(images.split(), person), split=split)
        both = f"{lists['train']} {lists['val']}".split()
        (folder / "ImageSets/Main/trainval.txt").write_text("\n".join(both))
    return root


@pytest.mark.parametrize(("name", "splits"), [("voc2007_2012", 3), ("voc_report", 2)])
def test_the_official_voc_layout_is_read_without_an_image_in_two_splits(tmp_path, name, splits):
    module = api.build_datamodule(f"datamodule={name}", f"datamodule.root={devkit(tmp_path)}")
    assert len(module.splits) == splits
    ids = {split: list(module.source(split).ids) for split in module.splits}
    assert ids["train"] == [*(f"00000{n}" for n in (1, 2, 3, 4)), "2008_000001", "2008_000002"]
    assert ids["val"] == ["2008_000003", "2008_000004"]
    assert ids.get("test", ["000005", "000006"]) == ["000005", "000006"]


def test_a_complete_devkit_asks_for_no_download(tmp_path):
    options = ("datamodule=voc2007_2012", f"datamodule.root={devkit(tmp_path)}")
    module = api.build_datamodule(*options, "datamodule.download=true")
    module.prepare_data()
    assert len(module.source("test")) == 2
