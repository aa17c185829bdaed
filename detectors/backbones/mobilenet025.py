"""MobileNet V1 at a quarter of its width, as RetinaFace's PyTorch reference has it."""

from functools import partial

from jaxtyping import Float
from torch import Tensor, nn
from torchvision.ops import Conv2dNormActivation

from detectors.backbones.backbone import Backbone
from detectors.errors import CheckpointError
from detectors.pretrained import IMAGENET, load_matching, read_weights

STAGES = (  # channels, stride of each separable convolution, up to strides 8, 16 and 32
    ((16, 1), (32, 2), (32, 1), (64, 2), (64, 1)),
    ((128, 2), *((128, 1),) * 5),
    ((256, 2), (256, 1)),
)
STEM_CHANNELS = 8

_block = partial(Conv2dNormActivation, activation_layer=partial(nn.LeakyReLU, 0.1))


class MobileNet025(Backbone):
    """Images (b, 3, h, w) -> maps of 64, 128 and 256 channels at strides 8, 16 and 32.

    `weights`: null, or the path of a state dict of this class; the reference's
    mobilenetV1X0.25_pretrain.tar (ImageNet) has the same keys.

    Paper: MobileNets (Howard et al. 2017), table 1 with alpha = 0.25.
    Differs: the reference's: leaky ReLU of slope 0.1, no pooling, no classifier.
    """

    def __init__(self, *, weights: str | None = None) -> None:
        super().__init__()
        stem = _block(3, STEM_CHANNELS, 3, 2)
        self.stage1 = nn.Sequential(stem, *_stage(STEM_CHANNELS, STAGES[0]))
        self.stage2 = nn.Sequential(*_stage(64, STAGES[1]))
        self.stage3 = nn.Sequential(*_stage(128, STAGES[2]))
        self.channels = [stage[-1][0] for stage in STAGES]
        self.strides = [8, 16, 32]
        if weights == IMAGENET:
            raise CheckpointError(
                "no library publishes ImageNet weights of MobileNet025: start from scratch with "
                "protocol.pretraining=null, or give the path of mobilenetV1X0.25_pretrain.tar"
            )
        if weights is not None:
            load_matching(self, read_weights(weights), weights)

    def forward(self, images: Float[Tensor, "b 3 h w"]) -> list[Float[Tensor, "b _ _ _"]]:
        """The maps of the three stages."""
        first = self.stage1(images)
        second = self.stage2(first)
        return [first, second, self.stage3(second)]


def _stage(channels_in: int, plan: tuple[tuple[int, int], ...]) -> list[nn.Module]:
    layers: list[nn.Module] = []
    for channels, stride in plan:
        layers.append(_separable(channels_in, channels, stride))
        channels_in = channels
    return layers


def _separable(channels_in: int, channels: int, stride: int) -> nn.Sequential:
    """3x3 per channel, then 1x1, each with norm and leaky ReLU; numbered 0-5 as the reference's."""
    depthwise = _block(channels_in, channels_in, 3, stride, groups=channels_in)
    return nn.Sequential(*depthwise, *_block(channels_in, channels, 1))
