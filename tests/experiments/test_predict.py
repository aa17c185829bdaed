"""`lineup predict RUN IMAGES` and `api.predict`: images are seen as the evaluation saw them."""

import json
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from omegaconf import open_dict
from torch import Tensor

from callbacks.metrics.points import BODY
from datamodules.framing import ShortSide
from datamodules.transforms import Pipeline
from detectors.errors import ConfigError, DataError
from detectors.structures import Detections
from experiments import api, build, checkpoints
from experiments.inference import detect
from experiments.predict import image_paths, predict_images
from experiments.train import train
from experiments.trained import read_trained
from tests.experiments.rods import LEFT, RIGHT, Rods, fresh_checkpoint, rod, trained
from tests.experiments.scenes import tiny

TRANSFORMS = sorted(p.stem for p in (Path(build.__file__).parents[1] / "conf/transform").glob("*"))


def test_images_become_pictures_and_coco_json(tmp_path, capsys):
    folder = tmp_path / "photos"
    folder.mkdir()
    for name, image in (("b.png", RIGHT), ("a.jpg", LEFT), ("c.png", rod(None))):
        cv2.imwrite(str(folder / name), cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    predict_images(trained(), image_paths(folder), tmp_path / "out", score=0.5)
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        "a.png",
        "b.png",
        "c.png",
        "predictions.json",
    ]
    dataset = json.loads((tmp_path / "out/predictions.json").read_text())
    assert [image["file_name"] for image in dataset["images"]] == ["a.jpg", "b.png", "c.png"]
    fronts = [entry["keypoints"][0] for entry in dataset["annotations"]]
    np.testing.assert_allclose(fronts, [30.5, 98.5], atol=2.0)
    assert "2 detections in 3 images" in capsys.readouterr().out


def test_images_are_read_a_batch_at_a_time():
    asked = 0

    def images() -> Iterator[np.ndarray]:
        nonlocal asked
        for _ in range(40):
            asked += 1
            yield LEFT

    for used, _ in enumerate(detect(Rods(), Pipeline((64, 64)), images(), batch_size=4)):
        assert asked - used <= 4


def test_images_are_seen_in_batches_and_in_order():
    detector = Rods()
    fronts = [20 + 2 * index for index in range(20)]
    images = [rod((front, 20), rear=(64, 80)) for front in fronts]
    seen = list(detect(detector, Pipeline((64, 64)), images, batch_size=8))
    assert detector.batches == [8, 8, 4]
    assert all(pixels is image for (pixels, _), image in zip(seen, images, strict=True))
    xs = [found.keypoints[0, 0, 0].item() for _, found in seen if found.keypoints is not None]
    np.testing.assert_allclose(xs, np.add(fronts, 0.5), atol=1.5)


def test_a_detector_is_left_in_the_mode_it_was_in_also_by_an_error(tmp_path):
    detector = Rods().train()
    api.predict(detector, [LEFT], input_hw=(64, 64))
    assert detector.training
    with pytest.raises(DataError):
        api.predict(detector, [tmp_path / "nowhere.jpg"], input_hw=(64, 64))
    assert detector.training


def test_a_detector_of_any_size_asks_for_one_and_says_where_it_stands():
    with pytest.raises(ConfigError, match=r"input_hw=.*api\.load_framing"):
        api.predict(Rods(), [LEFT])


def test_the_framing_decides_what_the_detector_sees():
    sizes: list[int] = []

    class Curious(Rods):
        def forward(self, images: Tensor) -> Tensor:
            sizes.append(int((images[0] != 114).any(dim=0).sum()))
            return super().forward(images)

    api.predict(Curious(), [np.zeros((48, 64, 3), np.uint8)], (96, 96))
    api.predict(Curious(), [np.zeros((48, 64, 3), np.uint8)], (96, 96), ShortSide(24, 48))
    assert sizes == [72 * 96, 24 * 32]


@pytest.mark.parametrize("transform", TRANSFORMS)
def test_a_checkpoint_tells_the_framing_of_its_evaluation(transform: str):
    overrides = [f"transform={transform}", "datamodule.input_hw=[96,128]"]
    config = build.compose(overrides)
    input_hw, framing = checkpoints.evaluation_framing(config)
    evaluation = build.instantiate(config.datamodule)._evaluation
    assert input_hw == evaluation.input_hw == (96, 128)
    assert (type(framing), vars(framing)) == (
        type(evaluation.framing),
        vars(evaluation.framing),
    )


def test_what_a_run_knows_is_read_from_its_checkpoint(tmp_path):
    path = fresh_checkpoint(
        tmp_path / "a.ckpt",
        *("detector=retinaface_3pt", "datamodule=synthetic_mice", "metrics=[coco,pck]"),
        *("metrics.pck.body=[1,-1]", "transform=faster_rcnn", "protocol.input_hw=[96,128]"),
    )
    known = read_trained(path)
    assert list(known.info.keypoint_names) == ["head", "body", "tail"]
    assert list(known.body) == [1, -1]
    assert known.pipeline.input_hw == (96, 128)
    assert isinstance(known.pipeline.framing, ShortSide)
    assert not known.detector.training
    input_hw, framing = api.load_framing(path)
    assert (input_hw, type(framing)) == ((96, 128), ShortSide)


def test_without_keypoint_metrics_the_body_is_that_of_the_metric_by_default(tmp_path):
    path = fresh_checkpoint(
        tmp_path / "a.ckpt", "detector=retinaface_3pt", "datamodule=synthetic_mice"
    )
    assert tuple(read_trained(path).body) == BODY


def test_predictions_are_those_of_the_evaluation(tmp_path):
    """With a framing that is no letterbox, for images that are no squares."""
    config = build.compose(
        tiny(
            tmp_path / "runs",
            *("transform=faster_rcnn", "datamodule.framing.short=32", "datamodule.framing.long=64"),
            *("protocol.epochs=1", "protocol.score_floor=0.0", "protocol.checkpoint=last"),
            "datamodule.train.length=16",
            *(f"datamodule.{split}.image_hw=[64,96]" for split in ("train", "val", "test")),
        )
    )
    train(config)
    run = Path(config.paths.run_dir)
    written = json.loads((run / "predictions/test.json").read_text())
    with open_dict(config):
        source = build.instantiate(config.datamodule).source("test")
    images = [source.image(index) for index in range(len(source))]
    detector = api.load(run)
    as_evaluated = api.predict(detector, images, *api.load_framing(run))
    letterboxed = api.predict(detector, images, api.load_framing(run)[0])

    def scores(found: list[Detections]) -> list[float]:
        return torch.cat([detections.scores for detections in found]).tolist()

    expected = [entry["score"] for entry in written]
    assert scores(as_evaluated) == pytest.approx(expected, abs=1e-5)
    boxes = torch.cat([found.boxes for found in as_evaluated])
    xywh = torch.tensor([entry["bbox"] for entry in written])
    assert torch.allclose(boxes[:, :2], xywh[:, :2], atol=1e-2)
    assert torch.allclose(boxes[:, 2:] - boxes[:, :2], xywh[:, 2:], atol=1e-2)
    assert scores(letterboxed) != pytest.approx(expected, abs=1e-5)
