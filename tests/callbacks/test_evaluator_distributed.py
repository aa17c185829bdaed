import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = """
import json, sys, warnings
from pathlib import Path
from callbacks.csv_log import CsvLog
from callbacks.evaluator import Evaluator
from callbacks.metrics.coco_ap import CocoAP
from tests.callbacks.test_evaluator import Oracle
from tests.callbacks.toy import INFO, ToyData, toy_module, trainer

folder, devices, count, batch_size, empty = sys.argv[1:]
data = ToyData(int(count), int(batch_size), empty=json.loads(empty))
evaluator = Evaluator({"coco": CocoAP(INFO.class_names)}, folder)
strategy = "ddp" if int(devices) > 1 else "auto"
run = trainer(Path(folder), evaluator, devices=int(devices), strategy=strategy, max_epochs=1)
run.validate(toy_module(Oracle(data, offset=1.5)), data, verbose=False)
own = Path(folder) / f"rank{run.global_rank}.json"
own.write_text(json.dumps([evaluator.results["val"], float(run.callback_metrics["val/map"])]))
"""


def run(folder: Path, devices: int, count: int, batch_size: int, empty: list[int]) -> None:
    folder.mkdir()
    (folder / "script.py").write_text(SCRIPT)
    command = [
        str(folder / "script.py"),
        str(folder),
        devices,
        count,
        batch_size,
        json.dumps(empty),
    ]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST")}
    subprocess.run(
        [sys.executable, *map(str, command)],
        cwd=ROOT,
        env=environment | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        check=True,
        timeout=240,
        capture_output=True,
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("count", "batch_size", "empty"),
    [
        pytest.param(7, 2, [], id="an odd number of images, so that one is repeated"),
        pytest.param(8, 2, [1, 3, 5, 7], id="one rank never sees an object"),
        pytest.param(3, 4, [], id="fewer images than ranks times batch"),
        pytest.param(1, 4, [], id="one image for two ranks"),
    ],
)
def test_two_processes_score_as_one_and_count_each_image_once(
    tmp_path: Path, count: int, batch_size: int, empty: list[int]
) -> None:
    run(tmp_path / "one", 1, count, batch_size, empty)
    run(tmp_path / "two", 2, count, batch_size, empty)
    single = (tmp_path / "one" / "rank0.json").read_text()
    assert (tmp_path / "two" / "rank0.json").read_text() == single
    assert (tmp_path / "two" / "rank1.json").read_text() == single
    for name in ("val.json", "val_ground_truth.json"):
        one, two = (json.loads((tmp_path / side / name).read_text()) for side in ("one", "two"))
        assert one == two
    assert len(json.loads((tmp_path / "two" / "val.json").read_text())) == count - len(empty)
