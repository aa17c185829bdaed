"""`lineup predict RUN IMAGE_OR_FOLDER`: pictures with boxes, and one COCO JSON."""

import argparse
from pathlib import Path
from typing import Any

import cv2
from rich.progress import track

from callbacks.draw import draw_detections
from callbacks.files import write_json_atomically
from datamodules.sources.images import IMAGE_SUFFIXES, read_image
from detectors.errors import DataError
from detectors.structures import Detections
from experiments import api, checkpoints


def main() -> None:
    """Reads the command line, predicts, writes."""
    parser = argparse.ArgumentParser("lineup predict", description=__doc__)
    parser.add_argument("run", type=Path, help="a run's folder or a checkpoint")
    parser.add_argument("images", type=Path, help="an image, or a folder of images")
    parser.add_argument(
        "--out", type=Path, default=Path("predictions"), help="folder of the results"
    )
    parser.add_argument(
        "--score", type=float, default=0.25, help="draw and write detections from this score on"
    )
    arguments = parser.parse_args()
    paths = image_paths(arguments.images)
    detector, config = checkpoints.load_detector(arguments.run)
    names = list(config.datamodule.info.class_names)
    size = tuple(config.protocol.input_hw)
    arguments.out.mkdir(parents=True, exist_ok=True)
    found: list[Detections] = []
    for path in track(paths, "predicting", disable=len(paths) < 2):
        (detections,) = api.predict(detector, [path], input_hw=size)
        detections = detections[detections.scores >= arguments.score]
        _draw(path, detections, names, arguments.out)
        found.append(detections)
    write_json_atomically(arguments.out / "predictions.json", as_coco(paths, found, names))
    count = sum(map(len, found))
    print(
        f"{count} detections in {len(paths)} images: {arguments.out}/predictions.json and pictures"
    )


def image_paths(given: Path) -> list[Path]:
    """The images of a folder by name, or the one file."""
    if given.is_file():
        return [given]
    if not given.is_dir():
        raise DataError(f"{given} does not exist: give an image or a folder of images")
    paths = sorted(p for p in given.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES)
    if not paths:
        raise DataError(f"{given} holds no image ({', '.join(sorted(IMAGE_SUFFIXES))})")
    return paths


def as_coco(paths: list[Path], found: list[Detections], class_names: list[str]) -> dict[str, Any]:
    """A COCO dataset whose annotations carry a score; boxes are x, y, w, h in original px."""
    images, annotations = [], []
    for image_id, (path, detections) in enumerate(zip(paths, found, strict=True), start=1):
        height, width = detections.frame.original_hw
        images.append({"id": image_id, "file_name": path.name, "height": height, "width": width})
        rows = zip(
            detections.boxes.tolist(),
            detections.scores.tolist(),
            detections.labels.tolist(),
            strict=True,
        )
        for (x1, y1, x2, y2), score, label in rows:
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image_id,
                    "category_id": label,
                    "bbox": [x1, y1, x2 - x1, y2 - y1],
                    "area": (x2 - x1) * (y2 - y1),
                    "iscrowd": 0,
                    "score": score,
                }
            )
    categories = [{"id": i, "name": name} for i, name in enumerate(class_names)]
    return {"images": images, "annotations": annotations, "categories": categories}


def _draw(path: Path, detections: Detections, class_names: list[str], out: Path) -> None:
    picture = draw_detections(read_image(path), None, detections, class_names)
    target = out / f"{path.stem}.png"
    if not cv2.imwrite(str(target), cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)):
        raise DataError(f"{target} could not be written: is the disk full?")


if __name__ == "__main__":
    main()
