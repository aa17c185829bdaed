"""The pure parts of `lineup benchmark`, by a clock of our own; nothing here is timed."""

from pathlib import Path

import pytest
import torch

import conf
from detectors.structures import Batch
from experiments import api, benchmark, benchmark_trained
from experiments.benchmark_clock import paired, shares
from experiments.benchmark_families import detectors
from experiments.benchmark_figure import Figure
from experiments.benchmark_torchvision import OVERRIDES, library_model, library_scenes
from tests.detectors.samples import target


class Clock:
    """Shows what it was told."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def work(self, seconds: float) -> None:
        self.now += seconds


class Kitchen:
    """Cooks as long as it is told, and then washes up for three seconds."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock

    def dinner(self, seconds: float) -> str:
        self.clock.work(3.0)
        return self.cook(seconds / 2) + self.cook(seconds / 2)

    def cook(self, seconds: float) -> str:
        if seconds < 0:
            raise ValueError(seconds)
        self.clock.work(seconds)
        return "rice"


def test_the_share_of_a_method_is_that_of_all_its_calls():
    clock = Clock()
    kitchen = Kitchen(clock)
    measured = shares(kitchen.dinner, [(Kitchen, "cook")], [1.0, 9.0], clock)
    assert measured == [(0.25, 4.0), (0.75, 12.0)]


def test_methods_are_their_own_again_after_they_were_watched_and_after_an_error():
    kitchen, cook = Kitchen(Clock()), Kitchen.cook
    shares(kitchen.dinner, [(Kitchen, "cook")], [1.0], kitchen.clock)
    assert Kitchen.cook is cook
    with pytest.raises(ValueError):
        shares(kitchen.dinner, [(Kitchen, "cook")], [-1.0], kitchen.clock)
    assert Kitchen.cook is cook


def test_two_works_take_turns_also_in_who_begins():
    clock, order = Clock(), []

    def work(name: str, factor: float):
        return lambda item: (order.append(name + item), clock.work(factor * len(item)))

    pairs = paired(work("ours ", 1.0), work("theirs ", 2.0), ["a", "bb", "c"], clock)
    assert pairs == [(1.0, 2.0), (2.0, 4.0), (1.0, 2.0)]
    assert order == ["ours a", "theirs a", "theirs bb", "ours bb", "ours c", "theirs c"]


@pytest.mark.parametrize(
    ("value", "bound", "at_most", "holds"),
    [
        (1.0, 1.0, True, True),
        (1.1, 1.0, True, False),
        (1.1, 1.0, False, True),
        (0.9, 1.0, False, False),
        (7.0, None, True, None),
    ],
)
def test_a_figure_holds_breaks_or_has_no_bound(value, bound, at_most, holds):
    assert Figure("what", value, bound, at_most, "setting").holds is holds


def test_the_table_gives_no_verdict_where_there_is_no_bound(capsys):
    benchmark.show(
        [
            Figure("kept", 0.1, 0.5, True, "a"),
            Figure("broken", 0.6, 0.5, True, "b"),
            Figure("seen", 0.7, None, True, "c"),
        ]
    )
    kept, broken, seen = [line for line in capsys.readouterr().out.splitlines() if "0." in line]
    assert "<= 0.5" in kept
    assert "ok" in kept
    assert "MISSED" in broken
    assert not {"<=", ">=", "ok", "MISSED", "None"} & set(seen.split())


def test_every_detector_of_the_configuration_has_a_row():
    files = Path(next(iter(conf.__path__))).glob("detector/*.yaml")
    assert detectors() == sorted(file.stem for file in files)


@pytest.mark.parametrize("name", detectors())
def test_the_shares_of_any_family_are_between_nothing_and_all(name, monkeypatch):
    monkeypatch.setattr(benchmark_trained, "STEPS", 1)
    monkeypatch.setattr(benchmark_trained, "ROUNDS", 1)
    trained = benchmark_trained.Trained((f"detector={name}", "scale=nano"), 96, 2)
    before = [p.clone() for p in trained.module.net.parameters()]
    loss, decode = trained.loss_share(96, 2), trained.decode_share(96, 1, 0.5)
    assert 0 < loss.value < 1
    assert 0 < decode.value < 1
    assert (loss.bound, decode.bound) == (None, 0.5)
    assert loss.what.startswith(name)
    assert "96 px, batch 1" in decode.setting
    assert trained.module.training
    after = trained.module.net.parameters()
    assert not all(map(torch.equal, before, after))  # a measured step is a step


@pytest.mark.slow
def test_torchvisions_model_has_our_weights_and_detects_the_same():
    torch.manual_seed(0)
    own = api.build_detector(*OVERRIDES, "datamodule=synthetic_varied").eval()
    theirs = library_model(own).eval()
    pixels = torch.randint(0, 256, (1, 3, 128, 160), dtype=torch.uint8)
    object_ = target([[10, 20, 60, 90]], labels=[5], image_hw=(128, 160))
    images, targets = library_scenes(Batch(pixels, [object_]))
    with torch.no_grad():
        (found,) = own.decode(own(pixels), [object_.frame])
        (wanted,) = theirs(images)
    assert len(found) == len(wanted["boxes"]) > 5
    assert (found.boxes - wanted["boxes"]).abs().max() < 0.01
    assert (found.scores - wanted["scores"]).abs().max() < 1e-5
    assert torch.equal(found.labels + 1, wanted["labels"])
    assert targets[0]["labels"].tolist() == [6]
    assert torch.equal(targets[0]["boxes"], object_.boxes)
