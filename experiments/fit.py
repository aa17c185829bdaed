"""The work of a run: build, fit, score the chosen checkpoint, measure cost, write the manifest."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import LearningRateMonitor
from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities.exceptions import SIGTERMException
from omegaconf import DictConfig, OmegaConf, open_dict

from callbacks.evaluator import Evaluator
from callbacks.files import write_text_atomically
from callbacks.reseed import Reseed
from callbacks.run_record import RunRecord
from callbacks.wandb_log import WandbLog
from datamodules.detection import DetectionDataModule
from detectors.errors import CheckpointError, RunError
from detectors.lit import LitDetector
from experiments import build, checkpoints, provenance, runs
from experiments.cost import seconds_per_image
from experiments.data_check import warn_before_training
from experiments.train import is_child_process

LAST = "checkpoints/last.ckpt"
BEST = "checkpoints/best.ckpt"


def fit(
    config: DictConfig, run_dir: Path, prepare: Callable[[LitDetector], None] | None = None
) -> None:
    """Trains the run of `config` in `run_dir`, from its last checkpoint if there is one.

    `prepare` is given the detector before it trains.
    """
    L.seed_everything(config.seed, workers=True, verbose=False)
    datamodule: DetectionDataModule = build.instantiate(config.datamodule)
    datamodule.setup("fit")
    if not is_child_process():
        warn_before_training(datamodule)
    with open_dict(config):
        config.provenance.update(provenance.collect(), protocol=_plain(config.protocol))
    module: LitDetector = build.instantiate(config.detector)
    if config.init_from is not None:
        checkpoints.load_weights(module, Path(config.init_from))
    if prepare is not None:
        prepare(module)
    trainer = make_trainer(config)
    if is_child_process():
        _fit_and_score(config, run_dir, trainer, module, datamodule)
        return
    manifest = _first_manifest(config, module, datamodule)
    earlier = runs.read_manifest(run_dir)
    if earlier is not None and (run_dir / LAST).is_file():
        runs.refuse_changed_data(run_dir, earlier["data"]["hashes"], manifest["data"]["hashes"])
    runs.write_manifest(run_dir, manifest)
    _write_splits(run_dir / "splits", datamodule)
    (run_dir / "config.yaml").write_text(OmegaConf.to_yaml(config, resolve=True))
    with _recorded_failure(run_dir, manifest, trainer):
        _fit_and_score(config, run_dir, trainer, module, datamodule)
        manifest |= _results(config, trainer, module)
        runs.write_manifest(run_dir, manifest)


def _write_splits(folder: Path, datamodule: DetectionDataModule) -> None:
    """The image ids of every split, as a list that `ListedSplit` reads."""
    folder.mkdir(exist_ok=True)
    for split in datamodule.splits:
        ids = datamodule.source(split).ids
        write_text_atomically(folder / f"{split}.txt", "".join(f"{name}\n" for name in ids))


def data_hashes(config: DictConfig) -> dict[str, str]:
    """The fingerprint of every split of the configured data."""
    datamodule: DetectionDataModule = build.instantiate(config.datamodule)
    datamodule.setup("fit")
    datamodule.setup("test")
    return {split: datamodule.fingerprint(split) for split in datamodule.splits}


def _fit_and_score(
    config: DictConfig,
    run_dir: Path,
    trainer: L.Trainer,
    module: LitDetector,
    datamodule: DetectionDataModule,
) -> None:
    last = run_dir / LAST
    resume = str(last) if last.is_file() else None
    with interruptible(trainer):
        trainer.fit(module, datamodule=datamodule, ckpt_path=resume, weights_only=True)
    chosen = run_dir / (BEST if config.protocol.checkpoint == "best" else LAST)
    if not chosen.is_file():
        raise CheckpointError(
            f"{chosen} was not written, so nothing can be scored: {config.protocol.monitor} was "
            "never finite, or callbacks.checkpoint_best is off; set protocol.checkpoint=last"
        )
    for split in datamodule.splits:
        if split != "train":
            run = trainer.validate if split == "val" else trainer.test
            run(
                module,
                datamodule=datamodule,
                ckpt_path=str(chosen),
                verbose=False,
                weights_only=True,
            )


@contextmanager
def interruptible(trainer: L.Trainer) -> Iterator[None]:
    """Ctrl-C and SIGTERM break off a fit, and the process says so.

    Lightning swallows the first, and ends the process with exit code 0 after the second.
    """
    try:
        yield
    except SIGTERMException:
        raise KeyboardInterrupt from None
    if trainer.interrupted:
        raise KeyboardInterrupt


def make_trainer(config: DictConfig) -> L.Trainer:
    """Lightning's trainer with our callbacks and loggers; nulls in the config switch one off."""
    callbacks = [build.instantiate(node) for node in config.callbacks.values() if node is not None]
    callbacks += [Reseed(config.seed), RunRecord(_plain(config))]
    loggers = [_logger(node, config) for node in config.logger.values() if node is not None]
    if not loggers:  # it refuses to run without one
        callbacks = [c for c in callbacks if not isinstance(c, LearningRateMonitor)]
    return build.instantiate(
        config.trainer,
        callbacks=callbacks,
        logger=loggers,
        enable_progress_bar=config.callbacks.progress is not None,
    )


def _logger(node: DictConfig, config: DictConfig) -> Logger:
    """A logger that takes the run's configuration (W&B) gets it, as data: not to be built."""
    if "config" in node:
        return build.instantiate(node, _partial_=True)(config=_plain(config))
    return build.instantiate(node)


def _first_manifest(
    config: DictConfig, module: LitDetector, datamodule: DetectionDataModule
) -> dict[str, Any]:
    parameters = sum(p.numel() for p in module.net.parameters())
    return {
        "status": "running",
        "name": config.run.name,
        "digest": config.run.id,
        "recipe": runs.recipe(config),
        "group": config.run.group,
        "choices": _plain(config.choices),
        "seed": config.seed,
        "scale": config.scale,
        "protocol": _plain(config.protocol),
        "stages": {name: stage.epochs for name, stage in (config.get("stages") or {}).items()},
        "members": _members(config),
        "dataset": config.datamodule.info.name,
        "class_names": list(datamodule.info.class_names),
        "data": {
            "signature": runs.data_signature(config.datamodule.get("root")),
            "hashes": {split: datamodule.fingerprint(split) for split in datamodule.splits},
            "splits": {
                split: {
                    "images": len(datamodule.source(split)),
                    "hash": datamodule.split_hash(split),
                }
                for split in datamodule.splits
            },
        },
        "provenance": _plain(config.provenance),
        "started": runs.now(),
        "cost": {"parameters": parameters},
    }


def _members(config: DictConfig) -> dict[str, dict[str, Any]]:
    """What the parts were built with: what `scale=nano` really stands for in a table."""
    parts = {
        "backbone": config.detector.net.get("backbone"),
        "head": config.detector.net.get("head"),
    }
    return {
        part: {k: v for k, v in _plain(node).items() if not k.startswith("_")}
        for part, node in parts.items()
        if node is not None
    }


def _results(config: DictConfig, trainer: L.Trainer, module: LitDetector) -> dict[str, Any]:
    evaluator = next(c for c in trainer.callbacks if isinstance(c, Evaluator))  # pyright: ignore
    metrics = {split: _finite(values) for split, values in evaluator.results.items()}
    return {
        "status": "finished",
        "finished": runs.now(),
        "epochs": config.protocol.epochs,
        "scored_split": "test" if "test" in metrics else "val",
        "metrics": metrics,
        "cost": {
            "parameters": sum(p.numel() for p in module.net.parameters()),
            "seconds_per_image": seconds_per_image(module.net, tuple(config.protocol.input_hw)),
            "device": str(module.device),
            "threads": torch.get_num_threads(),
        },
    }


@contextmanager
def _recorded_failure(
    run_dir: Path, manifest: dict[str, Any], trainer: L.Trainer
) -> Iterator[None]:
    """A run that raises says so in its manifest and in its loggers (W&B: failed, not finished)."""
    try:
        yield
    except BaseException as error:
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        for logger in trainer.loggers:
            logger.finalize("failed")
        _keep_reason(run_dir, manifest | {"status": "failed", "error": reason})
        raise
    for logger in trainer.loggers:
        if isinstance(logger, WandbLog):
            logger.close()


def _keep_reason(run_dir: Path, manifest: dict[str, Any]) -> None:
    try:
        runs.write_manifest(run_dir, manifest)
    except RunError as full_disk:
        print(f"note: {full_disk}")


def _finite(values: dict[str, float]) -> dict[str, float | None]:
    """NaN (no such object in the split) is null in JSON."""
    return {name: value if math.isfinite(value) else None for name, value in values.items()}


def _plain(node: Any) -> Any:
    return OmegaConf.to_container(node, resolve=True) if OmegaConf.is_config(node) else node
