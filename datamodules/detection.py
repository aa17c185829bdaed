"""DetectionDataModule: the one LightningDataModule. Sources in, Batches out."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import lightning as L
import numpy as np
import torch

from datamodules.collate import collate
from datamodules.download import Archive, download
from datamodules.framing import Framing
from datamodules.mosaic import Mosaic
from datamodules.objects import Keep
from datamodules.sampler import EpochLoader, EpochSampler
from datamodules.samples import Samples
from datamodules.slots import Orders, Slots
from datamodules.sources.source import Source
from datamodules.splits import split_hash
from datamodules.transforms import Pipeline
from detectors.errors import ConfigError, DataError
from detectors.structures import DatasetInfo, Target

PREFETCHED = 4
"""Batches each worker keeps ready; uint8 images are small, and augmentation times vary."""

_LARGE = 2**24
"""Bytes. glibc keeps twice as many; it learns from blocks of up to 2**25."""


class DetectionDataModule(L.LightningDataModule):
    """Builds the sources lazily, augments the training split, only frames the others.

    Args:
        info: what the dataset is; handed to every source.
        train: makes a Source when called with `info=` (and the three last arguments, where given).
        val: as `train`; None: there is no val split, which only training needs.
        test: as `train`; None: there is no test split.
        input_hw: height and width of the images in a batch, px.
        framing: how a training image comes to fill the input; None: `Letterbox()`.
        evaluation_framing: the same for val and test; None: `Letterbox()`.
        mosaic: composes training samples of several images; None: never.
        augment: training transforms, name -> albumentations transform or None; see `Pipeline`.
        keep: which objects stay in a sample; None: `Keep()`. Scoring knows all of them.
        batch_size: images per batch and process.
        num_workers: processes per loader; 0 prepares batches in the training process.
        seed: of the order and the augmentation; the result does not depend on `num_workers`.
        root: folder of the dataset, for sources that read files.
        mistakes: `error`, `drop_boxes` or `drop_all`, for sources that read files; `FileSource`.
        class_map: name in the files -> class name or null, for sources that read files.
        download: fetch what is missing of `archives` into `root` before the first source is built.
        archives: what the dataset's publisher offers.
    """

    def __init__(
        self,
        info: DatasetInfo,
        train: Callable[..., Source],
        val: Callable[..., Source] | None,
        input_hw: Sequence[int],
        test: Callable[..., Source] | None = None,
        framing: Framing | None = None,
        evaluation_framing: Framing | None = None,
        mosaic: Mosaic | None = None,
        augment: Mapping[str, Any] | None = None,
        keep: Keep | None = None,
        batch_size: int = 16,
        num_workers: int = 0,
        seed: int = 0,
        root: str | None = None,
        mistakes: str | None = None,
        class_map: Mapping[str, str | None] | None = None,
        download: bool = False,
        archives: Sequence[Archive] = (),
    ) -> None:
        super().__init__()
        if batch_size < 1 or num_workers < 0:
            raise ConfigError(
                f"datamodule.batch_size={batch_size}, num_workers={num_workers}: "
                "a batch holds at least 1 image and there are 0 or more workers"
            )
        self.info = info
        self.batch_size = batch_size
        self.num_workers = num_workers
        self.seed = seed
        factories = {"train": train, "val": val, "test": test}
        self._factories = {split: make for split, make in factories.items() if make is not None}
        given = {"info": info, "root": root, "mistakes": mistakes, "class_map": class_map}
        self._arguments = {key: value for key, value in given.items() if value is not None}
        self._archives = archives if download else ()
        self._sources: dict[str, Source] = {}
        self._truth: dict[str, dict[str, Target]] = {}
        self._training = Pipeline(input_hw, framing, augment, keep, info.flip_pairs)
        self._evaluation = Pipeline(input_hw, evaluation_framing, keep=keep)
        self._mosaic = mosaic

    @property
    def splits(self) -> tuple[str, ...]:
        """The configured ones of train, val and test."""
        return tuple(self._factories)

    @property
    def input_hw(self) -> tuple[int, int]:
        """Height and width of the images in a batch, px."""
        return self._evaluation.input_hw

    def prepare_data(self) -> None:
        """Downloads what is missing, where `download` asks for it.

        Raises:
            DataError: see `datamodules.download.download`.
        """
        if self._archives:
            root = self._arguments.get("root")
            if root is None:
                raise DataError("download", "has no folder", "set datamodule.root=FOLDER")
            download(self._archives, Path(root))

    def setup(self, stage: str) -> None:
        """Reads and verifies the annotations of the splits this stage (Lightning's name) needs."""
        needed = {"fit": ("train", "val"), "validate": ("val",)}.get(stage, ("test",))
        for split in needed:
            if split in self.splits:
                self.source(split)

    def source(self, split: str) -> Source:
        """The source of a split, built once.

        Raises:
            DataError: the data is missing or wrong.
        """
        if split not in self._factories:
            raise ConfigError(
                f"there is no {split} split, only {', '.join(self.splits)}: set datamodule.{split}"
            )
        if split not in self._sources:
            self.prepare_data()  # most commands have no trainer that does
            source = self._factories[split](**self._arguments)
            _check_ids(source, split)
            self._sources[split] = source
        return self._sources[split]

    def ground_truth(self, split: str) -> dict[str, Target]:
        """image_id -> annotations in original px, straight from the source, which is asked once."""
        if split not in self._truth:
            source = self.source(split)
            self._truth[split] = {name: source.target(i) for i, name in enumerate(source.ids)}
        return self._truth[split]

    def split_hash(self, split: str) -> str:
        """Which images the split holds, by name, whatever their annotations or format."""
        return split_hash(self.source(split).ids)

    def fingerprint(self, split: str) -> str:
        """The hash of the split's data; it changes with any image name, size or annotation."""
        return self.source(split).fingerprint()

    def train_dataloader(self) -> EpochLoader:
        """Shuffled and augmented; the last batch is left out if incomplete and not the only one.

        In order for `overfit_batches`, so that the first batches are the same in each epoch.
        """
        trainer: Any = self.trainer
        shuffle = trainer is None or not trainer.overfit_batches
        return self._loader("train", self._training, self._mosaic, shuffle=shuffle)

    def val_dataloader(self) -> EpochLoader:
        """In order, not augmented."""
        return self._loader("val", self._evaluation, shuffle=False)

    def test_dataloader(self) -> EpochLoader:
        """In order, not augmented."""
        return self._loader("test", self._evaluation, shuffle=False)

    def _loader(
        self, split: str, pipeline: Pipeline, mosaic: Mosaic | None = None, *, shuffle: bool
    ) -> EpochLoader:
        source = self.source(split)
        rank, world_size = 0, 1
        if self.trainer is not None:
            rank, world_size = self.trainer.global_rank, self.trainer.world_size
        sampler = EpochSampler(len(source), self.seed, shuffle, rank, world_size)
        drop_last = shuffle and len(sampler) > self.batch_size
        slots = self._slots(pipeline.input_hw, -(-len(sampler) // self.batch_size))
        return EpochLoader(
            Samples(source, pipeline, self.seed, mosaic),
            batch_sampler=Orders(sampler, self.batch_size, drop_last, slots),
            num_workers=self.num_workers,
            collate_fn=partial(collate, slots=slots),  # pyright: ignore[reportArgumentType]
            worker_init_fn=partial(_start_worker, slots=slots),
            persistent_workers=self.num_workers > 0,
            prefetch_factor=PREFETCHED if self.num_workers > 0 else None,
            pin_memory=torch.cuda.is_available(),
        )

    def _slots(self, input_hw: tuple[int, int], batches: int) -> Slots:
        """As many as a loop over `batches` that keeps none can use."""
        if self.num_workers == 0 or torch.cuda.is_available():  # pinning copies every batch anyway
            return Slots()
        ordered = min(self.num_workers * PREFETCHED, batches)
        # as one arrives the next is ordered, and the loop still holds the one before
        return Slots(ordered + 2, (self.batch_size, 3, *input_hw))


def _check_ids(source: Source, split: str) -> None:
    if len(source) == 0:
        raise DataError(f"{split} split", "holds no image", f"check datamodule.{split}")
    image_id, count = Counter(source.ids).most_common(1)[0]
    if count > 1:
        raise DataError(
            f"{split} split",
            f"names the image '{image_id}' {count} times",
            "keep one, because predictions are matched by name",
        )


def _start_worker(worker: int, slots: Slots) -> None:
    """Workers are the parallelism; threads of theirs would only compete.

    glibc keeps freed memory once it has seen a large block freed. Otherwise it returns that of each
    image to the system and fetches it for the next, page by page: a quarter of a worker's time.
    """
    cv2.setNumThreads(0)
    np.empty(_LARGE, np.uint8)
    slots.touch()
