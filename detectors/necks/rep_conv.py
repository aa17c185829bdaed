"""RepConv: branches in training, one convolution afterwards."""

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torchvision.ops import Conv2dNormActivation

from detectors.backbones.conv_block import conv_block


class RepConv(nn.Module):
    """SiLU of a 3x3 and a 1x1 convolution, each with batch norm, summed.

    Paper: RepVGG (Ding et al. 2021), section 3.2; without its identity branch: Wang et al. 2022,
    section 4.1. (The reference has one where channels stay, which is nowhere in YOLOv7.)
    """

    def __init__(self, channels_in: int, channels: int) -> None:
        super().__init__()
        self.dense = conv_block(channels_in, channels, 3, activation=None)
        self.point = conv_block(channels_in, channels, 1, activation=None)

    def forward(self, x: Float[Tensor, "b _ h w"]) -> Float[Tensor, "b _ h w"]:
        """A map of the same size."""
        return F.silu(self.dense(x) + self.point(x), inplace=True)

    def fused(self) -> nn.Module:
        """One 3x3 convolution with bias that gives the same, in eval mode; shares no weights."""
        dense, point = _fused(self.dense), _fused(self.point)
        dense.weight.data += F.pad(point.weight.data, (1, 1, 1, 1))
        assert dense.bias is not None
        assert point.bias is not None
        dense.bias.data += point.bias.data
        return nn.Sequential(dense, nn.SiLU(inplace=True))


def _fused(block: Conv2dNormActivation) -> nn.Conv2d:
    convolution, norm = block[0], block[1]
    assert isinstance(convolution, nn.Conv2d)
    assert isinstance(norm, nn.BatchNorm2d)
    return fuse_conv_bn_eval(convolution.eval(), norm.eval())
