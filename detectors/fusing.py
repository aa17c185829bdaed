"""A network for inference: batch norms and training's branches folded into the convolutions."""

import copy
from typing import TypeVar

from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

Network = TypeVar("Network", bound=nn.Module)


def fuse(net: Network) -> Network:
    """A copy in eval mode that computes the same with fewer layers; the original stays as it is.

    A batch norm right behind a convolution goes into it; modules that have a method `fused`
    (RepConv, ImplicitDenseHead) are replaced by what it returns. All else is copied.
    """
    return _fuse(copy.deepcopy(net).eval()).eval()


def _fuse(module: Network) -> Network:
    before: tuple[str, nn.Module] | None = None
    for name, child in list(module.named_children()):
        if hasattr(child, "fused"):
            child = child.fused().eval()  # pyright: ignore[reportCallIssue]
        elif isinstance(module, nn.Sequential) and _is_pair(before, child):
            assert before is not None
            setattr(module, before[0], fuse_conv_bn_eval(before[1], child))  # pyright: ignore
            child = nn.Identity()
        else:
            child = _fuse(child)
        setattr(module, name, child)
        before = name, child
    return module


def _is_pair(before: tuple[str, nn.Module] | None, child: nn.Module) -> bool:
    """Children of a Sequential run one after the other: only there is behind what it says."""
    if before is None or not isinstance(child, nn.BatchNorm2d):
        return False
    return isinstance(before[1], nn.Conv2d) and child.track_running_stats
