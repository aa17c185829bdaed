"""Trainings that are several fits in a row: alternating Faster R-CNN, driven by `stages:`
(regime=alternating).

Every stage but the last leaves a checkpoint and its proposals below `stages/NAME` of the run's
folder, and is not scored; the last one is the run itself. Started again, finished stages are
skipped, and an interrupted one goes on from its last checkpoint: the end is the same to the last
bit.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lightning as L
import torch
from omegaconf import DictConfig, open_dict
from torch import Tensor

from callbacks.files import write_json_atomically
from datamodules.detection import DetectionDataModule
from detectors.detector import Proposer
from detectors.errors import ConfigError
from detectors.lit import LitDetector
from detectors.structures import Detections
from experiments import build, checkpoints, fit, runs

STAGE = "stage.json"
PROPOSALS = "proposals.pt"


def fit_in_stages(config: DictConfig, run_dir: Path) -> None:
    """Trains all stages of `config` in their order; the last one in `run_dir` itself."""
    _check(config)
    *earlier, last = config.stages
    for name in earlier:
        _fit_stage(stage_config(config, name, run_dir), name, run_dir)
    final = stage_config(config, last, run_dir)
    fit.fit(final, run_dir, prepare=lambda module: _prepare(module, final, last, run_dir))


def stage_config(config: DictConfig, name: str, run_dir: Path) -> DictConfig:
    """The configuration of one stage, as if it were a run of its own."""
    staged = config.copy()
    stage = staged.stages[name]
    with open_dict(staged):
        staged.protocol.epochs = stage.epochs
        staged.detector.net.frozen = [*staged.detector.net.frozen, *stage.frozen]
        staged.detector.loss_weights.update(stage.loss_weights)
        if name != list(staged.stages)[-1]:
            _without_scores(staged, stage_dir(run_dir, name))
    return staged


def stage_dir(run_dir: Path, name: str) -> Path:
    """The folder of a stage."""
    return run_dir / "stages" / name


def build_stage(staged: DictConfig, name: str, run_dir: Path) -> LitDetector:
    """The detector at the start of a stage: fresh, or with the weights of an earlier one."""
    L.seed_everything(staged.seed, workers=True, verbose=False)
    module: LitDetector = build.instantiate(staged.detector)
    _prepare(module, staged, name, run_dir)
    return module


def propose(module: LitDetector, config: DictConfig) -> dict[str, Tensor]:
    """image_id -> proposals of each training image, not augmented, xyxy in ORIGINAL px."""
    net = _proposer(module)
    found: dict[str, Tensor] = {}
    module.eval()
    with torch.no_grad():
        for batch in _training_images(config):
            raw = module.net(batch.images.to(module.device))
            for target, boxes in zip(batch.targets, net.proposals_to_keep(raw), strict=True):
                zeros = boxes.new_zeros(len(boxes))
                proposed = Detections(boxes, zeros, zeros.long(), target.frame).to("cpu")
                found[target.frame.image_id] = proposed.to_original().boxes
    return found


def _fit_stage(staged: DictConfig, name: str, run_dir: Path) -> None:
    folder = stage_dir(run_dir, name)
    datamodule: DetectionDataModule = build.instantiate(staged.datamodule)
    datamodule.setup("fit")
    state = {"finished": False, "data": {"train": datamodule.fingerprint("train")}}
    if (folder / STAGE).is_file():
        earlier = json.loads((folder / STAGE).read_text())
        runs.refuse_changed_data(run_dir, earlier["data"], state["data"])
        if earlier["finished"]:
            return
    folder.mkdir(parents=True, exist_ok=True)
    write_json_atomically(folder / STAGE, state)
    print(f"{run_dir}: stage {name}, {staged.protocol.epochs} epochs", flush=True)
    module = build_stage(staged, name, run_dir)
    trainer = fit.make_trainer(staged)
    last = folder / fit.LAST
    resume = str(last) if last.is_file() else None
    with fit.interruptible(trainer):
        trainer.fit(module, datamodule=datamodule, ckpt_path=resume, weights_only=True)
    checkpoints.load_weights(module, last)  # what the next stage starts from, also under EMA
    module.to(trainer.strategy.root_device)  # which Lightning has left
    torch.save(propose(module, staged), folder / PROPOSALS)
    write_json_atomically(folder / STAGE, state | {"finished": True})


def _check(config: DictConfig) -> None:
    """One line for what stages cannot do."""
    if "frozen" not in config.detector.net:
        raise ConfigError(
            f"stages freeze parts of the network, which {config.detector.net._target_} does not "
            "offer: set detector=faster_rcnn, or leave regime=alternating out"
        )
    if config.trainer.devices != 1 or config.trainer.num_nodes != 1:
        raise ConfigError(
            f"stages run on one device and trainer.devices={config.trainer.devices}: set it to 1"
        )
    if config.datamodule.get("mosaic") is not None:
        raise ConfigError(
            "stages train on proposals per image, which a mosaic of images has none of: "
            "set datamodule.mosaic=null"
        )
    names = list(config.stages)
    for position, name in enumerate(names):
        for key in ("init_from", "proposals_from"):
            source = config.stages[name][key]
            if source is not None and source not in names[:position]:
                raise ConfigError(
                    f"stages.{name}.{key}={source} is no earlier stage: name one of "
                    f"{', '.join(names[:position]) or 'none'}, or null"
                )


def _without_scores(staged: DictConfig, folder: Path) -> None:
    """Half a detector has no scores: no validation, and no log but the CSV of its losses."""
    staged.paths.run_dir = str(folder)
    staged.trainer.limit_val_batches = 0
    for callback in ("evaluator", "drawing", "checkpoint_best"):
        staged.callbacks[callback] = None
    staged.logger = {key: node for key, node in staged.logger.items() if key == "csv"}


def _prepare(module: LitDetector, staged: DictConfig, name: str, run_dir: Path) -> None:
    """Gives a fresh detector the weights and the proposals of the stages it builds on."""
    stage = staged.stages[name]
    if stage.init_from is not None:
        checkpoints.load_weights(module, stage_dir(run_dir, stage.init_from) / fit.LAST)
    elif staged.init_from is not None:
        checkpoints.load_weights(module, Path(staged.init_from))
    if stage.proposals_from is not None:
        path = stage_dir(run_dir, stage.proposals_from) / PROPOSALS
        _proposer(module).given = torch.load(path, weights_only=True)


def _proposer(module: LitDetector) -> Proposer:
    if not isinstance(module.net, Proposer):
        raise ConfigError(
            f"stages train on kept proposals, of which {type(module.net).__name__} has none: "
            "set detector=faster_rcnn, or leave regime=alternating out"
        )
    return module.net


def _training_images(config: DictConfig) -> Iterator[Any]:
    """Batches of the train split, each image once, not augmented."""
    plain: Any = config.datamodule.copy()
    plain.test = plain.train
    datamodule: DetectionDataModule = build.instantiate(plain)
    yield from datamodule.test_dataloader()
