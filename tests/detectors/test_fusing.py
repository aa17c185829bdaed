import torch
from torch import nn
from torchvision.models import resnet18
from torchvision.ops import Conv2dNormActivation

from detectors.fusing import fuse
from detectors.necks.rep_conv import RepConv


def trained(net: nn.Module, *shape: int) -> tuple[nn.Module, torch.Tensor]:
    """With statistics and factors that are not those of the start."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(*shape, generator=generator)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias)
    with torch.no_grad():
        for _ in range(3):
            net.train()(x)
    return net, x


def test_a_norm_goes_into_the_convolution_before_it():
    net, x = trained(nn.Sequential(Conv2dNormActivation(3, 8, 3), nn.Conv2d(8, 4, 1)), 2, 3, 9, 7)
    fused = fuse(net)
    with torch.no_grad():
        torch.testing.assert_close(fused(x), net.eval()(x), atol=1e-5, rtol=1e-5)
    assert not any(isinstance(m, nn.BatchNorm2d) for m in fused.modules())


def test_the_branches_of_a_repconv_become_one_convolution():
    net, x = trained(nn.Sequential(RepConv(6, 10)), 2, 6, 9, 7)
    fused = fuse(net)
    with torch.no_grad():
        torch.testing.assert_close(fused(x), net.eval()(x), atol=1e-5, rtol=1e-5)
    assert [m.kernel_size for m in fused.modules() if isinstance(m, nn.Conv2d)] == [(3, 3)]


def test_the_original_is_left_as_it_is():
    net, x = trained(nn.Sequential(Conv2dNormActivation(3, 8, 3), RepConv(8, 8)), 2, 3, 9, 7)
    before = {k: v.clone() for k, v in net.state_dict().items()}
    fuse(net)(x)
    assert net.training
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())


def test_a_norm_that_is_only_listed_behind_a_convolution_stays():
    """torchvision's ResNet wires its layers in `forward`: their order in the class says nothing."""
    net, x = trained(resnet18(), 2, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(fuse(net)(x), net.eval()(x), atol=1e-4, rtol=1e-4)
