"""`lineup predict RUN INPUT`: boxes and points drawn on images or a video, and one COCO JSON.

Of a video also summary.json: frames without a detection, and how often the best-scored body has its
head and tail exchanged from one frame to the next.
"""

import argparse
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import cv2
from rich.progress import track

from callbacks.coco_files import predicted_dataset
from callbacks.draw import draw_detections
from callbacks.files import write_json_atomically
from datamodules.sources.images import IMAGE_SUFFIXES
from datamodules.video import VIDEO_SUFFIXES, Video
from detectors.errors import DataError
from detectors.structures import Detections
from experiments.inference import Seen, detect
from experiments.predict_video import drawn_path, predict_video
from experiments.trained import Trained, read_trained


def main() -> None:
    """Reads the command line, predicts, writes."""
    parser = argparse.ArgumentParser("lineup predict", description=__doc__)
    parser.add_argument("run", type=Path, help="a run's folder or a checkpoint")
    parser.add_argument("input", type=Path, help="an image, a folder of images, or a video")
    parser.add_argument(
        "--out", type=Path, default=Path("predictions"), help="folder of the results"
    )
    parser.add_argument(
        "--score", type=float, default=0.25, help="draw and write detections from this score on"
    )
    arguments = parser.parse_args()
    given: Path = arguments.input
    # what is wrong with the input is said before the network is built
    if given.suffix.lower() in VIDEO_SUFFIXES and not given.is_dir():
        predict = partial(predict_video, video=Video(given))
    else:
        predict = partial(predict_images, paths=image_paths(given))
    predict(read_trained(arguments.run), out=arguments.out, score=arguments.score)


def predict_images(trained: Trained, paths: Sequence[Path], out: Path, score: float) -> None:
    """Writes a picture of each image (PNG), and predictions.json."""
    out.mkdir(parents=True, exist_ok=True)
    found: list[Detections] = []
    seen = detect(trained.detector, trained.pipeline, paths)
    for path, (pixels, detections) in zip(
        paths, track(seen, "predicting", len(paths), disable=len(paths) < 2), strict=True
    ):
        found.append(detections[detections.scores >= score])
        _draw(trained, path, (pixels, found[-1]), out)
    dataset = predicted_dataset(found, [path.name for path in paths], trained.info)
    write_json_atomically(out / "predictions.json", dataset)
    count = sum(map(len, found))
    print(f"{count} detections in {len(paths)} images: {out}/predictions.json and pictures")


def image_paths(given: Path) -> list[Path]:
    """The images of a folder by name, or the one file."""
    if given.is_file():
        return [given]
    if not given.is_dir():
        raise DataError(given, "does not exist", "give an image, a folder of images, or a video")
    paths = sorted(p for p in given.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES)
    if not paths:
        raise DataError(given, "holds no image", f"give {', '.join(sorted(IMAGE_SUFFIXES))}")
    return paths


def _draw(trained: Trained, path: Path, seen: Seen, out: Path) -> None:
    picture = draw_detections(seen[0], None, seen[1], trained.info)
    target = drawn_path(path, out, ".png")
    if not cv2.imwrite(str(target), cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)):
        raise DataError(target, "could not be written", "is the disk full?")


if __name__ == "__main__":
    main()
