import json
import os
import signal
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
PRELUDE = """
import sys
from pathlib import Path
from callbacks.drawing import Drawing
from callbacks.wandb_log import WandbLog
from tests.callbacks.toy import INFO, ToyData, ToyDetector, toy_module, trainer
folder = Path(sys.argv[1])
log = WandbLog(str(folder), project="p", group="g", job_type="train", name="n",
    tags=["voc", "seed0"], run_id="abc123", config={"detector": {"lr": 0.1}})
"""
FIT = """
class Breaks(ToyDetector):
    def decode(self, raw, frames):
        raise RuntimeError("broken")
net = Breaks() if "break" in sys.argv else None
drawing = Drawing(str(folder), score_threshold=0.0)
run = trainer(folder, drawing, logger=log, max_epochs=1)
run.fit(toy_module(net), ToyData())
log.close()
"""
KILLED = (
    "import os, signal\nlog.log_metrics({'a': 1.0}, step=0)\nos.kill(os.getpid(), signal.SIGKILL)"
)
AGAIN = "log.log_metrics({'a': 1.0}, step=0)\nlog.close()"
TWO = """
log.log_metrics({"a": 1.0}, step=0)  # left open
other = WandbLog(str(folder), run_id="second")
other.log_metrics({"a": 1.0}, step=0)
print(other.experiment.id)
other.close()
"""


def python(script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A process without an account, a terminal or any W&B setting."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("WANDB", "PYTEST"))}
    environment |= {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "HOME": arguments[0]}
    return subprocess.run(
        [sys.executable, "-W", "ignore", "-c", PRELUDE + script, *arguments],
        env=environment,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=120,
        check=False,
    )


def records(folder: Path) -> list[Any]:
    """Everything in the newest offline run, as W&B would send it."""
    from wandb.proto import wandb_internal_pb2

    record: Any = wandb_internal_pb2.Record  # pyright: ignore
    newest = max(folder.glob("wandb/offline-run-*"), key=lambda p: p.stat().st_mtime_ns)
    content = next(newest.glob("*.wandb")).read_bytes()
    return [record.FromString(data) for data in leveldb_log(content)]


def leveldb_log(content: bytes) -> Iterator[bytes]:
    """After a 7-byte header, blocks of 32 KiB with pieces: crc, length, type, content."""
    position, pieces = 7, b""
    while position + 7 <= len(content):
        room = -position % 32768
        if 0 < room < 7:  # too little for another piece
            position += room
            continue
        length, kind = struct.unpack_from("<HB", content, position + 4)
        pieces += content[position + 7 : position + 7 + length]
        position += 7 + length
        if kind in (1, 4):  # a whole record, or the last piece of one
            yield pieces
            pieces = b""


def field(found: list[Any], kind: str) -> list[Any]:
    return [getattr(r, kind) for r in found if r.WhichOneof("record_type") == kind]


def run_ids(folder: Path) -> list[str]:
    return [path.name.rsplit("-", 1)[1] for path in folder.glob("wandb/offline-run-*")]


@pytest.mark.slow
def test_an_offline_run_holds_curves_config_tags_and_images_with_boxes(tmp_path: Path) -> None:
    done = python(FIT, str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert "wandb" not in done.stdout + done.stderr
    assert run_ids(tmp_path) == ["abc123"]
    found = records(tmp_path)
    run = field(found, "run")[0]
    assert (run.project, run.run_group, run.job_type, run.display_name) == ("p", "g", "train", "n")
    assert list(run.tags) == ["voc", "seed0"]
    config = {item.key: json.loads(item.value_json) for item in run.config.update}
    assert config["detector"] == {"lr": 0.1}
    history = {
        "/".join(item.nested_key): json.loads(item.value_json)
        for row in field(found, "history")
        for item in row.item
    }
    assert {"train/loss", "val/loss", "trainer/global_step"} <= history.keys()
    assert history["val/images/captions"] == [f"toy/00{i}.png" for i in range(8)]
    (folder,) = tmp_path.glob("wandb/offline-run-*/files")
    boxes = history["val/images/all_boxes"][0]
    truth = json.loads((folder / boxes["ground_truth"]["path"]).read_text())
    predictions = json.loads((folder / boxes["predictions"]["path"]).read_text())
    assert truth["box_data"][0]["box_caption"] == "square"
    assert truth["class_labels"] == {"0": "square", "1": "bar"}
    assert 0 < predictions["box_data"][0]["scores"]["score"] < 1
    assert field(found, "exit")[0].exit_code == 0
    assert not list(tmp_path.glob("wandb/*.open"))


@pytest.mark.slow
def test_a_run_that_raises_is_closed_as_failed(tmp_path: Path) -> None:
    done = python(FIT, str(tmp_path), "break")
    assert "RuntimeError: broken" in done.stderr
    assert [end.exit_code for end in field(records(tmp_path), "exit")] == [1]
    assert not list(tmp_path.glob("wandb/*.open"))


@pytest.mark.slow
def test_a_killed_run_is_mentioned_when_it_starts_again_under_the_same_id(tmp_path: Path) -> None:
    assert python(KILLED, str(tmp_path)).returncode == -signal.SIGKILL
    again = python(AGAIN, str(tmp_path))
    assert again.returncode == 0, again.stderr
    assert "W&B run abc123 was not closed last time (killed?)" in again.stderr
    assert set(run_ids(tmp_path)) == {"abc123"}
    assert "not closed" not in python(AGAIN, str(tmp_path)).stderr


@pytest.mark.slow
def test_a_second_run_in_one_process_has_its_own_id(tmp_path: Path) -> None:
    done = python(TWO, str(tmp_path))
    assert done.stdout.split() == ["second"], done.stderr
    assert sorted(run_ids(tmp_path)) == ["abc123", "second"]


def test_a_logger_that_is_not_used_starts_nothing(tmp_path: Path) -> None:
    from callbacks.wandb_log import WandbLog

    log = WandbLog(str(tmp_path), run_id="abc123")
    log.finalize("failed")
    log.close()
    assert log.version == "abc123"
    assert not list(tmp_path.iterdir())
