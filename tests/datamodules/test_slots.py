import gc
import platform
import subprocess
import sys
from functools import partial

import lightning as L
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.utils.data import BatchSampler

from datamodules.collate import collate
from datamodules.detection import PREFETCHED
from datamodules.sampler import EpochLoader, EpochSampler
from datamodules.slots import Orders, Slots
from detectors.errors import DataError
from detectors.structures import Batch
from tests.datamodules.folders import voc_folder
from tests.datamodules.test_detection import (
    Recorder,
    assert_same,
    balls,
    epoch_of,
    names,
    pets,
    scenes,
)

SHAPE = (2, 3, 4, 5)


def some_slots(count: int = 3) -> Slots:
    slots = Slots(count, SHAPE)
    slots.allocate()
    return slots


def filled(slots: Slots, value: int) -> Tensor:
    slot = slots.take()
    assert slot is not None
    slots.images[slot] = value
    return slots.receive(slot, SHAPE[0])


def slots_of(loader: EpochLoader) -> Slots:
    return loader.batch_sampler.slots


def in_slots(loader: EpochLoader, batches: list[Batch]) -> list[bool]:
    memory = slots_of(loader).images
    return [np.shares_memory(batch.images.numpy(), memory) for batch in batches]


def assert_all_free(loader: EpochLoader) -> None:
    gc.collect()
    assert len(slots_of(loader).free) == slots_of(loader).count > 0


SEEN_AS = {
    "one image": lambda images: images[1],
    "channels last": lambda images: images.permute(0, 2, 3, 1),
    "another type": lambda images: images.view(torch.int8),
    "a row of an array": lambda images: list(images.numpy())[1],
    "an array and back": lambda images: torch.from_numpy(images[0].numpy()[1]),
    "in a batch": lambda images: Batch(images, []).to("cpu").images,
}


@pytest.mark.parametrize("see", SEEN_AS.values(), ids=list(SEEN_AS))
def test_a_slot_is_free_again_when_the_last_that_sees_its_images_is_gone(see):
    slots = some_slots(1)
    images = filled(slots, 7)
    seen = see(images)
    del images
    assert slots.take() is None
    assert (np.asarray(seen) == 7).all()
    del seen
    assert slots.free == {0}


def test_a_copy_does_not_hold_a_slot():
    slots = some_slots(1)
    copies = [filled(slots, 7).clone(), filled(slots, 8).float()]
    assert slots.free == {0}
    assert [int(copy.unique()) for copy in copies] == [7, 8]


def test_images_outlive_their_slots():
    images = filled(some_slots(), 9)
    gc.collect()
    others = [filled(some_slots(), 1) for _ in range(3)]
    assert len(others) == 3
    assert (images == 9).all()


def test_the_slot_freed_last_is_taken_first():
    slots = some_slots()
    held = [filled(slots, value) for value in range(3)]
    place = held.pop(1).data_ptr()
    assert filled(slots, 3).data_ptr() == place


STEPS = st.tuples(st.sampled_from(["take", "receive", "drop", "recall"]), st.integers(0, 9))


@given(steps=st.lists(STEPS))
def test_no_slot_is_given_away_twice_and_none_is_lost(steps):
    slots = some_slots()
    out: list[int] = []
    seen: dict[int, Tensor] = {}
    for step, number in steps:
        if step == "take" and (slot := slots.take()) is not None:
            out.append(slot)
        elif step == "receive" and out:
            slot = out.pop(number % len(out))
            seen[slot] = slots.receive(slot, 1)
        elif step == "drop" and seen:
            del seen[list(seen)[number % len(seen)]]
        elif step == "recall":
            slots.recall()
            out.clear()
        assert sorted([*out, *seen, *slots.free]) == [0, 1, 2]


@given(length=st.integers(1, 40), batch_size=st.integers(1, 9), drop_last=st.booleans())
def test_orders_are_the_batches_of_torch_with_slots_while_there_are_some(
    length, batch_size, drop_last
):
    sampler = EpochSampler(length, seed=1, shuffle=True)
    expected = BatchSampler(sampler, batch_size, drop_last)
    orders = Orders(sampler, batch_size, drop_last, Slots(3))
    for _ in range(2):  # of the first time nothing arrives
        found = list(orders)
        assert [order.parts for order in found] == list(expected)
        assert len(orders) == len(expected) == len(found)
        slots = [order.slot for order in found]
        assert len({*slots[:3]} - {None}) == min(3, len(found))
        assert {*slots[3:]} <= {None}


def test_without_workers_or_with_pinned_memory_there_are_no_slots(monkeypatch):
    alone = balls().train_dataloader()
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    pinning = balls(num_workers=2).train_dataloader()
    for loader in (alone, pinning):
        assert slots_of(loader).count == 0
        assert slots_of(loader).take() is None


def test_images_are_seen_where_the_worker_wrote_them_and_nothing_stays_behind():
    loader = balls(num_workers=2, train=scenes(1, 60)).train_dataloader()
    for _ in range(3):
        for batch in loader:
            assert in_slots(loader, [batch]) == [True]
        del batch
        assert_all_free(loader)


def test_batches_beyond_the_slots_are_kept_too():
    data = {"train": scenes(1, 30), "batch_size": 1}
    loader, alone = balls(**data, num_workers=2).train_dataloader(), balls(**data)
    kept = epoch_of(loader, 0) + epoch_of(loader, 1)
    assert sum(in_slots(loader, kept)) == slots_of(loader).count == 2 * PREFETCHED + 2
    alone = alone.train_dataloader()
    assert_same(kept, epoch_of(alone, 0) + epoch_of(alone, 1))
    kept.clear()
    assert_all_free(loader)
    assert_same(epoch_of(loader, 2), epoch_of(alone, 2))


@pytest.mark.parametrize("seen", [1, 5])
def test_an_epoch_broken_off_costs_no_slot(seen: int):
    data = {"train": scenes(1, 30), "batch_size": 1}
    loader = balls(**data, num_workers=2).train_dataloader()
    alone = epoch_of(balls(**data).train_dataloader(), 0)
    for _ in range(2):
        batches = iter(loader)
        kept = [next(batches) for _ in range(seen)]
        assert_same(list(loader), alone)
        assert_same(kept, alone[:seen])
        del kept
        assert_all_free(loader)


def test_an_epoch_that_fails_costs_no_slot(tmp_path):
    root = voc_folder(tmp_path, dict.fromkeys("abcdef", ""))
    module = pets(root, num_workers=2, batch_size=1)
    loader = module.val_dataloader()
    image = root / "JPEGImages/c.jpg"
    good = image.read_bytes()
    image.write_bytes(good[:-200])
    for _ in range(4):
        with pytest.raises(DataError, match="cut off"):
            list(loader)
    image.write_bytes(good)
    assert names(list(loader)) == list("abcdef")
    assert_all_free(loader)


def test_there_may_be_more_workers_than_batches_and_an_incomplete_last_batch():
    for length in (3, 6):  # of 4 images
        data = {"val": scenes(2, length)}
        loader = balls(**data, num_workers=2).val_dataloader()
        for epoch in (0, 1):
            batches = epoch_of(loader, epoch)
            assert_same(batches, epoch_of(balls(**data).val_dataloader(), epoch))
            assert all(in_slots(loader, batches))
        del batches
        assert_all_free(loader)
        assert slots_of(loader).count == -(-length // 4) + 2


def fit(tmp_path, recorder: L.LightningModule, module: L.LightningDataModule, **options) -> None:
    L.Trainer(
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        default_root_dir=tmp_path,
        **options,
    ).fit(recorder, datamodule=module)


class Counting(Recorder):
    """Counts the batches for which no slot was free."""

    def __init__(self) -> None:
        super().__init__()
        self.fresh = 0
        self.loaders: set[EpochLoader] = set()

    def on_train_batch_end(self, outputs, batch: Batch, batch_idx: int) -> None:
        self._count(self.trainer.train_dataloader, batch)

    def on_validation_batch_end(self, outputs, batch: Batch, batch_idx: int) -> None:
        self._count(self.trainer.val_dataloaders, batch)

    def _count(self, loader, batch: Batch) -> None:
        self.loaders.add(loader)
        self.fresh += in_slots(loader, [batch]).count(False)


@pytest.mark.parametrize("limit", [1, 7, 1.0])
def test_lightning_leaves_every_slot_free_and_needs_no_more(tmp_path, limit):
    data = {"batch_size": 1, "train": scenes(1, 30), "val": scenes(2, 30)}
    counting, module = Counting(), balls(**data, num_workers=2)
    options = {"limit_train_batches": limit, "limit_val_batches": limit, "num_sanity_val_steps": 2}
    fit(tmp_path, counting, module, max_epochs=3, **options)
    alone = balls(**data).train_dataloader()
    length = limit if isinstance(limit, int) else 30
    assert counting.read == [names(epoch_of(alone, e))[:length] for e in range(3)]
    assert counting.fresh == 0
    assert len(counting.loaders) == 2
    for loader in counting.loaders:
        slots_of(loader).recall()  # as the next epoch would
        assert_all_free(loader)


def test_overfit_batches_shows_the_same_images_in_each_epoch(tmp_path):
    recorder = Recorder()
    fit(tmp_path, recorder, balls(num_workers=1), max_epochs=3, overfit_batches=2)
    assert recorder.read == [list(balls().source("train").ids[:8])] * 3


@pytest.mark.slow
def test_workers_that_are_not_forked_write_into_the_same_memory():
    plain = balls(num_workers=1).train_dataloader()
    slots = Slots(4, (4, 3, 64, 64))
    loader = EpochLoader(
        plain.dataset,
        batch_sampler=Orders(plain.batch_sampler.sampler, 4, True, slots),  # pyright: ignore
        num_workers=1,
        collate_fn=partial(collate, slots=slots),  # pyright: ignore
        persistent_workers=True,
        multiprocessing_context="spawn",
    )
    batches = epoch_of(loader, 0)
    assert any(in_slots(loader, batches))
    assert_same(batches, epoch_of(balls().train_dataloader(), 0))


FAULTS = """
import resource, sys
import numpy as np
from datamodules.detection import _start_worker
from datamodules.slots import Slots

if sys.argv[1] == "started":
    _start_worker(0, Slots())

def images():
    return [np.ones((640, 640, 3), np.uint8) for _ in range(8)]

images()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    images()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the others have their own ways")
def test_a_worker_keeps_the_memory_of_an_image_for_the_next():
    started, plain = (
        subprocess.run([sys.executable, "-c", FAULTS, how], capture_output=True, check=True)
        for how in ("started", "plain")
    )
    pages = 10 * 8 * 640 * 640 * 3 // 4096
    assert int(started.stdout) < pages / 10
    assert int(plain.stdout) > pages / 2
