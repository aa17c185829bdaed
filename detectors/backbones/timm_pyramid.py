"""Any timm model as a feature pyramid."""

import difflib
from collections.abc import Mapping, Sequence
from typing import Any

import timm
import torch
from jaxtyping import Float
from torch import Tensor, nn

from detectors.backbones.backbone import Backbone
from detectors.errors import ConfigError
from detectors.pretrained import IMAGENET, fetch, read_weights, select_matching


class TimmPyramid(Backbone):
    """Images (b, 3, h, w) -> the maps `out_indices` of a timm model, finest first.

    `name` may carry a tag (`resnet152.tv_in1k`). `weights`: null, `imagenet` (what timm publishes
    under that name) or a file with timm's keys. `model_args` go to the model's constructor, such as
    `{layers: [1, 1, 1, 1], channels: [16, 32, 64, 128]}` for a small ResNet.
    """

    def __init__(
        self,
        *,
        name: str,
        weights: str | None = None,
        out_indices: Sequence[int] = (-1,),
        model_args: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        _check_name(name)
        arguments = dict(model_args or {})
        features = {"features_only": True, "out_indices": tuple(out_indices)}
        if weights is None:
            self.net = _create(name, arguments | features)
        elif weights == IMAGENET:
            pretrained = arguments | features | {"pretrained": True}
            self.net = fetch(lambda: _create(name, pretrained), f"timm's weights of {name}")
        else:
            # timm renames keys when it cuts a model down to features, so timm has to load them
            overlay = {"state_dict": _matching(name, arguments, weights)}
            loaded = {"pretrained": True, "pretrained_cfg_overlay": overlay}
            self.net = _create(name, arguments | features | loaded)
        self.channels: list[int] = self.net.feature_info.channels()
        self.strides: list[int] = self.net.feature_info.reduction()

    def forward(self, images: Float[Tensor, "b 3 h w"]) -> list[Float[Tensor, "b _ _ _"]]:
        """One map per entry of `channels`."""
        return self.net(images)


def _check_name(name: str) -> None:
    if timm.is_model(name):
        return
    near = difflib.get_close_matches(name, timm.list_models(), n=1, cutoff=0.0)[0]
    raise ConfigError(
        f"backbone.name={name} is no model of timm {timm.__version__}: did you mean {near}?"
    )


def _create(name: str, arguments: dict[str, Any]) -> Any:
    try:
        return timm.create_model(name, **arguments)
    except (
        TypeError
    ) as error:  # timm's models take their options as **kwargs, so nothing earlier notices
        raise ConfigError(
            f"timm's {name} cannot be built with backbone.model_args ({error}): correct them"
        ) from error


def _matching(name: str, arguments: dict[str, Any], weights: str) -> dict[str, Tensor]:
    with torch.device("meta"):
        whole: nn.Module = _create(name, arguments)
    return select_matching(whole, read_weights(weights), weights)
