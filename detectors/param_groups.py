"""How the parameters of a network are split for its optimiser."""

from typing import Any

from torch import nn

WEIGHTED = (nn.Conv2d, nn.Linear)


def decay_weights_only(net: nn.Module) -> list[dict[str, Any]]:
    """Groups `weight` (of convolutions and linear layers), `bias`, and `other` (norms, factors).

    Only the first decays, by the optimiser's `weight_decay`. Frozen parameters are in none; an
    empty group is left out.

    Paper: Wang et al. 2022, reference code; He et al. 2019, "Bag of Tricks", section 3.1.
    """
    weights = {id(m.weight) for m in net.modules() if isinstance(m, WEIGHTED)}
    groups: dict[str, list[nn.Parameter]] = {"weight": [], "bias": [], "other": []}
    for name, parameter in net.named_parameters():
        if parameter.requires_grad:
            is_bias = name.rpartition(".")[2] == "bias"
            kind = "weight" if id(parameter) in weights else "bias" if is_bias else "other"
            groups[kind].append(parameter)
    settings: dict[str, dict[str, Any]] = {"weight": {}, "bias": {"weight_decay": 0.0}}
    return [
        {"name": kind, "params": some, **settings.get(kind, {"weight_decay": 0.0})}
        for kind, some in groups.items()
        if some
    ]
