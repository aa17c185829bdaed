"""The formats a dataset can be written in, by the names of the command line."""

from collections.abc import Callable, Mapping
from pathlib import Path

from datamodules.sources.coco_json import write_coco
from datamodules.sources.source import Source
from datamodules.sources.voc_xml import write_voc
from datamodules.sources.writing import Lost
from datamodules.sources.yolo_txt import write_yolo

Writer = Callable[[Mapping[str, Source], Path], Lost]

WRITERS: Mapping[str, Writer] = {"coco": write_coco, "voc": write_voc, "yolo": write_yolo}
"""Name -> writes the sources of the splits into a new folder, and says what got lost."""
