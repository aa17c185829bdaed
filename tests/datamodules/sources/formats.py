"""The same two small images, labelled in each format; and a source that is made, not read."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import numpy as np
from PIL import Image

from datamodules.sources.boxes_csv import BoxesCsv
from datamodules.sources.coco_json import CocoJson
from datamodules.sources.dlc_csv import DlcCsv
from datamodules.sources.images import read_image
from datamodules.sources.source import Source
from datamodules.sources.voc_xml import VocXml
from datamodules.sources.yolo_txt import YoloTxt
from detectors.errors import DataError
from detectors.structures import DatasetInfo, Target
from tests.datamodules.folders import object_xml, voc_folder

PETS = DatasetInfo("pets", ("cat", "dog"))
MICE = DatasetInfo("mice", ("mouse",), ("head", "tail"))

HW = (100, 120)

COCO_NOTE = {
    "id": 1,
    "image_id": 1,
    "category_id": 7,
    "bbox": [10, 20, 50, 50],
    "area": 1000.5,
    "iscrowd": 0,
}
POINTS = [15, 25, 2, 40, 60, 1]


def picture(path: Path, hw: tuple[int, int] = HW, **options) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(len(path.name)).integers(0, 255, (*hw, 3), np.uint8)
    Image.fromarray(pixels).save(path, **options)
    return path


def write(path: Path, content: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def coco_content(notes: Sequence[Mapping] = (COCO_NOTE,), keypoints: Sequence[str] = ()) -> dict:
    size = {"height": HW[0], "width": HW[1]}
    return {
        "images": [
            {"id": 1, "file_name": "a.jpg", **size},
            {"id": 2, "file_name": "sub/b.png", **size},
        ],
        "annotations": list(notes),
        "categories": [
            {"id": 3, "name": "cat"},
            {"id": 7, "name": "dog", **({"keypoints": list(keypoints)} if keypoints else {})},
        ],
    }


def coco_folder(root: Path, content: object = None) -> Path:
    picture(root / "images/a.jpg")
    picture(root / "images/sub/b.png")
    text = json.dumps(coco_content() if content is None else content)
    write(root / "annotations/instances_train.json", text)
    return root


def yolo_folder(root: Path, line: str = "1 0.25 0.5 0.5 0.5", names: str = "[cat, dog]") -> Path:
    picture(root / "images/a.jpg")
    picture(root / "images/sub/b.png")
    write(root / "labels/a.txt", f"{line}\n" if line else "")
    write(root / "labels/sub/b.txt", "")
    write(root / "data.yaml", f"nc: 2\nnames: {names}\n")
    return root


HEADER = "filename,width,height,class,xmin,ymin,xmax,ymax"


def csv_folder(root: Path, *lines: str, header: str = HEADER) -> Path:
    picture(root / "images/a.jpg")
    picture(root / "images/sub/b.png")
    rows = lines or ("a.jpg,120,100,dog,10,20,60,70", "sub/b.png,120,100,cat,0,0,120,100")
    write(root / "annotations.csv", "\n".join([header, *rows]) + "\n")
    return root


def dlc_folder(root: Path) -> Path:
    picture(root / "labeled-data/v/img0.png")
    head = "scorer,me,me,me,me\nbodyparts,head,head,tail,tail\ncoords,x,y,x,y\n"
    write(
        root / "labeled-data/v/CollectedData_me.csv", f"{head}labeled-data/v/img0.png,10,20,60,70\n"
    )
    return root


FORMATS = {
    "voc": (
        lambda root: voc_folder(root, {"a": object_xml("dog"), "b": ""}),
        "Annotations/a.xml",
        lambda root, **options: VocXml(PETS, root, **options),
    ),
    "coco": (
        coco_folder,
        "annotations/instances_train.json",
        lambda root, **options: CocoJson(PETS, root, **options),
    ),
    "yolo": (
        yolo_folder,
        "labels/a.txt",
        lambda root, **options: YoloTxt(PETS, root, **options),
    ),
    "yolo names": (
        yolo_folder,
        "data.yaml",
        lambda root, **options: YoloTxt(PETS, root, **options),
    ),
    "csv": (
        csv_folder,
        "annotations.csv",
        lambda root, **options: BoxesCsv(PETS, root, **options),
    ),
    "deeplabcut": (
        dlc_folder,
        "labeled-data/v/CollectedData_me.csv",
        lambda root, **options: DlcCsv(MICE, root, **options),
    ),
}
"""Name -> (writes a valid folder, the file that is parsed, reads the folder)."""


def error_of(make, *args, **kwargs) -> str:
    try:
        make(*args, **kwargs)
    except DataError as error:
        message = str(error)
        assert message.isprintable()
        return message
    raise AssertionError("no DataError")


class MadeSource(Source):
    """Targets given one by one, and the files of their images, if any."""

    def __init__(
        self,
        info: DatasetInfo,
        targets: Sequence[Target],
        files: Mapping[str, Path] = MappingProxyType({}),
    ) -> None:
        self.info, self._targets, self._files = info, list(targets), files
        self.ids = [target.frame.image_id for target in targets]

    def image(self, index: int) -> np.ndarray:
        file = self.file(index)
        if file is not None:
            return read_image(file)
        return np.full((*self._targets[index].frame.original_hw, 3), index * 20, np.uint8)

    def target(self, index: int) -> Target:
        return self._targets[index]

    def file(self, index: int) -> Path | None:
        return self._files.get(self.ids[index])
