"""What the Evaluator asks of a metric. No Lightning here: metrics are scored from files as well."""

from typing import Protocol, runtime_checkable

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
