from collections.abc import Callable
from copy import copy
from functools import partial

import numpy as np
import pytest
import torch

from datamodules.collate import collate, pack, stack, unpack
from datamodules.objects import Sample
from datamodules.slots import Order, Slots
from detectors.errors import DataError
from detectors.structures import Batch
from tests.datamodules.arrays import red_box


def samples(count: int = 3) -> list[Sample]:
    made = []
    for number in range(count):
        image, target = red_box(number, (20, 30), [[1, 2, 9, 8]] * number)
        image[number, 2 * number] = (1, 2, 3)
        made.append(Sample(image, target, {"framing": number, "augment": 1}))
    return made


def makers() -> list[Callable[[], Sample]]:
    return [partial(copy, sample) for sample in samples()]


def test_a_batch_holds_the_images_as_planes_and_sums_what_was_dropped():
    batch = stack(makers())
    assert batch.images.shape == (3, 3, 20, 30)
    assert batch.images.is_contiguous()
    for image, sample in zip(batch.images, samples(), strict=True):
        assert np.array_equal(image.permute(1, 2, 0).numpy(), sample.image)
    assert [len(target) for target in batch.targets] == [0, 1, 2]
    assert batch.dropped == {"framing": 3, "augment": 3}


def test_what_leaves_a_worker_is_what_was_packed():
    batch = stack(makers())
    again = unpack(pack(batch), Slots())
    assert torch.equal(again.images, batch.images)
    assert again.dropped == batch.dropped
    for one, two in zip(again.targets, batch.targets, strict=True):
        for name in ("boxes", "labels", "crowd", "difficult", "area", "keypoints"):
            assert torch.equal(getattr(one, name), getattr(two, name))
        assert one.frame.image_id == two.frame.image_id
        assert one.frame.original_hw == two.frame.original_hw
        assert torch.equal(one.frame.affine, two.frame.affine)


def test_moving_a_batch_keeps_its_counts():
    assert stack(makers()).to("cpu").dropped == {"framing": 3, "augment": 3}
    assert Batch(torch.zeros(0, 3, 4, 4, dtype=torch.uint8), []).dropped == {}


def test_an_error_travels_as_a_value_and_a_bug_does_not():
    error, bug = DataError("a.jpg", "is broken", "replace it"), IndexError("a bug")

    def fail(with_what: Exception) -> Sample:
        raise with_what

    assert collate(Order(None, [*makers(), partial(fail, error)]), Slots()) is error
    with pytest.raises(IndexError, match="a bug"):
        collate(Order(None, [*makers(), partial(fail, bug)]), Slots())


def test_samples_are_made_one_after_the_other_and_once():
    made: list[int] = []

    def make(number: int) -> Sample:
        made.append(number)
        return samples()[number]

    stack([partial(make, number) for number in range(3)])
    assert made == [0, 1, 2]
