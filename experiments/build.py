"""Compose a configuration, check it strictly, and build what it describes.

The one place that calls Hydra's `instantiate`, and the resolvers our YAML files use:
`by_scale` (a size per scale), `count` (length of a list), `product` (of numbers and lists of them)
and the names of a run (runs.py).
"""

import difflib
import importlib
import inspect
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from types import ModuleType
from typing import Any

import hydra
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.plugins import Plugins
from hydra.errors import InstantiationException
from omegaconf import DictConfig, ListConfig, OmegaConf, open_dict

from detectors.errors import ConfigError, LineupError
from experiments import launch, runs

CONFIG_MODULE = "conf"
TRUSTED_PACKAGES = (
    *("detectors", "datamodules", "callbacks", "experiments"),
    *("torch", "torchvision", "timm", "lightning", "torchmetrics", "albumentations"),
)
"""A configuration, also one inside a foreign checkpoint, can build nothing outside of these."""

RECIPE_GROUPS = ("experiment", "ablation", "sweep", "debug")
"""Groups that choose and change values; they may not invent keys."""


def register() -> None:
    """Makes our resolvers and launcher known to OmegaConf and Hydra; again is harmless."""
    resolvers = {
        "by_scale": _by_scale,
        "count": len,
        "product": _product,
        "run_digest": runs.digest,
        "run_name": runs.name,
        "run_group": runs.group,
        "run_tags": runs.tags,
        "sweep_name": runs.sweep_name,
    }
    for name, function in resolvers.items():
        OmegaConf.register_new_resolver(name, function, replace=True)
    _offer_launcher()


def compose(overrides: Sequence[str] = (), config_name: str = "train") -> DictConfig:
    """The configuration that `lineup train OVERRIDES` would run, strictly checked."""
    register()
    return _settle(_compose(list(overrides), config_name), overrides)


def complete(config: DictConfig) -> DictConfig:
    """Inside a Hydra application: notes what was chosen from each group, and checks the keys."""
    hydra_config = HydraConfig.get()
    with open_dict(config):
        config.choices = _plain_choices(hydra_config.runtime.choices)
    return _settle(config, hydra_config.overrides.task)


def check_keys(config: DictConfig) -> None:
    """Refuses a key that no YAML but an experiment-like one knows, naming the nearest valid key.

    Below a `_target_` the target's signature decides instead (see `instantiate`).
    """
    base = [
        f"{group}={_literal(choice)}"
        for group, choice in config.choices.items()
        # only a default can be null: Hydra refuses `group=null`
        if choice is not None and group not in RECIPE_GROUPS
    ]
    reference = _compose(base, "train")
    for key in _unknown_keys(config, reference, prefix=""):
        raise ConfigError(unknown_key(key, flat_keys(reference)))


def instantiate(node: DictConfig | ListConfig, **extra: Any) -> Any:
    """Builds `node` after checking every `_target_` below it and the names of its arguments.

    Raises:
        ConfigError: the target is not of a trusted package or has no such parameter.
    """
    check_targets(node)
    try:
        return hydra.utils.instantiate(node, _convert_="all", **extra)
    except InstantiationException as error:
        cause = error.__cause__
        if isinstance(cause, LineupError):
            raise cause from None
        raise ConfigError(_first_line(str(error))) from cause


def check_targets(node: Any) -> None:
    """Refuses foreign targets and arguments their signature does not know."""
    if OmegaConf.is_dict(node):
        if "_target_" in node:
            _check_target(node)
        for key in node:
            if not OmegaConf.is_missing(node, key):
                check_targets(node[key])
    elif OmegaConf.is_list(node):
        for item in node:
            check_targets(item)


def unknown_key(key: str, known: Sequence[str]) -> str:
    """One line for a mistyped key, with the nearest of the known ones."""
    leaf = key.rsplit(".", 1)[-1]
    same_leaf = [k for k in known if k.rsplit(".", 1)[-1] == leaf]
    near = difflib.get_close_matches(key, [*known], n=1, cutoff=0.6) or same_leaf[:1]
    hint = f"did you mean '{near[0]}'?" if near else "`lineup train --cfg job` lists the valid keys"
    return f"unknown key '{key}': {hint}"


def flat_keys(config: Mapping[Any, Any] | DictConfig, prefix: str = "") -> list[str]:
    """Every key of a nested configuration, dotted."""
    keys: list[str] = []
    for key in config:
        path = f"{prefix}{key}"
        keys.append(path)
        value = _value(config, key)
        if OmegaConf.is_dict(value):
            keys += flat_keys(value, f"{path}.")
    return keys


def _offer_launcher() -> None:
    """Hydra looks for plugins in a package `hydra_plugins` only: ours appears there as `lineup`."""
    try:
        package = importlib.import_module("hydra_plugins")
    except ModuleNotFoundError:
        package = sys.modules["hydra_plugins"] = ModuleType("hydra_plugins")
        package.__path__ = []
    package.lineup = launch  # pyright: ignore[reportAttributeAccessIssue]
    Plugins.instance().register(launch.ProcessLauncher)


def _compose(overrides: list[str], config_name: str) -> DictConfig:
    """Hydra's compose API, usable while a Hydra application runs."""
    outer = GlobalHydra.instance().hydra
    GlobalHydra.instance().clear()
    try:
        with hydra.initialize_config_module(CONFIG_MODULE, version_base="1.3"):
            config = hydra.compose(config_name, overrides, return_hydra_config=True)
        choices = _plain_choices(config.hydra.runtime.choices)
        with open_dict(config):
            del config["hydra"]
            if "choices" in config:
                config.choices = choices
    finally:
        GlobalHydra.instance().clear()
        if outer is not None:
            GlobalHydra.instance().initialize(outer)
    return config


def _settle(config: DictConfig, overrides: Sequence[str]) -> DictConfig:
    """Checks the keys, notes the overrides, and fixes the run's names: each costs a digest."""
    with open_dict(config):
        config.choices.update(_ablations(overrides))
    invents = any(override.startswith("+") for override in overrides)
    if invents or any(config.choices.get(group) for group in RECIPE_GROUPS):
        check_keys(config)
    with open_dict(config):
        config.provenance = {"overrides": list(overrides)}
        config.run = OmegaConf.to_container(config.run, resolve=True)
    return config


def _ablations(overrides: Sequence[str]) -> dict[str, list[str]]:
    """The stacked ablations, which Hydra leaves out of its choices because they are a list."""
    asked = [o.partition("=")[2] for o in overrides if o.partition("=")[0] == "ablation"]
    names = asked[-1].strip("[]").replace(" ", "").split(",") if asked else []
    return {"ablation": [name for name in names if name]}


def _plain_choices(choices: Any) -> dict[str, Any]:
    """The choices of our own groups; a group with several is a list in Hydra's text form."""
    return {
        key: (list(value) if OmegaConf.is_list(value) or isinstance(value, list) else value)
        for key, value in choices.items()
        if "/" not in key.split("@")[0] and key != "hydra"
    }


def _literal(choice: Any) -> str:
    if isinstance(choice, list) or OmegaConf.is_list(choice):
        return "[" + ",".join(map(str, choice)) + "]"
    return str(choice)


def _unknown_keys(config: DictConfig, reference: DictConfig, prefix: str) -> Iterator[str]:
    for key in config:
        value = _value(config, key)
        path = f"{prefix}{key}"
        is_part = OmegaConf.is_dict(value) and "_target_" in value
        if key not in reference:
            if not is_part and "_target_" not in config:
                yield path
            continue
        known = _value(reference, key)
        free_form = OmegaConf.is_dict(known) and len(known) == 0
        if OmegaConf.is_dict(value) and OmegaConf.is_dict(known) and not free_form:
            yield from _unknown_keys(value, known, f"{path}.")


def _value(config: Any, key: Any) -> Any:
    """The node as written: interpolations and missing values are not followed."""
    node = config._get_node(key) if isinstance(config, DictConfig) else config[key]
    if node is None or (hasattr(node, "_is_interpolation") and node._is_interpolation()):
        return None
    return node


def _check_target(node: DictConfig) -> None:
    target, where = str(node["_target_"]), node._get_full_key("")
    if target.split(".")[0] not in TRUSTED_PACKAGES:
        raise ConfigError(
            f"the configuration names the foreign target '{target}' at '{where}': "
            f"only {', '.join(TRUSTED_PACKAGES)} may be built"
        )
    parameters = inspect.signature(_locate(target, where)).parameters
    if any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        return
    for key in node:
        if not str(key).startswith("_") and key not in parameters:
            near = difflib.get_close_matches(str(key), list(parameters), n=1, cutoff=0.5)
            hint = f"did you mean '{near[0]}'?" if near else f"it takes {', '.join(parameters)}"
            raise ConfigError(f"unknown key '{node._get_full_key(key)}' of {target}: {hint}")


def _locate(target: str, where: str) -> Any:
    """The class or function of a dotted path, without calling anything."""
    parts = target.split(".")
    for split in range(len(parts) - 1, 0, -1):
        try:
            found: Any = importlib.import_module(".".join(parts[:split]))
        except ModuleNotFoundError as error:
            if error.name and not target.startswith(error.name):
                raise
            continue
        for name in parts[split:]:
            found = getattr(found, name, None)
        if callable(found):
            return found
        break
    raise ConfigError(
        f"the target '{target}' at '{where}' does not exist: check the spelling of `_target_`"
    )


def _by_scale(sizes: Mapping[str, Any], *, _root_: DictConfig) -> Any:
    scale = _root_.scale
    if scale not in sizes:
        raise ConfigError(f"no size for scale={scale} here: there are {', '.join(map(str, sizes))}")
    size = sizes[scale]
    return OmegaConf.create(size) if isinstance(size, list | dict) else size


def _product(factors: Any) -> float:
    """Of all numbers in a nested list."""
    if isinstance(factors, int | float):
        return float(factors)
    return math.prod(map(_product, factors))


def _first_line(text: str) -> str:
    return " ".join(line.strip() for line in text.splitlines() if line.strip())[:500]
