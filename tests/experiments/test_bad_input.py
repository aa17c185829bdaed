"""Bad data and bad checkpoints: one line that names file, box and remedy, and nothing is harmed."""

import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from detectors.errors import CheckpointError, ConfigError, DataError, LineupError, RunError
from experiments import api, build, checkpoints
from experiments.train import train
from tests.experiments.scenes import tiny, write_voc, write_xml


def start(tmp_path: Path, root: Path, *overrides: str) -> None:
    data = [o for o in tiny(tmp_path / "runs") if ".length=" not in o]
    train(
        build.compose(
            [*data, "datamodule=voc", f"datamodule.root={root}", "protocol.epochs=1", *overrides]
        )
    )


def no_images(voc: Path) -> None:
    shutil.rmtree(voc / "JPEGImages")


def no_lists(voc: Path) -> None:
    shutil.rmtree(voc / "ImageSets")


def truncated_jpeg(voc: Path) -> None:
    image = voc / "JPEGImages/003.jpg"
    image.write_bytes(image.read_bytes()[:200])


def not_an_image(voc: Path) -> None:
    (voc / "JPEGImages/003.jpg").write_text("no pixels here")


def malformed_xml(voc: Path) -> None:
    (voc / "Annotations/003.xml").write_text("<annotation><object>")


def unknown_class(voc: Path) -> None:
    write_xml(voc, "003", "11,16,40,45", label="doge")


def box_outside(voc: Path) -> None:
    write_xml(voc, "003", "11,16,400,45")


def zero_area(voc: Path) -> None:
    write_xml(voc, "003", "11,16,10,45")


def nan_coordinate(voc: Path) -> None:
    write_xml(voc, "003", "11,nan,40,45")


def label_without_image(voc: Path) -> None:
    (voc / "JPEGImages/003.jpg").unlink()


def image_without_label(voc: Path) -> None:
    (voc / "Annotations/003.xml").unlink()


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (no_images, ["JPEGImages"]),
        (no_lists, ["ImageSets"]),
        (truncated_jpeg, ["003.jpg"]),
        (not_an_image, ["003.jpg"]),
        (malformed_xml, ["003.xml"]),
        (unknown_class, ["003.xml", "doge", "did you mean 'dog'?"]),
        (box_outside, ["003.xml", "400"]),
        (zero_area, ["003.xml"]),
        (nan_coordinate, ["003.xml", "nan"]),
        (label_without_image, ["003"]),
        (image_without_label, ["003"]),
    ],
)
def test_bad_data_is_one_line_naming_the_file_and_leaves_nothing_behind(
    harm: Callable[[Path], None], words: list[str], tmp_path: Path
):
    voc = write_voc(tmp_path / "voc")
    harm(voc)
    with pytest.raises(DataError) as caught:
        start(tmp_path, voc)
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    assert all(word in message for word in words), message
    assert not list(tmp_path.glob("runs/*/checkpoints/*"))


@pytest.mark.parametrize("workers", [0, 2])
def test_a_bad_image_found_by_a_worker_is_still_one_line(workers: int, tmp_path: Path):
    voc = write_voc(tmp_path / "voc")
    truncated_jpeg(voc)
    with pytest.raises(DataError, match=r"003\.jpg") as caught:
        start(tmp_path, voc, f"datamodule.num_workers={workers}")
    assert len(str(caught.value).splitlines()) == 1


def test_a_missing_folder_and_an_empty_one_are_told_apart_from_a_bad_file(tmp_path: Path):
    with pytest.raises(DataError, match="nowhere"):
        start(tmp_path, tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="empty"):
        start(tmp_path, tmp_path / "empty")
    assert not list((tmp_path / "runs").rglob("*"))


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The best checkpoint of a tiny run."""
    config = build.compose(tiny(tmp_path_factory.mktemp("runs"), "protocol.epochs=1"))
    train(config)
    return Path(config.paths.run_dir) / "checkpoints/best.ckpt"


def changed(trained: Path, tmp_path: Path, change: Callable[[dict], None]) -> Path:
    content = torch.load(trained, weights_only=True)
    change(content)
    path = tmp_path / "changed.ckpt"
    torch.save(content, path)
    return path


def test_a_truncated_checkpoint_is_named(trained: Path, tmp_path: Path):
    path = tmp_path / "short.ckpt"
    path.write_bytes(trained.read_bytes()[:5000])
    with pytest.raises(CheckpointError, match=r"short\.ckpt .* truncated"):
        api.load(path)


def test_a_checkpoint_of_another_network_is_refused_with_the_first_tensor_that_differs(
    trained: Path, tmp_path: Path
):
    config = build.compose(tiny(tmp_path, "backbone=resnet152", f"init_from={trained}"))
    with pytest.raises(
        CheckpointError, match=r"does not fit this YOLOv1: .* tensors differ, first"
    ):
        train(config)


def test_a_checkpoint_whose_config_names_a_foreign_target_runs_nothing(
    trained: Path, tmp_path: Path
):
    evil = tmp_path / "evil"

    def plant(content: dict) -> None:
        backbone = content["lineup"]["config"]["detector"]["net"]["backbone"]
        backbone.clear()
        backbone |= {"_target_": "pathlib.Path.mkdir", "self": str(evil)}

    with pytest.raises(CheckpointError, match=r"foreign target 'pathlib\.Path\.mkdir'"):
        api.load(changed(trained, tmp_path, plant))
    assert not evil.exists()


def test_a_checkpoint_of_something_else_is_refused(tmp_path: Path):
    torch.save({"state_dict": {"weight": torch.zeros(1)}}, tmp_path / "other.ckpt")
    with pytest.raises(CheckpointError, match="no checkpoint of lineup"):
        api.load(tmp_path / "other.ckpt")


def test_a_pickle_that_would_run_code_is_refused(tmp_path: Path):
    class Evil:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "ran",))

    torch.save({"state_dict": {}, "lineup": Evil()}, tmp_path / "evil.ckpt")
    with pytest.raises(CheckpointError):
        api.load(tmp_path / "evil.ckpt")
    assert not (tmp_path / "ran").exists()


def test_weights_of_another_run_can_be_the_start(trained: Path, tmp_path: Path):
    config = build.compose(
        tiny(tmp_path, f"init_from={trained}", "protocol.epochs=1", "detector.optimizer.lr=0.0")
    )
    train(config)
    start, end = (
        checkpoints.read(path)[1]["state_dict"] for path in (trained, Path(config.paths.run_dir))
    )
    trainable = [key for key in start if "running" not in key and "num_batches" not in key]
    assert all(torch.equal(start[key], end[key]) for key in trainable)


@pytest.mark.slow
def test_a_disk_that_refuses_while_saving_ends_the_run_in_one_line_and_keeps_the_earlier_checkpoint(
    tmp_path: Path,
):
    arguments = tiny(tmp_path, "protocol.epochs=50")
    last = Path(build.compose(arguments).paths.run_dir) / "checkpoints/last.ckpt"
    command = [sys.executable, "-m", "experiments.cli", "train", *arguments]
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    while not last.is_file() and process.poll() is None:
        time.sleep(0.05)
    limit = 100_000  # bytes a file may grow to from now on: enough for logs, not for a checkpoint
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (limit, limit))
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 2
    assert errors.strip().splitlines()[-1].startswith("lineup: cannot write")
    assert "Traceback" not in errors
    assert torch.load(last, weights_only=True)["epoch"] >= 0
    assert not list(last.parent.glob(".*.partial"))


def test_other_classes_are_refused_in_evaluation(trained: Path, tmp_path: Path):
    from experiments.evaluate import evaluate

    voc = write_voc(tmp_path / "voc")
    with pytest.raises(ConfigError, match="the checkpoint knows the classes"):
        evaluate(trained, ["datamodule=voc", f"datamodule.root={voc}"], "val", tmp_path / "out")


def test_every_error_of_ours_is_a_lineup_error():
    assert all(
        issubclass(e, LineupError) for e in (CheckpointError, ConfigError, DataError, RunError)
    )
