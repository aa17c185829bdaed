"""Read a checkpoint back: safely, and with one line for whatever is wrong with it.

A checkpoint of ours is Lightning's, plus the key `lineup` with the resolved configuration in plain
containers: it loads with `weights_only=True`, and a model can be rebuilt from the file alone.
"""

from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from torch import nn

from callbacks.checkpoint_io import read_checkpoint
from datamodules.framing import Framing, Letterbox
from detectors.detector import Detector
from detectors.errors import CheckpointError, LineupError
from experiments import build, runs

KEY = "lineup"


def locate(run_or_checkpoint: str | Path) -> Path:
    """The checkpoint file of a path that names a file or a run (the one its protocol scores)."""
    path = Path(run_or_checkpoint)
    if path.is_file():
        return path
    if not path.exists():
        raise CheckpointError(f"{path} does not exist: give a run's folder or a .ckpt file")
    manifest = runs.read_manifest(path) or {}
    scored = manifest.get("protocol", {}).get("checkpoint", "best")
    for name in (scored, "best", "last"):
        candidate = path / "checkpoints" / f"{name}.ckpt"
        if candidate.is_file():
            return candidate
    raise CheckpointError(
        f"{path} holds no checkpoints/best.ckpt or last.ckpt: has the run trained an epoch?"
    )


def read(run_or_checkpoint: str | Path) -> tuple[Path, dict[str, Any]]:
    """The file and its contents; refuses a damaged or foreign one."""
    path = locate(run_or_checkpoint)
    content = read_checkpoint(path)
    if KEY not in content or "state_dict" not in content:
        raise CheckpointError(
            f"{path} is no checkpoint of lineup (it has no '{KEY}' entry): "
            "public weights are loaded with protocol.pretraining=FILE"
        )
    return path, content


def config_of(content: dict[str, Any]) -> DictConfig:
    """The resolved configuration a checkpoint was trained with."""
    config = OmegaConf.create(content[KEY]["config"])
    assert isinstance(config, DictConfig)
    return config


def load_detector(run_or_checkpoint: str | Path) -> tuple[Detector, DictConfig]:
    """The detector of a checkpoint with its weights, in eval mode, and its configuration."""
    path, content = read(run_or_checkpoint)
    config = config_of(content)
    _without_pretraining(config)
    try:
        net: Detector = build.instantiate(config.detector.net)
    except LineupError as error:
        raise CheckpointError(f"{path} cannot be rebuilt: {error}") from error
    _load(net, content, path)
    return net.eval(), config


def evaluation_framing(config: DictConfig) -> tuple[tuple[int, int], Framing]:
    """Input height and width, px, and how evaluation brings an image of any size into them.

    Raises:
        ConfigError: the configuration of a checkpoint names what cannot be built.
    """
    framing = OmegaConf.select(config, "datamodule.evaluation_framing")
    height, width = config.datamodule.input_hw
    return (height, width), Letterbox() if framing is None else build.instantiate(framing)


def load_weights(module: nn.Module, run_or_checkpoint: Path) -> None:
    """Copies a checkpoint's weights into the `net` of a module built from another configuration."""
    path, content = read(run_or_checkpoint)
    net = module.net
    assert isinstance(net, nn.Module)
    _load(net, content, path)


def _load(net: nn.Module, content: dict[str, Any], path: Path) -> None:
    """Strict: every key and shape must fit."""
    prefix = "net."
    weights = {
        k[len(prefix) :]: v for k, v in content["state_dict"].items() if k.startswith(prefix)
    }
    expected = net.state_dict()
    misfits = [
        key
        for key in sorted(expected.keys() | weights.keys())
        if key not in expected or key not in weights or expected[key].shape != weights[key].shape
    ]
    if misfits:
        trained = content[KEY]["config"]["detector"]["net"]["_target_"].rsplit(".", 1)[-1]
        raise CheckpointError(
            f"{path} holds a {trained} that does not fit this {type(net).__name__}: "
            f"{len(misfits)} of {len(expected)} tensors differ, first '{misfits[0]}'; "
            "use the configuration it was trained with"
        )
    net.load_state_dict(weights)


def _without_pretraining(config: DictConfig) -> None:
    """The weights come from the checkpoint: nothing is fetched or read for initialisation."""
    net = config.detector.net
    for node in (net, net.get("backbone"), net.get("head")):
        if node is not None and "weights" in node:
            node.weights = None
