"""What the keypoint metrics have in common."""

from detectors.errors import ConfigError
from detectors.structures import DatasetInfo, Detections


def predict_points(detections: list[Detections], info: DatasetInfo) -> bool:
    """Whether keypoints can be scored: the dataset has some, and a detector predicted them.

    A detector with keypoints says so in every image, also without detections: (0, k, 3), not None.
    Raises `ConfigError` if it predicts another number of points than the dataset has.
    """
    known = len(info.keypoint_names)
    counts = {None if d.keypoints is None else d.keypoints.shape[1] for d in detections}
    for count in counts - {None, known} if known else ():
        raise ConfigError(
            f"the detector predicts {count} points per object and datamodule.info.keypoint_names "
            f"has {known}: train it for this data, or remove the keypoint metrics"
        )
    return known > 0 and None not in counts
