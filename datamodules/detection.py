"""DetectionDataModule: the one LightningDataModule. Sources in, Batches out."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import cv2
import lightning as L
import torch
from torch.utils.data import Dataset

from datamodules.collate import Sample, collate
from datamodules.sampler import EpochLoader, EpochSampler, sample_seed
from datamodules.sources.source import Source
from datamodules.transforms import Pipeline
from detectors.errors import ConfigError, DataError, LineupError
from detectors.structures import DatasetInfo, Target

PREFETCHED = 4
"""Batches each worker keeps ready; uint8 images are small, and augmentation times vary."""


class Samples(Dataset[Sample | LineupError]):
    """(epoch, index) -> sample; errors are returned, not raised (see `collate`)."""

    def __init__(self, source: Source, pipeline: Pipeline, seed: int) -> None:
        self.source = source
        self.pipeline = pipeline
        self.seed = seed

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, key: tuple[int, int]) -> Sample | LineupError:
        epoch, index = key
        try:
            image, target = self.source[index]
            self._check_size(index, image.shape[:2], target.frame.original_hw)
            return self.pipeline(image, target, sample_seed(self.seed, epoch, index))
        except LineupError as error:
            return error

    def _check_size(self, index: int, found: Sequence[int], expected: Sequence[int]) -> None:
        if tuple(found) != tuple(expected):
            raise DataError(
                f"{self.source.where(index)}: decodes to {found[1]}x{found[0]} px (w x h) but its "
                f"header says {expected[1]}x{expected[0]}: re-encode the image"
            )


class DetectionDataModule(L.LightningDataModule):
    """Builds the sources lazily, augments the training split, letterboxes the others.

    Args:
        info: what the dataset is; handed to every source.
        train: makes a Source when called with `info=` (and `root=`, `invalid_boxes=` where given).
        val: as `train`.
        test: as `train`; None: there is no test split.
        input_hw: height and width of the images in a batch, px.
        augment: training transforms, name -> albumentations transform or None; see `Pipeline`.
        batch_size: images per batch and process.
        num_workers: processes per loader; 0 prepares batches in the training process.
        seed: of the order and the augmentation; the result does not depend on `num_workers`.
        root: folder of the dataset, for sources that read files.
        invalid_boxes: `error` or `drop`, for sources that read files.
        min_visibility: see `Pipeline`.
        min_side: see `Pipeline`, px.
    """

    def __init__(
        self,
        info: DatasetInfo,
        train: Callable[..., Source],
        val: Callable[..., Source],
        input_hw: Sequence[int],
        test: Callable[..., Source] | None = None,
        augment: Mapping[str, Any] | None = None,
        batch_size: int = 16,
        num_workers: int = 0,
        seed: int = 0,
        root: str | None = None,
        invalid_boxes: str | None = None,
        min_visibility: float = 0.1,
        min_side: float = 1.0,
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
        given = {"info": info, "root": root, "invalid_boxes": invalid_boxes}
        self._arguments = {key: value for key, value in given.items() if value is not None}
        self._sources: dict[str, Source] = {}
        limits = (min_visibility, min_side, info.flip_pairs)
        self._training = Pipeline(input_hw, augment, *limits)
        self._evaluation = Pipeline(input_hw, None, *limits)

    @property
    def splits(self) -> tuple[str, ...]:
        """The configured ones of train, val and test."""
        return tuple(self._factories)

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
            source = self._factories[split](**self._arguments)
            _check_ids(source, split)
            self._sources[split] = source
        return self._sources[split]

    def ground_truth(self, split: str) -> dict[str, Target]:
        """image_id -> annotations in original px, straight from the source."""
        source = self.source(split)
        return {image_id: source.target(index) for index, image_id in enumerate(source.ids)}

    def fingerprint(self, split: str) -> str:
        """The split's hash; it changes with any image name, size or annotation."""
        return self.source(split).fingerprint()

    def train_dataloader(self) -> EpochLoader:
        """Shuffled and augmented; the last batch is left out if incomplete and not the only one."""
        return self._loader("train", self._training, shuffle=True)

    def val_dataloader(self) -> EpochLoader:
        """In order, letterboxed."""
        return self._loader("val", self._evaluation, shuffle=False)

    def test_dataloader(self) -> EpochLoader:
        """In order, letterboxed."""
        return self._loader("test", self._evaluation, shuffle=False)

    def _loader(self, split: str, pipeline: Pipeline, shuffle: bool) -> EpochLoader:
        source = self.source(split)
        rank, world_size = 0, 1
        if self.trainer is not None:
            rank, world_size = self.trainer.global_rank, self.trainer.world_size
        sampler = EpochSampler(len(source), self.seed, shuffle, rank, world_size)
        return EpochLoader(
            Samples(source, pipeline, self.seed),
            batch_size=self.batch_size,
            sampler=sampler,
            drop_last=shuffle and len(sampler) > self.batch_size,
            num_workers=self.num_workers,
            collate_fn=collate,
            worker_init_fn=_one_thread,
            persistent_workers=self.num_workers > 0,
            prefetch_factor=PREFETCHED if self.num_workers > 0 else None,
            pin_memory=torch.cuda.is_available(),
        )


def _check_ids(source: Source, split: str) -> None:
    if len(source) == 0:
        raise DataError(f"the {split} split holds no image: check datamodule.{split}")
    image_id, count = Counter(source.ids).most_common(1)[0]
    if count > 1:
        raise DataError(
            f"the {split} split names the image '{image_id}' {count} times: keep one, "
            "because predictions are matched by name"
        )


def _one_thread(worker: int) -> None:
    """Workers are the parallelism; threads of theirs would only compete."""
    cv2.setNumThreads(0)
