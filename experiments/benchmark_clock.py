"""Two ways to measure a ratio in one process: two works in turns, and parts of one work."""

import functools
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any
from unittest import mock

from experiments.benchmark_figure import timed

Methods = Sequence[tuple[type, str]]
"""Methods by class and name."""
Work = Callable[[Any], object]
Clock = Callable[[], float]


def paired(
    first: Work, second: Work, items: Iterable[Any], clock: Clock = time.perf_counter
) -> list[tuple[float, float]]:
    """The seconds of both works for each item; they take turns, also in who begins."""
    pairs = []
    for number, item in enumerate(items):
        order = (0, 1) if number % 2 == 0 else (1, 0)
        seconds = {side: timed(partial((first, second)[side], item), clock) for side in order}
        pairs.append((seconds[0], seconds[1]))
    return pairs


def shares(
    work: Work, methods: Methods, items: Iterable[Any], clock: Clock = time.perf_counter
) -> list[tuple[float, float]]:
    """For each item the share of the work that `methods` take, and the seconds of all of it.

    Methods that call each other would be counted twice.
    """
    measured = []
    with _watching(methods, clock) as watched:
        for item in items:
            watched.clear()
            total = timed(partial(work, item), clock)
            measured.append((sum(watched) / total, total))
    return measured


@contextmanager
def _watching(methods: Methods, clock: Clock) -> Iterator[list[float]]:
    """Within the block, the list receives the seconds of each call, on whichever object."""
    seconds: list[float] = []

    def timing(method: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(method)
        def call(*arguments: Any, **named: Any) -> Any:
            start = clock()
            try:
                return method(*arguments, **named)
            finally:
                seconds.append(clock() - start)

        return call

    with ExitStack() as stack:
        for owner, name in methods:
            stack.enter_context(mock.patch.object(owner, name, timing(getattr(owner, name))))
        yield seconds
