"""`lineup train`, end to end: what it leaves behind, and what it does when it is started again."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from pycocotools.coco import COCO

from datamodules.splits import split_hash
from detectors.errors import RunError
from experiments import api, build, runs
from experiments.evaluate import evaluate
from experiments.train import train
from tests.experiments.scenes import tiny, write_voc


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a tiny finished run."""
    config = build.compose(tiny(tmp_path_factory.mktemp("runs")))
    train(config)
    return Path(config.paths.run_dir)


def manifest_of(run_dir: Path) -> dict:
    manifest = runs.read_manifest(run_dir)
    assert manifest is not None
    return manifest


def test_a_run_leaves_manifest_config_checkpoints_predictions_log_and_pictures(finished: Path):
    for name in (
        *(
            "manifest.json",
            "config.yaml",
            "metrics.csv",
            "checkpoints/best.ckpt",
            "checkpoints/last.ckpt",
        ),
        *(
            "predictions/val.json",
            "predictions/val_ground_truth.json",
            "predictions/val_manifest.json",
        ),
        *("predictions/test.json", "predictions/test_manifest.json"),
        *("predictions/val_curves.json", "predictions/val_curves.png"),
        *("predictions/test_curves.json", "predictions/test_curves.png", "curves.png"),
    ):
        assert (finished / name).is_file(), name
    assert list((finished / "images").glob("epoch_*.png"))
    assert not list(finished.rglob("*.partial"))


def test_the_manifest_says_what_produced_the_result(finished: Path):
    manifest = manifest_of(finished)
    assert manifest["status"] == "finished"
    assert manifest["scored_split"] == "test"
    assert set(manifest["data"]["hashes"]) == {"train", "val", "test"}
    assert manifest["provenance"]["versions"]["torch"] == torch.__version__.split("+")[0]
    assert manifest["cost"]["parameters"] < 5_000_000
    assert manifest["cost"]["seconds_per_image"] > 0
    predictions = json.loads((finished / "predictions/test_manifest.json").read_text())
    assert predictions["split_hash"] == manifest["data"]["splits"]["test"]["hash"]
    assert predictions["data_hash"] == manifest["data"]["hashes"]["test"]
    assert predictions["provenance"]["source_hash"] == manifest["provenance"]["source_hash"]


def test_the_written_predictions_load_into_pycocotools_and_score_as_the_manifest_says(
    finished: Path, capsys
):
    from pycocotools.cocoeval import COCOeval

    truth = COCO(str(finished / "predictions/test_ground_truth.json"))
    evaluation = COCOeval(truth, truth.loadRes(str(finished / "predictions/test.json")), "bbox")
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    assert evaluation.stats[1] == pytest.approx(
        manifest_of(finished)["metrics"]["test"]["map_50"], abs=1e-6
    )


def test_a_finished_run_answers_without_importing_torch(finished: Path, tmp_path: Path):
    (tmp_path / "torch.py").write_text("raise ImportError('torch was imported')")
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    command = [sys.executable, "-m", "experiments.cli", "train", *tiny(finished.parent)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60)
    assert done.returncode == 0, done.stderr
    assert str(finished) in done.stdout
    assert "AP50" in done.stdout


def test_the_checkpoint_loads_safely_and_rebuilds_the_detector(finished: Path):
    content = torch.load(finished / "checkpoints/best.ckpt", weights_only=True)
    assert content["lineup"]["config"]["seed"] == 0
    detector = api.load(finished)
    assert not detector.training
    pixels = torch.randint(0, 256, (120, 200, 3), dtype=torch.uint8).numpy()
    (found,) = api.predict(detector, [pixels])
    assert found.frame.original_hw == (120, 200)
    assert bool((found.boxes[:, 2] <= 200).all())
    assert bool((found.boxes[:, 3] <= 120).all())


def test_evaluated_again_a_run_scores_the_same(finished: Path, tmp_path: Path):
    checkpoint = finished / "checkpoints/best.ckpt"
    again = evaluate(checkpoint, ["datamodule.num_workers=0"], "val", tmp_path)
    scored = manifest_of(finished)["metrics"]["val"]
    measured = {name: again[name] for name, value in scored.items() if value is not None}
    assert measured == {name: value for name, value in scored.items() if value is not None}
    assert measured


def test_the_files_of_an_evaluated_split_bear_its_name(finished: Path, tmp_path: Path):
    evaluate(finished / "checkpoints/best.ckpt", ["datamodule.num_workers=0"], "train", tmp_path)
    manifest = json.loads((tmp_path / "train_manifest.json").read_text())
    assert manifest["split"] == "train"
    assert manifest["data_hash"] == manifest_of(finished)["data"]["hashes"]["train"]
    assert (tmp_path / "train.json").is_file()
    assert (tmp_path / "train_ground_truth.json").is_file()
    assert not list(tmp_path.glob("test*"))


def test_changed_code_is_said_in_one_line(finished: Path, capsys, monkeypatch):
    monkeypatch.setattr("experiments.provenance.source_hash", lambda: "another")
    train(build.compose(tiny(finished.parent)))
    assert "the code has changed since" in capsys.readouterr().out


def test_changed_data_is_refused_until_fresh_is_asked_for(tmp_path: Path):
    voc = write_voc(tmp_path / "voc")
    overrides = [o for o in tiny(tmp_path / "runs") if ".length=" not in o]
    overrides += ["datamodule=voc", f"datamodule.root={voc}", "protocol.epochs=1"]
    train(build.compose(overrides))
    os.utime(voc / "JPEGImages/000.jpg")  # touched, not changed: the hash of what was read decides
    train(build.compose(overrides))
    annotation = voc / "Annotations/000.xml"
    annotation.write_text(annotation.read_text().replace("<xmin>11<", "<xmin>14<"))
    with pytest.raises(RunError, match=r"that of train, val has changed since: pass fresh=true"):
        train(build.compose(overrides))
    train(build.compose([*overrides, "fresh=true"]))


def test_an_interrupted_run_does_not_go_on_with_other_data(tmp_path: Path):
    voc = write_voc(tmp_path / "voc")
    overrides = [o for o in tiny(tmp_path / "runs") if ".length=" not in o]
    overrides += ["datamodule=voc", f"datamodule.root={voc}", "protocol.epochs=1"]
    config = build.compose(overrides)
    train(config)
    run_dir = Path(config.paths.run_dir)
    manifest = manifest_of(run_dir)
    (run_dir / "manifest.json").write_text(json.dumps(manifest | {"status": "running"}))
    annotation = voc / "Annotations/000.xml"
    annotation.write_text(annotation.read_text().replace("<xmin>11<", "<xmin>14<"))
    with pytest.raises(RunError, match=r"that of train, val has changed since"):
        train(build.compose(overrides))
    assert manifest_of(run_dir)["data"] == manifest["data"]


def test_a_run_keeps_the_lists_of_its_splits_and_their_hash(finished: Path):
    manifest = manifest_of(finished)
    for split, kept in manifest["data"]["splits"].items():
        ids = (finished / f"splits/{split}.txt").read_text().splitlines()
        assert len(ids) == kept["images"]
        assert split_hash(ids) == kept["hash"]


def test_same_seed_same_result_and_another_seed_another(finished: Path, tmp_path: Path):
    def weights(folder: Path, *overrides: str) -> dict[str, torch.Tensor]:
        config = build.compose(tiny(folder, *overrides))
        train(config)
        last = Path(config.paths.run_dir) / "checkpoints/last.ckpt"
        return torch.load(last, weights_only=True)["state_dict"]

    first = torch.load(finished / "checkpoints/last.ckpt", weights_only=True)["state_dict"]
    again = weights(tmp_path)
    assert all(torch.equal(first[key], again[key]) for key in first)
    other = weights(tmp_path, "seed=1")
    assert not all(torch.equal(first[key], other[key]) for key in first)


def test_a_run_that_fails_says_so_in_its_manifest(tmp_path: Path):
    config = build.compose(tiny(tmp_path, "detector.optimizer.lr=1e30"))
    with pytest.raises(RunError, match="not finite"):
        train(config)
    manifest = manifest_of(Path(config.paths.run_dir))
    assert manifest["status"] == "failed"
    assert "not finite" in manifest["error"]


def test_a_run_without_any_logger_trains(tmp_path: Path):
    quiet = ("logger.csv=null", "datamodule.train.length=16", "protocol.epochs=1")
    config = build.compose(tiny(tmp_path, *quiet))
    train(config)
    run_dir = Path(config.paths.run_dir)
    assert manifest_of(run_dir)["status"] == "finished"
    assert not (run_dir / "metrics.csv").exists()
