"""`lineup predict RUN IMAGE_OR_FOLDER`: pictures with boxes and points, and one COCO JSON."""

import argparse
from pathlib import Path

import cv2
from rich.progress import track

from callbacks.coco_files import predicted_dataset
from callbacks.draw import draw_detections
from callbacks.files import write_json_atomically
from datamodules.sources.images import IMAGE_SUFFIXES, read_image
from detectors.errors import DataError
from detectors.structures import DatasetInfo, Detections
from experiments import api, build, checkpoints


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
    info: DatasetInfo = build.instantiate(config.datamodule.info)
    size = tuple(config.protocol.input_hw)
    arguments.out.mkdir(parents=True, exist_ok=True)
    found: list[Detections] = []
    for path in track(paths, "predicting", disable=len(paths) < 2):
        (detections,) = api.predict(detector, [path], input_hw=size)
        detections = detections[detections.scores >= arguments.score]
        _draw(path, detections, info, arguments.out)
        found.append(detections)
    dataset = predicted_dataset(found, [path.name for path in paths], info)
    write_json_atomically(arguments.out / "predictions.json", dataset)
    count = sum(map(len, found))
    print(
        f"{count} detections in {len(paths)} images: {arguments.out}/predictions.json and pictures"
    )


def image_paths(given: Path) -> list[Path]:
    """The images of a folder by name, or the one file."""
    if given.is_file():
        return [given]
    if not given.is_dir():
        raise DataError(given, "does not exist", "give an image or a folder of images")
    paths = sorted(p for p in given.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES)
    if not paths:
        raise DataError(given, "holds no image", f"give {', '.join(sorted(IMAGE_SUFFIXES))}")
    return paths


def _draw(path: Path, detections: Detections, info: DatasetInfo, out: Path) -> None:
    picture = draw_detections(read_image(path), None, detections, info)
    target = out / f"{path.stem}.png"
    if not cv2.imwrite(str(target), cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)):
        raise DataError(target, "could not be written", "is the disk full?")


if __name__ == "__main__":
    main()
