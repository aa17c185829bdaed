"""Drawing at random, beyond what numpy's generator offers."""

from collections.abc import Sequence
from typing import TypeVar

import numpy as np

from datamodules.sources.worlds.geometry import Number

Option = TypeVar("Option")


def pick(rng: np.random.Generator, options: Sequence[Option]) -> Option:
    """One of them; `rng.choice` takes ten times as long and returns numpy's types."""
    return options[int(rng.integers(len(options)))]


def log_uniform(rng: np.random.Generator, low: Number, high: Number) -> float:
    """Of sizes: as likely between 10 and 20 as between 20 and 40. `low` if `high` is less."""
    return float(np.exp(rng.uniform(np.log(low), np.log(max(low, high)))))


def direction(rng: np.random.Generator) -> float:
    """Any angle, rad."""
    return float(rng.uniform(0, 2 * np.pi))
