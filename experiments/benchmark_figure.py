"""One figure of `lineup benchmark`, and what its parts share."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

ROUNDS = 5
"""Pairs of measurements, of which the median counts."""


@dataclass
class Figure:
    """One measured value against its bound (the value should not be above, or not below it)."""

    what: str
    value: float
    bound: float
    at_most: bool
    setting: str

    @property
    def holds(self) -> bool:
        """Whether the bound is kept."""
        return self.value <= self.bound if self.at_most else self.value >= self.bound


def timed(work: Callable[[], object], clock: Callable[[], float] = time.perf_counter) -> float:
    """The seconds that `work` takes, by the wall or by another clock."""
    start = clock()
    work()
    return clock() - start


def fresh_module(overrides: tuple[str, ...]) -> Any:
    """The LitDetector of a configuration, always with the same weights."""
    import torch

    from experiments import build

    torch.manual_seed(0)
    return build.instantiate(build.compose(overrides).detector)


def bare_step(overrides: tuple[str, ...]) -> Callable[[Any], None]:
    """Forward, loss, backward and optimiser step of a fresh module on a batch, nothing else."""
    trained = fresh_module(overrides)
    optimizer = trained.optimizer(trained.net.parameters())

    def step(batch: Any) -> None:
        total = trained.total(trained.net.loss(trained.net(batch.images), batch.targets))
        optimizer.zero_grad()
        total.backward()
        optimizer.step()

    return step
