"""Pictures of the same validation images as training goes on."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
from lightning.pytorch.loggers import TensorBoardLogger, WandbLogger

from callbacks.draw import contact_sheet, draw_detections
from callbacks.pictures import write_png
from detectors.structures import Batch, DatasetInfo, Detections, Target

Sample = tuple[np.ndarray, Target, Detections]


class Drawing(L.Callback):
    """Draws the first `num_images` validation images with ground truth and predictions.

    Every `every_n_epochs` epochs and after the last one, rank 0 writes `<out_dir>/epoch_0007.png`
    (epochs count from 0) and hands the pictures to W&B, with boxes to switch on and off and points
    painted in, and to TensorBoard. The images are the network's input; predictions below
    `score_threshold` are left out.
    """

    def __init__(
        self,
        out_dir: str,
        every_n_epochs: int = 1,
        num_images: int = 9,
        score_threshold: float = 0.3,
    ) -> None:
        self.out_dir = Path(out_dir)
        self.every_n_epochs = every_n_epochs
        self.num_images = num_images
        self.score_threshold = score_threshold
        self._samples: list[Sample] = []

    def on_validation_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Keeps the first images until enough are there."""
        missing = self.num_images - len(self._samples)
        if missing > 0 and self._draws_now(trainer):
            images = batch.images[:missing].permute(0, 2, 3, 1).cpu().numpy()  # (b, h, w, 3)
            for image, target, found in zip(images, batch.targets, outputs, strict=False):
                kept = found.to("cpu")
                kept = kept[kept.scores >= self.score_threshold]
                self._samples.append((image, target.to("cpu"), kept))

    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Draws, writes and logs."""
        if not self._samples:
            return
        info: DatasetInfo = trainer.datamodule.info  # pyright: ignore[reportAttributeAccessIssue]
        pictures = [draw_detections(*sample, info) for sample in self._samples]
        captions = [target.frame.image_id for _, target, _ in self._samples]
        sheet = contact_sheet(pictures, captions)
        self._write(sheet, trainer.current_epoch)
        self._log(trainer, sheet, info)
        self._samples.clear()

    def on_exception(
        self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException
    ) -> None:
        """Half a validation pass is not drawn."""
        self._samples.clear()

    def _draws_now(self, trainer: L.Trainer) -> bool:
        fitting = trainer.state.fn == "fit" and not trainer.sanity_checking
        number = trainer.current_epoch + 1
        due = number % self.every_n_epochs == 0 or number == trainer.max_epochs
        return fitting and due and trainer.is_global_zero

    def _write(self, sheet: np.ndarray, epoch: int) -> None:
        write_png(self.out_dir / f"epoch_{epoch:04d}.png", sheet)

    def _log(self, trainer: L.Trainer, sheet: np.ndarray, info: DatasetInfo) -> None:
        step = max(trainer.global_step - 1, 0)  # that of the epoch's other values
        for logger in trainer.loggers:
            if isinstance(logger, WandbLogger):
                # W&B draws boxes itself, and knows no points
                images = [draw_detections(*s, info, boxes=False, min_side=1) for s in self._samples]
                boxes = [_wandb_boxes(t, d, info.class_names) for _, t, d in self._samples]
                captions = [target.frame.image_id for _, target, _ in self._samples]
                logger.log_image("val/images", images, step=step, boxes=boxes, caption=captions)
            elif isinstance(logger, TensorBoardLogger):
                logger.experiment.add_image("val/images", sheet, step, dataformats="HWC")


def _wandb_boxes(
    target: Target, found: Detections, class_names: Sequence[str]
) -> dict[str, dict[str, Any]]:
    """W&B's format: pixel corners, class ids and a caption per box."""
    names = dict(enumerate(class_names))
    truth = [
        _wandb_box(box, label, names[label])
        for box, label in zip(target.boxes.tolist(), target.labels.tolist(), strict=True)
    ]
    predictions = [
        _wandb_box(box, label, f"{names[label]} {score:.2f}") | {"scores": {"score": score}}
        for box, label, score in zip(
            found.boxes.tolist(), found.labels.tolist(), found.scores.tolist(), strict=True
        )
    ]
    return {
        "ground_truth": {"box_data": truth, "class_labels": names},
        "predictions": {"box_data": predictions, "class_labels": names},
    }


def _wandb_box(box: list[float], label: int, caption: str) -> dict[str, Any]:
    position = dict(zip(("minX", "minY", "maxX", "maxY"), box, strict=True))
    return {"position": position, "class_id": label, "domain": "pixel", "box_caption": caption}
