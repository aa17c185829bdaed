"""Small things to run: a tiny configuration, and a small VOC folder made of our own scenes."""

from pathlib import Path

TINY = (
    *("datamodule.train.length=48", "datamodule.val.length=16", "datamodule.test.length=16"),
    *(
        "datamodule.num_workers=0",
        "protocol.input_hw=[64,64]",
        "protocol.epochs=2",
        "protocol.batch_size=8",
    ),
    *("logger=[csv]", "callbacks.progress=null", "trainer.log_every_n_steps=1"),
)


def tiny(folder: Path, *overrides: str) -> list[str]:
    """Overrides of a run that takes seconds and writes below `folder`."""
    return [*TINY, f"paths.runs={folder}", *overrides]


def write_voc(folder: Path, count: int = 12) -> Path:
    """A VOC folder with one `dog` per image; train, val and trainval hold all images."""
    import cv2
    import numpy as np

    for name in ("JPEGImages", "Annotations", "ImageSets/Main"):
        (folder / name).mkdir(parents=True)
    for index in range(count):
        image = np.full((60, 80, 3), 90, np.uint8)
        cv2.rectangle(image, (10 + index, 15), (39 + index, 44), (30, 200, 240), -1)
        cv2.imwrite(str(folder / f"JPEGImages/{index:03d}.jpg"), image)
        write_xml(folder, f"{index:03d}", f"{11 + index},16,{40 + index},45")
    for split in ("train", "val", "trainval"):
        ids = "".join(f"{index:03d}\n" for index in range(count))
        (folder / f"ImageSets/Main/{split}.txt").write_text(ids)
    return folder


def write_xml(folder: Path, name: str, box: str, label: str = "dog") -> None:
    """An annotation with one object; `box` is xmin,ymin,xmax,ymax as VOC counts them (1-based)."""
    tags = zip(("xmin", "ymin", "xmax", "ymax"), box.split(","), strict=True)
    bndbox = "".join(f"<{tag}>{value}</{tag}>" for tag, value in tags)
    (folder / f"Annotations/{name}.xml").write_text(
        "<annotation><size><width>80</width><height>60</height><depth>3</depth></size>"
        f"<object><name>{label}</name><bndbox>{bndbox}</bndbox></object></annotation>"
    )
