"""Every YAML file under conf/ composes and names only keys and targets that exist."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf, open_dict

from detectors.errors import ConfigError
from experiments import build, runs

CONF = Path(__file__).parent.parent / "conf"
PLAIN_GROUPS = (
    *("detector", "suppression", "datamodule", "transform", "optimizer", "loss_weights"),
    *("scheduler", "protocol", "scale", "trainer", "paths", "loader"),
)
PART_GROUPS = ("backbone", "neck", "head", "attention", "assigner", "regime")
LIST_GROUPS = ("callbacks", "logger", "metrics")


def options(*groups: str) -> list[str]:
    return [f"{g}={p.stem}" for g in groups for p in sorted((CONF / g).glob("*.yaml"))]


def detectors_it_fits(option: str) -> Iterator[str]:
    """The detectors that know what the option names: a part fits some, not all."""
    refusals, fits = [], False
    for detector in options("detector"):
        try:
            build.check_targets(build.compose([detector, option]))
        except ConfigError as error:
            refusals.append(f"{detector}: {error}")
        else:
            fits = True
            yield detector
    assert fits, f"{option} fits no detector: {refusals}"


def values(overrides: list[str]) -> dict[str, object]:
    """Every leaf of a resolved configuration, dotted; names of runs and folders aside."""
    config = build.compose([*overrides, "paths.run_dir=runs/x"])
    with open_dict(config):
        config.update(runs.PLACEHOLDERS)
    OmegaConf.resolve(config)
    aside = ("choices",)
    keys = [key for key in build.flat_keys(config) if key.split(".")[0] not in aside]
    leaves = {key: OmegaConf.select(config, key) for key in keys}
    return {k: str(v) for k, v in leaves.items() if not OmegaConf.is_dict(v)}


@pytest.mark.parametrize("option", options(*PLAIN_GROUPS))
def test_every_option_of_a_group_composes_and_names_only_what_exists(option: str):
    config = build.compose([option, "++datamodule.root=somewhere"])
    build.check_targets(config)
    OmegaConf.resolve(config)


@pytest.mark.parametrize("option", options(*PART_GROUPS))
def test_every_part_composes_with_a_detector_and_names_only_what_exists(option: str):
    OmegaConf.resolve(build.compose([next(detectors_it_fits(option)), option]))


@pytest.mark.parametrize(
    "option", [f"{o.split('=')[0]}=[{o.split('=')[1]}]" for o in options(*LIST_GROUPS)]
)
def test_every_option_of_a_group_of_many_composes(option: str):
    build.check_targets(build.compose([option]))


@pytest.mark.parametrize("scale", ["nano", "paper"])
@pytest.mark.parametrize("option", options("experiment"))
def test_every_experiment_composes_at_every_scale(option: str, scale: str):
    config = build.compose([option, f"scale={scale}", "++datamodule.root=somewhere"])
    build.check_targets(config)
    OmegaConf.resolve(config)


@pytest.mark.parametrize("scale", ["nano", "paper"])
@pytest.mark.parametrize("option", options("experiment"))
def test_every_experiment_builds_its_detector_at_every_scale(option: str, scale: str):
    """Names of frozen parts and combinations of parts are judged by nothing else."""
    start = ["++datamodule.root=somewhere", "protocol.pretraining=null"]
    config = build.compose([option, f"scale={scale}", *start])
    with torch.device("meta"):
        build.instantiate(config.detector.net)


@pytest.mark.parametrize("option", options("debug", "sweep"))
def test_every_debug_and_sweep_file_composes(option: str):
    build.check_targets(build.compose([option]))


@pytest.mark.parametrize("option", options("ablation"))
def test_an_ablation_changes_one_to_three_keys(option: str):
    """Of a detector that it fits, and that does not have these values anyway."""
    ablation = f"ablation=[{option.split('=')[1]}]"
    counts = (
        sum(before.get(key) != after.get(key) for key in before.keys() | after.keys())
        for before, after in (
            (values([detector]), values([detector, ablation]))
            for detector in detectors_it_fits(ablation)
        )
    )
    assert 1 <= next(count for count in counts if count > 0) <= 3


def test_ablations_stack():
    config = build.compose(["ablation=[confidence_one,image_units]"])
    assert config.detector.net.confidence_target == "one"
    assert config.detector.net.size_units == "image"


def test_the_command_line_beats_the_experiment_and_the_experiment_beats_the_detector():
    assert build.compose(["++datamodule.root=x"]).choices["backbone"] == "darknet24"
    chosen = build.compose(["experiment=yolov1_voc", "++datamodule.root=x"]).choices
    assert chosen["backbone"] == "resnet152"
    asked = build.compose(["experiment=yolov1_voc", "backbone=vgg16_bn", "++datamodule.root=x"])
    assert asked.choices["backbone"] == "vgg16_bn"


def test_a_backbone_brings_the_head_that_belongs_to_it():
    heads = {
        b: build.compose([f"backbone={b}"]).choices["head"]
        for b in ("darknet24", "resnet152", "vgg16_bn")
    }
    assert heads == {
        "darknet24": "fully_connected",
        "resnet152": "pooled_linear",
        "vgg16_bn": "vgg_classifier",
    }


@pytest.mark.parametrize(
    ("row", "backbone", "batch", "size", "phases"),
    [
        ("yolov1_voc", "resnet152", 19, 448, [[1e-4, 15], [1e-5, 10], [5e-6, 15]]),
        ("yolov1_mask", "resnet152", 12, 224, [[1e-5, 300], [2e-5, 300], [5e-5, 234]]),
        ("yolov1_traffic", "vgg16_bn", 19, 448, [[1e-5, 10], [2e-5, 15], [5e-5, 5]]),
    ],
)
def test_the_rows_of_the_reports_table_are_what_the_report_says(row, backbone, batch, size, phases):
    config = build.compose([f"experiment={row}", "scale=paper", "++datamodule.root=x"])
    assert config.choices["backbone"] == backbone
    assert config.protocol.batch_size == batch
    assert list(config.protocol.input_hw) == [size, size]
    assert config.detector.scheduler.phases == phases
    assert config.protocol.epochs == sum(epochs for _, epochs in phases)
    assert config.detector.net.grid == 7
