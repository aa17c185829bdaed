"""The 24 convolutions of YOLOv1; its fully connected layers are a head (heads/whole_image.py)."""

from jaxtyping import Float
from torch import Tensor, nn

from detectors.backbones.backbone import Backbone
from detectors.checks import check_choice
from detectors.errors import CheckpointError, ConfigError
from detectors.pretrained import IMAGENET, load_matching, read_weights

POOL = (0, 0, 0)
LAYERS = (  # kernel, channels, stride
    *((7, 64, 2), POOL),
    *((3, 192, 1), POOL),
    *((1, 128, 1), (3, 256, 1), (1, 256, 1), (3, 512, 1), POOL),
    *((1, 256, 1), (3, 512, 1)) * 4,
    *((1, 512, 1), (3, 1024, 1), POOL),
    *((1, 512, 1), (3, 1024, 1))
    * 2,  # the paper trains the 20 convolutions up to here on ImageNet first
    *((3, 1024, 1), (3, 1024, 2), (3, 1024, 1), (3, 1024, 1)),
)


class Darknet24(Backbone):
    """Images (b, 3, h, w) -> one map of 1024 * width channels at stride 64.

    `width` multiplies every channel count. `norm` stands between each convolution (without bias)
    and its leaky ReLU of slope 0.1. `nominal_batch`, for `group` only, sets the number of groups
    once and for all, see `group_count`. `weights`: null, or the path of a state dict of this class.

    Paper: Redmon et al. 2016, figure 3. The batch or group norm is yolov1-optimization.txt section
    4.2's.
    Differs: no public weights of this network are known (darknet's own yolov1.cfg is another one),
    so there is no key map and `weights=imagenet` is refused.
    """

    def __init__(
        self,
        *,
        width: float = 1.0,
        norm: str = "batch",
        nominal_batch: int | None = None,
        weights: str | None = None,
    ) -> None:
        super().__init__()
        check_choice("backbone.norm", norm, ("batch", "group"))
        if norm == "group" and nominal_batch is None:
            raise ConfigError(
                "backbone.norm=group needs backbone.nominal_batch: give the batch size"
            )
        self.layers = nn.Sequential(*_layers(width, nominal_batch if norm == "group" else None))
        self.channels = [_scaled(LAYERS[-1][1], width)]
        self.strides = [64]
        for module in self.layers:
            # torch's default is 2.4 times smaller; under a norm, steps weigh that much more
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, a=0.1, nonlinearity="leaky_relu")
        if weights == IMAGENET:
            raise CheckpointError(
                "there are no public ImageNet weights for Darknet24: train it from scratch with "
                "protocol.pretraining=null, or give the path of a file"
            )
        if weights is not None:
            load_matching(self, read_weights(weights), weights)

    def forward(self, images: Float[Tensor, "b 3 h w"]) -> list[Float[Tensor, "b _ _ _"]]:
        """The last map alone."""
        return [self.layers(images)]


def group_count(channels: int, nominal_batch: int) -> int:
    """The largest divisor of `channels` not above half the batch (at least 1).

    yolov1-optimization.txt has batch / 2 groups, which need not divide the channels: a batch of 19
    gives 8 groups for 64 channels, a batch of 12 gives 4, and 6 for 192.
    """
    limit = max(1, nominal_batch // 2)
    return max(g for g in range(1, min(limit, channels) + 1) if channels % g == 0)


def _layers(width: float, nominal_batch: int | None) -> list[nn.Module]:
    layers: list[nn.Module] = []
    channels_in = 3
    for layer in LAYERS:
        if layer == POOL:
            layers.append(nn.MaxPool2d(2))
            continue
        kernel, channels, stride = layer[0], _scaled(layer[1], width), layer[2]
        layers += [
            nn.Conv2d(channels_in, channels, kernel, stride, kernel // 2, bias=False),
            _norm(channels, nominal_batch),
            nn.LeakyReLU(0.1, inplace=True),
        ]
        channels_in = channels
    return layers


def _norm(channels: int, nominal_batch: int | None) -> nn.Module:
    if nominal_batch is None:
        return nn.BatchNorm2d(channels)
    return nn.GroupNorm(group_count(channels, nominal_batch), channels)


def _scaled(channels: int, width: float) -> int:
    return max(1, round(channels * width))
