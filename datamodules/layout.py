"""How people lay out a dataset's files: which are images, labels, lists, and of which split."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from itertools import takewhile
from pathlib import Path, PurePosixPath

from datamodules.sources.images import IMAGE_SUFFIXES

SPLITS: Mapping[str, frozenset[str]] = {
    "train": frozenset({"train", "training"}),
    "val": frozenset({"val", "valid", "validation"}),
    "test": frozenset({"test", "testing"}),
}
"""Split -> what people call it."""

_TRIED = 20
"""Names looked up to find a folder of images; some may be missing."""


class Layout:
    """The files below a folder, hidden ones aside; all paths are relative to it."""

    def __init__(self, folder: Path) -> None:
        paths = (path.relative_to(folder) for path in sorted(folder.rglob("*")) if path.is_file())
        self.folder = folder
        self._files = [PurePosixPath(p) for p in paths if not str(p).startswith((".", "__MACOSX"))]
        self.images = self.of(*IMAGE_SUFFIXES)

    def of(self, *suffixes: str) -> list[PurePosixPath]:
        """The files with these endings."""
        return [path for path in self._files if path.suffix.lower() in suffixes]

    def mentioning(self, suffix: str, *words: str) -> list[PurePosixPath]:
        """The files with this ending that hold all of the words."""
        return [path for path in self.of(suffix) if self._mentions(path, words)]

    def lists(self) -> dict[str, PurePosixPath]:
        """Split -> the text file named after it, those higher up first; trainval may train."""
        found: dict[str, PurePosixPath] = {}
        texts = sorted(self.of(".txt"), key=lambda path: len(path.parts))
        for split, names in (*SPLITS.items(), ("train", {"trainval"})):
            for path in texts:
                if path.stem.lower() in names:
                    found.setdefault(split, path)
        return found

    def pairs(self, labels: Iterable[PurePosixPath]) -> dict[str | None, tuple[str, str]]:
        """Split -> (folder of images, folder of labels); split None: the folders name none.

        A label belongs to the image of its name whose path ends most alike; what the paths have in
        common below their folders is the image's id, as far as it names no split.
        """
        by_stem: dict[str, list[PurePosixPath]] = defaultdict(list)
        for image in self.images:
            by_stem[image.stem].append(image)
        found: Counter[tuple[str, str]] = Counter()
        for label in labels:
            twins = by_stem[label.stem]
            if twins:
                image = max(twins, key=partial(_likeness, label))
                length = _id_length(_common(image, label))
                found[_folder(image, length), _folder(label, length)] += 1
        by_split: dict[str | None, tuple[str, str]] = {}
        for folders, _ in found.most_common():
            by_split.setdefault(split_of(folders[1]) or split_of(folders[0]), folders)
        return by_split

    def image_dir(self, names: Sequence[str], split: str | None) -> str:
        """The folder that these image names start from; `.` if none is found."""
        paths = [PurePosixPath(name.replace("\\", "/")) for name in names[:_TRIED]]
        for wanted in filter(lambda path: path.name, paths):
            same = [image for image in self.images if _ends_with(image, wanted)]
            if not same:
                same = [i for i in self.images if _ends_with(i.with_suffix(""), _stem(wanted))]
            if same:
                chosen = max(same, key=lambda image: split_of(str(image.parent)) == split)
                return str(PurePosixPath(*chosen.parts[: -len(wanted.parts)]))
        return "."

    def _mentions(self, path: PurePosixPath, words: Iterable[str]) -> bool:
        content = (self.folder / path).read_bytes()
        return all(word.encode() in content for word in words)


def split_of(path: str) -> str | None:
    """The split that a path names, by the words nearest to its end."""
    for part in reversed(PurePosixPath(path).parts):
        words = set(re.split("[^a-z]+", part.lower()))
        for split, names in SPLITS.items():
            if words & names:
                return split
    return None


def _common(image: PurePosixPath, label: PurePosixPath) -> list[str]:
    """The parts in which two paths end alike, the last first, endings aside."""
    pairs = zip(reversed(_stem(image).parts), reversed(_stem(label).parts), strict=False)
    return [one for one, other in takewhile(lambda pair: pair[0] == pair[1], pairs)]


def _likeness(label: PurePosixPath, image: PurePosixPath) -> tuple[int, bool]:
    same_split = split_of(str(image.parent)) == split_of(str(label.parent))
    return len(_common(image, label)), same_split


def _id_length(same: Sequence[str]) -> int:
    """How many of the parts that are alike make the image's id: those below a split's folder."""
    return 1 + len(list(takewhile(lambda part: split_of(part) is None, same[1:])))


def _folder(path: PurePosixPath, shared: int) -> str:
    return str(PurePosixPath(*path.parts[:-shared]))


def _stem(path: PurePosixPath) -> PurePosixPath:
    return path.with_suffix("")


def _ends_with(path: PurePosixPath, end: PurePosixPath) -> bool:
    return path.parts[-len(end.parts) :] == end.parts
