"""Two gloo processes train Faster R-CNN together while one of them has next to nothing, or a lot.

What a loss leaves out in one process, the other would wait for until the timeout.
"""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import nn

from detectors.families.faster_rcnn import FasterRCNN
from detectors.structures import Target
from experiments import api
from tests.contracts.test_two_processes import Step
from tests.detectors.samples import random_target, target

REGIMES = ("approximate_joint", "joint")
NORMAL = [target([[10, 10, 60, 60], [50, 20, 90, 70]]), target([[30, 30, 50, 80]])]


def crowded() -> list[Target]:
    generator = torch.Generator().manual_seed(0)
    return [random_target(generator, 300, 1, (96, 96)) for _ in range(2)]


SITUATIONS: dict[str, tuple[Callable[[], list[Target]], bool]] = {
    "no objects": (lambda: [target(), target()], True),
    "one-pixel boxes": (lambda: [target([[40, 40, 41, 41], [95, 95, 96, 96]])] * 2, True),
    "300 objects": (crowded, True),
    "no proposals": (lambda: NORMAL, False),
    "neither objects nor proposals": (lambda: [target(), target()], False),
}
"""The targets of the second process, and whether its first stage proposes anything."""


def work(rank: int, regime: str, folder: str) -> None:
    torch.set_num_threads(1)
    store, patience = f"file://{folder}/store", timedelta(seconds=60)
    dist.init_process_group("gloo", store, timeout=patience, rank=rank, world_size=2)
    for name, (targets, proposes) in SITUATIONS.items():
        torch.manual_seed(0)
        net = api.build_detector("detector=faster_rcnn", f"regime={regime}")
        assert isinstance(net, FasterRCNN)
        if rank == 1 and not proposes:
            net.train_proposals = replace(net.train_proposals, min_side=1000.0)
        result = train(net, NORMAL if rank == 0 else targets(), rank)
        torch.save(result, Path(folder, f"{name} {rank}.pt"))
    dist.destroy_process_group()


def train(net: FasterRCNN, targets: list[Target], seed: int) -> dict[str, torch.Tensor]:
    """The parameters after three steps; raises when a loss is not finite."""
    torch.manual_seed(seed)
    images = torch.randint(256, (2, 3, 96, 96), dtype=torch.uint8)
    together = nn.parallel.DistributedDataParallel(Step(net))
    optimizer = torch.optim.SGD(net.parameters(), lr=1e-3)
    for _ in range(3):
        loss = together(images, targets)
        assert loss.isfinite()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return {key: parameter.detach() for key, parameter in net.named_parameters()}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Per regime, the folder of what both processes ended with; each pair is started once."""
    made = {regime: tmp_path_factory.mktemp(regime) for regime in REGIMES}
    for regime, folder in made.items():
        mp.spawn(work, (regime, str(folder)), nprocs=2)
    return made


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("regime", REGIMES)
@pytest.mark.parametrize("name", SITUATIONS)
def test_it_steps_with_the_other_and_both_end_with_the_same_finite_weights(name, regime, folders):
    ends = [torch.load(folders[regime] / f"{name} {r}.pt", weights_only=True) for r in (0, 1)]
    torch.manual_seed(0)
    start = api.build_detector("detector=faster_rcnn", f"regime={regime}").state_dict()
    assert ends[0].keys() == ends[1].keys()
    for key, parameter in ends[0].items():
        assert torch.equal(parameter, ends[1][key]), key
        assert parameter.isfinite().all(), key
        assert not torch.equal(parameter, start[key]), f"{key} has not learned"
