"""A run's folder, lock and manifest: what makes `lineup train` idempotent. No torch here.

The folder is named after a digest of everything that changes the result. Started again, a run is
answered from its manifest (finished), resumed from its last checkpoint (interrupted), or refused
(running elsewhere, or the data has changed).
"""

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from callbacks.files import write_json_atomically
from detectors.errors import RunError

PLACEHOLDERS: dict[str, Any] = {
    "paths": {"runs": "", "run_dir": ""},
    "run": {"id": "", "name": "", "group": "", "tags": []},
    "provenance": {},
}
"""What others interpolate, and what would need the digest to be known."""

NOT_IN_DIGEST = (
    *("logger", "hydra", "choices", "fresh"),
    *("callbacks.progress", "callbacks.drawing", "callbacks.loss_curves", "callbacks.lr_monitor"),
    *("datamodule.num_workers", "datamodule.download", "datamodule.archives"),
    *("trainer.log_every_n_steps", "trainer.profiler"),
)
"""Further keys that do not change the result."""

MANIFEST = "manifest.json"


def digest(*, _root_: DictConfig) -> str:
    """Eight hex digits of the resolved configuration less `NOT_IN_DIGEST`."""
    config = OmegaConf.create(OmegaConf.to_container(_root_, resolve=False))
    assert isinstance(config, DictConfig)
    config.update(PLACEHOLDERS)
    for key in NOT_IN_DIGEST:
        parent, _, leaf = key.rpartition(".")
        node = OmegaConf.select(config, parent) if parent else config
        if isinstance(node, DictConfig):
            node.pop(leaf, None)
    plain = OmegaConf.to_container(config, resolve=True)
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()[:8]


def recipe(config: DictConfig) -> str:
    """The digest without the seed: runs of one recipe are repetitions of each other."""
    without = config.copy()
    without.seed = 0
    return digest(_root_=without)


def name(*, _root_: DictConfig) -> str:
    """The folder's name: readable, and unique by the digest."""
    return "-".join([*tags(_root_=_root_), digest(_root_=_root_)])


def tags(*, _root_: DictConfig) -> list[str]:
    """Family, backbone, dataset, scale and seed: how W&B and tables tell runs apart."""
    chosen = choices(_root_)
    parts = [chosen.get("detector"), chosen.get("backbone"), _root_.datamodule.info.name]
    return [*(str(p) for p in parts if p), _root_.scale, f"s{_root_.seed}"]


def group(*, _root_: DictConfig) -> str:
    """Runs that belong into one chart: the sweep, else the experiment, else family and dataset."""
    chosen = choices(_root_)
    named = chosen.get("sweep") or chosen.get("experiment")
    return str(named or f"{chosen.get('detector')}-{_root_.datamodule.info.name}")


def sweep_name(*, _root_: DictConfig) -> str:
    """The folder of a sweep's table."""
    return f"{group(_root_=_root_)}-{_root_.scale}"


def choices(root: DictConfig) -> dict[str, Any]:
    """The option chosen from each group, composed or inside a Hydra application."""
    chosen = root.get("choices") or OmegaConf.select(root, "hydra.runtime.choices") or {}
    return dict(chosen)


def read_manifest(run_dir: Path) -> dict[str, Any] | None:
    """The manifest of a run folder; `None` where no run has started."""
    path = run_dir / MANIFEST
    if not path.is_file():
        return None
    try:
        return json.loads(path.read_text())
    except json.JSONDecodeError as error:
        raise RunError(
            f"{path} is damaged (line {error.lineno}): remove it, or pass fresh=true"
        ) from error


def write_manifest(run_dir: Path, manifest: dict[str, Any]) -> None:
    """Replaces the manifest in one step."""
    write_json_atomically(run_dir / MANIFEST, manifest)


def clear(run_dir: Path) -> None:
    """Removes the results of an earlier run from its folder; the lock stays held."""
    for entry in run_dir.iterdir():
        if entry.name == ".lock":
            continue
        shutil.rmtree(entry) if entry.is_dir() else entry.unlink()


@contextlib.contextmanager
def locked(run_dir: Path) -> Iterator[None]:
    """Holds the run's lock; the kernel drops it when the process dies, however it dies.

    A record lock: forked loader workers, which outlive a killed run for seconds, do not inherit it.

    Raises:
        RunError: another process holds it.
    """
    run_dir.mkdir(parents=True, exist_ok=True)
    with (run_dir / ".lock").open("a+") as handle:
        try:
            fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            handle.seek(0)
            raise RunError(
                f"{run_dir} is being written by another process ({handle.read().strip()}): "
                "wait for it, or stop it"
            ) from None
        handle.truncate(0)
        handle.write(f"pid {os.getpid()} on {os.uname().nodename} since {now()}")
        handle.flush()
        yield


def now() -> str:
    """The time, UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def refuse_changed_data(run_dir: Path, stored: dict[str, str], current: dict[str, str]) -> None:
    """Compares the hashes of the splits that the run has read with those it would read now.

    Raises:
        RunError: they differ.
    """
    changed = [split for split in stored if stored[split] != current.get(split)]
    if changed:
        raise RunError(
            f"{run_dir} was trained on other data: that of {', '.join(changed)} has changed since: "
            "pass fresh=true to train anew, or restore the data"
        )


def data_signature(root: str | None) -> str | None:
    """A cheap hash of a dataset's folder: names, sizes and modification times, no contents."""
    if root is None or not Path(root).is_dir():
        return None
    seen = hashlib.sha256()
    for folder, subfolders, files in os.walk(root):
        subfolders.sort()
        for file in sorted(files):
            status = os.stat(os.path.join(folder, file))
            entry = (os.path.relpath(folder, root), file, status.st_size, status.st_mtime_ns)
            seen.update(repr(entry).encode())
    return seen.hexdigest()[:16]
