import struct
from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np
import pytest

from datamodules.sources.synthetic import SyntheticScenes
from datamodules.sources.worlds.shapes import easy
from datamodules.video import Video, write_video
from detectors.errors import DataError
from detectors.structures import DatasetInfo
from tests.callbacks.test_files import no_room_beyond

GREY_LEVELS = range(20, 220, 2)
"""A film of 100 frames, each a little lighter than the one before."""


def source() -> SyntheticScenes:
    return SyntheticScenes(DatasetInfo("a", ("ball",)), easy(), 12, (96, 128), 1)


def images() -> Iterable[np.ndarray]:
    return (source().image(index) for index in range(12))


def brightening(path: Path, codec: str = "mp4v", fps: float = 25.0) -> Path:
    """Written by OpenCV itself."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*codec), fps, (64, 48))
    assert writer.isOpened()
    for level in GREY_LEVELS:
        writer.write(np.full((48, 64, 3), level, np.uint8))
    writer.release()
    return path


def cut(path: Path, share: float) -> Path:
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    return path


def promise(path: Path, frames: int) -> Path:
    """An AVI whose stream header says that it has so many frames."""
    content = bytearray(path.read_bytes())
    length = content.index(b"strh") + 8 + 32  # AVISTREAMHEADER.dwLength
    assert struct.unpack_from("<I", content, length) == (len(GREY_LEVELS),)
    struct.pack_into("<I", content, length, frames)
    path.write_bytes(content)
    return path


def test_a_video_holds_the_images_in_their_order(tmp_path):
    path = tmp_path / "scenes.mp4"
    write_video(images(), path, fps=25.0)
    video = Video(path)
    assert (video.fps, video.length) == (pytest.approx(25), 12)
    for frame, image in zip(video, images(), strict=True):
        # MPEG-4 is lossy: close to this image, far from the others
        difference = frame.astype(float) - image
        assert np.abs(difference).mean() < 8
        assert np.abs(difference.mean(axis=(0, 1))).max() < 4


def test_frames_are_rgb(tmp_path):
    red = np.zeros((48, 64, 3), np.uint8)
    red[..., 0] = 200
    write_video([red], tmp_path / "red.mp4", fps=25.0)
    (frame,) = Video(tmp_path / "red.mp4")
    assert np.abs(frame.astype(int) - red).max() < 20


@pytest.mark.parametrize(
    ("name", "codec"),
    [("a.mp4", "mp4v"), ("a.avi", "MJPG"), ("a.mov", "mp4v"), ("a.mkv", "mp4v"), ("A.AVI", "XVID")],
)
def test_every_frame_is_read_once_and_in_order_and_again_when_asked_again(name, codec, tmp_path):
    video = Video(brightening(tmp_path / name, codec))
    assert video.length == len(GREY_LEVELS)
    for _ in range(2):
        levels = [frame.mean() for frame in video]
        assert len(levels) == len(GREY_LEVELS)
        assert (np.diff(levels) > 0).all()  # lossy by a few grey levels, all in the same direction
        assert np.abs(np.subtract(levels, GREY_LEVELS)).max() < 6


def test_a_video_is_read_as_it_is_used(tmp_path):
    frames = iter(Video(brightening(tmp_path / "a.avi", "MJPG")))
    assert next(frames).mean() == pytest.approx(GREY_LEVELS[0], abs=6)
    del frames  # and closed, unread


@pytest.mark.parametrize("content", [b"", b"no pixels here" * 1000])
def test_what_is_no_video_is_one_line_with_its_size(content, tmp_path):
    path = tmp_path / "a_001.mp4"
    path.write_bytes(content)
    with pytest.raises(DataError, match=rf"a_001\.mp4.*{len(content)} bytes") as caught:
        Video(path)
    assert len(str(caught.value).splitlines()) == 1


def test_a_missing_file_and_a_folder_are_named(tmp_path):
    for path in (tmp_path / "nowhere.mp4", tmp_path):
        with pytest.raises(DataError, match="is no file"):
            Video(path)


@pytest.mark.parametrize("name", ["a.mp4", "a.mov"])
def test_a_cut_off_file_that_lost_its_index_cannot_be_read(name, tmp_path):
    path = cut(brightening(tmp_path / name), 0.5)
    with pytest.raises(DataError, match=f"{name}.*cut off"):
        Video(path)


@pytest.mark.parametrize(("name", "codec"), [("a.avi", "MJPG"), ("a.mkv", "mp4v")])
@pytest.mark.parametrize("share", [0.3, 0.6])
def test_a_cut_off_file_says_so_where_it_ends(name, codec, share, tmp_path):
    video = Video(cut(brightening(tmp_path / name, codec), share))
    frames = []
    with pytest.raises(DataError, match=rf"{name}: the video is cut off: \d+ of 100 frames"):
        frames.extend(video)  # keeps what came before the end
    assert 10 < len(frames) < 95


def test_a_promise_that_is_a_little_too_long_is_an_estimate_and_no_cut(tmp_path):
    path = brightening(tmp_path / "a.avi", "MJPG")
    assert len(list(Video(promise(path, 100)))) == 100
    path = promise(brightening(tmp_path / "b.avi", "MJPG"), 108)
    assert Video(path).length == 108
    assert len(list(Video(path))) == 100
    path = promise(brightening(tmp_path / "c.avi", "MJPG"), 130)
    with pytest.raises(DataError, match="100 of 130"):
        list(Video(path))


def test_a_file_that_cannot_be_written_is_named(tmp_path):
    with pytest.raises(DataError, match="cannot be written"):
        write_video(images(), tmp_path / "no" / "folder.mp4", fps=25.0)


def test_frames_per_second_that_mpeg4_cannot_say_are_told(tmp_path):
    with pytest.raises(DataError, match="128x96 px at 90000 frames/s"):
        write_video(images(), tmp_path / "a.mp4", fps=90_000.0)


def test_a_video_needs_an_image_and_all_of_one_size(tmp_path):
    with pytest.raises(DataError, match="no image"):
        write_video([], tmp_path / "a.mp4", fps=25.0)
    two = [np.zeros((48, 64, 3), np.uint8), np.zeros((48, 66, 3), np.uint8)]
    with pytest.raises(DataError, match="image 2 has 66x48 px, not 64x48"):
        write_video(two, tmp_path / "a.mp4", fps=25.0)


def test_a_full_disk_is_told_though_opencv_does_not_say(tmp_path):
    with no_room_beyond(5000), pytest.raises(DataError, match="0 of 12 images could be written"):
        write_video(images(), tmp_path / "a.mp4", fps=25.0)
