"""Alternating training: four fits in one command, what each may change, and where it goes on."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from omegaconf import DictConfig
from torch import Tensor

from detectors.errors import ConfigError, RunError
from experiments import build, checkpoints, runs, stages
from experiments.train import train
from tests.detectors.samples import target
from tests.detectors.small_faster_rcnn import small_faster_rcnn
from tests.experiments.scenes import tiny

SMALL = (
    *("detector=faster_rcnn", "backbone=zf", "regime=alternating", "transform=faster_rcnn"),
    *("detector.net.backbone.width=0.1", "protocol.epochs=1", "datamodule.train.length=16"),
    *("datamodule.framing.short=64", "datamodule.framing.long=64"),
    *("optimizer=sgd", "detector.optimizer.weight_decay=0.1"),
)
NAMES = ("rpn", "detector", "rpn_shared", "detector_shared")


def configuration(folder: Path, *overrides: str) -> DictConfig:
    return build.compose(tiny(folder, *SMALL, *overrides))


@pytest.fixture(scope="module")
def begun() -> list[str]:
    """The stages that were begun, in their order."""
    return []


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, begun: list[str]) -> DictConfig:
    """The configuration of a run of all four stages, interrupted when the third was to begin."""
    config = configuration(tmp_path_factory.mktemp("runs"))
    original = stages.build_stage

    def stop_once(staged, name, run_dir):
        begun.append(name)
        if begun == ["rpn", "detector", "rpn_shared"]:
            raise KeyboardInterrupt
        return original(staged, name, run_dir)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stages, "build_stage", stop_once)
        with pytest.raises(KeyboardInterrupt):
            train(config)
        train(configuration(Path(config.paths.runs)))
    return config


def weights(config: DictConfig, name: str) -> dict[str, Tensor]:
    """At the end of a stage; buffers included."""
    folder = Path(config.paths.run_dir)
    folder = folder if name == NAMES[-1] else stages.stage_dir(folder, name)
    content = checkpoints.read(folder / "checkpoints/last.ckpt")[1]
    return {k.removeprefix("net."): v for k, v in content["state_dict"].items()}


def changed(before: dict[str, Tensor], after: dict[str, Tensor]) -> set[str]:
    """The parts of the network in which a weight or a buffer differs."""
    return {key.split(".")[0] for key in before if not torch.equal(before[key], after[key])}


def start(config: DictConfig, name: str) -> dict[str, Tensor]:
    run_dir = Path(config.paths.run_dir)
    staged = stages.stage_config(config, name, run_dir)
    return stages.build_stage(staged, name, run_dir).net.state_dict()


def test_the_first_two_stages_start_afresh_and_alike(finished):
    assert changed(start(finished, "rpn"), start(finished, "detector")) == set()
    assert "backbone" in changed(weights(finished, "rpn"), start(finished, "detector"))


def test_each_stage_changes_what_it_trains_and_nothing_else(finished):
    trained = {name: changed(start(finished, name), weights(finished, name)) for name in NAMES}
    assert trained == {
        "rpn": {"backbone", "rpn"},
        "detector": {"backbone", "head"},
        "rpn_shared": {"rpn"},
        "detector_shared": {"head"},
    }


def test_the_last_two_stages_go_on_where_the_one_before_ended(finished):
    assert changed(weights(finished, "detector"), start(finished, "rpn_shared")) == set()
    assert changed(weights(finished, "rpn_shared"), start(finished, "detector_shared")) == set()


def test_frozen_parts_and_their_norms_statistics_are_bit_identical_in_the_last_two(finished):
    ends = [weights(finished, name) for name in NAMES[1:]]
    shared = [key for key in ends[0] if key.startswith("backbone.")]
    assert any(key.endswith("running_mean") for key in shared)
    for key in shared:
        assert torch.equal(ends[0][key], ends[1][key])
        assert torch.equal(ends[1][key], ends[2][key])


def test_the_optimiser_of_a_stage_holds_no_frozen_tensor(finished):
    run_dir = Path(finished.paths.run_dir)
    for name, part in (("rpn_shared", "rpn"), ("detector_shared", "head")):
        module = stages.build_stage(stages.stage_config(finished, name, run_dir), name, run_dir)
        optimizer = module.configure_optimizers()
        held = {id(p) for group in optimizer.param_groups for p in group["params"]}
        assert held == {id(p) for p in getattr(module.net, part).parameters()}


def test_proposals_are_kept_for_every_training_image_in_its_original_pixels(finished):
    path = stages.stage_dir(Path(finished.paths.run_dir), "rpn") / stages.PROPOSALS
    proposals = torch.load(path, weights_only=True)
    assert len(proposals) == 16
    height, width = finished.datamodule.train.image_hw
    for boxes in proposals.values():
        assert 0 < len(boxes) <= 100
        assert ((boxes >= 0) & (boxes <= torch.tensor([width, height] * 2))).all()


def test_the_run_is_scored_once_at_its_end(finished):
    run_dir = Path(finished.paths.run_dir)
    manifest = runs.read_manifest(run_dir)
    assert manifest is not None
    assert manifest["status"] == "finished"
    assert "map_50" in manifest["metrics"]["test"]
    assert manifest["stages"] == dict.fromkeys(NAMES, 1)
    assert not list((run_dir / "stages").rglob("predictions"))


def test_every_stage_leaves_the_curves_of_its_losses(finished):
    run_dir = Path(finished.paths.run_dir)
    folders = [stages.stage_dir(run_dir, name) for name in NAMES[:-1]] + [run_dir]
    assert all((folder / "curves.png").is_file() for folder in folders)


def test_started_again_finished_stages_are_left_alone_and_the_result_is_answered(finished):
    files = [*Path(finished.paths.run_dir).rglob("*.ckpt")]
    times = {path: path.stat().st_mtime_ns for path in files}
    train(configuration(Path(finished.paths.runs)))
    assert {path: path.stat().st_mtime_ns for path in files} == times


def test_interrupted_after_the_second_stage_it_goes_on_with_the_third(finished, begun):
    assert begun == ["rpn", "detector", "rpn_shared", "rpn_shared"]
    assert (Path(finished.paths.run_dir) / "predictions/test.json").is_file()


def moved(config: DictConfig, folder: Path, *overrides: str) -> DictConfig:
    """The same run in a folder of its own, its last stage not begun."""
    shutil.copytree(config.paths.runs, folder, dirs_exist_ok=True)
    copy = configuration(folder, *overrides)
    for name in ("manifest.json", "checkpoints/last.ckpt", "checkpoints/best.ckpt"):
        (Path(copy.paths.run_dir) / name).unlink()
    return copy


@pytest.mark.filterwarnings("ignore:The dirpath has changed")  # the copy is another folder
def test_killed_between_a_stage_and_its_proposals_it_makes_the_same_ones(finished, tmp_path):
    config = moved(finished, tmp_path)
    folder = stages.stage_dir(Path(config.paths.run_dir), "rpn_shared")
    state = folder / stages.STAGE
    state.write_text(state.read_text().replace("true", "false"))
    before = torch.load(folder / stages.PROPOSALS, weights_only=True)
    (folder / stages.PROPOSALS).unlink()
    train(config)
    after = torch.load(folder / stages.PROPOSALS, weights_only=True)
    assert all(torch.equal(before[name], after[name]) for name in before.keys() | after.keys())
    assert changed(weights(config, NAMES[-1]), weights(finished, NAMES[-1])) == set()


@pytest.mark.parametrize("ended", [True, False])
def test_a_stage_that_has_read_other_data_is_neither_used_nor_resumed(finished, tmp_path, ended):
    config = moved(finished, tmp_path)
    path = stages.stage_dir(Path(config.paths.run_dir), "rpn") / stages.STAGE
    path.write_text(json.dumps({"finished": ended, "data": {"train": "another"}}))
    with pytest.raises(RunError, match=r"train has changed since: pass fresh=true"):
        train(config)


def test_stages_that_start_afresh_start_from_the_weights_the_run_is_given(finished, tmp_path):
    given = Path(finished.paths.run_dir) / "checkpoints/last.ckpt"
    config = configuration(tmp_path, f"init_from={given}", "stages.detector.proposals_from=null")
    for name in ("rpn", "detector"):
        assert changed(weights(finished, NAMES[-1]), start(config, name)) == set()


def test_kept_proposals_follow_the_augmentation_as_the_objects_do(tmp_path):
    config = configuration(tmp_path, "datamodule.augment.flip.p=0.5")
    datamodule = build.instantiate(config.datamodule)
    datamodule.setup("fit")
    net = small_faster_rcnn().train()
    truth = datamodule.ground_truth("train")
    net.given = {name: t.boxes for name, t in truth.items()}
    mirrored = 0
    for batch in datamodule.train_dataloader():
        raw = net(batch.images)
        for one in batch.targets:
            assert torch.allclose(net._given(one.frame, raw), one.boxes, atol=0.05)
            mirrored += int(one.frame.affine[0, 0] < 0)
        assert net.loss(raw, batch.targets).stats["proposals"] > 0
    assert 0 < mirrored < 16


def test_outside_of_training_the_networks_own_proposals_count():
    net = small_faster_rcnn()
    net.given = {"image": torch.tensor([[1.0, 1.0, 50.0, 50.0]])}
    images = torch.zeros(1, 3, 96, 96, dtype=torch.uint8)
    counts = [net.train(m).loss(net(images), [target()]).stats["proposals"] for m in (True, False)]
    assert counts[0] == 1
    assert counts[1] > 1


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["detector=yolov1", "backbone=darknet24"], "YOLOv1 does not offer"),
        (["stages.rpn.init_from=detector"], "is no earlier stage"),
        (["trainer.devices=2"], "one device"),
    ],
)
def test_what_cannot_be_staged_is_refused_in_one_line(tmp_path, overrides, message):
    config = configuration(tmp_path, *overrides)
    with pytest.raises(ConfigError, match=message) as error:
        train(config)
    assert "\n" not in str(error.value)
