"""COCO: one JSON per split with images, annotations and categories; read and written."""

import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

from datamodules.sources.checks import Point, UnpairedFile, written_numbers
from datamodules.sources.file_source import FileSource, Object, Record, parsed
from datamodules.sources.parsing import number, shown, text_of, whole_number
from datamodules.sources.source import Source
from datamodules.sources.writing import Lost, image_names, new_folder, write_image, write_text
from datamodules.splits import Split
from detectors.errors import DataError
from detectors.structures import DatasetInfo, Target

Entry = Mapping[str, Any]
Id = int | str


@dataclass(slots=True, frozen=True)
class Category:
    """A class of a COCO file; `skeleton` holds pairs of positions in `keypoints`, from 0."""

    name: str
    keypoints: Sequence[str] = ()
    skeleton: Sequence[tuple[int, int]] = ()


class CocoJson(FileSource):
    """The images that a JSON file lists; classes and keypoints are found by name, not by id.

    Boxes are x, y, width, height in continuous px. `ignore`, which VOC's COCO files and others add
    to an annotation, is read as difficult. A keypoint that a category lacks is absent.

    Args:
        info, root, split, class_map, mistakes, limit: see `FileSource`.
        annotations: the JSON file below `root`; it lists the images of one split already.
        image_dir: the folder below `root` that the file's `file_name` start from.
    """

    def __init__(
        self,
        info: DatasetInfo,
        root: str | os.PathLike[str] | None = None,
        split: Split | None = None,
        annotations: str = "annotations/instances_train.json",
        image_dir: str = "images",
        class_map: Mapping[str, str | None] | None = None,
        mistakes: str = "error",
        limit: int | None = None,
    ) -> None:
        self._file, self._image_dir = annotations, image_dir
        super().__init__(info, root, split, class_map, mistakes, limit)

    def _records(self, folder: Path) -> Mapping[str, Record | DataError]:
        path = folder / self._file
        content = read_coco(path)
        classes = categories(content, path)
        _check_keypoints(self.info.keypoint_names, classes.values(), path)
        read = partial(_object, classes, self.info.keypoint_names)
        images = list(_entries(content, "images", path))
        ids = Counter(_key(entry.get("id")) for _, entry in images)
        notes = self._by_image(_entries(content, "annotations", path), ids)
        found: dict[str, Record | DataError] = {}
        for where, entry in images:
            with self._mistakes.left_out():
                name, image = _image(entry, where, folder / self._image_dir)
                if name in found:
                    found[name] = _twice(where, f"the image {name}", "keep one of its entries")
                else:
                    found[name] = parsed(_record, entry, where, image, ids, notes, read)
        return found

    def _by_image(
        self, notes: Iterator[tuple[str, Entry]], images: Mapping[Id | None, int]
    ) -> dict[Id, list["_Note"]]:
        """Image id -> its annotations; those of an image that is not listed are mistakes."""
        found: dict[Id, list[_Note]] = {}
        seen: set[Id] = set()
        for where, note in notes:
            with self._mistakes.left_out():
                image_id, note_id = _key(note.get("image_id")), _key(note.get("id"))
                if image_id is None or image_id not in images:
                    what = f"image_id {shown(note.get('image_id'))} is no listed image's"
                    raise DataError(where, what, "correct it, or remove the annotation")
                belongs = found.setdefault(image_id, [])
                if note_id is None:
                    what = f"id is {shown(note.get('id'))}"
                    belongs.append(DataError(where, what, "write a number"))
                elif note_id in seen:
                    belongs.append(_twice(where, "the id", "give each annotation its own id"))
                else:
                    belongs.append((where, note))
                    seen.add(note_id)
        return found


_Note = tuple[str, Entry] | DataError


def read_coco(path: Path) -> Entry:
    """The content of a COCO file.

    Raises:
        DataError: missing, no JSON, or without the three lists.
    """
    text = text_of(path)
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(path, f"malformed JSON ({error})", "correct or restore the file") from None
    for key in ("images", "annotations", "categories"):
        if not isinstance(content, dict) or not isinstance(content.get(key), list):
            raise DataError(path, f"has no list '{key}'", "give a COCO annotation file")
    return content


def categories(content: Entry, path: Path) -> dict[Id, Category]:
    """Category id -> category, in the file's order."""
    found: dict[Id, Category] = {}
    for where, entry in _entries(content, "categories", path):
        key, name, keypoints = _key(entry.get("id")), entry.get("name"), entry.get("keypoints")
        if key is None or not isinstance(name, str):
            raise DataError(where, "has no id or no name", "write both")
        if key in found:
            raise _twice(where, "the id", "give each category its own id")
        names = [str(each) for each in keypoints] if isinstance(keypoints, list) else []
        found[key] = Category(name.strip(), names, _skeleton(entry.get("skeleton"), len(names)))
    return found


def _skeleton(pairs: object, k: int) -> list[tuple[int, int]]:
    """COCO counts keypoints from 1; pairs of points that do not exist are left out."""
    known = [[a, b] for a in range(1, k + 1) for b in range(1, k + 1)]
    return [(p[0] - 1, p[1] - 1) for p in known if isinstance(pairs, list) and p in pairs]


def _entries(content: Entry, key: str, path: Path) -> Iterator[tuple[str, Entry]]:
    """(what an error message calls it, entry); what is no entry has no keys."""
    singular = {"images": "image", "annotations": "annotation", "categories": "category"}[key]
    for position, item in enumerate(content[key]):
        entry = item if isinstance(item, dict) else {}
        named = _key(entry.get("id"))
        place = f"{key}[{position}]" if named is None else f"{singular} {shown(named)}"
        yield f"{path}: {place}", entry


def _key(value: object) -> Id | None:
    return value if isinstance(value, int | str) and not isinstance(value, bool) else None


def _twice(where: str, what: str, remedy: str) -> DataError:
    return DataError(where, f"{what} stands there twice", remedy)


def _check_keypoints(names: Sequence[str], classes: Iterable[Category], path: Path) -> None:
    known = {name for category in classes for name in category.keypoints}
    for name in names:
        if name not in known:
            what = f"no category has a keypoint '{name}', but {', '.join(sorted(known)) or 'none'}"
            raise DataError(path, what, "correct datamodule.info.keypoint_names")


def _image(entry: Entry, where: str, image_dir: Path) -> tuple[str, Path]:
    """The image's id and file."""
    name = entry.get("file_name")
    if not isinstance(name, str) or not PurePosixPath(name).name:
        raise DataError(where, f"file_name is {shown(name)}", "write the image's name")
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts:
        what = f"file_name {shown(name)} leaves the folder {image_dir}"
        raise DataError(where, what, "write it relative to image_dir, or correct image_dir")
    return str(path.with_suffix("")), image_dir / path


def _record(
    entry: Entry,
    where: str,
    image: Path,
    ids: Mapping[Id | None, int],
    notes: Mapping[Id, Sequence[_Note]],
    read: partial[Object],
) -> Record:
    key = _key(entry.get("id"))
    if key is None:
        raise DataError(where, f"id is {shown(entry.get('id'))}", "write a number")
    if ids[key] > 1:
        raise _twice(where, "the id", "give each image its own id, also in its annotations")
    if not os.path.isfile(image):  # unlike Path.is_file, also for names that no file can have
        raise UnpairedFile(where, f"the image {image} is missing", "restore it, or remove both")
    return Record(image, partial(_objects, notes.get(key, ()), read), where, _hw(entry, where))


def _hw(entry: Entry, where: str) -> tuple[int, int] | None:
    if entry.get("height") is None and entry.get("width") is None:
        return None
    height, width = (whole_number(entry.get(key), where, key) for key in ("height", "width"))
    return height, width


def _objects(notes: Sequence[_Note], read: partial[Object]) -> list[Object | DataError]:
    return [note if isinstance(note, DataError) else parsed(read, *note) for note in notes]


def _object(
    classes: Mapping[Id, Category], keypoint_names: Sequence[str], where: str, note: Entry
) -> Object:
    key = _key(note.get("category_id"))
    if key is None or key not in classes:
        what = f"category_id {shown(note.get('category_id'))} is no category's"
        raise DataError(where, what, "correct it, or add the category")
    x, y, width, height = _numbers(note, "bbox", 4, where)
    area = note.get("area")
    return Object(
        where,
        name=classes[key].name,
        box=(x, y, x + width, y + height),
        written=written_numbers((x, y, width, height)),
        difficult=_flag(note, "ignore", where),
        crowd=_flag(note, "iscrowd", where),
        area=None if area is None else number(area, where, "area"),
        points=_points(note, classes[key], keypoint_names, where),
    )


def _points(
    note: Entry, category: Category, keypoint_names: Sequence[str], where: str
) -> list[Point]:
    if not keypoint_names or not note.get("keypoints"):
        return []
    flat = _numbers(note, "keypoints", 3 * len(category.keypoints), where)
    triples = zip(flat[::3], flat[1::3], flat[2::3], strict=True)
    points = dict(zip(category.keypoints, triples, strict=True))
    return [points.get(name, (0.0, 0.0, 0.0)) for name in keypoint_names]


def _numbers(note: Entry, key: str, count: int, where: str) -> list[float]:
    values = note.get(key)
    if not isinstance(values, list) or len(values) != count:
        raise DataError(where, f"{key} is {shown(values)}", f"write {count} numbers")
    return [number(value, where, key) for value in values]


def _flag(note: Entry, key: str, where: str) -> bool:
    value = note.get(key) or 0
    if value not in (0, 1):
        raise DataError(where, f"{key} is {shown(value)}", "write 0 or 1")
    return bool(value)


def write_coco(sources: Mapping[str, Source], folder: Path) -> Lost:
    """Writes a dataset as annotations/instances_SPLIT.json and images/; nothing gets lost.

    Raises:
        ConfigError: the folder is not empty.
        DataError: an image cannot be copied.
    """
    names = image_names(sources)
    with new_folder(folder) as out:
        for split, source in sources.items():
            images: list[Entry] = []
            notes: list[Entry] = []
            for index, name in enumerate(names[split]):
                target = source.target(index)
                height, width = target.frame.original_hw
                file_name = write_image(source, index, out / "images", name)
                size = {"width": width, "height": height}
                images.append({"id": index + 1, "file_name": file_name, **size})
                notes += _entries_of(target, image_id=index + 1, first_id=len(notes) + 1)
            content = {"images": images, "annotations": notes}
            content["categories"] = _categories_of(source.info)
            write_text(out / "annotations" / f"instances_{split}.json", json.dumps(content))
    return {split: Counter() for split in sources}


def _categories_of(info: DatasetInfo) -> list[Entry]:
    points: Entry = {}
    if info.keypoint_names:
        skeleton = [[a + 1, b + 1] for a, b in info.skeleton]
        points = {"keypoints": list(info.keypoint_names), "skeleton": skeleton}
    return [{"id": i, "name": name, **points} for i, name in enumerate(info.class_names, start=1)]


def _entries_of(target: Target, image_id: int, first_id: int) -> list[Entry]:
    """An annotation per object, to a thousandth of a px."""
    entries: list[Entry] = []
    for row, (x1, y1, x2, y2) in enumerate(target.boxes.tolist()):
        entry = {
            "id": first_id + row,
            "image_id": image_id,
            "category_id": int(target.labels[row]) + 1,
            "bbox": [round(value, 3) for value in (x1, y1, x2 - x1, y2 - y1)],
            "area": round(float(target.area[row]), 3),
            "iscrowd": int(target.crowd[row]),
            "ignore": int(target.difficult[row]),
        }
        if target.keypoints is not None:
            points = target.keypoints[row].tolist()
            flat = [n for x, y, v in points for n in (round(x, 3), round(y, 3), int(v))]
            entry |= {"keypoints": flat, "num_keypoints": sum(v > 0 for _, _, v in points)}
        entries.append(entry)
    return entries
