"""A run's folder is a function of what changes its result; its lock holds."""

import subprocess
import sys
from pathlib import Path

import pytest

from detectors.errors import RunError
from experiments import build, runs


def run_dir(*overrides: str) -> str:
    return Path(build.compose(list(overrides)).paths.run_dir).name


@pytest.mark.parametrize(
    "override",
    [
        "datamodule.num_workers=0",
        "logger=[csv]",
        "paths.runs=elsewhere",
        "fresh=true",
        "callbacks.progress=null",
        "callbacks.drawing=null",
        "callbacks.loss_curves.every_n_epochs=1",
    ],
)
def test_what_does_not_change_the_result_does_not_change_the_folder(override: str):
    assert run_dir(override) == run_dir()


@pytest.mark.parametrize(
    "override",
    [
        "seed=1",
        "protocol.epochs=3",
        "detector.optimizer.lr=1e-5",
        "detector.loss_weights.class=2",
        "trainer.devices=2",
    ],
)
def test_what_changes_the_result_changes_the_folder(override: str):
    assert run_dir(override) != run_dir()


def test_the_folder_says_what_ran():
    assert run_dir("backbone=resnet152", "seed=3").startswith(
        "yolov1-resnet152-synthetic_easy-nano-s3-"
    )


def test_a_locked_run_is_refused_and_the_lock_dies_with_its_holder(tmp_path: Path):
    code = (
        "import sys, pathlib; from experiments import runs\n"
        f"with runs.locked(pathlib.Path({str(tmp_path)!r})):\n"
        "    print('held', flush=True); sys.stdin.read()"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert holder.stdout is not None
    assert holder.stdin is not None
    assert holder.stdout.readline() == b"held\n"
    with pytest.raises(RunError, match=f"pid {holder.pid}"), runs.locked(tmp_path):
        pass
    holder.kill()
    holder.wait()
    holder.stdin.close()
    holder.stdout.close()
    with runs.locked(tmp_path):
        pass


def test_a_damaged_manifest_is_named(tmp_path: Path):
    (tmp_path / runs.MANIFEST).write_text("{")
    with pytest.raises(RunError, match=r"manifest\.json is damaged"):
        runs.read_manifest(tmp_path)


def test_the_data_signature_sees_a_changed_file_and_not_the_folders_name(tmp_path: Path):
    folder = tmp_path / "a"
    folder.mkdir()
    (folder / "x.txt").write_text("1")
    before = runs.data_signature(str(folder))
    assert runs.data_signature(str(folder.rename(tmp_path / "b"))) == before
    (tmp_path / "b/x.txt").write_text("12")
    assert runs.data_signature(str(tmp_path / "b")) != before


def test_no_root_has_no_signature():
    assert runs.data_signature(None) is None


def test_runs_of_one_recipe_differ_in_their_seed_alone():
    recipes = [
        runs.recipe(build.compose(overrides))
        for overrides in (["seed=1"], ["seed=2"], ["seed=1", "detector.optimizer.lr=0.5"])
    ]
    assert recipes[0] == recipes[1] != recipes[2]


def test_stacked_ablations_are_among_the_choices_and_their_keys_are_checked():
    config = build.compose(["ablation=[confidence_one,image_units]"])
    assert config.choices.ablation == ["confidence_one", "image_units"]
