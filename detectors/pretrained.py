"""Weights from elsewhere: files, and the libraries' own downloads.

Every part with public weights takes `weights`: null (fresh), `imagenet` (what its library
publishes) or the path of a .pth or .safetensors file whose keys are named as in that library.
"""

import logging
import pickle
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from detectors.errors import CheckpointError

IMAGENET = "imagenet"
Weights = TypeVar("Weights")


def read_weights(path: str | Path) -> dict[str, Tensor]:
    """The tensors of a .pth or .safetensors file, also one wrapped as {"state_dict": ...}.

    The prefix `module.`, which saving a DataParallel model leaves on every key, is removed.
    """
    file = Path(path).expanduser()
    if not file.is_file():
        raise CheckpointError(
            f"weights {file} do not exist: give null, {IMAGENET}, or the path of a .pth or "
            ".safetensors file"
        )
    try:
        if file.suffix == ".safetensors":
            content: Any = load_file(file)
        else:
            content = torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"weights {file} are no file of tensors alone, or damaged: save `model.state_dict()` "
            "with the program they come from, or download them again"
        ) from error
    except Exception as error:  # a damaged file raises nearly anything
        raise CheckpointError(
            f"weights {file} cannot be read ({_first_line(error)}): download or save the file again"
        ) from error
    tensors = content.get("state_dict", content) if isinstance(content, Mapping) else None
    if not tensors or not all(isinstance(value, Tensor) for value in tensors.values()):
        raise CheckpointError(
            f"weights {file} hold no state dict: save `module.state_dict()` itself"
        )
    parallel = all(key.startswith("module.") for key in tensors)
    return {key.removeprefix("module.") if parallel else key: t for key, t in tensors.items()}


def fetch(download: Callable[[], Weights], what: str) -> Weights:
    """What `download` returns; any failure becomes one line with the remedies."""
    try:
        return download()
    except Exception as error:  # each library and each network failure has an error of its own
        raise CheckpointError(
            f"cannot fetch {what} ({type(error).__name__}: {_first_line(error)}): give "
            "weights=PATH of a file downloaded elsewhere, or start from scratch with "
            "protocol.pretraining=null (or detector.net.weights=null)"
        ) from error


def load_matching(module: nn.Module, weights: Mapping[str, Tensor], source: str) -> None:
    """Loads the tensors whose name and shape fit `module`, and reports those that do not.

    Raises:
        CheckpointError: none fits.
    """
    module.load_state_dict(select_matching(module, weights, source), strict=False)


def select_matching(
    module: nn.Module, weights: Mapping[str, Tensor], source: str
) -> dict[str, Tensor]:
    """The part of `weights` that fits `module` by name and shape; the rest is reported."""
    own = module.state_dict()
    fitting = {k: v for k, v in weights.items() if k in own and v.shape == own[k].shape}
    name = type(module).__name__
    if not any(tensor.dim() for tensor in fitting.values()):  # step counts fit anything
        raise CheckpointError(
            f"none of the {len(weights)} tensors in {source} fits {name}, which has e.g. "
            f"'{next(iter(own), 'no tensors')}': give weights of this very network"
        )
    absent = [k for k in own if k not in weights and not k.endswith("num_batches_tracked")]
    misshapen = [k for k in own if k in weights and k not in fitting]
    unused = [k for k in weights if k not in own]
    logging.getLogger(__name__).log(
        logging.WARNING if absent or misshapen else logging.INFO,
        "%s: %d of %d tensors loaded into %s%s%s%s",
        *(source, len(fitting), len(own), name),
        _list("; absent from the file", absent),
        _list("; of another shape", misshapen),
        _list("; not used", unused),
    )
    return fitting


def _list(title: str, keys: Sequence[str], shown: int = 4) -> str:
    more = f" and {len(keys) - shown} more" if len(keys) > shown else ""
    return f"{title}: {', '.join(keys[:shown])}{more}" if keys else ""


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
