"""torchvision's VGG16, features only, of any width, with or without batch norm and last pool."""

from jaxtyping import Float
from torch import Tensor, nn
from torchvision.models import VGG16_BN_Weights, VGG16_Weights
from torchvision.models.vgg import cfgs, make_layers

from detectors.backbones.backbone import Backbone
from detectors.pretrained import IMAGENET, fetch, load_matching, read_weights


class VGG16(Backbone):
    """Images (b, 3, h, w) -> one map of 512 * width channels.

    `norm`: batch norm after each convolution, which the paper's network lacks and a network from
    scratch needs. `last_pool`: stride 32; without it the map is conv5_3, stride 16, which Faster
    R-CNN is built on. `weights`: null, `imagenet` (torchvision's) or a file with torchvision's
    keys, of which those under "features." are taken.

    Paper: Simonyan and Zisserman 2015, configuration D.
    """

    def __init__(
        self,
        *,
        width: float = 1.0,
        norm: bool = False,
        last_pool: bool = False,
        weights: str | None = None,
    ) -> None:
        super().__init__()
        plan = [size if size == "M" else max(1, round(int(size) * width)) for size in cfgs["D"]]
        self.features = make_layers(plan if last_pool else plan[:-1], batch_norm=norm)
        self.channels = [int(plan[-2])]
        self.strides = [32 if last_pool else 16]
        for module in self.features:
            if isinstance(module, nn.Conv2d):  # as torchvision's VGG does
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
                nn.init.zeros_(module.bias)  # pyright: ignore[reportArgumentType]
        if weights is not None:
            load_matching(self, vgg16_weights(weights, "features.", norm=norm), weights)

    def forward(self, images: Float[Tensor, "b 3 h w"]) -> list[Float[Tensor, "b _ _ _"]]:
        """The last map alone."""
        return [self.features(images)]


def vgg16_weights(weights: str, prefix: str, *, norm: bool) -> dict[str, Tensor]:
    """The tensors under `prefix` of torchvision's VGG16, downloaded or from a file."""
    if weights == IMAGENET:
        published = (VGG16_BN_Weights if norm else VGG16_Weights).IMAGENET1K_V1
        state = fetch(lambda: published.get_state_dict(progress=False), published.url)
    else:
        state = read_weights(weights)
    return {key: tensor for key, tensor in state.items() if key.startswith(prefix)}
