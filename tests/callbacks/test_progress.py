import io
import re
from pathlib import Path

import lightning as L
import pytest
import rich
from lightning.pytorch.callbacks import RichProgressBar

from callbacks.evaluator import Evaluator
from callbacks.metrics.coco_ap import CocoAP
from callbacks.progress import Progress
from tests.callbacks.toy import INFO, ToyData, toy_module, trainer


def fit(folder: Path, progress: Progress, epochs: int = 2) -> None:
    evaluator = Evaluator({"coco": CocoAP(INFO.class_names)}, str(folder))
    run = trainer(folder, progress, evaluator, max_epochs=epochs, enable_progress_bar=True)
    run.fit(toy_module(), ToyData())


def test_where_there_is_no_terminal_each_epoch_is_one_plain_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fit(tmp_path, Progress())
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    pattern = r"epoch {}/1  loss [\d.e-]+  box [\d.e-]+  score [\d.e-]+  mAP [\d.e-]+  [\d.]+ s"
    for epoch, line in enumerate(lines):
        assert re.fullmatch(pattern.format(epoch), line)


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """rich believes that it writes to a terminal, and we read what it wrote."""
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    monkeypatch.setenv("TTY_INTERACTIVE", "1")
    monkeypatch.setenv("COLUMNS", "160")
    monkeypatch.setattr(rich, "_console", None)
    return io.StringIO()


def test_in_a_terminal_the_bar_shows_losses_and_map_under_short_names(
    tmp_path: Path, terminal: io.StringIO
) -> None:
    progress = Progress(every_n_batches=1)
    progress._console_kwargs = {"file": terminal, "force_terminal": True, "width": 160}
    fit(tmp_path, progress, epochs=3)
    shown = terminal.getvalue()
    assert "Epoch 2/2" in shown
    assert re.search(r"loss: \d\.\d+ box: \d\.\d+ score: \d\.\d+ mAP: \d\.\d+", shown)
    assert "v_num" not in shown
    assert "train/" not in shown


def test_losses_are_read_only_every_so_many_batches(
    tmp_path: Path, terminal: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    moved: list[int] = []

    def spy(self: RichProgressBar, *args: object) -> None:
        moved.append(int(str(args[-1])))

    monkeypatch.setattr(RichProgressBar, "on_train_batch_end", spy)
    progress = Progress(every_n_batches=3)
    progress._console_kwargs = {"file": terminal, "force_terminal": True}
    run = trainer(tmp_path, progress, max_epochs=1, enable_progress_bar=True)
    run.fit(toy_module(), ToyData(count=16, batch_size=2))
    assert moved == [2, 5, 7]


def test_other_ranks_say_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    progress, module = Progress(), toy_module()

    class OtherRank(L.Trainer):
        is_global_zero = property(lambda self: False)  # type: ignore[assignment]

    run = OtherRank(accelerator="cpu", logger=False, enable_checkpointing=False, barebones=False)
    progress.setup(run, module, "fit")
    progress.on_train_epoch_end(run, module)
    assert capsys.readouterr().out == ""
