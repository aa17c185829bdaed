"""`lineup data VERB`: the words it takes, the folders and overrides it opens, its exit codes."""

from pathlib import Path

import pytest

from detectors.errors import ConfigError, DataError
from experiments import data_check
from experiments.data import open_data
from tests.datamodules.inspect.sets import clean
from tests.experiments.test_mistakes import lineup


def test_an_unknown_verb_costs_one_line_with_the_nearest_one():
    done = lineup("data", "chekc")
    assert done.returncode == 2
    assert done.stderr == "lineup: unknown verb 'chekc': did you mean 'check'?\n"


def test_the_help_lists_every_verb():
    done = lineup("data", "--help")
    assert done.returncode == 0
    for verb in ("check", "stats", "preview", "convert"):
        assert f"\n  {verb} " in done.stdout


def test_no_words_are_a_mistake_of_the_user():
    with pytest.raises(SystemExit) as stopped:
        data_check.main([])
    assert stopped.value.code == 2


def test_a_folder_is_recognised(tmp_path: Path):
    opened = open_data([str(clean(tmp_path / "pets")), "protocol.input_hw=[64,64]"])
    assert opened.info.name == "pets"
    assert opened.splits == ("train", "val")
    assert opened.input_hw == (64, 64)
    assert list(opened.source("val").ids) == list("ijkl")


def test_overrides_open_what_training_would_open():
    opened = open_data(["datamodule=synthetic_easy", "datamodule.train.length=5"])
    assert opened.info.name == "synthetic_easy"
    assert len(opened.source("train")) == 5


def test_mistakes_are_tolerated_where_a_verb_asks_for_it(tmp_path: Path):
    root = clean(tmp_path / "pets")
    (root / "Annotations/a.xml").unlink()
    with pytest.raises(DataError, match="without labels"):
        open_data([str(root)]).source("train")
    assert len(open_data([str(root)], mistakes="drop_all").source("train")) == 7
    words = ["datamodule=voc", f"datamodule.root={root}", "datamodule.info.class_names=[cat,dog]"]
    with pytest.raises(DataError, match="without labels"):
        open_data(words).source("train")
    assert len(open_data(words, mistakes="drop_all").source("train")) == 7


@pytest.mark.parametrize(
    ("words", "message"),
    [(["a", "b"], "one folder at a time"), (["a", "datamodule=voc"], "datamodule.root=a")],
)
def test_words_that_name_two_sets_are_refused(words: list[str], message: str):
    with pytest.raises(ConfigError, match=message):
        open_data(words)
