"""Files with the names and shapes of the public checkpoints; the layers are those of their YAML."""

import logging
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from detectors.errors import CheckpointError
from detectors.families.yolov7_weights import renamed
from experiments import api

ELAN = {4: (64, 128, 256), 17: (128, 256, 512), 30: (256, 512, 1024), 43: (256, 1024, 1024)}
"""First layer -> branch, channels in, channels out."""
HEAD_ELAN = {56: (512, 256), 68: (256, 128), 81: (512, 256), 94: (1024, 512)}
"""First layer -> channels in and out."""
DOWN = {12: (256, 128), 25: (512, 256), 38: (1024, 512), 76: (128, 128), 89: (256, 256)}
"""First layer -> channels in, and of either half."""


def block(name: str, channels_in: int, channels: int, kernel: int) -> dict[str, list[int]]:
    norm = ("weight", "bias", "running_mean", "running_var")
    shapes = {f"{name}.conv.weight": [channels, channels_in, kernel, kernel]}
    shapes |= {f"{name}.bn.{part}": [channels] for part in norm}
    return shapes | {f"{name}.bn.num_batches_tracked": []}


def yolov7(classes: int) -> dict[str, list[int]]:
    """Names and shapes of the state dict of cfg/training/yolov7.yaml."""
    stem = [(3, 32), (32, 64), (64, 64), (64, 128)]
    convolutions: dict[int, tuple[int, int, int]] = {i: (*c, 3) for i, c in enumerate(stem)}
    for first, (branch, before, after) in ELAN.items():
        convolutions |= {first: (before, branch, 1), first + 1: (before, branch, 1)}
        convolutions |= {first + i: (branch, branch, 3) for i in (2, 3, 4, 5)}
        convolutions[first + 7] = (4 * branch, after, 1)
    for first, (before, after) in HEAD_ELAN.items():
        half = after // 2
        convolutions |= {first: (before, after, 1), first + 1: (before, after, 1)}
        convolutions[first + 2] = (after, half, 3)
        convolutions |= {first + i: (half, half, 3) for i in (3, 4, 5)}
        convolutions[first + 7] = (4 * after, after, 1)
    for first, (before, half) in DOWN.items():
        convolutions |= {first + 1: (before, half, 1), first + 2: (before, half, 1)}
        convolutions[first + 3] = (half, half, 3)
    convolutions |= {52: (512, 256, 1), 54: (1024, 256, 1), 64: (256, 128, 1), 66: (512, 128, 1)}
    shapes: dict[str, list[int]] = {}
    for number in sorted(convolutions):
        shapes |= block(f"model.{number}", *convolutions[number])
    spp = {1: (1024, 1), 2: (1024, 1), 3: (512, 3), 4: (512, 1), 5: (2048, 1), 6: (512, 3)}
    for number, (before, kernel) in (spp | {7: (1024, 1)}).items():
        shapes |= block(f"model.51.cv{number}", before, 512, kernel)
    for number, channels in ((102, 128), (103, 256), (104, 512)):
        for branch, kernel in (("rbr_dense", 3), ("rbr_1x1", 1)):
            of_block = block("x", channels, 2 * channels, kernel)
            for key, shape in of_block.items():
                part = key.replace("x.conv", "0").replace("x.bn", "1")
                shapes[f"model.{number}.{branch}.{part}"] = shape
    return shapes | head(105, (256, 512, 1024), classes)


def yolov7_tiny(classes: int) -> dict[str, list[int]]:
    """Names and shapes of the state dict of cfg/training/yolov7-tiny.yaml."""
    elan = {2: (64, 32, 64), 9: (64, 64, 128), 16: (128, 128, 256), 23: (256, 256, 512)}
    elan |= {42: (256, 64, 128), 52: (128, 32, 64), 60: (256, 64, 128), 68: (512, 128, 256)}
    convolutions = {0: (3, 32, 3), 1: (32, 64, 3)}
    for first, (before, branch, after) in elan.items():
        convolutions |= {first: (before, branch, 1), first + 1: (before, branch, 1)}
        convolutions |= {first + 2: (branch, branch, 3), first + 3: (branch, branch, 3)}
        convolutions[first + 5] = (4 * branch, after, 1)
    convolutions |= {29: (512, 256, 1), 30: (512, 256, 1), 35: (1024, 256, 1), 37: (512, 256, 1)}
    convolutions |= {38: (256, 128, 1), 40: (256, 128, 1), 48: (128, 64, 1), 50: (128, 64, 1)}
    convolutions |= {58: (64, 128, 3), 66: (128, 256, 3)}
    convolutions |= {74: (64, 128, 3), 75: (128, 256, 3), 76: (256, 512, 3)}
    shapes: dict[str, list[int]] = {}
    for number in sorted(convolutions):
        shapes |= block(f"model.{number}", *convolutions[number])
    return shapes | head(77, (128, 256, 512), classes)


def head(number: int, channels: tuple[int, ...], classes: int) -> dict[str, list[int]]:
    outputs = 3 * (classes + 5)
    shapes = {
        f"model.{number}.anchors": [3, 3, 2],
        f"model.{number}.anchor_grid": [3, 1, 3, 1, 1, 2],
    }
    for level, before in enumerate(channels):
        shapes |= {
            f"model.{number}.m.{level}.weight": [outputs, before, 1, 1],
            f"model.{number}.m.{level}.bias": [outputs],
            f"model.{number}.ia.{level}.implicit": [1, before, 1, 1],
            f"model.{number}.im.{level}.implicit": [1, outputs, 1, 1],
        }
    return shapes


LAYOUTS = {"yolov7": yolov7, "yolov7_tiny": yolov7_tiny}
SIZES = {"yolov7": 37_622_682, "yolov7_tiny": 6_228_762}
PARAMETERS = ("weight", "bias", "implicit")


def filled(shapes: dict[str, list[int]]) -> dict[str, Tensor]:
    """Half precision, as the public files have it, and no two tensors alike."""
    generator = torch.Generator().manual_seed(0)
    return {
        key: torch.randn(shape, generator=generator).half() if shape else torch.tensor(7)
        for key, shape in shapes.items()
    }


def build(name: str, classes: int, *overrides: str) -> nn.Module:
    names = ",".join(f"c{i}" for i in range(classes))
    data = f"datamodule.info.class_names=[{names}]"
    return api.build_detector(f"detector={name}", "scale=paper", data, *overrides)


@pytest.mark.parametrize("name", LAYOUTS)
def test_the_files_made_here_are_as_large_as_the_public_ones(name):
    shapes = LAYOUTS[name](80)
    learned = [shape for key, shape in shapes.items() if key.endswith(PARAMETERS)]
    assert sum(torch.Size(shape).numel() for shape in learned) == SIZES[name]


@pytest.mark.parametrize("name", LAYOUTS)
def test_every_tensor_of_a_public_file_finds_its_place(name):
    state = filled(LAYOUTS[name](80))
    with torch.device("meta"):
        own = build(name, 80).state_dict()
    ours = renamed(state)
    unused = {f"model.{n}.{key}" for n in (77, 105) for key in ("anchors", "anchor_grid")}
    assert {key for key in ours if key not in own} <= unused
    assert {key for key in own if key not in ours} == set()
    assert all(ours[key].shape == own[key].shape for key in own)


@pytest.mark.slow
@pytest.mark.parametrize("name", LAYOUTS)
def test_a_file_is_loaded_tensor_by_tensor(name, tmp_path: Path):
    state = filled(LAYOUTS[name](80))
    torch.save(state, tmp_path / "weights.pt")
    loaded = build(name, 80, f"detector.net.weights={tmp_path / 'weights.pt'}").state_dict()
    for key, tensor in renamed(state).items():
        if key in loaded:
            assert torch.equal(loaded[key].float(), tensor.float()), key


@pytest.mark.slow
def test_other_classes_keep_all_but_the_head(tmp_path: Path, caplog):
    state = filled(yolov7_tiny(80))
    torch.save(state, tmp_path / "weights.pt")
    with caplog.at_level(logging.WARNING):
        net = build("yolov7_tiny", 2, f"detector.net.weights={tmp_path / 'weights.pt'}")
    assert "of another shape: head.layers.0.weight" in caplog.text
    first = state["model.0.conv.weight"].float()
    assert torch.equal(net.backbone.stem[0][0].weight, first)
    assert torch.equal(net.head.add[1], state["model.77.ia.1.implicit"].float())


def test_a_network_pickled_whole_is_refused_with_the_remedy(tmp_path: Path):
    torch.save({"model": nn.Linear(1, 1)}, tmp_path / "yolov7.pt")
    with pytest.raises(CheckpointError, match=r"save `model.state_dict\(\)` with the program"):
        build("yolov7_tiny", 2, f"detector.net.weights={tmp_path / 'yolov7.pt'}")
