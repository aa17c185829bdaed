"""Detections of every frame of a video: an annotated copy, COCO JSON, and a summary."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.progress import track

from callbacks.coco_files import predicted_dataset
from callbacks.draw import draw_detections
from callbacks.files import replacing_path, write_json_atomically
from callbacks.metrics.reversals import head_tail_reversals
from datamodules.video import Video, write_video
from detectors.errors import ConfigError
from detectors.structures import Detections
from experiments.inference import detect
from experiments.trained import Trained


def predict_video(trained: Trained, video: Video, out: Path, score: float) -> None:
    """Writes NAME.mp4, predictions.json and summary.json into `out`, with detections from `score`.

    No more than a few batches of frames are held at a time.

    Raises:
        DataError: the video is cut off; nothing is written then.
    """
    path = video.path
    target = drawn_path(path, out, ".mp4")
    found: list[Detections] = []
    with replacing_path(target) as partial:
        write_video(_pictures(trained, video, score, found), partial, video.fps)
    names = [f"{path.stem}_{index:06d}" for index in range(len(found))]
    dataset = predicted_dataset(found, names, trained.info)
    write_json_atomically(out / "predictions.json", dataset)
    source = {"video": path.name, "fps": video.fps, "promised_frames": video.length, "score": score}
    summary = source | summarize(found, trained.body)
    write_json_atomically(out / "summary.json", summary, indent=2)
    print("\n".join([*_lines(summary), f"{target}, predictions.json and summary.json beside it"]))


def drawn_path(path: Path, out: Path, suffix: str) -> Path:
    """Where the annotated copy of an input goes; never upon the input itself: `ConfigError`."""
    target = out / f"{path.stem}{suffix}"
    if target.resolve() == path.resolve():
        raise ConfigError(f"--out {out} would replace {path} itself: name another folder")
    return target


def summarize(found: Sequence[Detections], body: Sequence[int]) -> dict[str, Any]:
    """Of the detections frame by frame; reversals only where a detector has keypoints.

    `frame_pairs` are the consecutive frames with a body each, `reversal_share` is the share of them
    that are reversals (None: no pairs), and `reversed_frames` are the later frames of these.
    """
    summary: dict[str, Any] = {
        "frames": len(found),
        "frames_without_detection": sum(len(detections) == 0 for detections in found),
    }
    if any(detections.keypoints is None for detections in found):
        return summary
    reversals = head_tail_reversals(found, body)
    return summary | {
        "frame_pairs": reversals.pairs,
        "head_tail_reversals": len(reversals.frames),
        "reversal_share": reversals.share,
        "reversed_frames": reversals.frames,
    }


def _pictures(
    trained: Trained, video: Video, score: float, found: list[Detections]
) -> Iterator[np.ndarray]:
    """The annotated frames; `found` grows by the detections of each."""
    seen = detect(trained.detector, trained.pipeline, video)
    for pixels, detections in track(seen, "predicting", video.length or None):
        found.append(detections[detections.scores >= score])
        yield draw_detections(pixels, None, found[-1], trained.info)


def _lines(summary: dict[str, Any]) -> list[str]:
    frames, promised = summary["frames"], summary["promised_frames"]
    # a few less may be an estimate, or the end of a film that is lost: see datamodules.video
    short = f" of {promised} that the file promises" if frames < promised else ""
    lines = [f"{frames} frames{short}, {summary['frames_without_detection']} without a detection"]
    if "reversal_share" in summary:
        share = summary["reversal_share"]
        count, pairs = summary["head_tail_reversals"], summary["frame_pairs"]
        percent = "n/a" if share is None else f"{100 * share:.2f} %"
        lines.append(f"{count} head-tail reversals in {pairs} pairs of frames ({percent})")
    return lines
