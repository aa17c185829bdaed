"""torchvision's VGG16 with batch norm, features only, of any width."""

from jaxtyping import Float
from torch import Tensor, nn
from torchvision.models import VGG16_BN_Weights
from torchvision.models.vgg import cfgs, make_layers

from detectors.backbones.backbone import Backbone
from detectors.pretrained import IMAGENET, fetch, load_matching, read_weights


class VGG16BN(Backbone):
    """Images (b, 3, h, w) -> one map of 512 * width channels at stride 32.

    `weights`: null, `imagenet` (torchvision's) or a file with torchvision's keys, of which those
    under "features." are taken; the classifier's belong to the head `VGGClassifier`.
    """

    def __init__(self, *, width: float = 1.0, weights: str | None = None) -> None:
        super().__init__()
        plan = [size if size == "M" else max(1, round(int(size) * width)) for size in cfgs["D"]]
        self.features = make_layers(plan, batch_norm=True)
        self.channels = [int(plan[-2])]
        self.strides = [32]
        for module in self.features:
            if isinstance(module, nn.Conv2d):  # as torchvision's VGG does
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
                nn.init.zeros_(module.bias)  # pyright: ignore[reportArgumentType]
        if weights is not None:
            load_matching(self, vgg16_bn_weights(weights, "features."), weights)

    def forward(self, images: Float[Tensor, "b 3 h w"]) -> list[Float[Tensor, "b _ _ _"]]:
        """The last map alone."""
        return [self.features(images)]


def vgg16_bn_weights(weights: str, prefix: str) -> dict[str, Tensor]:
    """The tensors under `prefix` of torchvision's vgg16_bn, downloaded or from a file."""
    if weights == IMAGENET:
        published = VGG16_BN_Weights.IMAGENET1K_V1
        state = fetch(lambda: published.get_state_dict(progress=False), f"{published.url}")
    else:
        state = read_weights(weights)
    return {key: tensor for key, tensor in state.items() if key.startswith(prefix)}
