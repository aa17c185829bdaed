"""Loading weights from files with the libraries' key names, and what is said of misfits."""

import logging
from functools import partial
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file
from torchvision.models import VGG
from torchvision.models.vgg import cfgs, make_layers

from detectors.backbones.darknet24 import Darknet24
from detectors.backbones.timm_pyramid import TimmPyramid
from detectors.backbones.vgg16 import VGG16
from detectors.errors import CheckpointError
from detectors.heads.whole_image import VGGClassifier
from detectors.pretrained import fetch, read_weights

VGG16BN = partial(VGG16, norm=True, last_pool=True)
WIDTH = 0.125
RESNET = {"layers": [1, 1, 1, 1], "channels": [8, 16, 24, 32]}


def save(state: dict[str, torch.Tensor], path: Path) -> str:
    if path.suffix == ".safetensors":
        save_file(state, path)
    else:
        torch.save(state, path)
    return str(path)


def library_vgg() -> dict[str, torch.Tensor]:
    """torchvision's VGG at an eighth of its width, with its key names."""
    plan = [c if c == "M" else int(c * WIDTH) for c in cfgs["D"]]
    features = make_layers(plan, batch_norm=True)
    whole = VGG(features, num_classes=5, init_weights=False)
    whole.classifier[0] = torch.nn.Linear(64 * 49, 32)
    whole.classifier[3] = torch.nn.Linear(32, 32)
    whole.classifier[6] = torch.nn.Linear(32, 5)
    return whole.state_dict()


@pytest.mark.parametrize("name", ["vgg.pth", "vgg.safetensors"])
def test_vgg_and_its_classifier_take_their_parts_of_the_same_file(tmp_path, name):
    state = library_vgg()
    path = save(state, tmp_path / name)
    backbone = VGG16BN(width=WIDTH, weights=path)
    head = VGGClassifier(
        in_channels=64, feature_hw=(3, 3), out_features=10, hidden=32, weights=path
    )
    for key, value in backbone.state_dict().items():
        assert torch.equal(value, state[key]), key
    for key in ("classifier.0.weight", "classifier.0.bias", "classifier.3.weight"):
        assert torch.equal(head.state_dict()[key], state[key])


@pytest.mark.parametrize("name", ["net.pth", "net.safetensors"])
@pytest.mark.parametrize(("model", "arguments"), [("resnet152", RESNET), ("convnext_atto", {})])
def test_a_timm_file_gives_the_features_of_the_timm_model(tmp_path, name, model, arguments):
    library = timm.create_model(model, **arguments).eval()
    path = save(library.state_dict(), tmp_path / name)
    own = TimmPyramid(name=model, weights=path, model_args=arguments).eval()
    images = torch.rand(1, 3, 64, 64)
    wanted = library.forward_intermediates(images, indices=1, intermediates_only=True)[-1]
    assert torch.allclose(own(images)[-1], wanted, atol=1e-4)


def test_darknet_takes_a_file_of_its_own(tmp_path):
    trained = Darknet24(width=WIDTH)
    path = save({"state_dict": trained.state_dict()}, tmp_path / "darknet.pth")
    assert torch.equal(
        Darknet24(width=WIDTH, weights=path).layers[0].weight, trained.layers[0].weight
    )


def test_what_did_not_fit_is_named(tmp_path, caplog):
    state = library_vgg()
    del state["features.0.bias"]
    state["features.3.bias"] = torch.zeros(3)
    state["features.extra"] = torch.zeros(3)
    with caplog.at_level(logging.INFO):
        VGG16BN(width=WIDTH, weights=save(state, tmp_path / "vgg.pth"))
    said = caplog.text
    assert "absent from the file: features.0.bias" in said
    assert "of another shape: features.3.bias" in said
    assert "not used: features.extra" in said
    assert caplog.records[0].levelno == logging.WARNING


@pytest.mark.parametrize(
    "build",
    [
        lambda path: VGG16BN(width=WIDTH, weights=path),
        lambda path: Darknet24(width=WIDTH, weights=path),
        lambda path: TimmPyramid(name="resnet18", weights=path),
    ],
    ids=["vgg", "darknet", "timm"],
)
def test_a_file_of_which_nothing_fits_is_refused(tmp_path, build):
    path = save({"something.else": torch.zeros(2)}, tmp_path / "other.pth")
    with pytest.raises(CheckpointError, match=r"none of the .* fits") as error:
        build(path)
    assert "\n" not in str(error.value)


def test_a_file_that_is_missing_damaged_or_no_state_dict_is_refused_in_one_line(tmp_path):
    damaged = tmp_path / "damaged.pth"
    damaged.write_bytes(b"PK\x03\x04 not a checkpoint")
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes(b"\x10")
    numbers = tmp_path / "numbers.pth"
    torch.save({"epoch": 3}, numbers)
    for path in (tmp_path / "absent.pth", damaged, cut, numbers):
        with pytest.raises(CheckpointError, match=path.name) as error:
            read_weights(path)
        assert "\n" not in str(error.value)


class Payload:
    def __reduce__(self):
        return print, ("this must never run",)


def test_a_pickle_that_would_run_code_is_refused(tmp_path, capsys):
    path = tmp_path / "evil.pth"
    torch.save({"weight": Payload()}, path)
    with pytest.raises(CheckpointError, match="no file of tensors alone"):
        read_weights(path)
    assert "must never run" not in capsys.readouterr().out


@pytest.mark.parametrize("error", [OSError("no route\nto host"), RuntimeError(), ValueError("404")])
def test_a_download_that_fails_is_one_line_with_the_remedies(error):
    def download() -> None:
        raise error

    with pytest.raises(CheckpointError, match=r"protocol.pretraining=null") as caught:
        fetch(download, "the weights of X")
    assert "cannot fetch the weights of X" in str(caught.value)
    assert "weights=PATH" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_imagenet_weights_that_the_library_cannot_fetch_name_their_source(monkeypatch, tmp_path):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    with pytest.raises(CheckpointError, match=r"cannot fetch https://.*vgg16_bn.*\.pth"):
        VGG16BN(width=WIDTH, weights="imagenet")
