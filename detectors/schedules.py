"""Learning-rate schedules that torch lacks; each is stepped once per epoch."""

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from detectors.errors import ConfigError


def piecewise_constant(optimizer: Optimizer, phases: Sequence[Sequence[float | int]]) -> LambdaLR:
    """Holds one learning rate after the other: `[[1e-4, 15], [1e-5, 10], [5e-6, 15]]`.

    `phases` are pairs of learning rate and number of epochs; the last rate holds on after its
    epochs. A parameter group with a rate of its own keeps its ratio to the optimiser's `lr`.
    """
    if not phases or any(len(phase) != 2 or phase[0] < 0 or phase[1] < 1 for phase in phases):
        raise ConfigError(
            f"detector.scheduler.phases={list(phases)} must be pairs of learning rate "
            "(>= 0) and epochs (>= 1), such as [[1e-4, 15], [1e-5, 10]]"
        )
    rates = [rate for rate, _ in phases]
    ends = list(accumulate(epochs for _, epochs in phases))
    base = optimizer.defaults["lr"]

    def factor(epoch: int) -> float:
        return rates[min(bisect_right(ends, epoch), len(rates) - 1)] / base

    return LambdaLR(optimizer, factor)
