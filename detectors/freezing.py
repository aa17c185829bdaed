"""Parts of a network that do not learn: their weights, and the statistics of their norms."""

import difflib
from collections.abc import Iterable, Sequence

from torch import nn

from detectors.errors import ConfigError

NORMS = (nn.modules.batchnorm._BatchNorm,)


def freeze(net: nn.Module, names: Sequence[str], norms: bool = False) -> list[nn.Module]:
    """Takes parts out of training; returns them, for `hold`.

    Args:
        net: the whole network.
        names: of its parts, dotted, such as `backbone` or `backbone.net.layer1`; one that this
            network does without (its attribute is None) is left out.
        norms: every batch norm of the network, too, affine parameters included.

    Raises:
        ConfigError: the network has no part of that name.
    """
    parts = [_part(net, name) for name in names if getattr(net, name, net) is not None]
    if norms:
        parts += [module for module in net.modules() if isinstance(module, NORMS)]
    for part in parts:
        part.requires_grad_(False)
    return parts


def hold(parts: Iterable[nn.Module]) -> None:
    """Keeps the norms of frozen parts from learning; to be called before every forward.

    Not once for all: `train()` undoes it, and Lightning warns of what is in eval mode at the start.
    """
    for part in parts:
        part.eval()


def _part(net: nn.Module, name: str) -> nn.Module:
    known = dict(net.named_modules())
    if name and name in known:
        return known[name]
    near = difflib.get_close_matches(name, list(known)[1:], n=1, cutoff=0.0)[0]
    raise ConfigError(f"detector.net.frozen: there is no part '{name}': did you mean '{near}'?")
