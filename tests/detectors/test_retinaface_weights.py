"""Public checkpoints of RetinaFace: files of the same names and shapes, and the same numbers."""

import logging
from pathlib import Path

import pytest
import torch
from torchvision.models import resnet50

from detectors.backbones.mobilenet025 import MobileNet025
from detectors.backbones.timm_pyramid import TimmPyramid
from detectors.errors import CheckpointError, ConfigError
from detectors.families.retinaface import RetinaFace
from detectors.families.retinaface_weights import renamed
from detectors.ops.anchors import CentredAnchors
from tests.detectors import reference_retinaface as reference
from tests.detectors.samples import frame, small_retinaface


def load(path: Path, points: int = 5, **options) -> RetinaFace:
    anchors = CentredAnchors([[16, 32], [64, 128], [256, 512]])
    options = {"pixels": "reference", "num_classes": 1, "anchors": anchors} | options
    return small_retinaface(num_points=points, weights=str(path), **options).eval()


@pytest.fixture
def checkpoint(tmp_path) -> Path:
    path = tmp_path / "mobilenet0.25_Final.pth"
    torch.save(reference.mobilenet_state(), path)
    return path


def test_the_file_made_here_has_the_size_of_the_published_one():
    state = reference.mobilenet_state()
    learned = [t for key, t in state.items() if not key.endswith(("mean", "var", "tracked"))]
    assert sum(t.numel() for t in learned) == 426_608


@pytest.mark.parametrize("image_hw", [(96, 96), (75, 131)])
def test_a_five_point_detector_computes_what_the_reference_does(checkpoint, image_hw, caplog):
    with caplog.at_level(logging.INFO):
        net = load(checkpoint)
    assert [record.levelno for record in caplog.records] == [logging.INFO]  # nothing is amiss
    assert "not used" not in caplog.text
    images = torch.randint(256, (2, 3, *image_hw), dtype=torch.uint8)
    with torch.no_grad():
        raw = net(images)
        classes, boxes, points = reference.forward(reference.mobilenet_state(), images)
    torch.testing.assert_close(raw.class_logits, classes, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(raw.box_codes, boxes, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(raw.point_codes.flatten(2), points, rtol=1e-3, atol=1e-3)


def test_it_then_finds_faces_with_five_points(checkpoint):
    net = load(checkpoint)
    with torch.no_grad():
        raw = net(torch.randint(256, (1, 3, 96, 96), dtype=torch.uint8))
        found = net.decode(raw, [frame()])[0]
    assert len(found) > 0
    assert found.keypoints.shape == (len(found), 5, 3)


@pytest.mark.parametrize(
    ("changed", "fresh"),
    [({"points": 3}, "point_head"), ({"num_classes": 3}, "class_head")],
    ids=["three points", "three classes"],
)
def test_a_head_of_another_size_stays_fresh_and_the_log_says_so(checkpoint, changed, fresh, caplog):
    torch.manual_seed(0)
    with caplog.at_level(logging.WARNING):
        net = load(checkpoint, **changed)
    assert f"of another shape: {fresh}.layers.0.weight" in caplog.text
    wanted = renamed(reference.mobilenet_state())
    for key, tensor in net.state_dict().items():
        if not key.startswith(fresh):
            assert torch.equal(tensor, wanted[key]), key
    shapes = {t.shape for key, t in net.state_dict().items() if key.startswith(fresh)}
    assert not shapes & {t.shape for key, t in wanted.items() if key.startswith(fresh)}


@pytest.mark.parametrize("wrapped", [False, True])
def test_a_file_saved_from_data_parallel_is_the_same(tmp_path, wrapped):
    state = reference.mobilenet_state()
    parallel = {f"module.{key}": tensor for key, tensor in state.items()}
    torch.save({"state_dict": parallel} if wrapped else parallel, tmp_path / "parallel.pth")
    own = load(tmp_path / "parallel.pth").state_dict()
    assert all(torch.equal(own[key], tensor) for key, tensor in renamed(state).items())


def test_every_key_of_the_resnet50_checkpoint_has_its_place():
    with torch.device("meta"):
        backbone = TimmPyramid(name="resnet50", out_indices=(2, 3, 4))
        own = small_retinaface(backbone=backbone, num_classes=1, num_points=5).state_dict()
        body = resnet50(weights=None).state_dict()
        state = {f"body.{k}": t for k, t in body.items() if not k.startswith("fc.")}

        def block(key: str, c_in: int, c_out: int, kernel: int) -> None:
            state[f"{key}.0.weight"] = torch.empty(c_out, c_in, kernel, kernel)
            for name in ("weight", "bias", "running_mean", "running_var"):
                state[f"{key}.1.{name}"] = torch.empty(c_out)
            state[f"{key}.1.num_batches_tracked"] = torch.tensor(0)

        reference.neck_and_heads(block, state, None, [512, 1024, 2048], 256, 5)
    found = {key: t.shape for key, t in renamed(state, "backbone.net.").items()}
    assert found == {key: t.shape for key, t in own.items()}


def test_the_reference_imagenet_weights_fit_the_backbone(tmp_path):
    state = {
        key.replace("body.", "module."): t
        for key, t in reference.mobilenet_state().items()
        if key.startswith("body.")
    }
    state |= {"module.fc.weight": torch.zeros(1000, 256), "module.fc.bias": torch.zeros(1000)}
    path = tmp_path / "mobilenetV1X0.25_pretrain.tar"
    torch.save({"state_dict": state, "epoch": 3}, path)
    own = MobileNet025(weights=str(path)).state_dict()
    assert all(torch.equal(own[key], state[f"module.{key}"]) for key in own)


def test_no_library_has_imagenet_weights_of_the_small_mobilenet():
    with pytest.raises(CheckpointError, match=r"no library publishes .* protocol\.pretraining="):
        MobileNet025(weights="imagenet")


def test_weights_for_other_pixels_are_refused(checkpoint):
    with pytest.raises(ConfigError, match=r"pixels=imagenet: set detector.net.pixels=reference"):
        load(checkpoint, pixels="imagenet")


def test_weights_for_other_anchors_are_refused(checkpoint):
    with pytest.raises(ConfigError, match=r"anchors of \[\[16, 32\].* set scale=paper"):
        load(checkpoint, anchors=CentredAnchors([[8, 16], [32, 64], [128, 256]]))


def test_weights_of_another_network_are_refused_also_where_step_counts_fit(tmp_path):
    state = {"neck.fpn.lateral.0.1.num_batches_tracked": torch.tensor(3), "fc": torch.zeros(2)}
    torch.save(state, tmp_path / "other.pth")
    with pytest.raises(CheckpointError, match=r"none of the 2 tensors .* fits RetinaFace"):
        load(tmp_path / "other.pth")
