import cv2
import numpy as np
import pytest

from datamodules.sources.synthetic import SyntheticScenes
from datamodules.sources.worlds.shapes import easy
from datamodules.video import write_video
from detectors.errors import DataError
from detectors.structures import DatasetInfo


def source() -> SyntheticScenes:
    return SyntheticScenes(DatasetInfo("a", ("ball",)), easy(), 12, (96, 128), 1)


def test_a_video_holds_the_images_in_their_order(tmp_path):
    path = tmp_path / "scenes.mp4"
    write_video(source(), path, fps=25.0)
    video = cv2.VideoCapture(str(path))
    assert video.get(cv2.CAP_PROP_FPS) == pytest.approx(25)
    for image in (source().image(index) for index in range(12)):
        read, frame = video.read()
        assert read
        # MPEG-4 is lossy: close to this image, far from the others
        difference = cv2.cvtColor(frame, cv2.COLOR_BGR2RGB).astype(float) - image
        assert np.abs(difference).mean() < 8
        assert np.abs(difference.mean(axis=(0, 1))).max() < 4
    assert not video.read()[0]
    video.release()


def test_a_file_that_cannot_be_written_is_named(tmp_path):
    with pytest.raises(DataError, match="cannot be written"):
        write_video(source(), tmp_path / "no" / "folder.mp4", fps=25.0)
