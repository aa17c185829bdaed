"""`lineup sweep`: processes of their own, a failing one contained, a table at the end."""

import itertools
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from detectors.errors import ConfigError
from experiments import build, launch
from tests.experiments.scenes import tiny

SWEEPS = sorted((Path(__file__).parents[2] / "conf/sweep").glob("*.yaml"))


@pytest.mark.slow
@pytest.mark.parametrize("path", SWEEPS, ids=lambda path: path.stem)
@pytest.mark.parametrize("scale", ["nano", "paper"])
def test_every_job_of_a_grid_builds_its_detector_and_what_it_leaves_out_does_not(path, scale):
    hydra = OmegaConf.load(path).hydra
    params = [f"{key}={value}" for key, value in hydra.sweeper.params.items() if key != "seed"]
    choices = [
        [f"{override.key_or_group}={value}" for value in override.sweep_string_iterator()]
        for override in OverridesParser.create().parse_overrides(params)
    ]
    left_out = hydra.get("launcher", {}).get("leave_out", [])
    for overrides in itertools.product(*choices):
        config = build.compose([f"sweep={path.stem}", f"scale={scale}", *overrides])
        is_left_out = any(launch.has_values(config, values) for values in left_out)
        try:
            with torch.device("meta"):
                build.instantiate(config.detector.net)
        except ConfigError:
            assert is_left_out, overrides
        else:
            assert not is_left_out, overrides


@pytest.mark.slow
def test_what_is_left_out_and_what_is_the_same_run_is_no_job_of_its_own(tmp_path: Path):
    grid = ["detector.net.grid=6,7", "protocol.nms_iou=0.5,0.50"]
    rule = "hydra.launcher.leave_out=[{detector.net.grid: 6}]"
    arguments = tiny(tmp_path, "protocol.epochs=1", *grid, rule)
    command = [sys.executable, "-m", "experiments.cli", "sweep", *arguments]
    subprocess.run(command, check=True, capture_output=True, timeout=300)
    (folder,) = (tmp_path / "sweeps").iterdir()
    (job,) = json.loads((folder / "jobs.json").read_text())
    assert "detector.net.grid=7" in job["overrides"]


@pytest.mark.slow
def test_a_failing_job_is_named_and_the_others_make_the_table(tmp_path: Path):
    grid = "detector.optimizer.lr=1e-3,1e30"
    arguments = [*tiny(tmp_path, "protocol.epochs=1", "callbacks.drawing.every_n_epochs=1"), grid]
    command = [sys.executable, "-m", "experiments.cli", "sweep", *arguments]
    first = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert first.returncode == 2
    assert "Traceback" not in first.stderr
    (folder,) = (tmp_path / "sweeps").iterdir()
    table = (folder / "table.md").read_text()
    assert "| yolov1-darknet24 nano | synthetic_easy | 1 |" in table
    assert "NOT IN THE TABLE" in table
    assert "not finite" in table
    assert (folder / "table.csv").read_text().count("\n") == 2
    assert (folder / "detections.png").is_file()
    jobs = json.loads((folder / "jobs.json").read_text())
    assert sorted(job["exit_code"] for job in jobs) == [0, 2]

    finished = next(Path(job["run_dir"]) for job in jobs if job["exit_code"] == 0)
    before = (finished / "checkpoints/last.ckpt").stat().st_mtime_ns
    subprocess.run(command, capture_output=True, timeout=300)
    assert (finished / "checkpoints/last.ckpt").stat().st_mtime_ns == before
