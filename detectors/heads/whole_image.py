"""Heads that turn the last feature map of an image into one vector: YOLOv1's and its two variants.

The configuration gives them as partials; the family completes them with `in_channels` and
`feature_hw` (of the last map) and `out_features` (S * S * (C + 5B)), and alone knows what the
vector means.
"""

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor, nn

from detectors.backbones.vgg16 import vgg16_weights
from detectors.pretrained import load_matching


class FullyConnected(nn.Module):
    """Flatten, linear to `hidden`, dropout, leaky ReLU, linear.

    Paper: Redmon et al. 2016, section 2.1; dropout before the activation as in
    yolov1-optimization.txt, section 4.2.
    """

    def __init__(
        self,
        *,
        in_channels: int,
        feature_hw: tuple[int, int],
        out_features: int,
        hidden: int = 4096,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Flatten(),
            nn.Linear(in_channels * feature_hw[0] * feature_hw[1], hidden),
            nn.Dropout(dropout),
            nn.LeakyReLU(0.1),
            nn.Linear(hidden, out_features),
        )

    def forward(self, features: Sequence[Float[Tensor, "b _ _ _"]]) -> Float[Tensor, "b out"]:
        """The vector of each image."""
        return self.layers(features[-1])


class PooledLinear(nn.Module):
    """Global average pool, one linear layer: a ResNet with its classifier replaced.

    The spatial layout is lost before the linear layer: positions must survive in the channels
    (yolov1-optimization.txt section 4.2: "a single linear layer that has 2048 inputs").
    """

    def __init__(self, *, in_channels: int, feature_hw: tuple[int, int], out_features: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(in_channels, out_features)
        )

    def forward(self, features: Sequence[Float[Tensor, "b _ _ _"]]) -> Float[Tensor, "b out"]:
        """The vector of each image."""
        return self.layers(features[-1])


class VGGClassifier(nn.Module):
    """torchvision's VGG classifier up to its second ReLU and dropout, then one linear layer.

    `pool`: side of the map the features are pooled to. `weights`: as for the backbone `VGG16` with
    `norm`; of the same file, the tensors under "classifier." are taken, without the last layer.

    Paper: yolov1-optimization.txt section 4.2, "a single linear layer with 4096 inputs".
    """

    def __init__(
        self,
        *,
        in_channels: int,
        feature_hw: tuple[int, int],
        out_features: int,
        hidden: int = 4096,
        pool: int = 7,
        dropout: float = 0.5,
        weights: str | None = None,
    ) -> None:
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(pool)
        self.classifier = nn.Sequential(  # named and numbered as torchvision's
            nn.Linear(in_channels * pool * pool, hidden),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(hidden, hidden),
            nn.ReLU(),
            nn.Dropout(dropout),
        )
        self.predict = nn.Linear(hidden, out_features)
        if weights is not None:
            load_matching(self, vgg16_weights(weights, "classifier.", norm=True), weights)

    def forward(self, features: Sequence[Float[Tensor, "b _ _ _"]]) -> Float[Tensor, "b out"]:
        """The vector of each image."""
        return self.predict(self.classifier(self.pool(features[-1]).flatten(1)))
