"""Several sources as one split: VOC 2007 and 2012 together."""

import os
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from datamodules.sources.source import Source
from detectors.errors import ConfigError
from detectors.structures import DatasetInfo, Target


class Joined(Source):
    """The images of all parts, one part after the other.

    An image keeps its id, so that it is recognised in another split; only where two parts use the
    same one, each gets the part's name in front (`voc2007/000005`).

    Args:
        info: of all parts.
        parts: name -> makes a Source when called with `info=` (and the next three, where given).
        root: folder of the dataset, handed to every part.
        class_map, mistakes: handed to every part; see `FileSource`.
        limit: only the first so many images of the whole.
    """

    def __init__(
        self,
        info: DatasetInfo,
        parts: Mapping[str, Callable[..., Source]],
        root: str | os.PathLike[str] | None = None,
        class_map: Mapping[str, str | None] | None = None,
        mistakes: str | None = None,
        limit: int | None = None,
    ) -> None:
        if not parts:
            raise ConfigError("datamodule.train.parts is empty: name at least one source")
        given = {"info": info, "root": root, "class_map": class_map, "mistakes": mistakes}
        arguments = {key: value for key, value in given.items() if value is not None}
        sources = {name: make(**arguments) for name, make in parts.items()}
        self.info = info
        self.dropped = [mistake for source in sources.values() for mistake in source.dropped]
        uses = Counter(image_id for source in sources.values() for image_id in source.ids)
        self._places = [(s, index) for s in sources.values() for index in range(len(s))][:limit]
        self.ids = [
            image_id if uses[image_id] == 1 else f"{name}/{image_id}"
            for name, source in sources.items()
            for image_id in source.ids
        ][:limit]

    def image(self, index: int) -> UInt8[np.ndarray, "h w 3"]:
        """The pixels, as the part reads them."""
        source, place = self._places[index]
        return source.image(place)

    def target(self, index: int) -> Target:
        """The annotations, as the part has them."""
        source, place = self._places[index]
        target = source.target(place)
        return replace(target, frame=replace(target.frame, image_id=self.ids[index]))

    def file(self, index: int) -> Path | None:
        """The image's file, where there is one."""
        source, place = self._places[index]
        return source.file(place)
