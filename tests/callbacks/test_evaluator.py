import contextlib
import csv
import io
import json
import math
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from lightning.pytorch.loggers import TensorBoardLogger, WandbLogger
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch.utils.data import DataLoader

from callbacks.csv_log import CsvLog
from callbacks.evaluator import Evaluator
from callbacks.metrics.coco_ap import CocoAP
from callbacks.metrics.curves import Curves
from callbacks.metrics.metric import Metric
from callbacks.metrics.oks import OKS
from callbacks.metrics.pck import PCK
from callbacks.pictures import log_picture
from detectors.errors import ConfigError, RunError
from detectors.structures import DatasetInfo, Detections, Frame, Target
from tests.callbacks.test_files import no_room_beyond
from tests.callbacks.toy import INFO, ToyData, ToyDetector, _collate, toy_module, trainer


class Oracle(ToyDetector):
    """Finds what it was told, in input pixels: the data's boxes, a little off."""

    def __init__(self, data: ToyData, offset: float = 0.0) -> None:
        super().__init__()
        self.known = {target.frame.image_id: target for _, target, _ in data.samples}
        self.offset = offset

    def decode(self, raw: Any, frames: Any) -> list[Detections]:
        return [self._found(self.known[frame.image_id], frame) for frame in frames]

    def _found(self, target: Target, frame: Frame) -> Detections:
        boxes = target.boxes + self.offset
        return Detections(boxes, torch.full((len(boxes),), 0.75), target.labels, frame)


def evaluator(folder: Path, **options: Any) -> Evaluator:
    return Evaluator({"coco": CocoAP(INFO.class_names)}, str(folder / "predictions"), **options)


def validate(folder: Path, data: ToyData, net: ToyDetector, **options: Any) -> Evaluator:
    callback = evaluator(folder, provenance={"commit": "abc"})
    trainer(folder, callback, **options).validate(toy_module(net), data, verbose=False)
    return callback


def files(folder: Path, split: str = "val") -> tuple[list, dict, dict]:
    names = [f"{split}.json", f"{split}_ground_truth.json", f"{split}_manifest.json"]
    predictions, truth, manifest = (
        json.loads((folder / "predictions" / name).read_text()) for name in names
    )
    return predictions, truth, manifest


def test_perfect_detections_in_input_pixels_score_one_in_original_pixels(tmp_path: Path) -> None:
    data = ToyData()
    values = validate(tmp_path, data, Oracle(data)).results["val"]
    assert values["map"] == values["ap/square"] == 1.0
    assert math.isnan(values["ap/bar"])


def test_pycocotools_gives_the_same_ap_from_the_two_files_alone(tmp_path: Path) -> None:
    data = ToyData(empty=[2])
    data.samples[0][2].difficult[:] = True
    values = validate(tmp_path, data, Oracle(data, offset=1.5)).results["val"]
    folder = tmp_path / "predictions"
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(folder / "val_ground_truth.json")
        evaluation = COCOeval(truth, truth.loadRes(str(folder / "val.json")), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    assert 0 < values["map"] < 1
    assert [values["map"], values["map_50"], values["map_75"]] == pytest.approx(
        evaluation.stats[:3].tolist(), abs=1e-9
    )


def test_the_files_say_what_was_scored(tmp_path: Path) -> None:
    data = ToyData(count=3, empty=[1])
    values = validate(tmp_path, data, Oracle(data)).results["val"]
    predictions, truth, manifest = files(tmp_path)
    assert [image["file_name"] for image in truth["images"]] == [f"toy/00{i}.png" for i in range(3)]
    assert truth["images"][0] | {"id": 1, "height": 40, "width": 50} == truth["images"][0]
    assert [a["id"] for a in truth["annotations"]] == [1, 2]
    assert [category["name"] for category in truth["categories"]] == ["square", "bar"]
    assert [p["image_id"] for p in predictions] == [1, 3]
    box = data.samples[0][2].boxes[0]
    expected = [*box[:2].tolist(), *(box[2:] - box[:2]).tolist()]
    assert predictions[0]["bbox"] == pytest.approx(expected, abs=1e-4)
    assert manifest["provenance"] == {"commit": "abc"}
    assert manifest["split_hash"] == data.split_hash("val")
    assert manifest["data_hash"] == data.fingerprint("val")
    assert (manifest["images"], manifest["complete"]) == (3, True)
    assert manifest["metrics"]["map"] == values["map"]
    assert manifest["metrics"]["ap/bar"] is None


def test_keypoints_are_written_in_original_pixels(tmp_path: Path) -> None:
    data = ToyData(count=1)
    original = data.samples[0][2]
    original.keypoints = torch.tensor([[[10.0, 20.0, 2.0], [0.0, 0.0, 0.0]]])

    class WithKeypoints(Oracle):
        def _found(self, target: Target, frame: Frame) -> Detections:
            found = super()._found(target, frame)
            found.keypoints = torch.tensor([[[6.4, 16.0, 0.9], [0.0, 3.2, 0.1]]])
            return found

    validate(tmp_path, data, WithKeypoints(data))
    predictions, truth, _ = files(tmp_path)
    assert predictions[0]["keypoints"] == pytest.approx([10, 20, 0.9, 0, 0, 0.1], abs=1e-4)
    assert truth["annotations"][0]["keypoints"] == [10, 20, 2, 0, 0, 0]
    assert truth["annotations"][0]["num_keypoints"] == 1


class Animals(ToyData):
    """Two points per object: the corners of its box."""

    info = DatasetInfo("animals", ["square", "bar"], ["head", "tail"], oks_sigmas=[0.1, 0.1])

    def __init__(self) -> None:
        super().__init__()
        for sample in self.samples:
            for target in sample[1:]:
                target.keypoints = torch.cat([target.boxes.reshape(-1, 2, 2), TWO], dim=-1)


TWO = torch.full((1, 2, 1), 2.0)


class FindsPoints(Oracle):
    """In input pixels, the tail 3.2 of them (5 of the original) too far right."""

    def _found(self, target: Target, frame: Frame) -> Detections:
        found = super()._found(target, frame)
        assert target.keypoints is not None
        found.keypoints = target.keypoints + torch.tensor([[0.0, 0, 0], [3.2, 0, 0]])
        return found


def keypoint_metrics(info: DatasetInfo) -> dict[str, Metric]:
    return {"coco": CocoAP(info.class_names), "oks": OKS(info), "pck": PCK(info)}


def test_keypoints_are_scored_in_original_pixels_and_logged_by_name(tmp_path: Path) -> None:
    data = Animals()
    callback = Evaluator(keypoint_metrics(data.info), str(tmp_path / "predictions"))
    trainer(tmp_path, callback, max_epochs=1).fit(toy_module(FindsPoints(data)), data)
    with (tmp_path / "metrics.csv").open(newline="") as file:
        row = list(csv.DictReader(file))[-1]
    assert float(row["val/error_px/head"]) == pytest.approx(0, abs=1e-4)
    assert float(row["val/error_px/tail"]) == pytest.approx(5, abs=1e-4)
    assert float(row["val/swap_rate"]) == 0.0
    assert float(row["val/pck_body_05/head"]) == 1.0
    assert 0 < float(row["val/oks_map"]) < 1
    assert float(row["val/map"]) == 1.0
    assert files(tmp_path)[2]["metrics"].keys() == callback.results["val"].keys()


def test_keypoint_metrics_of_boxes_are_nan_and_disturb_nothing(tmp_path: Path) -> None:
    data = ToyData()
    callback = Evaluator(keypoint_metrics(INFO), str(tmp_path / "predictions"))
    trainer(tmp_path, callback).validate(toy_module(Oracle(data)), data, verbose=False)
    assert callback.results["val"]["map"] == 1.0
    assert math.isnan(callback.results["val"]["oks_map"])
    assert files(tmp_path)[2]["metrics"]["pck_box_10"] is None


def with_curves(folder: Path) -> Evaluator:
    metrics = {"coco": CocoAP(INFO.class_names), "curves": Curves(INFO.class_names)}
    return Evaluator(metrics, str(folder / "predictions"))


def test_scoring_a_checkpoint_leaves_the_curves_as_numbers_and_as_a_picture(tmp_path: Path) -> None:
    data, callback = ToyData(), with_curves(tmp_path)
    data.samples[0][2].boxes += 40  # not found
    trainer(tmp_path, callback).test(toy_module(Oracle(data)), data, verbose=False)
    values, folder = callback.results["test"], tmp_path / "predictions"
    assert (values["precision"], values["recall"], values["confidence"]) == (7 / 8, 7 / 8, 0.75)
    record = json.loads((folder / "test_curves.json").read_text())
    assert record["best"]["f1"] == values["f1"] == 7 / 8
    assert record["pooled"]["recall"][749:752] == [0.875, 0.875, 0.0]
    assert cv2.imread(str(folder / "test_curves.png")).ndim == 3
    assert files(tmp_path, "test")[2]["metrics"]["f1"] == values["f1"]


def test_the_epochs_of_a_fit_leave_the_curves_as_numbers_only(tmp_path: Path) -> None:
    data = ToyData()
    trainer(tmp_path, with_curves(tmp_path), max_epochs=1).fit(toy_module(Oracle(data)), data)
    folder = tmp_path / "predictions"
    assert json.loads((folder / "val_curves.json").read_text())["best"]["f1"] == 1.0
    assert not list(folder.glob("*.png"))


class Wall(WandbLogger):
    """Takes the pictures that W&B would get."""

    def __init__(self) -> None:
        self.pictures: dict[str, Any] = {}

    def log_image(self, key: str, images: list, step: int | None = None, **rest: Any) -> None:
        (self.pictures[key],) = images


def test_wandb_and_tensorboard_get_the_picture_that_is_written(tmp_path: Path) -> None:
    data, wall = ToyData(), Wall()
    board = TensorBoardLogger(str(tmp_path), name=None, version="tensorboard")
    run = trainer(tmp_path, with_curves(tmp_path), logger=board)
    run.validate(toy_module(Oracle(data)), data, verbose=False)
    written = cv2.imread(str(tmp_path / "predictions/val_curves.png"))[..., ::-1]
    run.loggers = [wall]
    log_picture(run, "val/curves", written)
    assert (wall.pictures["val/curves"] == written).all()
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    encoded = events.Images("val/curves")[0].encoded_image_string
    logged = cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_COLOR)
    assert (logged[..., ::-1] == written).all()


def test_an_image_without_detections_counts_as_missed(tmp_path: Path) -> None:
    data = ToyData(count=2)

    class HalfBlind(Oracle):
        def _found(self, target: Target, frame: Frame) -> Detections:
            found = super()._found(target, frame)
            return found[found.scores > (1 if frame.image_id == "toy/001.png" else 0)]

    values = validate(tmp_path, data, HalfBlind(data)).results["val"]
    assert values["mar_100"] == 0.5
    assert values["map"] == pytest.approx(51 / 101)


class Repeating(ToyData):
    """A sampler that pads by repeating, as a distributed one does."""

    def val_dataloader(self) -> DataLoader:
        return DataLoader([*self.samples, self.samples[0]], 4, collate_fn=_collate)


def test_an_image_that_the_sampler_repeats_counts_once(tmp_path: Path) -> None:
    data = Repeating(count=3)
    validate(tmp_path, data, Oracle(data))
    predictions, _, manifest = files(tmp_path)
    assert (len(predictions), manifest["images"]) == (3, 3)


class Dropping(ToyData):
    """A loader that loses the last image."""

    def val_dataloader(self) -> DataLoader:
        return DataLoader(self.samples[:-1], 4, collate_fn=_collate)


def test_a_full_pass_that_misses_images_is_refused(tmp_path: Path) -> None:
    data = Dropping(count=6)
    with pytest.raises(RunError, match=r"1 of 6 val images were never seen, first 'toy/005"):
        validate(tmp_path, data, Oracle(data))
    assert not (tmp_path / "predictions").exists()


def test_a_limited_pass_scores_the_images_seen(tmp_path: Path) -> None:
    data = ToyData(count=6, batch_size=2)
    values = validate(tmp_path, data, Oracle(data), limit_val_batches=2).results["val"]
    _, truth, manifest = files(tmp_path)
    assert values["map"] == values["mar_100"] == 1.0
    assert len(truth["images"]) == manifest["images"] == 4
    assert manifest["complete"] is False


def test_an_unknown_image_is_refused(tmp_path: Path) -> None:
    data = ToyData(count=3)
    net = Oracle(data)
    data.ground_truth = ToyData(count=2).ground_truth  # type: ignore[method-assign]
    with pytest.raises(RunError, match="no ground truth, first 'toy/002"):
        validate(tmp_path, data, net)


def test_each_epoch_starts_anew_and_the_metrics_are_logged(tmp_path: Path) -> None:
    data, callback = ToyData(), evaluator(tmp_path)
    fit = trainer(tmp_path, callback, max_epochs=3)
    fit.fit(toy_module(Oracle(data)), data)
    assert fit.callback_metrics["val/map"] == 1.0
    assert "val/map" in fit.progress_bar_metrics
    assert "val/map_50" not in fit.progress_bar_metrics
    predictions, _, manifest = files(tmp_path)
    assert len(predictions) == 8
    assert (manifest["epoch"], manifest["global_step"]) == (2, 6)
    assert callback.state_dict() == {}


def test_the_sanity_check_scores_and_writes_nothing(tmp_path: Path) -> None:
    data, callback = ToyData(), evaluator(tmp_path)
    options = {"num_sanity_val_steps": 1, "max_epochs": 1, "check_val_every_n_epoch": 2}
    trainer(tmp_path, callback, **options).fit(toy_module(Oracle(data)), data)
    assert callback.results == {}
    assert not (tmp_path / "predictions").exists()


def test_the_test_split_has_files_of_its_own(tmp_path: Path) -> None:
    data, callback = ToyData(), evaluator(tmp_path)
    trainer(tmp_path, callback).test(toy_module(Oracle(data)), data, verbose=False)
    assert callback.results.keys() == {"test"}
    assert files(tmp_path, "test")[2]["data_hash"] == data.fingerprint("test")


def test_without_a_logger_it_still_scores(tmp_path: Path) -> None:
    data, callback = ToyData(), evaluator(tmp_path)
    module = toy_module(Oracle(data))
    module._log = lambda *args, **kwargs: None  # type: ignore[method-assign]
    trainer(tmp_path, callback, logger=False).validate(module, data, verbose=False)
    assert callback.results["val"]["map"] == 1.0


def test_two_metrics_with_one_name_are_refused(tmp_path: Path) -> None:
    data = ToyData()
    metrics = {"a": CocoAP(INFO.class_names), "b": CocoAP(INFO.class_names)}
    with pytest.raises(ConfigError, match=r"metrics\.b and another"):
        trainer(tmp_path, Evaluator(metrics, str(tmp_path))).validate(
            toy_module(Oracle(data)), data, verbose=False
        )


def test_a_full_disk_is_one_line_and_leaves_the_files_of_the_last_epoch(tmp_path: Path) -> None:
    data = ToyData(count=40)
    validate(tmp_path, data, Oracle(data))
    before = files(tmp_path)
    with no_room_beyond(2000), pytest.raises(RunError, match=r"cannot write .*val\.json") as caught:
        validate(tmp_path, data, Oracle(data, offset=1.0), logger=CsvLog(str(tmp_path / "log")))
    assert "\n" not in str(caught.value)
    assert files(tmp_path) == before
