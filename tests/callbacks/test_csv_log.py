import csv
import os
import signal
import subprocess
import sys
from pathlib import Path

import lightning as L
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lightning.pytorch.callbacks import LearningRateMonitor, ModelCheckpoint

from callbacks.checkpoint_io import AtomicCheckpointIO
from callbacks.csv_log import CsvLog
from tests.callbacks.toy import ToyData, toy_module, trainer


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_values_of_one_step_share_a_row_and_steps_and_epochs_come_first(tmp_path: Path) -> None:
    log = CsvLog(str(tmp_path))
    log.log_metrics({"lr": 0.1}, step=0)
    log.log_metrics({"train/loss": 2.5, "epoch": 0}, step=0)
    log.log_metrics({"val/map": 0.25, "epoch": 0}, step=9)
    text = (tmp_path / "metrics.csv").read_text()
    assert text == "step,epoch,lr,train/loss,val/map\n0,0,0.1,2.5,\n9,0,,,0.25\n"


def test_a_resumed_log_drops_the_rows_that_come_again(tmp_path: Path) -> None:
    for first in (0, 5):
        log = CsvLog(str(tmp_path))
        for step in range(first, 8 if first == 0 else 6):
            log.log_metrics({"train/loss": step + first / 100}, step=step)
    assert [row["step"] for row in rows(tmp_path)] == ["0", "1", "2", "3", "4", "5"]
    assert rows(tmp_path)[4:] == [
        {"step": "4", "epoch": "", "train/loss": "4.0"},
        {"step": "5", "epoch": "", "train/loss": "5.05"},
    ]


def test_scoring_a_finished_run_again_keeps_its_training_rows(tmp_path: Path) -> None:
    for step in range(4):
        CsvLog(str(tmp_path)).log_metrics({"train/loss": 1.0}, step=step)
    CsvLog(str(tmp_path)).log_metrics({"test/map": 0.5}, step=0)
    assert len(rows(tmp_path)) == 4
    assert rows(tmp_path)[0]["test/map"] == "0.5"


def test_a_half_written_last_line_is_forgotten(tmp_path: Path) -> None:
    log = CsvLog(str(tmp_path))
    for step in range(3):
        log.log_metrics({"train/loss": 1.0, "train/box": 2.0}, step=step)
    text = (tmp_path / "metrics.csv").read_text()
    (tmp_path / "metrics.csv").write_text(text[:-8])
    CsvLog(str(tmp_path)).log_metrics({"train/loss": 1.0, "train/box": 2.0}, step=2)
    assert (tmp_path / "metrics.csv").read_text() == text


Event = tuple[int, dict[str, float]]
keys = st.sampled_from(["train/loss", "lr", "val/map", "epoch"])
events = st.lists(st.tuples(st.integers(0, 1), st.dictionaries(keys, st.floats(-9, 9), min_size=1)))


@settings(max_examples=60, deadline=None)
@given(steps=events, cut=st.integers(0, 20), back=st.integers(0, 5))
def test_a_replayed_log_is_that_of_an_uninterrupted_run(
    tmp_path_factory: pytest.TempPathFactory, steps: list[Event], cut: int, back: int
) -> None:
    folder = tmp_path_factory.mktemp("log")
    step, replayable = 0, []
    for advance, values in steps:
        step += advance
        replayable.append((step, values | {"train/loss": float(step)}))
    for name, parts in {
        "whole": [replayable],
        "resumed": [replayable[:cut], replayable[_start(replayable, cut, back) :]],
    }.items():
        for part in parts:
            log = CsvLog(str(folder / name))
            for at, values in part:
                log.log_metrics(values, step=at)
    if replayable:
        texts = [(folder / n / "metrics.csv").read_text() for n in ("whole", "resumed")]
        assert texts[0] == texts[1]


def _start(logged: list[Event], cut: int, back: int) -> int:
    """A checkpoint lies between two steps: where the step before `cut - back` begins."""
    if not logged[:cut]:
        return 0
    first = logged[max(min(cut, len(logged)) - 1 - back, 0)][0]
    return next(i for i, (step, _) in enumerate(logged) if step == first)


def fit(folder: Path, epochs: int, resume: Path | None = None) -> None:
    L.seed_everything(0, verbose=False)
    last = ModelCheckpoint(
        folder, "last", save_on_train_epoch_end=True, enable_version_counter=False
    )
    run = trainer(
        folder,
        LearningRateMonitor("step"),
        last,
        max_epochs=epochs,
        enable_checkpointing=True,
        plugins=[AtomicCheckpointIO()],
    )
    run.fit(toy_module(), ToyData(8, 2), ckpt_path=resume, weights_only=True)


@pytest.mark.filterwarnings("ignore:Checkpoint directory .* exists and is not empty")
def test_a_run_resumed_from_its_checkpoint_has_the_log_of_an_uninterrupted_one(
    tmp_path: Path,
) -> None:
    fit(tmp_path / "whole", 3)
    fit(tmp_path / "cut", 1)
    checkpoint = (tmp_path / "cut" / "last.ckpt").read_bytes()
    fit(tmp_path / "cut", 2, resume=tmp_path / "cut" / "last.ckpt")
    (tmp_path / "cut" / "last.ckpt").write_bytes(checkpoint)  # killed before the second was saved
    fit(tmp_path / "cut", 3, resume=tmp_path / "cut" / "last.ckpt")
    whole, cut = ((tmp_path / n / "metrics.csv").read_text() for n in ("whole", "cut"))
    assert whole == cut
    assert len(rows(tmp_path / "cut")) == 12
    assert "val/loss" in rows(tmp_path / "cut")[0]


def test_what_is_logged_is_on_disk_at_once(tmp_path: Path) -> None:
    log = CsvLog(str(tmp_path))
    for step in range(5):
        log.log_metrics({"train/loss": 1.0 / (step + 1)}, step=step)
        assert len(rows(tmp_path)) == step + 1


@pytest.mark.slow
def test_a_killed_process_has_its_rows_on_disk(tmp_path: Path) -> None:
    script = f"""
import os, signal
from callbacks.csv_log import CsvLog
log = CsvLog({str(tmp_path)!r})
for step in range(50):
    log.log_metrics({{"train/loss": 1.0 / (step + 1)}}, step=step)
os.kill(os.getpid(), signal.SIGKILL)
"""
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", script], env=os.environ | {"PYTHONPATH": str(root)}, check=False
    )
    assert done.returncode == -signal.SIGKILL
    assert len(rows(tmp_path)) == 50
