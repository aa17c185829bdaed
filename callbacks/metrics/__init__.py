"""`update(detections, targets)`, `compute() -> dict[str, float]`; no Lightning here."""
