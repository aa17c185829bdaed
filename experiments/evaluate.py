"""`lineup evaluate RUN`: score a trained detector again, on its own splits or on other data.

Overrides (key=value) change the data: `lineup evaluate RUN datamodule.root=FOLDER --split test`.
The detector, its weights and the protocol stay those of the checkpoint.
"""

import argparse
from pathlib import Path

import lightning as L
from omegaconf import DictConfig, OmegaConf, open_dict

from callbacks.evaluator import Evaluator
from callbacks.metrics.metric import Metric
from datamodules.detection import DetectionDataModule
from detectors.detector import Detector
from detectors.errors import ConfigError
from detectors.lit import LitDetector
from detectors.structures import Detections, Target
from experiments import build, checkpoints, provenance
from experiments.quiet import quiet_libraries


def main() -> None:
    """Reads the command line, prints the metrics, and writes predictions and manifest."""
    parser = argparse.ArgumentParser("lineup evaluate", description=__doc__)
    parser.add_argument("run", type=Path, help="a run's folder or a checkpoint")
    parser.add_argument("overrides", nargs="*", help="key=value for the data")
    parser.add_argument("--split", choices=["train", "val", "test"], default="val")
    parser.add_argument("--out", type=Path, help="default: evaluate/SPLIT beside the checkpoints")
    arguments = parser.parse_intermixed_args()
    checkpoint = checkpoints.locate(arguments.run)
    out = arguments.out or checkpoint.parent.parent / "evaluate" / arguments.split
    with quiet_libraries():
        metrics = evaluate(checkpoint, arguments.overrides, arguments.split, out)
    show(metrics, arguments.split, out)


def evaluate(checkpoint: Path, overrides: list[str], split: str, out: Path) -> dict[str, float]:
    """Scores a split, unaugmented; `ceiling/...` is what the detector could represent at all."""
    net, config = checkpoints.load_detector(checkpoint)
    _change_data(config, overrides)
    _score_split_as_test(config, split)
    datamodule: DetectionDataModule = build.instantiate(config.datamodule)
    module = LitDetector(
        net, build.instantiate(config.detector.optimizer), dict(config.detector.loss_weights)
    )
    evaluator = Evaluator(
        metrics=build.instantiate(config.metrics),
        out_dir=str(out),
        provenance={**provenance.collect(), "checkpoint": str(checkpoint)},
        tested=split,
    )
    callbacks: list[L.Callback] = [evaluator]
    if config.callbacks.progress is not None:
        callbacks.append(build.instantiate(config.callbacks.progress))
    trainer: L.Trainer = build.instantiate(
        config.trainer,
        callbacks=callbacks,
        logger=False,
        enable_progress_bar=config.callbacks.progress is not None,
    )
    trainer.test(module, datamodule=datamodule, verbose=False)
    return evaluator.results["test"] | _ceiling(net, datamodule, config)


def show(metrics: dict[str, float], split: str, out: Path) -> None:
    """A table of the metrics in the terminal."""
    from rich.console import Console
    from rich.table import Table

    table = Table("metric", split, header_style="bold")
    for name, value in metrics.items():
        table.add_row(name, "n/a (nothing to measure)" if value != value else f"{value:.4f}")
    Console().print(table)
    print(f"predictions and manifest: {out}")


def _change_data(config: DictConfig, overrides: list[str]) -> None:
    if not overrides:
        return
    kept = list(config.provenance.overrides)
    if any(override.startswith("datamodule=") for override in overrides):
        kept = [override for override in kept if not override.lstrip("+~").startswith("datamodule")]
    asked = build.compose([*kept, *overrides])
    trained, given = config.datamodule.info.class_names, asked.datamodule.info.class_names
    if trained != given:
        raise ConfigError(
            f"the checkpoint knows the classes {list(trained)} and the data has {list(given)}: "
            "choose data with the same classes"
        )
    with open_dict(config):
        config.datamodule = OmegaConf.to_container(asked.datamodule, resolve=True)


def _score_split_as_test(config: DictConfig, split: str) -> None:
    """Every split is read through the test loader, which never augments, by one process."""
    source = config.datamodule.get(split)
    if source is None:
        raise ConfigError(
            f"the data has no {split} split: set datamodule.{split}, or choose another --split"
        )
    config.datamodule.test = source
    config.trainer.update(devices=1, num_nodes=1, strategy="auto")


def _ceiling(
    net: Detector, datamodule: DetectionDataModule, config: DictConfig
) -> dict[str, float]:
    """The scores of perfect predictions for the objects that the detector can represent.

    Empty if it can represent them all.
    """
    truth = datamodule.ground_truth("test")
    metrics: dict[str, Metric] = build.instantiate(config.metrics)
    held = 0
    for target in (target for batch in datamodule.test_dataloader() for target in batch.targets):
        possible = target[net.representable(target)]
        held += len(possible)
        for metric in metrics.values():
            metric.update([_perfect(possible)], [truth[target.frame.image_id]])
    total = sum(map(len, truth.values()))
    if held == total:
        return {}
    scores = {k: v for metric in metrics.values() for k, v in metric.compute().items()}
    wanted = ("map", "map_50")
    return {"ceiling/recall": held / total} | {
        f"ceiling/{k}": scores[k] for k in wanted if k in scores
    }


def _perfect(target: Target) -> Detections:
    scores = target.boxes.new_ones(len(target))
    found = Detections(target.boxes, scores, target.labels, target.frame, target.keypoints)
    return found.to_original()


if __name__ == "__main__":
    main()
