"""Recognises the format and the splits of a folder in one of the usual layouts, without a YAML."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath

from datamodules.layout import Layout, split_of
from datamodules.sources.boxes_csv import BoxesCsv, read_table
from datamodules.sources.checks import dataset_folder
from datamodules.sources.coco_json import Category, CocoJson, categories, read_coco
from datamodules.sources.dlc_csv import DlcCsv
from datamodules.sources.dlc_table import read_table as read_dlc_table
from datamodules.sources.source import Source
from datamodules.sources.voc_xml import VocXml, class_names
from datamodules.sources.yolo_txt import YoloTxt, read_names
from datamodules.splits import ListedSplit
from detectors.errors import DataError
from detectors.structures import DatasetInfo

_LOOKED_FOR = (
    "looked for PASCAL VOC (.xml), COCO (.json), DeepLabCut (CollectedData_*.csv), a table of "
    "boxes (.csv with filename, class, xmin ...) and YOLO (.txt, with data.yaml, .names or "
    "classes.txt); describe another layout in a YAML of conf/datamodule"
)


@dataclass(slots=True, frozen=True)
class Guess:
    """What a folder seems to be.

    `sources` gives, for each split found, what makes its Source when called with `info=` (and
    `mistakes=`, `class_map=`); where no split is called train, the first one stands for it.
    `note` tells what was taken for granted, in one line.
    """

    info: DatasetInfo
    sources: Mapping[str, Callable[..., Source]]
    note: str


def guess(folder: Path | str) -> Guess:
    """Recognises a dataset by its files; class names are those listed or found in them.

    Raises:
        DataError: no layout that is known, or the file that names the classes is damaged.
    """
    layout = Layout(dataset_folder(folder))
    for recognise in (_coco, _deeplabcut, _csv, _voc, _yolo):
        found = recognise(layout)
        if found is not None:
            return found
    raise DataError(folder, "not recognised as a dataset", _LOOKED_FOR)


def _coco(layout: Layout) -> Guess | None:
    files = layout.mentioning(".json", '"images"', '"annotations"', '"categories"')
    files.sort(key=lambda path: not path.name.startswith("instances"))
    by_split = _first_per_split(files)
    contents = {split: read_coco(layout.folder / file) for split, file in by_split.items()}
    classes = [
        category
        for split, content in contents.items()
        for category in categories(content, layout.folder / by_split[split]).values()
    ]
    sources = {
        split: partial(
            CocoJson,
            root=layout.folder,
            annotations=str(file),
            image_dir=layout.image_dir(_file_names(contents[split]["images"]), split),
        )
        for split, file in by_split.items()
    }
    return _guess(layout, "COCO", sources, [c.name for c in classes], *_points(classes))


def _deeplabcut(layout: Layout) -> Guess | None:
    tables = [path for path in layout.of(".csv") if path.name.startswith("CollectedData_")]
    if not tables:
        return None
    parts = read_dlc_table(layout.folder / tables[0]).parts
    source = partial(DlcCsv, root=layout.folder, unlabelled="skip")
    note = "DeepLabCut (frames that nobody labelled are skipped)"
    return _guess(layout, note, {"train": source}, ["animal"], parts)


def _csv(layout: Layout) -> Guess | None:
    by_split = _first_per_split(layout.mentioning(".csv", "filename", "class", "xmin"))
    lines = {split: read_table(layout.folder / file) for split, file in by_split.items()}
    names = sorted({cells.get("class", "") for table in lines.values() for _, cells in table})
    sources = {
        split: partial(
            BoxesCsv,
            root=layout.folder,
            table=str(file),
            image_dir=layout.image_dir([cells["filename"] for _, cells in lines[split]], split),
            unlabelled="error" if len(by_split) == 1 else "skip",
        )
        for split, file in by_split.items()
    }
    return _guess(layout, "a table of boxes (taken as continuous px)", sources, names)


def _voc(layout: Layout) -> Guess | None:
    files = layout.mentioning(".xml", "<annotation")
    found = {name for file in files for name in class_names(layout.folder / file)}
    listed = [path for path in layout.of(".txt") if str(path) == "classes.txt"]
    known = [name for path in listed for name in read_names(layout.folder / path).classes.values()]
    sources = {
        split: partial(
            VocXml, root=layout.folder, image_dir=images, annotation_dir=labels, split=listed_split
        )
        for split, images, labels, listed_split in _places(layout, files)
    }
    return _guess(layout, "PASCAL VOC (pixels counted from 1)", sources, [*known, *sorted(found)])


def _yolo(layout: Layout) -> Guess | None:
    files = [
        *layout.mentioning(".yaml", "names"),
        *layout.mentioning(".yml", "names"),
        *layout.of(".names"),
        *(path for path in layout.of(".txt") if path.name == "classes.txt"),
    ]
    places = list(_places(layout, layout.of(".txt")))
    if not files or not places:
        return None
    file = min(files, key=lambda path: len(path.parts))
    names = read_names(layout.folder / file)
    sources = {
        split: partial(
            YoloTxt,
            root=layout.folder,
            image_dir=images,
            label_dir=labels,
            names=str(file),
            split=listed_split,
        )
        for split, images, labels, listed_split in places
    }
    points = names.points or [f"point {i}" for i in range(1, names.num_points + 1)]
    classes = [name for _, name in sorted(names.classes.items())]
    return _guess(layout, f"YOLO (classes of {file})", sources, classes, points)


def _guess(
    layout: Layout,
    note: str,
    sources: Mapping[str, Callable[..., Source]],
    classes: Sequence[str],
    keypoints: Sequence[str] = (),
    skeleton: Sequence[Sequence[int]] = (),
) -> Guess | None:
    if not sources:
        return None
    once = [name for name in dict.fromkeys(classes) if name]
    info = DatasetInfo(layout.folder.resolve().name, once, keypoints, skeleton)
    first = next(iter(sources))
    if "train" not in sources:
        sources = {"train" if split == first else split: s for split, s in sources.items()}
        note = f"{note}; {first} stands for train"
    return Guess(info, sources, note)


def _first_per_split(files: Sequence[PurePosixPath]) -> dict[str, PurePosixPath]:
    """Split -> its annotation file, train first; one that names no split is train's."""
    found: dict[str, PurePosixPath] = {}
    for file in files:
        found.setdefault(split_of(str(file)) or "train", file)
    return dict(sorted(found.items(), key=lambda item: ("train", "val", "test").index(item[0])))


def _places(
    layout: Layout, labels: Sequence[PurePosixPath]
) -> Iterator[tuple[str, str, str, ListedSplit | None]]:
    """Split, folder of images, folder of labels, and the list that picks from them."""
    pairs = layout.pairs(labels)
    named = [(split, pairs[split]) for split in ("train", "val", "test") if split in pairs]
    for split, (images, label_dir) in named:
        yield split, images, label_dir, None
    if named or None not in pairs:
        return
    images, label_dir = pairs[None]
    lists = layout.lists()
    for split, file in lists.items():
        yield split, images, label_dir, ListedSplit(str(file))
    if not lists:
        yield "train", images, label_dir, None


def _file_names(images: Sequence[object]) -> list[str]:
    names = [entry.get("file_name") for entry in images if isinstance(entry, dict)]
    return [name for name in names if isinstance(name, str) and name]


def _points(classes: Sequence[Category]) -> tuple[list[str], Sequence[Sequence[int]]]:
    """All keypoints there are, and the skeleton of the first category that has some."""
    names = list(dict.fromkeys(name for category in classes for name in category.keypoints))
    skeletons = [category.skeleton for category in classes if category.keypoints]
    return names, skeletons[0] if skeletons else ()
