"""`lineup predict RUN VIDEO`: what is written, what is counted, and what a bad video costs."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from pycocotools.coco import COCO

from callbacks.draw import class_color
from datamodules.video import Video, write_video
from detectors.errors import ConfigError, DataError
from detectors.structures import DatasetInfo
from experiments import build
from experiments.predict import predict_images
from experiments.predict_video import predict_video
from tests.experiments.rods import FILM, HW, LEFT, Rods, fresh_checkpoint, trained


@pytest.fixture
def film(tmp_path: Path) -> Path:
    path = tmp_path / "rods film.mp4"
    write_video(FILM, path, fps=12.5)
    return path


def cut_off(path: Path) -> Path:
    """A film in AVI, whose first half can be read."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10.0, HW[::-1])
    for image in FILM * 2:
        writer.write(cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    writer.release()
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    return path


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*"))


def test_a_video_becomes_an_annotated_video_coco_json_and_a_summary(film, tmp_path, capsys):
    out = tmp_path / "new" / "out"
    predict_video(trained(), Video(film), out, score=0.5)
    assert names(out) == ["predictions.json", "rods film.mp4", "summary.json"]
    drawn = Video(out / "rods film.mp4")
    assert (drawn.fps, drawn.length) == (12.5, len(FILM))
    summary = json.loads((out / "summary.json").read_text())
    assert summary == {
        "video": "rods film.mp4",
        "fps": 12.5,
        "promised_frames": 23,
        "score": 0.5,
        "frames": 23,
        "frames_without_detection": 3,
        "frame_pairs": 9 + 9,
        "head_tail_reversals": 2,
        "reversal_share": pytest.approx(2 / 18),
        "reversed_frames": [5, 22],
    }
    printed = capsys.readouterr().out
    assert "23 frames, 3 without a detection" in printed
    assert "2 head-tail reversals in 18 pairs of frames (11.11 %)" in printed


def test_the_predictions_are_coco_with_an_image_per_frame_in_original_pixels(film, tmp_path):
    predict_video(trained(), Video(film), tmp_path / "out", score=0.5)
    coco = COCO(str(tmp_path / "out/predictions.json"))
    images = [coco.imgs[number] for number in sorted(coco.imgs)]
    assert [image["file_name"] for image in images] == [
        f"rods film_{index:06d}" for index in range(len(FILM))
    ]
    assert {(image["height"], image["width"]) for image in images} == {HW}
    found = [coco.imgToAnns[image["id"]] for image in images]
    assert [len(each) for each in found] == [1] * 10 + [0] * 3 + [1] * 10
    fronts = [each[0]["keypoints"][:2] if each else [np.nan] * 2 for each in found]
    true = [[30.5, 48.5]] * 5 + [[98.5, 48.5]] * 5 + [[np.nan] * 2] * 3
    np.testing.assert_allclose(fronts, [*true, *[[30.5, 48.5]] * 9, [98.5, 48.5]], atol=2.0)


def test_the_frames_of_the_annotated_video_are_those_of_the_video_with_their_boxes(film, tmp_path):
    predict_video(trained(), Video(film), tmp_path / "out", score=0.5)
    pictures = list(Video(tmp_path / "out/rods film.mp4"))
    for picture, image in zip(pictures, FILM, strict=True):
        scale = picture.shape[1] // HW[1]  # enlarged for the texts, with a legend below
        seen = cv2.resize(picture[: scale * HW[0]], HW[::-1], interpolation=cv2.INTER_AREA)
        assert np.abs(seen[70:].astype(int) - image[70:]).mean() < 6  # MPEG-4 is lossy
    boxed = [
        bool((np.abs(p - np.float32(class_color(0))).max(axis=2) < 50).any()) for p in pictures
    ]
    assert boxed == [True] * 10 + [False] * 3 + [True] * 10


def test_detections_below_the_score_are_neither_drawn_nor_written_nor_counted(film, tmp_path):
    predict_video(trained(), Video(film), tmp_path / "out", score=0.9)
    summary = json.loads((tmp_path / "out/summary.json").read_text())
    assert (summary["frames_without_detection"], summary["frame_pairs"]) == (23, 0)
    assert summary["reversal_share"] is None
    assert json.loads((tmp_path / "out/predictions.json").read_text())["annotations"] == []


def test_the_ends_of_the_body_are_those_of_the_metric(film, tmp_path):
    one_point = replace(trained(), body=[1, -1])
    predict_video(one_point, Video(film), tmp_path / "out", score=0.5)
    summary = json.loads((tmp_path / "out/summary.json").read_text())
    assert (summary["head_tail_reversals"], summary["frame_pairs"]) == (0, 0)


def test_a_detector_without_keypoints_has_no_reversals(film, tmp_path, capsys):
    boxes = trained(Rods(points=False), DatasetInfo("rods", ["rod"]))
    predict_video(boxes, Video(film), tmp_path / "out", score=0.5)
    summary = json.loads((tmp_path / "out/summary.json").read_text())
    assert (summary["frames"], summary["frames_without_detection"]) == (23, 3)
    assert "head_tail_reversals" not in summary
    assert "reversals" not in capsys.readouterr().out


def test_of_a_cut_off_video_nothing_is_written_and_earlier_results_stay(film, tmp_path):
    path, out = cut_off(tmp_path / "rods film.avi"), tmp_path / "out"
    with pytest.raises(DataError, match=r"rods film\.avi: the video is cut off: \d+ of 46"):
        predict_video(trained(), Video(path), out, score=0.5)
    assert names(out) == []
    predict_video(trained(), Video(film), out, score=0.5)
    before = {file.name: file.read_bytes() for file in out.iterdir()}
    with pytest.raises(DataError):
        predict_video(trained(), Video(path), out, score=0.5)
    assert {file.name: file.read_bytes() for file in out.iterdir()} == before


def test_a_few_frames_less_than_promised_are_told(film, tmp_path, capsys):
    video = Video(film)
    video.length += 2
    predict_video(trained(), video, tmp_path / "out", score=0.5)
    assert "23 frames of 25 that the file promises, 3 without" in capsys.readouterr().out
    summary = json.loads((tmp_path / "out/summary.json").read_text())
    assert (summary["frames"], summary["promised_frames"]) == (23, 25)


def test_the_input_is_never_replaced_by_its_annotated_copy(film):
    before = film.read_bytes()
    with pytest.raises(ConfigError, match="would replace"):
        predict_video(trained(), Video(film), film.parent, score=0.5)
    assert film.read_bytes() == before
    picture = film.parent / "a.png"
    cv2.imwrite(str(picture), LEFT)
    before = picture.read_bytes()
    with pytest.raises(ConfigError, match="would replace"):
        predict_images(trained(), [picture], film.parent, score=0.5)
    assert picture.read_bytes() == before


def lineup_predict(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "experiments.cli", "predict", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fresh_checkpoint(
        tmp_path_factory.mktemp("run") / "a.ckpt",
        *("detector=retinaface_3pt", "datamodule=synthetic_mouse_video", *SMALL),
    )


SMALL = ("protocol.input_hw=[64,64]", "datamodule.test.length=20", "datamodule.test.seed=4")


@pytest.mark.slow
def test_a_real_detector_films_itself(checkpoint: Path, tmp_path: Path):
    datamodule = build.instantiate(
        build.compose(["datamodule=synthetic_mouse_video", *SMALL]).datamodule
    )
    source, path = datamodule.source("test"), tmp_path / "mice.MP4"
    write_video((source.image(index) for index in range(20)), tmp_path / "mice.mp4", fps=30.0)
    (tmp_path / "mice.mp4").rename(path)
    done = lineup_predict(checkpoint, path, "--out", tmp_path / "out", "--score", "0.0")
    assert (done.returncode, done.stderr) == (0, "")
    assert "head-tail reversals in 19 pairs" in done.stdout
    assert names(tmp_path / "out") == ["mice.mp4", "predictions.json", "summary.json"]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["empty", "no index", "cut off"])
def test_a_bad_video_is_one_line_and_exit_code_2_and_nothing_is_written(
    kind: str, checkpoint: Path, film: Path, tmp_path: Path
):
    path = cut_off(tmp_path / "bad.avi") if kind == "cut off" else tmp_path / "bad.mp4"
    if kind != "cut off":
        path.write_bytes(film.read_bytes()[: 0 if kind == "empty" else -1000])
    done = lineup_predict(checkpoint, path, "--out", tmp_path / "out", "--score", "0.0")
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert done.stderr.startswith("lineup: ")
    assert str(path) in done.stderr
    assert names(tmp_path / "out") == []
