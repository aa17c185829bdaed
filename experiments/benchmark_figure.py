"""One figure of `lineup benchmark`, and what its parts share."""

import itertools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

ROUNDS = 5
"""Pairs of measurements, of which the median counts."""


@dataclass
class Figure:
    """One measured value against its bound (the value should not be above, or not below it).

    Without a bound (`None`) it is there to be looked at.
    """

    what: str
    value: float
    bound: float | None
    at_most: bool
    setting: str

    @property
    def holds(self) -> bool | None:
        """Whether the bound is kept; `None` where there is none."""
        if self.bound is None:
            return None
        return self.value <= self.bound if self.at_most else self.value >= self.bound


def timed(work: Callable[[], object], clock: Callable[[], float] = time.perf_counter) -> float:
    """The seconds that `work` takes, by the wall or by another clock."""
    start = clock()
    work()
    return clock() - start


def batches(count: int, overrides: Sequence[str]) -> list[Any]:
    """As many training batches of a configuration, made beforehand in this process."""
    from experiments import api

    datamodule = api.build_datamodule(*overrides, "datamodule.num_workers=0")
    datamodule.setup("fit")
    return list(itertools.islice(itertools.cycle(datamodule.train_dataloader()), count))


def fresh_module(overrides: tuple[str, ...]) -> Any:
    """The LitDetector of a configuration, always with the same weights."""
    import torch

    from experiments import build

    torch.manual_seed(0)
    return build.instantiate(build.compose(overrides).detector)


def bare_step(overrides: tuple[str, ...]) -> Callable[[Any], None]:
    """The `step_of` a fresh module."""
    return step_of(fresh_module(overrides))


def step_of(module: Any) -> Callable[[Any], None]:
    """Forward, loss, backward and optimiser step of a LitDetector on a batch, nothing else."""
    optimizer = module.optimizer(module.net.parameters())

    def step(batch: Any) -> None:
        total = module.total(module.net.loss(module.net(batch.images), batch.targets))
        optimizer.zero_grad()
        total.backward()
        optimizer.step()

    return step
