"""What the Evaluator asks of a metric. No Lightning here: metrics are scored from files as well."""

from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import UInt8

from detectors.structures import Detections, Target


@runtime_checkable
class Metric(Protocol):
    """Accumulates images, then yields named numbers. All boxes are in ORIGINAL pixels."""

    def update(self, detections: list[Detections], targets: list[Target]) -> None:
        """Takes the detections and the ground truth of the same images, in the same order."""
        ...

    def compute(self) -> dict[str, float]:
        """Everything measured since `reset`; NaN where there is nothing to measure."""
        ...

    def reset(self) -> None:
        """Forgets all images."""
        ...


@runtime_checkable
class Illustrated(Metric, Protocol):
    """A metric with more to show than numbers; the Evaluator writes it beside the predictions."""

    def record(self) -> dict[str, Any]:
        """What stands behind the numbers since `reset`, as strict JSON (null, not NaN)."""
        ...

    def picture(self, record: dict[str, Any]) -> UInt8[np.ndarray, "h w 3"]:
        """The record, drawn; RGB."""
        ...
