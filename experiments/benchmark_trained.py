"""A member of the line-up, trained a little, and which part of its time goes where."""

import itertools
import statistics
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from experiments.benchmark_clock import Methods, shares
from experiments.benchmark_figure import Figure, batches, fresh_module, step_of

STEPS = 48
"""Optimiser steps before anything is measured."""
ROUNDS = 8
"""Measured batches, of which the median counts."""


class Trained:
    """A detector after `STEPS` seeded steps of `batch` synthetic scenes of `size` px.

    How many boxes score, and with it the cost of decoding, depends on the weights: fresh ones would
    say nothing. No figure contains the loader.
    """

    def __init__(
        self, overrides: tuple[str, ...], size: int, batch: int, data: str = "synthetic_mice"
    ) -> None:
        self.overrides = (*overrides, f"datamodule={data}", "transform=none")
        self.module = fresh_module((*self.overrides, *_shape(size, batch)))
        self.step = step_of(self.module)
        for scenes in itertools.islice(itertools.cycle(self.scenes(size, batch)), STEPS):
            self.step(scenes)
        self.training = f"trained {STEPS} steps ({data}, {size} px, batch {batch})"

    @property
    def name(self) -> str:
        """Family, backbone and scale."""
        from experiments import build

        config = build.compose(self.overrides)
        parts = (config.choices.get(group) for group in ("detector", "backbone"))
        return f"{'-'.join(part for part in parts if part)} {config.scale}"

    def scenes(self, size: int, batch: int) -> list[Any]:
        """`ROUNDS` batches, made beforehand."""
        return batches(ROUNDS, (*self.overrides, *_shape(size, batch)))

    def infer(self, scenes: Any) -> list[Any]:
        """Forward and decode; within `inference`."""
        net = self.module.net
        return net.decode(net(scenes.images), [target.frame for target in scenes.targets])

    def boxes_per_image(self, scenes: Any) -> str:
        """How many are found on the average."""
        return f"{statistics.mean(map(len, self.infer(scenes))):.0f} boxes per image"

    def loss_share(
        self,
        size: int,
        batch: int,
        bound: float | None = None,
        *,
        what: str = "loss",
        methods: Methods = (),
    ) -> Figure:
        """`loss` (forward, with matching) / forward, loss, backward and optimiser.

        `what` names the `methods` that are counted in place of a `loss` that runs a network, too.
        """
        counted = methods or [(type(self.module.net), "loss")]
        measured = shares(self.step, counted, self.scenes(size, batch))
        return self._share(f"{what} / step", measured, bound, f"{size} px, batch {batch}")

    def decode_share(self, size: int, batch: int, bound: float | None = None) -> Figure:
        """`decode`, suppression included / forward and decode."""
        scenes = self.scenes(size, batch)
        with inference(self.module):
            measured = shares(self.infer, [(type(self.module.net), "decode")], scenes)
            found = self.boxes_per_image(scenes[0])
        shape = f"{size} px, batch {batch}, {found}"
        return self._share("decode / inference", measured, bound, shape)

    def ratio(
        self, what: str, pairs: list[tuple[float, float]], bound: float | None, shape: str
    ) -> Figure:
        """The median of the first / the second of pairs of seconds."""
        ratio = statistics.median(first / second for first, second in pairs)
        return self._figure(what, ratio, [seconds for seconds, _ in pairs], bound, shape)

    def _share(
        self, what: str, measured: list[tuple[float, float]], bound: float | None, shape: str
    ) -> Figure:
        share = statistics.median(share for share, _ in measured)
        return self._figure(what, share, [seconds for _, seconds in measured], bound, shape)

    def _figure(
        self, what: str, value: float, seconds: list[float], bound: float | None, shape: str
    ) -> Figure:
        import torch

        weights = sum(p.numel() for p in self.module.net.parameters()) / 1e6
        setting = (
            f"{weights:.2f} M parameters, {shape}, {torch.get_num_threads()} threads, "
            f"{len(seconds)} of {statistics.median(seconds) * 1e3:.0f} ms, {self.training}"
        )
        return Figure(f"{self.name}: {what}", value, bound, True, setting)


@contextmanager
def inference(module: Any) -> Iterator[None]:
    """Within the block the module is in eval mode, and nothing has a gradient."""
    import torch

    module.eval()
    with torch.no_grad():
        yield
    module.train()


def _shape(size: int, batch: int) -> tuple[str, str]:
    return f"protocol.input_hw=[{size},{size}]", f"protocol.batch_size={batch}"
