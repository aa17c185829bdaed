"""What a detector costs, measured."""

import statistics
import time
from collections.abc import Callable

import torch

from detectors.detector import Detector
from detectors.structures import Frame


@torch.no_grad()
def seconds_per_image(net: Detector, input_hw: tuple[int, int], repeats: int = 20) -> float:
    """Median seconds of forward and decode for one image at a time, on the device of the weights.

    The images are noise, so that no family gains by an easy picture; three runs warm up.
    """
    device = next(net.parameters()).device
    images = torch.randint(0, 256, (repeats + 3, 1, 3, *input_hw), dtype=torch.uint8, device=device)
    frames = [Frame("noise", input_hw, torch.eye(2, 3, device=device))]
    was_training = net.training
    net.eval()
    seconds = [
        _timed(lambda image=image: net.decode(net(image), frames), device) for image in images
    ]
    net.train(was_training)
    return statistics.median(seconds[3:])


def _timed(work: Callable[[], object], device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    start = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - start
