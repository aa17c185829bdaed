"""Checkpoints on disk: never half written, never able to run code when read."""

import pickle
import zipfile
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins.io import CheckpointIO

from callbacks.files import replacing
from detectors.errors import CheckpointError


class AtomicCheckpointIO(CheckpointIO):
    """Saves beside the old file, then takes its place; loads only tensors and plain containers."""

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any | None = None
    ) -> None:
        """Raises `RunError` when the disk refuses; the earlier checkpoint is intact then."""
        with replacing(path) as file:
            torch.save(checkpoint, file)

    def load_checkpoint(
        self, path: str | Path, map_location: Any | None = "cpu", weights_only: bool | None = True
    ) -> dict[str, Any]:
        """Always with `weights_only`, whatever is asked; see `read_checkpoint`."""
        return read_checkpoint(path, map_location)

    def remove_checkpoint(self, path: str | Path) -> None:
        """Removes the file if it is there."""
        Path(path).unlink(missing_ok=True)


def read_checkpoint(path: str | Path, map_location: Any | None = "cpu") -> dict[str, Any]:
    """The contents of a checkpoint file; raises `CheckpointError` for anything but a whole one."""
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"checkpoint {path} does not exist or is no file: check the path")
    try:
        if not zipfile.is_zipfile(path):  # its directory stands at the end: a cut file has none
            raise CheckpointError(_damaged(path))
        checkpoint = torch.load(path, map_location=map_location, weights_only=True)
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"checkpoint {path} holds more than tensors and plain containers, which could run code "
            "when loaded: use a checkpoint that this program wrote"
        ) from error
    except OSError as error:
        raise CheckpointError(
            f"checkpoint {path} cannot be read ({error.strerror}): name a readable .ckpt file"
        ) from error
    except (RuntimeError, EOFError) as error:
        raise CheckpointError(_damaged(path)) from error
    if not isinstance(checkpoint, dict) or "state_dict" not in checkpoint:
        raise CheckpointError(f"{path} has no 'state_dict': name a checkpoint (.ckpt) of a run")
    return checkpoint


def _damaged(path: Path) -> str:
    return (
        f"checkpoint {path} ({path.stat().st_size:,} bytes) is truncated or no checkpoint at all: "
        "use another one of the run (best.ckpt, last.ckpt) or train anew with fresh=true"
    )
