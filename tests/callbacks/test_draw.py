from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from callbacks.draw import class_color, contact_sheet, draw_detections
from callbacks.drawing import Drawing
from detectors.structures import Detections, Frame
from tests.callbacks.toy import ToyData, toy_module, trainer, truth

NAMES = ["aeroplane", "dining table"]


def blank(height: int, width: int, value: int = 90) -> np.ndarray:
    return np.full((height, width, 3), value, np.uint8)


def found(boxes: list[list[float]], scores: list[float], labels: list[int]) -> Detections:
    frame = Frame("x", (100, 100), torch.eye(2, 3))
    return Detections(
        torch.tensor(boxes).float().reshape(-1, 4),
        torch.tensor(scores),
        torch.tensor(labels).long(),
        frame,
    )


def near(picture: np.ndarray, color: tuple[int, int, int], x: float, y: float) -> bool:
    """Whether a pixel of about this colour lies within 4 px."""
    x, y = round(x), round(y)
    window = picture[max(y - 4, 0) : y + 5, max(x - 4, 0) : x + 5].astype(int)
    return bool((np.abs(window - color).max(axis=-1) < 60).any())


def test_a_predicted_box_has_the_colour_of_its_class_on_all_four_sides() -> None:
    picture = draw_detections(
        blank(400, 500), None, found([[100, 150, 300, 350]], [0.9], [1]), NAMES
    )
    assert picture.shape == (400, 500, 3)
    for x, y in [(220, 150), (220, 350), (100, 250), (300, 250)]:
        assert near(picture, class_color(1), x, y)
    assert (picture[200:300, 150:250] == 90).all()


def test_ground_truth_is_dashed_and_ignored_objects_are_grey() -> None:
    target = truth("x", torch.tensor([[50.0, 50, 350, 150], [50, 200, 350, 300]]))
    target.difficult[1] = True
    picture = draw_detections(blank(400, 400), target, None, NAMES)
    top = (picture[50, 60:340] > 200).all(axis=-1)
    assert 0.3 < top.mean() < 0.7
    assert not (picture[200, 60:340] > 200).all(axis=-1).any()


def test_small_images_are_enlarged_and_the_boxes_with_them() -> None:
    picture = draw_detections(blank(64, 96), None, found([[16, 16, 48, 48]], [0.9], [0]), NAMES)
    factor = picture.shape[0] // 64
    assert picture.shape == (64 * factor, 96 * factor, 3)
    assert factor == 7
    assert near(picture, class_color(0), 32 * factor, 48 * factor)


def test_detections_below_the_threshold_are_not_drawn() -> None:
    unsure = found([[100, 100, 300, 300]], [0.2], [0])
    picture = draw_detections(blank(400, 400), None, unsure, NAMES, score_threshold=0.3)
    assert (picture == 90).all()


def test_visible_keypoints_and_their_bones_are_drawn() -> None:
    detections = found([[0, 0, 399, 399]], [0.9], [0])
    points = torch.tensor([[100.0, 100, 0.9], [300, 100, 0.8], [200, 300, 0.0]])
    detections.keypoints = points[None]
    bones = [[0, 1], [1, 2]]
    picture = draw_detections(blank(400, 400), None, detections, NAMES, skeleton=bones)
    assert near(picture, class_color(0), 100, 100)
    assert near(picture, class_color(0), 200, 100)
    assert not near(picture, class_color(0), 200, 300)
    assert not near(picture, class_color(0), 250, 200)


@settings(max_examples=25, deadline=None)
@given(
    box=st.tuples(*[st.floats(-50, 150, width=32)] * 4),
    shape=st.tuples(st.integers(8, 120), st.integers(8, 120)),
)
def test_no_box_however_odd_breaks_a_drawing(box: tuple, shape: tuple[int, int]) -> None:
    target = truth("x", torch.tensor([box]))
    picture = draw_detections(blank(*shape), target, found([list(box)], [0.5], [1]), NAMES)
    assert picture.dtype == np.uint8


def test_the_input_image_is_left_alone() -> None:
    image = blank(400, 400)
    draw_detections(image, None, found([[10, 10, 300, 300]], [0.9], [0]), NAMES)
    assert (image == 90).all()


def test_neighbouring_classes_have_different_colours() -> None:
    colors = np.array([class_color(label) for label in range(20)]).astype(int)
    assert len({tuple(color) for color in colors}) == 20
    assert (np.abs(colors[1:] - colors[:-1]).max(axis=1) > 80).all()


@pytest.mark.parametrize(("count", "rows", "columns"), [(1, 1, 1), (4, 2, 2), (5, 2, 3), (9, 3, 3)])
def test_a_contact_sheet_is_about_square(count: int, rows: int, columns: int) -> None:
    images = [blank(100 + 10 * i, 200) for i in range(count)]
    sheet = contact_sheet(images, [f"image {i}" for i in range(count)], cell=200)
    height, width = contact_sheet(images[:1], ["x"], cell=200).shape[:2]
    assert sheet.shape == (rows * height, columns * width, 3)


def test_a_contact_sheet_keeps_wide_images_wide() -> None:
    sheet = contact_sheet([blank(500, 1300)] * 2, ["a", "b"], columns=1, cell=None)
    assert sheet.shape[1] >= 1300


def fit(folder: Path, callback: Drawing, **options: object) -> None:
    trainer(folder, callback, **options).fit(toy_module(), ToyData())


def test_it_draws_the_due_epochs_and_the_last_one(tmp_path: Path) -> None:
    drawing = Drawing(str(tmp_path / "images"), every_n_epochs=3, num_images=5)
    fit(tmp_path, drawing, max_epochs=4, num_sanity_val_steps=1)
    drawn = sorted(p.name for p in (tmp_path / "images").iterdir())
    assert drawn == ["epoch_0002.png", "epoch_0003.png"]


def test_it_draws_the_same_first_images_at_each_epoch(tmp_path: Path) -> None:
    names: list[list[str]] = []

    class Spy(Drawing):
        def _write(self, sheet: np.ndarray, epoch: int) -> None:
            names.append([target.frame.image_id for _, target, _ in self._samples])
            super()._write(sheet, epoch)

    fit(tmp_path, Spy(str(tmp_path), every_n_epochs=1, num_images=3), max_epochs=2)
    assert names == [["toy/000.png", "toy/001.png", "toy/002.png"]] * 2


def test_tensorboard_gets_the_sheet(tmp_path: Path) -> None:
    from lightning.pytorch.loggers import TensorBoardLogger

    logger = TensorBoardLogger(str(tmp_path), name=None, version="tensorboard")
    fit(tmp_path, Drawing(str(tmp_path)), max_epochs=1, logger=logger)
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert events.Tags()["images"] == ["val/images"]
    encoded = events.Images("val/images")[0].encoded_image_string
    logged = cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_COLOR)
    assert (logged == cv2.imread(str(tmp_path / "epoch_0000.png"))).all()
