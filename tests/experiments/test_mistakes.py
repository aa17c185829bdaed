"""A mistake on the command line or in a YAML file: one line, the nearest name, exit code 2."""

import subprocess
import sys
from pathlib import Path

import pytest

from detectors.errors import ConfigError
from experiments import build
from experiments.mistakes import explain


def lineup(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "experiments.cli", *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, timeout=120)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (
            ["train", "protocl.epochs=3"],
            "unknown key 'protocl.epochs': did you mean 'protocol.epochs'?",
        ),
        (
            ["train", "protocol.epoch=3"],
            "unknown key 'protocol.epoch': did you mean 'protocol.epochs'?",
        ),
        (["train", "detecter=yolov1"], "unknown key 'detecter': did you mean 'detector'?"),
        (
            ["train", "detector=yolv1"],
            "unknown option 'yolv1' of 'detector': did you mean 'yolov1'?",
        ),
        (["train", "experiment=yolov1_vc"], "did you mean 'yolov1_voc'?"),
        (["train", "+protocol.foo=1"], "unknown key 'protocol.foo'"),
        (["train", "protocol.epochs"], "'protocol.epochs' cannot be read: write key=value"),
        (["trian"], "unknown verb 'trian': did you mean 'train'?"),
        (["train", "datamodule=voc", "paths.runs={tmp}"], "datamodule.root"),
        (["evaluate", "{tmp}/nothing"], "does not exist"),
        (["table", "{tmp}"], "none of the 1 folders holds a finished run"),
    ],
)
def test_a_mistake_costs_one_line_and_exit_code_2(
    arguments: list[str], expected: str, tmp_path: Path
):
    done = lineup(*[argument.replace("{tmp}", str(tmp_path)) for argument in arguments])
    assert done.returncode == 2
    assert expected in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert list(tmp_path.rglob("*.*")) == []


def test_malformed_yaml_is_named_with_its_line(tmp_path: Path):
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment/broken.yaml").write_text(
        "# @package _global_\nseed: 1\n  protocol: 2\n"
    )
    done = lineup("train", "--config-dir", str(tmp_path), "experiment=broken")
    assert done.returncode == 2
    assert f"malformed YAML in {tmp_path}/experiment/broken.yaml, line 3" in done.stderr


def test_a_mistyped_key_inside_a_yaml_file_is_refused(tmp_path: Path):
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment/typo.yaml").write_text("# @package _global_\nprotocol:\n  epoks: 3\n")
    done = lineup(
        "train", "--config-dir", str(tmp_path), "experiment=typo", f"paths.runs={tmp_path}/runs"
    )
    assert done.returncode == 2
    assert (
        done.stderr.strip()
        == "lineup: unknown key 'protocol.epoks': did you mean 'protocol.epochs'?"
    )
    assert not list((tmp_path / "runs").rglob("*"))


def test_a_key_the_target_does_not_take_is_refused_with_the_nearest_parameter():
    config = build.compose(["+detector.net.gird=7"])
    with pytest.raises(
        ConfigError, match=r"unknown key 'detector.net.gird' of .*YOLOv1: did you mean 'grid'\?"
    ):
        build.instantiate(config.detector)


@pytest.mark.parametrize(
    "target", ["os.system", "subprocess.run", "builtins.eval", "hydra.utils.call"]
)
def test_a_foreign_target_is_never_called(target: str, tmp_path: Path):
    config = build.compose()
    config.detector.net.backbone._target_ = target
    with pytest.raises(ConfigError, match="foreign target"):
        build.instantiate(config.detector)


def test_a_bug_of_ours_keeps_its_traceback():
    assert explain(ZeroDivisionError("division by zero")) is None


def test_a_new_key_of_a_map_is_answered_with_how_to_add_it():
    with pytest.raises(Exception, match="Could not override") as caught:
        build.compose(["datamodule=mask", "datamodule.class_map={kitten: cat}"])
    line = explain(caught.value)
    assert line is not None
    assert "add it with +datamodule.class_map.kitten=" in line
    config = build.compose(["datamodule=mask", "+datamodule.class_map.kitten=cat"])
    assert config.datamodule.class_map == {"kitten": "cat"}


def test_every_verb_of_the_help_has_a_module():
    from experiments.cli import VERBS

    folder = Path(build.__file__).parent
    assert all((folder / f"{verb.replace('-', '_')}.py").is_file() for verb in VERBS)
