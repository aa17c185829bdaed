import csv
import os
import subprocess
import sys
from pathlib import Path

import pytest
from torch.utils.data import DataLoader

from callbacks.dropped_boxes import DroppedBoxes
from detectors.structures import Batch
from tests.callbacks import toy

ROOT = Path(__file__).parents[2]


class Losing(toy.ToyData):
    """Image i of a batch has lost i boxes to framing; every second batch one to the mosaic too."""

    def train_dataloader(self) -> DataLoader:
        def collate(samples: list) -> Batch:
            batch = toy._collate(samples)
            first = int(batch.targets[0].frame.image_id[4:7])
            batch.dropped = {"framing": first} | ({"mosaic": 1} if first % 4 else {})
            return batch

        return DataLoader(self.samples, self.batch_size, collate_fn=collate)


def dropped(folder: Path) -> list[dict[str, str]]:
    with (folder / "metrics.csv").open(newline="") as file:
        rows = [
            {k: v for k, v in row.items() if "dropped" in k and v} for row in csv.DictReader(file)
        ]
    return [row for row in rows if row]


def test_each_epoch_logs_its_own_sum_for_each_step(tmp_path: Path) -> None:
    run = toy.trainer(tmp_path, DroppedBoxes(), max_epochs=2)
    run.fit(toy.toy_module(), Losing(count=8, batch_size=2))  # batches start at 0, 2, 4, 6
    expected = {"data/dropped/framing": "12.0", "data/dropped/mosaic": "2.0"}
    assert dropped(tmp_path) == [expected] * 2


def test_data_that_counts_nothing_logs_nothing(tmp_path: Path) -> None:
    run = toy.trainer(tmp_path, DroppedBoxes(), max_epochs=1)
    run.fit(toy.toy_module(), toy.ToyData())
    assert not [key for key in run.logged_metrics if "dropped" in key]


def test_an_epoch_broken_off_leaves_nothing_behind(tmp_path: Path) -> None:
    callback = DroppedBoxes()
    run = toy.trainer(tmp_path, callback, max_epochs=1)
    callback.on_train_batch_end(run, toy.toy_module(), None, _batch({"framing": 99}), 0)
    run.fit(toy.toy_module(), Losing(count=8, batch_size=2))
    assert dropped(tmp_path)[0]["data/dropped/framing"] == "12.0"


def _batch(counts: dict[str, int]) -> Batch:
    batch = next(iter(toy.ToyData().train_dataloader()))
    batch.dropped = counts
    return batch


SCRIPT = """
import sys
from pathlib import Path
from callbacks.dropped_boxes import DroppedBoxes
from detectors.structures import Batch
from tests.callbacks import toy
from torch.utils.data import DataLoader

class Data(toy.ToyData):
    def train_dataloader(self):
        rank = self.trainer.global_rank
        def collate(samples):
            batch = toy._collate(samples)
            batch.dropped = {"framing": 1 + rank} | ({"mosaic": 5} if rank else {})
            return batch
        return DataLoader(self.samples, self.batch_size, collate_fn=collate)

run = toy.trainer(Path(sys.argv[1]), DroppedBoxes(), devices=2, strategy="ddp", max_epochs=1)
run.fit(toy.toy_module(), Data(count=8, batch_size=4))
"""


@pytest.mark.slow
def test_two_processes_log_the_sum_over_both_also_of_a_step_only_one_has_seen(tmp_path: Path):
    (tmp_path / "script.py").write_text(SCRIPT)
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST")}
    subprocess.run(
        [sys.executable, str(tmp_path / "script.py"), str(tmp_path)],
        cwd=ROOT,
        env=environment | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        check=True,
        timeout=240,
        capture_output=True,
    )
    assert dropped(tmp_path) == [{"data/dropped/framing": "6.0", "data/dropped/mosaic": "10.0"}]
