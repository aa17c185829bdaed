"""Two gloo processes, one without any object, step together on every conf/detector/*.yaml.

A loss that skips a module where there is nothing to learn leaves the other rank waiting for ever.
"""

import os
import tempfile
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import nn

from experiments import api
from tests.detectors.samples import target

DETECTORS = sorted(p.stem for p in (Path(__file__).parents[2] / "conf/detector").glob("*.yaml"))


class Step(nn.Module):
    """Forward and loss as one forward, as Lightning's wrapper sees them."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, images, targets):
        losses = self.net.loss(self.net(images), targets)
        return torch.stack([*losses.terms.values()]).sum()


def work(rank: int, name: str, folder: str) -> None:
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": Path(folder, "port").read_text()}
    torch.set_num_threads(1)
    dist.init_process_group("gloo", rank=rank, world_size=2)
    torch.manual_seed(0)
    net = nn.parallel.DistributedDataParallel(Step(api.build_detector(f"detector={name}")))
    optimizer = torch.optim.SGD(net.parameters(), lr=1e-4)
    objects = [[[10.0, 10.0, 60.0, 60.0]], []][rank]
    for _ in range(2):
        images = torch.full((2, 3, 96, 96), 100 + rank, dtype=torch.uint8)
        loss = net(images, [target(objects, image_hw=(96, 96)), target(image_hw=(96, 96))])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    torch.save({k: p.detach() for k, p in net.named_parameters()}, Path(folder, f"{rank}.pt"))
    dist.destroy_process_group()


@pytest.mark.slow
@pytest.mark.timeout(240)
@pytest.mark.parametrize("name", DETECTORS)
def test_a_rank_without_objects_steps_with_the_other(name: str, unused_port: int):
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "port").write_text(str(unused_port))
        mp.spawn(work, (name, folder), nprocs=2)
        first, second = (torch.load(Path(folder, f"{r}.pt"), weights_only=True) for r in (0, 1))
    assert all(torch.equal(first[key], second[key]) for key in first)
