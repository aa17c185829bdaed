"""The five convolutions of Zeiler and Fergus, as Faster R-CNN uses them."""

from jaxtyping import Float
from torch import Tensor, nn

from detectors.backbones.backbone import Backbone
from detectors.checks import check_choice
from detectors.errors import CheckpointError
from detectors.pretrained import IMAGENET, load_matching, read_weights

NORMS = ("local_response", "batch")


class ZF(Backbone):
    """Images (b, 3, h, w) -> one map of 256 * width channels at stride 16.

    Convolutions 7x7/2 96, 5x5/2 256, 3x3 384, 3x3 384, 3x3 256. `norm`: `local_response` after the
    first two (paper), or `batch` after all of them, which a network from scratch needs. `weights`:
    null, or the path of a state dict of this class.

    The two 3x3/2 pools count a cell begun as a cell, as Caffe does: 800x600 px make a map of 51x39,
    where torch's default would make 50x38.

    Paper: Zeiler and Fergus 2014, figure 3, with the padding of py-faster-rcnn.
    Differs: py-faster-rcnn normalises within a channel, torch across channels. No public weights in
    a format of ours are known, so `weights=imagenet` is refused.
    """

    def __init__(
        self, *, width: float = 1.0, norm: str = "local_response", weights: str | None = None
    ) -> None:
        super().__init__()
        check_choice("backbone.norm", norm, NORMS)
        first, second, third, last = (max(1, round(c * width)) for c in (96, 256, 384, 256))
        self.layers = nn.Sequential(
            *_block(3, first, 7, 2, norm),
            nn.MaxPool2d(3, 2, padding=1, ceil_mode=True),
            *_block(first, second, 5, 2, norm),
            nn.MaxPool2d(3, 2, padding=1, ceil_mode=True),
            *_block(second, third, 3, 1, norm),
            *_block(third, third, 3, 1, norm),
            *_block(third, last, 3, 1, norm),
        )
        self.channels = [last]
        self.strides = [16]
        if weights == IMAGENET:
            raise CheckpointError(
                "there are no public ImageNet weights for ZF: train it from scratch with "
                "protocol.pretraining=null, or give the path of a file"
            )
        if weights is not None:
            load_matching(self, read_weights(weights), weights)

    def forward(self, images: Float[Tensor, "b 3 h w"]) -> list[Float[Tensor, "b _ _ _"]]:
        """The last map alone."""
        return [self.layers(images)]


def _block(channels_in: int, channels: int, kernel: int, stride: int, norm: str) -> list[nn.Module]:
    convolution = nn.Conv2d(channels_in, channels, kernel, stride, kernel // 2)
    nn.init.kaiming_normal_(convolution.weight, nonlinearity="relu")
    if norm == "batch":
        return [convolution, nn.BatchNorm2d(channels), nn.ReLU(inplace=True)]
    after = [nn.LocalResponseNorm(3, alpha=5e-5)] if kernel > 3 else []
    return [convolution, nn.ReLU(inplace=True), *after]
