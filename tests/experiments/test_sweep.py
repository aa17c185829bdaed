"""`lineup sweep`: processes of their own, a failing one contained, a table at the end."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.experiments.scenes import tiny


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
