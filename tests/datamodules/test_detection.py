import pickle
import time
from functools import partial
from types import SimpleNamespace

import albumentations as A
import cv2
import lightning as L
import pytest
import torch

from datamodules.collate import collate
from datamodules.detection import DetectionDataModule
from datamodules.framing import Letterbox
from datamodules.sampler import EpochLoader, EpochSampler
from datamodules.slots import Order, Slots
from datamodules.sources.images import UnreadableImage
from datamodules.sources.synthetic import SyntheticScenes
from datamodules.sources.voc_xml import VocXml
from datamodules.sources.worlds.shapes import easy
from detectors.errors import ConfigError, DataError
from detectors.structures import Batch, DatasetInfo
from tests.datamodules.folders import INFO, listed, object_xml, voc_folder

BALLS = DatasetInfo("balls", ("ball",))
HW = (64, 64)


def augment() -> dict:
    return {
        "flip": A.HorizontalFlip(p=0.5),
        "blur": A.GaussianBlur(p=0.5),
        "colour": A.HueSaturationValue(p=0.5),
    }


def scenes(seed: int, length: int = 22):
    return partial(SyntheticScenes, world=easy(), length=length, image_hw=(96, 80), seed=seed)


def balls(**options) -> DetectionDataModule:
    given = {"train": scenes(1), "val": scenes(2, 10), "augment": augment(), "batch_size": 4}
    given["framing"] = Letterbox((0.8, 1.2), 0.2)
    return DetectionDataModule(BALLS, input_hw=HW, **given | options)


def pets(root, **options) -> DetectionDataModule:
    make = partial(VocXml, split=listed("train"))
    return DetectionDataModule(INFO, make, make, input_hw=HW, root=str(root), **options)


def epoch_of(loader: EpochLoader, epoch: int) -> list[Batch]:
    set_epoch(loader, epoch)
    return list(loader)


def set_epoch(loader: EpochLoader, epoch: int) -> None:
    assert isinstance(loader.batch_sampler.sampler, EpochSampler)
    loader.batch_sampler.sampler.set_epoch(epoch)


def names(batches: list[Batch]) -> list[str]:
    return [target.frame.image_id for batch in batches for target in batch.targets]


def assert_same(one: list[Batch], two: list[Batch]) -> None:
    assert len(one) == len(two)
    for a, b in zip(one, two, strict=True):
        assert torch.equal(a.images, b.images)
        for x, y in zip(a.targets, b.targets, strict=True):
            assert x.frame.image_id == y.frame.image_id
            assert torch.equal(x.boxes, y.boxes)
            assert torch.equal(x.frame.affine, y.frame.affine)


def test_samples_do_not_depend_on_the_number_of_workers_nor_on_earlier_epochs():
    alone = balls().train_dataloader()
    expected = {epoch: epoch_of(alone, epoch) for epoch in (0, 1, 2)}
    for workers in (1, 2):
        loader = balls(num_workers=workers).train_dataloader()
        for epoch in (2, 0):
            assert_same(epoch_of(loader, epoch), expected[epoch])
    assert names(expected[0]) != names(expected[1])


def test_the_same_image_is_augmented_anew_in_each_epoch():
    loader = balls(train=scenes(1, 1)).train_dataloader()
    first, again, second = epoch_of(loader, 0), epoch_of(loader, 0), epoch_of(loader, 1)
    assert_same(first, again)
    assert not torch.equal(first[0].images, second[0].images)


def test_the_epoch_may_be_set_after_the_iterator_was_asked_for():
    loader = balls(num_workers=1).train_dataloader()
    iterator = iter(loader)  # Lightning resumes in this order
    set_epoch(loader, 5)
    assert_same(list(iterator), epoch_of(balls().train_dataloader(), 5))


def test_batches_that_are_kept_do_not_change_while_workers_go_on():
    data = {"train": scenes(1, 40), "batch_size": 1}
    expected = epoch_of(balls(**data).train_dataloader(), 2)
    loader = balls(**data, num_workers=2).train_dataloader()
    set_epoch(loader, 1)
    for number, _ in enumerate(loader):  # broken off while workers are ahead
        if number == 5:
            break
    set_epoch(loader, 2)
    kept = []
    for batch in loader:
        time.sleep(0.01)  # the workers fill all they may
        kept.append(batch)
    assert_same(kept, expected)


@pytest.mark.parametrize("workers", [0, 1])
def test_an_epoch_broken_off_leaves_nothing_behind_for_the_next(workers):
    loader = balls(num_workers=workers).train_dataloader()
    next(iter(loader))
    assert_same(epoch_of(loader, 1), epoch_of(balls().train_dataloader(), 1))


def test_training_leaves_out_an_incomplete_last_batch_unless_it_is_the_only_one():
    assert [len(b) for b in balls().train_dataloader()] == [4] * 5
    assert [len(b) for b in balls(batch_size=50).train_dataloader()] == [22]
    assert [len(b) for b in balls().val_dataloader()] == [4, 4, 2]


def test_evaluation_reads_every_image_in_order_and_without_augmentation():
    module = balls()
    batches = epoch_of(module.val_dataloader(), 3)
    assert names(batches) == list(module.source("val").ids)
    for target in batches[0].targets:
        # 96x80 into 64x64 at scale 2/3, its sides from 5.33 and 58.67 to whole pixels
        affine = torch.tensor([[54 / 80, 0, 5], [0, 2 / 3, 0]])
        torch.testing.assert_close(target.frame.affine, affine, atol=1e-4, rtol=0)


def test_ranks_share_the_epoch():
    parts = []
    for rank in range(2):
        module = balls()
        module.trainer = SimpleNamespace(global_rank=rank, world_size=2)  # pyright: ignore
        parts.append(names(list(module.val_dataloader())))
    assert len(parts[0]) == len(parts[1]) == 5
    assert sorted(parts[0] + parts[1]) == list(balls().source("val").ids)


def test_ground_truth_stays_in_original_pixels():
    module = balls()
    truth = module.ground_truth("val")
    assert list(truth) == list(module.source("val").ids)
    for index, target in enumerate(truth.values()):
        assert torch.equal(target.boxes, module.source("val").target(index).boxes)
        assert torch.equal(target.frame.affine, torch.eye(2, 3))


def test_the_splits_are_those_configured():
    assert balls().splits == ("train", "val")
    assert balls(test=scenes(3)).splits == ("train", "val", "test")
    balls().setup("test")
    with pytest.raises(ConfigError, match=r"there is no test split, only train, val"):
        balls().test_dataloader()


def test_the_fingerprint_is_the_sources():
    module = balls()
    assert module.fingerprint("val") == module.source("val").fingerprint()
    assert module.fingerprint("val") != module.fingerprint("train")


def test_batches_hold_uint8_images_and_ragged_targets_also_empty_ones(tmp_path):
    root = voc_folder(tmp_path, {"a": object_xml() * 3, "b": ""})
    (batch,) = list(pets(root).val_dataloader())
    assert batch.images.shape == (2, 3, *HW)
    assert batch.images.dtype == torch.uint8
    assert [len(target) for target in batch.targets] == [3, 0]


def test_a_folder_and_what_to_do_about_bad_boxes_reach_the_sources(tmp_path):
    root = voc_folder(tmp_path, {"a": object_xml() + object_xml(box=(5, 5, 5, 5))})
    with pytest.raises(DataError, match="has no area"):
        pets(root).setup("fit")
    module = pets(root, mistakes="drop_boxes")
    module.setup("fit")
    assert len(module.ground_truth("train")["a"]) == 1


def test_setup_reads_what_the_stage_needs(tmp_path):
    module = pets(tmp_path / "nowhere")
    for stage in ("fit", "validate"):
        with pytest.raises(DataError, match=r"set datamodule\.root=FOLDER"):
            module.setup(stage)


def test_an_image_named_twice_is_refused(tmp_path):
    root = voc_folder(tmp_path, {"a": "", "b": ""})
    (root / "ImageSets/Main/train.txt").write_text("a\nb\na\n")
    with pytest.raises(DataError, match="train split: names the image 'a' 2 times"):
        pets(root).setup("fit")


def test_an_empty_split_is_refused():
    with pytest.raises(DataError, match="val split: holds no image"):
        balls(val=scenes(2, 0)).setup("fit")


@pytest.mark.parametrize("workers", [0, 1])
def test_an_image_cut_off_after_the_start_ends_the_epoch_with_one_line(tmp_path, workers):
    root = voc_folder(tmp_path, {"a": "", "b": ""})
    module = pets(root, num_workers=workers)
    module.setup("fit")
    image = root / "JPEGImages/b.jpg"
    image.write_bytes(image.read_bytes()[:-200])
    with pytest.raises(DataError) as caught:
        list(module.val_dataloader())
    assert type(caught.value) is UnreadableImage
    assert "b.jpg: the JPEG is cut off" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_image_that_changed_its_size_is_refused(tmp_path):
    root = voc_folder(tmp_path, {"a": ""})
    module = pets(root)
    module.setup("fit")
    voc_folder(root, {"a": ""}, hw=(50, 60))
    with pytest.raises(DataError, match=r"a\.jpg: decodes to 60x50 px .* its header says 120x100"):
        list(module.val_dataloader())


@pytest.mark.parametrize("options", [{"batch_size": 0}, {"num_workers": -1}])
def test_impossible_loader_options_are_refused(options):
    with pytest.raises(ConfigError, match="a batch holds at least 1 image"):
        balls(**options)


def test_what_a_worker_needs_can_be_sent_to_it():
    loader = balls().train_dataloader()
    copy = pickle.loads(pickle.dumps(loader.dataset))
    order = Order(None, [(0, 3)])
    one, two = (collate(d.__getitems__(order), Slots()) for d in (copy, loader.dataset))
    assert isinstance(one, Batch)
    assert isinstance(two, Batch)
    assert_same([one], [two])


class Recorder(L.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.read: list[list[str]] = []

    def on_train_epoch_start(self) -> None:
        self.read.append([])

    def training_step(self, batch: Batch, batch_idx: int) -> torch.Tensor:
        self.read[-1] += names([batch])
        return self.weight.sum()

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        pass

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def test_lightning_trains_with_it_in_a_new_order_each_epoch(tmp_path):
    trainer = L.Trainer(
        max_epochs=2,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        limit_val_batches=0,
        default_root_dir=tmp_path,
    )
    recorder, module = Recorder(), balls(num_workers=1)
    trainer.fit(recorder, datamodule=module)
    assert recorder.read == [names(epoch_of(balls().train_dataloader(), e)) for e in (0, 1)]


def test_a_real_image_keeps_its_objects_through_the_whole_path(real_data):
    module = DetectionDataModule(
        DatasetInfo("bccd", ("RBC", "WBC", "Platelets")),
        train=partial(VocXml, split=listed("train"), one_based=False),
        val=partial(VocXml, split=listed("val"), one_based=False),
        input_hw=(192, 192),
        root=str(real_data / "bccd_voc_subset"),
        num_workers=1,
    )
    batch = next(iter(module.val_dataloader()))
    truth = module.ground_truth("val")
    for image, target in zip(batch.images, batch.targets, strict=True):
        original = truth[target.frame.image_id]
        torch.testing.assert_close(target.labels, original.labels)
        torch.testing.assert_close(target.area, original.area)
        # 640x480 into 192x192: scale .3, 24 px of grey above
        shifted = original.boxes * 0.3 + torch.tensor([0.0, 24.0, 0.0, 24.0])
        torch.testing.assert_close(target.boxes, shifted, atol=1e-3, rtol=0)
        index = list(module.source("val").ids).index(target.frame.image_id)
        expected = cv2.resize(module.source("val").image(index), (192, 144))
        found = image[:, 24:168].permute(1, 2, 0).numpy()
        assert abs(found.astype(float) - expected).mean() < 3
