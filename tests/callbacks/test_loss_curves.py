import math
from pathlib import Path
from typing import Any

import cv2
import lightning as L
import numpy as np
import pytest
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import TensorBoardLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from callbacks import figures
from callbacks.checkpoint_io import AtomicCheckpointIO
from callbacks.csv_log import CsvLog
from callbacks.evaluator import Evaluator
from callbacks.loss_curves import LossCurves, Panel, draw_course, panels_of, read_course
from callbacks.metrics.coco_ap import CocoAP
from callbacks.metrics.curves import Curves
from tests.callbacks.toy import INFO, ToyData, toy_module, trainer

WEIGHTS = {"box": 1.0, "score": 1.0}


def log(folder: Path, rows: list[tuple[int, int, dict[str, float]]]) -> Path:
    """A CSV log of (step, epoch, values)."""
    csv_log = CsvLog(str(folder))
    for step, epoch, values in rows:
        csv_log.log_metrics(values | {"epoch": epoch}, step=step)
    return csv_log.path


def scored(folder: Path) -> Evaluator:
    metrics = {"coco": CocoAP(INFO.class_names), "curves": Curves(INFO.class_names)}
    return Evaluator(metrics, str(folder / "predictions"))


def fit(folder: Path, *callbacks: L.Callback, **options: Any) -> None:
    L.seed_everything(0, verbose=False)
    trainer(folder, *callbacks, **options).fit(toy_module(), ToyData())


def test_training_values_become_a_mean_per_epoch_and_validation_stands_at_its_end(tmp_path: Path):
    path = log(
        tmp_path,
        [
            (0, 0, {"train/box": 4.0, "lr": 0.1}),
            (1, 0, {"train/box": 2.0, "val/box": 5.0}),
            (3, 1, {"train/box": 1.0, "val/box": 4.0, "data/dropped/augment": 7.0}),
        ],
    )
    assert read_course(path, epochs=2) == {
        "train/box": ([0.5, 1.5], [3.0, 1.0]),
        "val/box": ([1.0, 2.0], [5.0, 4.0]),
    }


def test_the_scores_of_the_chosen_checkpoint_are_no_part_of_the_course(tmp_path: Path):
    path = log(tmp_path, [(1, 0, {"val/map": 0.1}), (2, 1, {"val/map": 0.9, "test/map": 0.8})])
    assert read_course(path, epochs=1) == {"val/map": ([1.0], [0.1])}


def test_a_line_that_a_killed_process_left_half_written_is_left_out(tmp_path: Path):
    path = log(tmp_path, [(0, 0, {"train/a": 1.0, "train/b": 2.0})])
    with path.open("a") as file:
        file.write("1,0,3.0")
    assert read_course(path, epochs=9) == {"train/a": ([0.5], [1.0]), "train/b": ([0.5], [2.0])}


def test_every_loss_term_has_a_panel_with_its_weight_and_statistics_have_none():
    line = ([1.0], [2.0])
    course = {f"{s}/{n}": line for s in ("train", "val") for n in ("loss", "box", "xy", "iou")}
    panels = panels_of(course, {"box": 1.0, "xy": 0.05})
    assert [title for title, _ in panels] == ["loss (weighted sum)", "box", "xy (weight 0.05)"]
    assert all(lines == {"train": line, "val": line} for _, lines in panels)


def test_scores_are_drawn_where_they_were_measured():
    course = {
        "val/map_50": ([1.0, 2.0], [math.nan, 0.5]),
        "val/map": ([1.0, 2.0], [math.nan, math.nan]),
        "val/f1": ([1.0, 2.0], [0.1, 0.2]),
    }
    panels = panels_of(course, WEIGHTS)
    assert [(title, list(lines)) for title, lines in panels] == [
        ("average precision", ["AP50"]),
        ("best F1", ["F1"]),
    ]


def shown(picture: np.ndarray, color: str) -> bool:
    rgb = [int(color[i : i + 2], 16) for i in (1, 3, 5)]
    return bool((picture == rgb).all(axis=-1).any())


def panel(*values: float) -> Panel:
    return "box", {"train": ([i + 0.5 for i in range(len(values))], list(values))}


@pytest.mark.parametrize(
    "values",
    [
        pytest.param([1.0], id="a single epoch"),
        pytest.param([0.0, 0.0], id="nothing but zeros, as the class term of one class"),
        pytest.param([1e6, 2.0, 1.0, 1.0, 1.0], id="a fall over many decades"),
        pytest.param([1.0, math.nan, math.inf, 1.0], id="an epoch that was not finite"),
        pytest.param([-1.0, 2.0], id="a negative term"),
        pytest.param([1.0 + i / 300 for i in range(300)], id="many epochs"),
    ],
)
def test_any_course_can_be_drawn_and_is_seen(values: list[float]):
    picture = draw_course([panel(*values)], epochs=len(values))
    assert shown(picture, figures.COLORS[0])


@pytest.mark.parametrize(("count", "rows", "columns"), [(1, 1, 1), (4, 1, 4), (5, 2, 3), (9, 3, 3)])
def test_panels_stand_in_rows_of_four_at_most(count: int, rows: int, columns: int):
    height, width = draw_course([panel(1.0)], epochs=1).shape[:2]
    assert draw_course([panel(1.0)] * count, epochs=1).shape[:2] == (rows * height, columns * width)


def test_a_fit_leaves_a_picture_of_losses_and_scores_beside_its_log(tmp_path: Path):
    fit(tmp_path, scored(tmp_path), LossCurves(), max_epochs=3)
    course = read_course(tmp_path / "metrics.csv", epochs=3)
    titles = [title for title, _ in panels_of(course, WEIGHTS)]
    assert titles == ["loss (weighted sum)", "box", "score", "average precision", "best F1"]
    assert course["val/f1"][0] == [1.0, 2.0, 3.0]
    drawn = cv2.imread(str(tmp_path / "curves.png"))
    expected = draw_course(panels_of(course, WEIGHTS), epochs=3)
    assert (drawn[..., ::-1] == expected).all()


def test_it_draws_the_due_epochs_and_once_after_the_last(tmp_path: Path, monkeypatch):
    drawn: list[int] = []
    monkeypatch.setattr(
        "callbacks.loss_curves.draw_course",
        lambda panels, epochs: drawn.append(epochs) or np.zeros((1, 1, 3), np.uint8),
    )
    fit(tmp_path, LossCurves(every_n_epochs=2), max_epochs=6)
    assert drawn == [2, 4, 6]


def test_a_due_drawing_knows_the_validation_of_its_epoch(tmp_path: Path, monkeypatch):
    seen: list[list[float]] = []

    def look(panels: list[Panel], epochs: int) -> np.ndarray:
        seen.append(dict(panels)["box"]["val"][0])
        return np.zeros((1, 1, 3), np.uint8)

    monkeypatch.setattr("callbacks.loss_curves.draw_course", look)
    fit(tmp_path, LossCurves(every_n_epochs=2), max_epochs=3)
    assert seen == [[1.0, 2.0], [1.0, 2.0, 3.0]]


@pytest.mark.filterwarnings("ignore:Checkpoint directory .* exists and is not empty")
def test_a_resumed_run_has_the_picture_of_an_uninterrupted_one(tmp_path: Path):
    def run(folder: Path, epochs: int, resume: Path | None = None) -> None:
        L.seed_everything(0, verbose=False)
        last = ModelCheckpoint(
            folder, "last", save_on_train_epoch_end=True, enable_version_counter=False
        )
        options = {"max_epochs": epochs, "enable_checkpointing": True}
        fitting = trainer(folder, LossCurves(), last, plugins=[AtomicCheckpointIO()], **options)
        fitting.fit(toy_module(), ToyData(), ckpt_path=resume, weights_only=True)

    run(tmp_path / "whole", 3)
    run(tmp_path / "cut", 1)
    checkpoint = (tmp_path / "cut" / "last.ckpt").read_bytes()
    run(tmp_path / "cut", 2, resume=tmp_path / "cut" / "last.ckpt")
    (tmp_path / "cut" / "last.ckpt").write_bytes(checkpoint)  # killed before the second was saved
    run(tmp_path / "cut", 3, resume=tmp_path / "cut" / "last.ckpt")
    whole, cut = ((tmp_path / name / "curves.png").read_bytes() for name in ("whole", "cut"))
    assert whole == cut


def test_a_fit_without_validation_draws_what_it_trained(tmp_path: Path):
    fit(tmp_path, LossCurves(), max_epochs=2, limit_val_batches=0)
    picture = cv2.imread(str(tmp_path / "curves.png"))[..., ::-1]
    assert shown(picture, figures.COLORS[0])
    assert not shown(picture, figures.COLORS[1])


@pytest.mark.parametrize("logger", ["none", "tensorboard"])
def test_without_a_csv_log_nothing_is_drawn_and_nothing_said(tmp_path: Path, logger: str, capfd):
    other = TensorBoardLogger(str(tmp_path), name=None, version="tensorboard")
    module = toy_module()
    module._log = lambda *args, **kwargs: None  # type: ignore[method-assign]
    run = trainer(tmp_path, LossCurves(every_n_epochs=1), logger=logger != "none" and other)
    run.fit(module, ToyData())
    assert not list(tmp_path.rglob("*.png"))
    assert capfd.readouterr() == ("", "")


def test_what_the_loggers_have_as_numbers_they_do_not_get_as_a_picture(tmp_path: Path):
    board = TensorBoardLogger(str(tmp_path), name=None, version="tensorboard")
    loggers = [CsvLog(str(tmp_path)), board]
    fit(tmp_path, LossCurves(), logger=loggers)
    assert (tmp_path / "curves.png").is_file()
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert events.Tags()["images"] == []
