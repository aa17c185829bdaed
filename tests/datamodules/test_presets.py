"""What every file in conf/transform promises, seen in pixels."""

from functools import cache, partial
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from datamodules.detection import DetectionDataModule
from datamodules.objects import Keep
from datamodules.sampler import EpochSampler
from datamodules.samples import Samples
from datamodules.transforms import Pipeline
from experiments import build
from tests.datamodules.arrays import CORNERS, covered, is_red, red_box, red_boxes

PRESETS = sorted(p.stem for p in (Path(build.__file__).parents[1] / "conf/transform").glob("*"))
HW = (120, 160)
EVERYTHING = Keep(min_visibility=0.0, min_side=0.0)
BLUR = 3.0
"""px that a blurred, resized edge may be off."""


@cache
def parts(preset: str):
    """Framing, mosaic, augment and keep of a preset, as a run builds them."""
    overrides = [f"transform={preset}", f"protocol.input_hw={list(HW)}", "protocol.epochs=10"]
    node = build.compose(overrides).datamodule
    names = ("framing", "evaluation_framing", "mosaic", "augment", "keep")
    return {name: build.instantiate(node[name]) if node[name] else None for name in names}


def samples(preset: str, source, seed: int, keep: Keep | None = None) -> Samples:
    part = parts(preset)
    pipeline = Pipeline(
        HW, part["framing"], part["augment"], keep or part["keep"], CORNERS.flip_pairs
    )
    return Samples(source, pipeline, seed, part["mosaic"])


def datamodule(preset: str, workers: int) -> DetectionDataModule:
    source = partial(_source, 4)
    return DetectionDataModule(
        CORNERS, source, source, HW, batch_size=4, num_workers=workers, **parts(preset)
    )


def _source(seed: int, **_: object):
    return red_boxes(seed)


def test_there_are_the_presets_of_the_papers():
    assert {"none", "yolov1", "faster_rcnn", "yolov7", "retinaface"} <= set(PRESETS)


@pytest.mark.parametrize("preset", PRESETS)
@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**31))
def test_pixels_boxes_and_keypoints_move_together(preset: str, seed: int):
    sample = samples(preset, red_boxes(seed), seed, EVERYTHING)[0, seed % 12]
    red = is_red(sample.image)
    assert not (red & ~covered(sample, BLUR)).any()
    if preset != "yolov7":  # where mixup and paste blend and cover
        assert not (covered(sample, -BLUR) & ~red).any()
    assert sample.target.keypoints is not None
    for box, points in zip(sample.target.boxes, sample.target.keypoints, strict=True):
        corners = box[[0, 1, 2, 1, 0, 3, 2, 3]].reshape(4, 2)
        known = points[:, 2] > 0
        torch.testing.assert_close(points[known, :2], corners[known], atol=0.01, rtol=0)
        assert (points[~known] == 0).all()


@pytest.mark.parametrize("preset", PRESETS)
def test_a_sample_is_a_function_of_seed_epoch_and_index_whatever_the_workers(preset: str):
    epochs = {}
    for workers in (0, 2):
        loader = datamodule(preset, workers).train_dataloader()
        assert isinstance(loader.batch_sampler.sampler, EpochSampler)
        for epoch in (1, 0):
            loader.batch_sampler.sampler.set_epoch(epoch)
            epochs[workers, epoch] = list(loader)
    for epoch in (0, 1):
        for one, two in zip(epochs[0, epoch], epochs[2, epoch], strict=True):
            assert torch.equal(one.images, two.images)
            assert one.dropped == two.dropped
            for a, b in zip(one.targets, two.targets, strict=True):
                assert a.frame.image_id == b.frame.image_id
                assert torch.equal(a.boxes, b.boxes)
                assert torch.equal(a.frame.affine, b.frame.affine)
    if preset != "none":
        assert (
            not torch.equal(
                torch.cat([b.images for b in epochs[0, 0]]),
                torch.cat([b.images for b in epochs[0, 1]]),
            )
            or preset == "faster_rcnn"
        )


@pytest.mark.parametrize("preset", [p for p in PRESETS if p != "yolov7"])
@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**31))
def test_of_single_images_every_object_is_in_the_sample_or_counted_as_dropped(preset, seed):
    source = red_boxes(seed)
    made = samples(preset, source, seed)
    for index in range(len(source)):
        sample = made[1, index]
        lost = len(source.targets[index]) - len(sample.target)
        assert sum(sample.dropped.values()) == lost
        assert sample.dropped.keys() == {"framing"} | ({"augment"} if preset != "none" else set())


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**31))
def test_a_crop_of_retinaface_always_keeps_an_object(seed: int):
    source = red_boxes(seed)
    made = samples("retinaface", source, seed)
    for index, target in enumerate(source.targets):
        assert bool(len(made[0, index].target)) == bool(len(target))


@pytest.mark.parametrize("preset", PRESETS)
def test_images_without_objects_pass(preset: str):
    image, target = red_box(0, (50, 70), [])
    source = red_boxes(0, count=1)
    source.images[0], source.targets[0] = image, target
    for epoch in range(8):
        sample = samples(preset, source, 1)[epoch, 0]
        assert len(sample.target) == 0
        assert sample.image.shape == (*HW, 3)
        assert sum(sample.dropped.values()) == 0


@pytest.mark.parametrize("preset", PRESETS)
def test_evaluation_shows_every_object_whole_and_the_same_in_each_epoch(preset: str):
    loader = datamodule(preset, 0).val_dataloader()
    first, second = list(loader), list(loader)
    source = red_boxes(4)
    found = {t.frame.image_id: t for batch in first for t in batch.targets}
    assert [len(found[t.frame.image_id]) for t in source.targets] == [
        len(t) for t in source.targets
    ]
    for one, two in zip(first, second, strict=True):
        assert torch.equal(one.images, two.images)
    for original in source.targets:
        target = found[original.frame.image_id]
        linear, shift = target.frame.affine[:, :2], target.frame.affine[:, 2]
        corners = original.boxes.reshape(-1, 2, 2) @ linear.T + shift
        torch.testing.assert_close(target.boxes.reshape(-1, 2, 2), corners, atol=0.01, rtol=0)
        scale = linear.diag()
        assert abs(float(scale[0] - scale[1])) <= 1 / min(original.frame.original_hw)


def test_the_mirrored_half_of_a_preset_is_mirrored_in_pixels_too():
    image, target = red_box(0, (120, 160), [[10, 20, 50, 60]])
    source = red_boxes(0, count=1)
    source.images[0], source.targets[0] = image, target
    made = samples("faster_rcnn", source, 0)
    lefts = {float(made[epoch, 0].target.boxes[0, 0]) for epoch in range(20)}
    assert np.allclose(sorted(lefts), [10, 110], atol=1e-3)
