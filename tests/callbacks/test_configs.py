"""The YAML of these groups against the classes they name."""

import inspect
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import yaml
from omegaconf import open_dict

from callbacks.metrics.metric import Metric
from experiments import build

POINTS = {"keypoint_names": ["head", "tail"], "oks_sigmas": [0.1, 0.1]}
CONF = Path(__file__).parents[2] / "conf"
FILES = sorted(
    p for group in ("callbacks", "metrics", "logger") for p in (CONF / group).glob("*.yaml")
)


def nodes(file: Path) -> dict[str, Any]:
    return {k: v for k, v in yaml.safe_load(file.read_text()).items() if v is not None}


@pytest.mark.parametrize("file", FILES, ids=lambda p: f"{p.parent.name}/{p.stem}")
def test_every_key_is_a_parameter_and_every_required_parameter_is_a_key(file: Path) -> None:
    for name, node in nodes(file).items():
        module, _, target = node.pop("_target_").rpartition(".")
        parameters = inspect.signature(getattr(import_module(module), target)).parameters
        assert node.keys() <= parameters.keys(), name
        required = {
            k for k, p in parameters.items() if p.default is p.empty and p.kind != p.VAR_KEYWORD
        }
        assert required <= node.keys(), name


def test_optional_callbacks_have_a_place_before_the_monitor_that_reads_what_they_set() -> None:
    order = list(yaml.safe_load((CONF / "callbacks" / "default.yaml").read_text()))
    assert order.index("warmup") < order.index("lr_monitor")
    assert {"ema", "warmup"} <= set(order)
    assert order.index("checkpoint_best") < order.index("checkpoint_last")


def test_all_metrics_together_suit_data_with_and_without_keypoints() -> None:
    every = ",".join(sorted(file.stem for file in (CONF / "metrics").glob("*.yaml")))
    config = build.compose([f"metrics=[{every}]"])
    for info in (config.datamodule.info, {**config.datamodule.info, **POINTS}):
        with open_dict(config):
            config.datamodule.info = info
        metrics = build.instantiate(config.metrics)
        assert all(isinstance(metric, Metric) for metric in metrics.values())
        names = [name for metric in metrics.values() for name in metric.compute()]
        assert len(names) == len(set(names))
    assert "pck_box_10/tail" in names
