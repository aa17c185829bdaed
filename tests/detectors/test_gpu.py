"""What only a CUDA device can show."""

import pytest
import torch

from experiments import api
from tests.detectors.samples import target

ONE_STAGE = ("yolov1", "retinaface_3pt")

pytestmark = [pytest.mark.gpu, pytest.mark.parametrize("name", ONE_STAGE)]


@pytest.fixture(autouse=True)
def _cuda():
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")


def test_a_training_step_never_waits_for_the_device(name):
    net = api.build_detector(f"detector={name}").cuda()
    images = torch.zeros(2, 3, 96, 96, dtype=torch.uint8, device="cuda")
    targets = [target([[10, 10, 60, 60]], image_hw=(96, 96)), target(image_hw=(96, 96))]
    moved = [t.to("cuda") for t in targets]
    torch.stack([*net.loss(net(images), moved).terms.values()]).sum().backward()  # warm-up
    torch.cuda.set_sync_debug_mode("error")
    try:
        torch.stack([*net.loss(net(images), moved).terms.values()]).sum().backward()
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_cpu_and_gpu_agree_on_the_loss(name):
    net = api.build_detector(f"detector={name}").eval()
    images = torch.randint(0, 256, (2, 3, 96, 96), dtype=torch.uint8)
    targets = [target([[10, 10, 60, 60]], image_hw=(96, 96)), target(image_hw=(96, 96))]
    on_cpu = net.loss(net(images), targets).terms
    net = net.cuda()
    on_gpu = net.loss(net(images.cuda()), [t.to("cuda") for t in targets]).terms
    for name, term in on_cpu.items():
        torch.testing.assert_close(on_gpu[name].cpu(), term, rtol=1e-3, atol=1e-3)
