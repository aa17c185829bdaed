"""VGG16 without its last pool: the conv5_3 that Faster R-CNN is built on."""

from jaxtyping import Float
from torch import Tensor, nn
from torchvision.models import VGG16_BN_Weights, VGG16_Weights
from torchvision.models.vgg import cfgs, make_layers

from detectors.backbones.backbone import Backbone
from detectors.pretrained import IMAGENET, fetch, load_matching, read_weights


class VGG16(Backbone):
    """Images (b, 3, h, w) -> one map of 512 * width channels at stride 16.

    `norm`: batch norm after each convolution, which the paper's network lacks and a network from
    scratch needs. `weights`: null, `imagenet` (torchvision's) or a file with torchvision's keys, of
    which those under "features." are taken.

    Paper: Simonyan and Zisserman 2015, configuration D; Ren et al. 2015 take conv5_3.
    """

    def __init__(
        self, *, width: float = 1.0, norm: bool = False, weights: str | None = None
    ) -> None:
        super().__init__()
        plan = [size if size == "M" else max(1, round(int(size) * width)) for size in cfgs["D"]]
        self.features = make_layers(plan[:-1], batch_norm=norm)
        self.channels = [int(plan[-2])]
        self.strides = [16]
        for module in self.features:
            if isinstance(module, nn.Conv2d):  # as torchvision's VGG does
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
                nn.init.zeros_(module.bias)  # pyright: ignore[reportArgumentType]
        if weights is not None:
            load_matching(self, _read(weights, norm), weights)

    def forward(self, images: Float[Tensor, "b 3 h w"]) -> list[Float[Tensor, "b _ _ _"]]:
        """The last map alone."""
        return [self.features(images)]


def _read(weights: str, norm: bool) -> dict[str, Tensor]:
    """The features of torchvision's VGG16, downloaded or from a file."""
    if weights == IMAGENET:
        published = (VGG16_BN_Weights if norm else VGG16_Weights).IMAGENET1K_V1
        state = fetch(lambda: published.get_state_dict(progress=False), published.url)
    else:
        state = read_weights(weights)
    return {key: tensor for key, tensor in state.items() if key.startswith("features.")}
