"""Scores a validation or test pass in original pixels and writes what the scores rest on."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning as L
import torch.distributed

from callbacks import coco_files
from callbacks.files import write_json_atomically
from callbacks.metrics.metric import Illustrated, Metric
from callbacks.pictures import log_picture, write_png
from detectors.errors import ConfigError, RunError
from detectors.structures import Detections, Target

Row = tuple[str, Detections]


class Evaluator(L.Callback):
    """Feeds `metrics` once per epoch and logs their values as `<split>/<name>` on every rank.

    Detections are the outputs of the step; ground truth comes only from
    `trainer.datamodule.ground_truth(split)`, in original pixels. Rows are keyed by image id: an
    image that a distributed sampler repeats counts once. Rank 0 gathers, scores, writes and
    broadcasts the numbers; every rank takes part in the same collectives whatever it has seen.
    Without a limit on batches every image must have been seen.

    Writes into `out_dir`: `<split>.json` (COCO results), `<split>_ground_truth.json` (COCO) and,
    last, `<split>_manifest.json` (`provenance`, hashes of split and data, class names, metrics).
    A metric with more to show than numbers adds `<split>_<its name in metrics>.json` and, when a
    chosen checkpoint is scored and not after each epoch of a fit, a picture beside it, which W&B
    and TensorBoard get as well.

    A plain callback without state: weight averaging copies the LightningModule, and not this.
    """

    def __init__(
        self,
        metrics: Mapping[str, Metric],
        out_dir: str,
        provenance: dict[str, Any] | None = None,
        tested: str = "test",
    ) -> None:
        self.metrics = dict(metrics)
        self.out_dir = Path(out_dir)
        self.provenance = dict(provenance or {})
        self.tested = tested
        """What files and manifest call the split that `trainer.test` scores."""
        self.results: dict[str, dict[str, float]] = {}
        """The latest values per split."""
        self._rows: dict[str, Detections] = {}

    def on_validation_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Forgets the last pass."""
        self._rows.clear()

    def on_test_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Forgets the last pass."""
        self._rows.clear()

    def on_validation_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Keeps the detections of a batch, on the CPU and in original pixels."""
        if not trainer.sanity_checking:
            self._collect(outputs)

    def on_test_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Keeps the detections of a batch, on the CPU and in original pixels."""
        self._collect(outputs)

    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Scores the pass."""
        if not trainer.sanity_checking:
            self._finish(trainer, pl_module, "val")

    def on_test_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Scores the pass."""
        self._finish(trainer, pl_module, "test")

    def _collect(self, detections: list[Detections]) -> None:
        for found in detections:
            self._rows[found.frame.image_id] = found.to("cpu").to_original()

    def _finish(self, trainer: L.Trainer, pl_module: L.LightningModule, split: str) -> None:
        rows = _gather(list(self._rows.items()), trainer)
        self._rows.clear()
        values, complaint, cause = None, None, None
        if trainer.is_global_zero:
            # an exception on one rank alone would leave the others waiting for ever
            try:
                values = self._evaluate(trainer, split, dict(rows))
            except Exception as error:
                complaint, cause = f"{type(error).__name__}: {error}", error
        values, complaint = trainer.strategy.broadcast((values, complaint))
        if cause is not None:
            raise cause
        if values is None:
            raise RunError(f"scoring the {split} split failed on rank 0 with {complaint}")
        self.results[split] = values
        self._log(pl_module, split, values)

    def _evaluate(
        self, trainer: L.Trainer, split: str, found: dict[str, Detections]
    ) -> dict[str, float]:
        datamodule: Any = trainer.datamodule  # pyright: ignore[reportAttributeAccessIssue]
        truth: dict[str, Target] = datamodule.ground_truth(split)
        complete = _is_full_pass(trainer, split)
        _check_images(found.keys(), truth.keys(), complete, split)
        ids = [image_id for image_id in truth if image_id in found]
        values, records = self._score([found[i] for i in ids], [truth[i] for i in ids])
        name = self.tested if split == "test" else split
        numbers = {image_id: number for number, image_id in enumerate(truth, start=1)}
        predictions = coco_files.results([found[i] for i in ids], numbers)
        dataset = coco_files.dataset([truth[i] for i in ids], numbers, datamodule.info)
        manifest = {
            "split": name,
            "split_hash": datamodule.split_hash(split),
            "data_hash": datamodule.fingerprint(split),
            "images": len(ids),
            "complete": complete,
            "class_names": list(datamodule.info.class_names),
            "epoch": trainer.current_epoch,
            "global_step": trainer.global_step,
            "metrics": {k: v if math.isfinite(v) else None for k, v in values.items()},
            "provenance": self.provenance,
        }
        write_json_atomically(self.out_dir / f"{name}.json", predictions)
        write_json_atomically(self.out_dir / f"{name}_ground_truth.json", dataset)
        self._illustrate(trainer, name, records)
        write_json_atomically(self.out_dir / f"{name}_manifest.json", manifest, indent=2)
        return values

    def _illustrate(self, trainer: L.Trainer, split: str, records: dict[str, Any]) -> None:
        for name, record in records.items():
            write_json_atomically(self.out_dir / f"{split}_{name}.json", record)
            metric = self.metrics[name]
            if trainer.state.fn != "fit" and isinstance(metric, Illustrated):
                picture = metric.picture(record)
                write_png(self.out_dir / f"{split}_{name}.png", picture)
                log_picture(trainer, f"{split}/{name}", picture)

    def _score(
        self, found: list[Detections], truth: list[Target]
    ) -> tuple[dict[str, float], dict[str, Any]]:
        """The numbers of all metrics, and the records of those that have one."""
        values: dict[str, float] = {}
        records: dict[str, Any] = {}
        for name, metric in self.metrics.items():
            metric.reset()
            metric.update(found, truth)
            measured = metric.compute()
            if isinstance(metric, Illustrated):
                records[name] = metric.record()
            metric.reset()
            if twice := values.keys() & measured.keys():
                raise ConfigError(
                    f"metrics.{name} and another metric both report {sorted(twice)}: remove one"
                )
            values |= measured
        return values, records

    def _log(self, pl_module: L.LightningModule, split: str, values: dict[str, float]) -> None:
        for name, value in values.items():
            pl_module.log(
                f"{split}/{name}",
                value,
                prog_bar=f"{split}/{name}" == "val/map",
                logger=bool(pl_module.loggers),
                batch_size=1,
                # the ranks agree already; the maximum of equal numbers is exact, a mean need not be
                reduce_fx="max",
                sync_dist=True,
            )


def _gather(rows: list[Row], trainer: L.Trainer) -> list[Row]:
    """All ranks' rows on rank 0, none on the others."""
    if trainer.world_size == 1:
        return rows
    gathered: Any = [None] * trainer.world_size if trainer.is_global_zero else None
    torch.distributed.gather_object(rows, gathered, dst=0)
    return [row for of_rank in gathered or [] for row in of_rank]


def _is_full_pass(trainer: L.Trainer, split: str) -> bool:
    limit = trainer.limit_test_batches if split == "test" else trainer.limit_val_batches
    overfit: Any = trainer.overfit_batches  # pyright: ignore[reportAttributeAccessIssue]
    return isinstance(limit, float) and limit == 1.0 and not overfit


def _check_images(found: Any, truth: Any, complete: bool, split: str) -> None:
    unknown, missing = sorted(found - truth), sorted(truth - found)
    if unknown:
        raise RunError(
            f"{len(unknown)} images of the {split} loader have no ground truth, first "
            f"'{unknown[0]}': the datamodule must list every image in ground_truth('{split}')"
        )
    if complete and missing:
        raise RunError(
            f"{len(missing)} of {len(truth)} {split} images were never seen, first '{missing[0]}': "
            "the loader must neither drop nor filter images (drop_last, sampler)"
        )
