"""`lineup train`: one run, from configuration to manifest. Started again, it goes on or answers.

torch is imported only when there is something to train.
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from experiments import build, provenance, runs
from experiments.cli import one_line_errors


@hydra.main(version_base="1.3", config_path="pkg://conf", config_name="train")
def main(config: DictConfig) -> float | None:
    """Trains, or answers from the stored result; returns the value of `protocol.monitor`."""
    run_dir = Path(HydraConfig.get().runtime.output_dir)
    # inside of Hydra, which adds a line of its own to what passes through it
    with one_line_errors(), _no_empty_folder(run_dir):
        return train(build.complete(config))


def train(config: DictConfig) -> float | None:
    """The run of a complete configuration, in its folder, under its lock."""
    run_dir = Path(config.paths.run_dir)
    if is_child_process():  # Lightning started us as a further rank of a run that holds the lock
        _fit(config, run_dir)
        return None
    with _no_empty_folder(run_dir), runs.locked(run_dir):
        manifest = _stored_result(config, run_dir)
        if manifest is None:
            _fit(config, run_dir)
            manifest = runs.read_manifest(run_dir) or {}
        _say_result(run_dir, manifest)
    return _monitored(manifest, config)


def is_child_process() -> bool:
    """Whether Lightning started this process as a rank other than the first."""
    return int(os.environ.get("LOCAL_RANK", 0)) > 0


def _stored_result(config: DictConfig, run_dir: Path) -> dict[str, Any] | None:
    """The manifest of a finished run; `None` if there is work to do.

    Raises:
        RunError: the data has changed since the run finished.
    """
    if config.fresh:
        runs.clear(run_dir)
    manifest = runs.read_manifest(run_dir)
    if manifest is None or manifest["status"] != "finished":
        return None
    if runs.data_signature(config.datamodule.get("root")) != manifest["data"]["signature"]:
        from experiments.fit import data_hashes

        runs.refuse_changed_data(run_dir, manifest["data"]["hashes"], data_hashes(config))
    if manifest["provenance"]["source_hash"] != provenance.source_hash():
        print(f"note: the code has changed since {run_dir} was trained; fresh=true trains anew")
    return manifest


def _fit(config: DictConfig, run_dir: Path) -> None:
    from experiments.fit import fit
    from experiments.quiet import quiet_libraries
    from experiments.stages import fit_in_stages

    with quiet_libraries():
        if config.get("stages"):
            fit_in_stages(config, run_dir)
        else:
            fit(config, run_dir)


def _say_result(run_dir: Path, manifest: dict[str, Any]) -> None:
    split = manifest["scored_split"]
    metrics = manifest["metrics"][split]
    cost = f"{manifest['cost']['parameters']:,} parameters"
    figures = f"AP50 {_figure(metrics['map_50'])}, mAP {_figure(metrics['map'])} on {split}"
    print(f"{run_dir}: {figures}, {cost}, {manifest['epochs']} epochs")


def _figure(value: float | None) -> str:
    return "n/a" if value is None else f"{value:.3f}"


def _monitored(manifest: dict[str, Any], config: DictConfig) -> float | None:
    split, _, name = config.protocol.monitor.partition("/")
    return manifest.get("metrics", {}).get(split, {}).get(name)


@contextmanager
def _no_empty_folder(run_dir: Path) -> Iterator[None]:
    """A run that fails before it has written anything leaves no folder behind."""
    try:
        yield
    except BaseException:
        if run_dir.is_dir() and not any(
            p.is_file() and p.name != ".lock" for p in run_dir.rglob("*")
        ):
            shutil.rmtree(run_dir)
        raise


if __name__ == "__main__":
    build.register()
    main()
