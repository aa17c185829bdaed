from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from lightning.pytorch.loggers import WandbLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from callbacks.draw import class_color, contact_sheet, draw_detections, point_color
from callbacks.drawing import Drawing
from detectors.structures import DatasetInfo, Detections, Frame
from tests.callbacks.toy import SIZE, ToyData, toy_module, trainer, truth

INFO = DatasetInfo("two", ["aeroplane", "dining table"])
ANIMAL = DatasetInfo("mouse", ["mouse"], ["head", "body", "tail"], skeleton=[[0, 1], [1, 2]])


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
        blank(400, 500), None, found([[100, 150, 300, 350]], [0.9], [1]), INFO
    )
    assert picture.shape == (400, 500, 3)
    for x, y in [(220, 150), (220, 350), (100, 250), (300, 250)]:
        assert near(picture, class_color(1), x, y)
    assert (picture[200:300, 150:250] == 90).all()


def test_ground_truth_is_dashed_and_ignored_objects_are_grey() -> None:
    target = truth("x", torch.tensor([[50.0, 50, 350, 150], [50, 200, 350, 300]]))
    target.difficult[1] = True
    picture = draw_detections(blank(400, 400), target, None, INFO)
    top = (picture[50, 60:340] > 200).all(axis=-1)
    assert 0.3 < top.mean() < 0.7
    assert not (picture[200, 60:340] > 200).all(axis=-1).any()


def test_small_images_are_enlarged_and_the_boxes_with_them() -> None:
    picture = draw_detections(blank(64, 96), None, found([[16, 16, 48, 48]], [0.9], [0]), INFO)
    factor = picture.shape[0] // 64
    assert picture.shape == (64 * factor, 96 * factor, 3)
    assert factor == 7
    assert near(picture, class_color(0), 32 * factor, 48 * factor)


def test_detections_below_the_threshold_are_not_drawn() -> None:
    unsure = found([[100, 100, 300, 300]], [0.2], [0])
    picture = draw_detections(blank(400, 400), None, unsure, INFO, score_threshold=0.3)
    assert (picture == 90).all()


def skeleton_on(points: list[list[float]], annotated: bool) -> np.ndarray:
    """A 400 px picture with one animal, annotated or predicted; no box."""
    keypoints = torch.tensor([points])
    target, detections = None, None
    if annotated:
        target = truth("x", torch.tensor([[0.0, 0, 400, 400]]))
        target.keypoints = keypoints
    else:
        detections = found([[0, 0, 400, 400]], [0.9], [0])
        detections.keypoints = keypoints
    return draw_detections(blank(400, 400), target, detections, ANIMAL, boxes=False)


def test_predicted_points_have_their_own_colours_and_bones_that_of_the_class() -> None:
    picture = skeleton_on([[100.0, 100, 0.9], [300, 100, 0.8], [200, 300, 0.0]], annotated=False)
    assert near(picture, point_color(0), 100, 100)
    assert near(picture, point_color(1), 300, 100)
    assert near(picture, class_color(0), 200, 100)
    assert not near(picture, class_color(0), 100, 100)


@pytest.mark.parametrize("annotated", [True, False])
def test_absent_points_and_their_bones_are_not_drawn(annotated: bool) -> None:
    picture = skeleton_on([[100.0, 100, 2], [300, 100, 2], [200, 300, 0]], annotated)
    assert (picture[280:320, 180:220] == 90).all()
    assert (picture[180:220, 230:270] == 90).all()


def test_annotated_points_are_white_edged_squares_and_hollow_when_hidden() -> None:
    picture = skeleton_on([[100.0, 100, 2], [300, 100, 1], [200, 300, 0]], annotated=True)
    assert tuple(picture[100, 100]) == point_color(0)
    assert tuple(picture[100, 300]) != point_color(1)
    assert near(picture, point_color(1), 300, 100)
    for x in (100, 300):
        corner = picture[94:98, x - 6 : x - 2].reshape(-1, 3)
        assert (corner == 255).all(axis=1).any()


def test_predicted_points_are_filled_whatever_their_confidence() -> None:
    picture = skeleton_on([[100.0, 100, 1], [300, 100, 0.1], [200, 300, 2]], annotated=False)
    for k, (x, y) in enumerate([(100, 100), (300, 100), (200, 300)]):
        assert tuple(picture[y, x]) == point_color(k)


def test_bones_are_dashed_where_annotated_and_solid_where_predicted() -> None:
    points = [[50.0, 200, 2], [350, 200, 2], [0, 0, 0]]
    white = (skeleton_on(points, annotated=True)[200, 80:320] > 200).all(axis=-1)
    assert 0.3 < white.mean() < 0.7
    solid = skeleton_on(points, annotated=False)[200, 80:320].astype(int)
    assert (np.abs(solid - class_color(0)).max(axis=-1) < 60).all()


def test_a_prediction_upon_the_truth_leaves_both_visible() -> None:
    target = truth("x", torch.tensor([[0.0, 0, 400, 400]]))
    target.keypoints = torch.tensor([[[100.0, 100, 2], [0, 0, 0], [0, 0, 0]]])
    detections = found([[0, 0, 400, 400]], [0.9], [0])
    detections.keypoints = target.keypoints
    picture = draw_detections(blank(400, 400, 200), target, detections, ANIMAL, boxes=False)
    around = picture[92:109, 92:109].reshape(-1, 3)
    assert (around == 255).all(axis=1).any()
    assert (around < 150).all(axis=1).any()
    assert tuple(picture[100, 100]) == point_color(0)


def test_a_legend_names_the_points_below_the_picture_and_covers_nothing_of_it() -> None:
    points = [[100.0, 399, 2], [300, 399, 2], [200, 200, 2]]
    picture = skeleton_on(points, annotated=False)
    assert picture.shape[1:] == (400, 3)
    assert tuple(picture[399, 100]) == point_color(0)
    strip = {tuple(color) for color in picture[400:].reshape(-1, 3)}
    assert {point_color(k) for k in range(3)} <= strip


def test_there_is_no_legend_without_points_or_room() -> None:
    detections = found([[100, 100, 300, 300]], [0.9], [0])
    assert draw_detections(blank(400, 400), None, detections, ANIMAL).shape == (400, 400, 3)
    detections.keypoints = torch.full((1, 3, 3), 100.0)
    small = draw_detections(blank(150, 400), None, detections, ANIMAL, boxes=False, min_side=1)
    assert small.shape == (150, 400, 3)


def test_a_legend_too_long_for_one_row_takes_several() -> None:
    names = [f"a long name {k}" for k in range(17)]
    info = DatasetInfo("person", ["person"], keypoint_names=names)
    detections = found([[0, 0, 300, 300]], [0.9], [0])
    detections.keypoints = torch.zeros(1, 17, 3)
    strip = draw_detections(blank(400, 400), None, detections, info, boxes=False)[400:]
    assert 4 * 18 < len(strip) < 17 * 20
    assert {point_color(k) for k in range(17)} <= {tuple(c) for c in strip.reshape(-1, 3)}


@settings(max_examples=25, deadline=None)
@given(st.lists(st.floats(width=32), min_size=9, max_size=9), st.booleans())
@example([1e30, -1e30, 2.0, -1e30, 1e30, 2.0, 0.0, 0.0, 2.0], True)
def test_no_point_however_odd_breaks_a_drawing(values: list[float], annotated: bool) -> None:
    points = [values[k : k + 3] for k in (0, 3, 6)]
    assert skeleton_on(points, annotated).dtype == np.uint8


@settings(max_examples=25, deadline=None)
@given(
    box=st.tuples(*[st.floats(-50, 150, width=32)] * 4),
    shape=st.tuples(st.integers(8, 120), st.integers(8, 120)),
)
def test_no_box_however_odd_breaks_a_drawing(box: tuple, shape: tuple[int, int]) -> None:
    target = truth("x", torch.tensor([box]))
    picture = draw_detections(blank(*shape), target, found([list(box)], [0.5], [1]), INFO)
    assert picture.dtype == np.uint8


def test_the_input_image_is_left_alone() -> None:
    image = blank(400, 400)
    draw_detections(image, None, found([[10, 10, 300, 300]], [0.9], [0]), INFO)
    assert (image == 90).all()


@pytest.mark.parametrize("color", [class_color, point_color])
def test_neighbouring_classes_and_points_have_different_colours(color: Callable) -> None:
    colors = np.array([color(index) for index in range(20)]).astype(int)
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


class Gallery(WandbLogger):
    """Takes what W&B would get."""

    def __init__(self) -> None:
        self.images: list[np.ndarray] = []
        self.boxes: list[dict] = []

    def log_image(self, key: str, images: list, step: int | None = None, **rest: Any) -> None:
        self.images, self.boxes = images, rest["boxes"]


class PointedData(ToyData):
    """Every object has one point, in the middle of the picture."""

    info = DatasetInfo("toy", ["square", "bar"], keypoint_names=["middle"])

    def __init__(self) -> None:
        super().__init__()
        for _, target, _ in self.samples:
            target.keypoints = torch.tensor([[[SIZE / 2, SIZE / 2, 2.0]]])


def test_wandb_gets_points_in_the_picture_and_boxes_in_its_pixels(tmp_path: Path) -> None:
    data, gallery = PointedData(), Gallery()
    drawing = Drawing(str(tmp_path))
    drawing._samples = [
        (np.full((SIZE, SIZE, 3), 90, np.uint8), target, found([], [], []))
        for _, target, _ in data.samples
    ]
    run = trainer(tmp_path, max_epochs=1)
    run.loggers = [gallery]
    drawing._log(run, drawing._samples[0][0], data.info)
    assert len(gallery.images) == len(data.samples)
    for image, box, (_, target, _) in zip(gallery.images, gallery.boxes, data.samples, strict=True):
        assert image.shape == (SIZE, SIZE, 3)
        assert tuple(image[SIZE // 2, SIZE // 2]) == point_color(0)
        position = box["ground_truth"]["box_data"][0]["position"]
        assert list(position.values()) == target.boxes[0].tolist()
