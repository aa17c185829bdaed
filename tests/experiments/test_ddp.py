"""`lineup train trainer.devices=2`: two processes share one run folder and one result."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from experiments import build
from tests.experiments.scenes import tiny

TWO = ("trainer.devices=2", "trainer.strategy=ddp", "trainer.accelerator=cpu")


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_two_processes_train_into_one_folder_and_evaluate_as_one(tmp_path: Path):
    overrides = tiny(tmp_path, "datamodule.val.length=15", "datamodule.test.length=15", *TWO)
    command = [sys.executable, "-m", "experiments.cli", "train", *overrides]
    subprocess.run(command, check=True, capture_output=True, timeout=240)
    run_dir = Path(build.compose(overrides).paths.run_dir)
    manifest = json.loads((run_dir / "manifest.json").read_text())
    assert manifest["status"] == "finished"
    assert [p.name for p in tmp_path.iterdir()] == [run_dir.name]

    out = tmp_path / "alone"
    arguments = ["evaluate", str(run_dir), "--split", "test", "--out", str(out)]
    command = [sys.executable, "-m", "experiments.cli", *arguments]
    subprocess.run(command, check=True, capture_output=True)
    alone = json.loads((out / "test_manifest.json").read_text())
    assert alone["images"] == 15
    assert alone["metrics"] == pytest.approx(manifest["metrics"]["test"], abs=1e-9)
