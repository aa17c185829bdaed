import json
import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from callbacks.checkpoint_io import AtomicCheckpointIO, read_checkpoint
from callbacks.files import replacing, replacing_path, write_json_atomically, write_text_atomically
from detectors.errors import CheckpointError, RunError


@contextmanager
def no_room_beyond(size: int) -> Iterator[None]:
    """The kernel itself refuses to let a file grow, as it does when a disk is full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


def test_a_file_is_created_with_its_folders(tmp_path: Path) -> None:
    write_text_atomically(tmp_path / "a" / "b.txt", "grün")
    assert (tmp_path / "a" / "b.txt").read_text(encoding="utf-8") == "grün"


def test_an_interrupted_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    write_text_atomically(tmp_path / "x", "old")

    def interrupted() -> None:
        with replacing(tmp_path / "x") as file:
            file.write(b"new")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("x", "old")]


def test_a_full_disk_is_one_line_and_leaves_the_old_file(tmp_path: Path) -> None:
    write_text_atomically(tmp_path / "x.json", "old")
    with no_room_beyond(1000), pytest.raises(RunError) as caught:
        write_json_atomically(tmp_path / "x.json", list(range(10_000)))
    message = str(caught.value)
    assert str(tmp_path / "x.json") in message
    assert "bytes free" in message
    assert "paths.runs" in message
    assert "\n" not in message
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("x.json", "old")]


def test_a_folder_that_is_a_file_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(RunError, match="cannot write"):
        write_text_atomically(tmp_path / "file" / "x", "text")


def test_a_library_that_opens_files_itself_gets_a_path_with_the_suffix(tmp_path: Path) -> None:
    write_text_atomically(tmp_path / "x.mp4", "old")
    with replacing_path(tmp_path / "x.mp4") as partial:
        assert partial.suffix == ".mp4"
        partial.write_text("new")
        assert (tmp_path / "x.mp4").read_text() == "old"
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("x.mp4", "new")]


def test_a_library_that_fails_or_writes_nothing_leaves_the_old_file(tmp_path: Path) -> None:
    write_text_atomically(tmp_path / "x.mp4", "old")

    def failing() -> None:
        with replacing_path(tmp_path / "x.mp4") as partial:
            partial.write_text("half")
            raise ValueError("no more")

    with pytest.raises(ValueError, match="no more"):
        failing()
    with (
        pytest.raises(RunError, match=r"cannot write .*x\.mp4"),
        replacing_path(tmp_path / "x.mp4"),
    ):
        pass
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("x.mp4", "old")]


def test_json_is_strict(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON"):
        write_json_atomically(tmp_path / "x.json", {"map": float("nan")})
    assert not list(tmp_path.iterdir())
    write_json_atomically(tmp_path / "x.json", {"map": None})
    assert json.loads((tmp_path / "x.json").read_text()) == {"map": None}


def checkpoint(value: float, numel: int = 4) -> dict:
    return {"state_dict": {"w": torch.full((numel,), value)}, "epoch": 3, "names": ["a"]}


def test_a_checkpoint_comes_back_as_it_was(tmp_path: Path) -> None:
    AtomicCheckpointIO().save_checkpoint(checkpoint(1.5), tmp_path / "deep" / "x.ckpt")
    loaded = AtomicCheckpointIO().load_checkpoint(tmp_path / "deep" / "x.ckpt")
    assert torch.equal(loaded["state_dict"]["w"], torch.full((4,), 1.5))
    assert (loaded["epoch"], loaded["names"]) == (3, ["a"])
    AtomicCheckpointIO().remove_checkpoint(tmp_path / "deep" / "x.ckpt")
    assert not list((tmp_path / "deep").iterdir())


@pytest.mark.parametrize("numel", [300_000, 3_000_000])
def test_a_full_disk_while_saving_leaves_the_earlier_checkpoint(tmp_path: Path, numel: int) -> None:
    path = tmp_path / "last.ckpt"
    AtomicCheckpointIO().save_checkpoint(checkpoint(1.0), path)
    with no_room_beyond(200_000), pytest.raises(RunError) as caught:
        AtomicCheckpointIO().save_checkpoint(checkpoint(2.0, numel), path)
    assert str(path) in str(caught.value)
    assert "bytes free" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert [p.name for p in tmp_path.iterdir()] == ["last.ckpt"]
    assert read_checkpoint(path)["state_dict"]["w"][0] == 1.0


@pytest.mark.parametrize("kept", [0, 10, 500, -20])
def test_a_truncated_checkpoint_is_one_line(tmp_path: Path, kept: int) -> None:
    path = tmp_path / "x.ckpt"
    AtomicCheckpointIO().save_checkpoint(checkpoint(1.0), path)
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(CheckpointError, match=r"x\.ckpt \([\d,]+ bytes\) is truncated") as caught:
        read_checkpoint(path)
    assert "\n" not in str(caught.value)


def test_garbage_is_no_checkpoint(tmp_path: Path) -> None:
    (tmp_path / "x.ckpt").write_bytes(b"\x80garbage" * 100)
    with pytest.raises(CheckpointError, match="truncated or no checkpoint"):
        read_checkpoint(tmp_path / "x.ckpt")


def test_a_damaged_byte_in_the_middle_is_found(tmp_path: Path) -> None:
    path = tmp_path / "x.ckpt"
    AtomicCheckpointIO().save_checkpoint(checkpoint(1.0, 10_000), path)
    content = bytearray(path.read_bytes())
    content[: len(content) // 2] = bytes(len(content) // 2)
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"x\.ckpt"):
        read_checkpoint(path)


class Bomb:
    def __reduce__(self) -> tuple:
        return print, ("this must never run",)


def test_a_checkpoint_that_could_run_code_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.save({"state_dict": {}, "bomb": Bomb()}, tmp_path / "x.ckpt")
    with pytest.raises(CheckpointError, match="could run code"):
        AtomicCheckpointIO().load_checkpoint(tmp_path / "x.ckpt", weights_only=False)
    assert capsys.readouterr().out == ""


def test_a_file_of_bare_weights_is_no_checkpoint(tmp_path: Path) -> None:
    torch.save([torch.zeros(1)], tmp_path / "x.ckpt")
    with pytest.raises(CheckpointError, match="state_dict"):
        read_checkpoint(tmp_path / "x.ckpt")


def test_a_missing_checkpoint_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"x\.ckpt does not exist"):
        read_checkpoint(tmp_path / "x.ckpt")


def test_a_folder_is_no_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="is no file"):
        read_checkpoint(tmp_path)
