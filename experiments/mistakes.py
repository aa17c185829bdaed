"""What Hydra, OmegaConf and YAML raise for a user's mistake, as one line with the nearest name."""

import difflib
import re

import yaml
from hydra.errors import (
    ConfigCompositionException,
    HydraException,
    MissingConfigException,
    OverrideParseException,
)
from omegaconf.errors import (
    InterpolationResolutionError,
    MissingMandatoryValue,
    OmegaConfBaseException,
)

from detectors.errors import LineupError


def explain(error: BaseException) -> str | None:
    """One line for a mistake in the configuration; `None` for anything else (a bug of ours)."""
    for cause in _chain(error):
        if isinstance(cause, LineupError):
            return str(cause)
        if isinstance(cause, yaml.MarkedYAMLError):
            return _malformed_yaml(cause)
    if isinstance(error, MissingConfigException):
        return _unknown_option(error)
    if isinstance(error, MissingMandatoryValue | InterpolationResolutionError):
        return _missing_value(error)
    if isinstance(error, OverrideParseException):
        return (
            f"'{error.override}' cannot be read: write key=value, "
            "in quotes if the value has spaces, commas or brackets"
        )
    if isinstance(error, HydraException | OmegaConfBaseException):
        return _unknown_override(error) or _one_line(error)
    return None


def _chain(error: BaseException | None) -> list[BaseException]:
    found: list[BaseException] = []
    while error is not None and error not in found:
        found.append(error)
        error = error.__cause__ or error.__context__
    return found


def _malformed_yaml(error: yaml.MarkedYAMLError) -> str:
    mark = error.problem_mark
    where = (
        f"{mark.name}, line {mark.line + 1}, column {mark.column + 1}" if mark else "a YAML file"
    )
    return f"malformed YAML in {where}: {error.problem}"


def _unknown_option(error: MissingConfigException) -> str:
    group, _, option = (error.missing_cfg_file or "").rpartition("/")
    options = list(error.options or [])
    near = difflib.get_close_matches(option, options, n=1, cutoff=0.5)
    hint = f"did you mean '{near[0]}'?" if near else f"there are {', '.join(options)}"
    return f"unknown option '{option}' of '{group}': {hint}" if options else _one_line(error)


def _missing_value(error: OmegaConfBaseException) -> str:
    missing = re.search(r"Missing mandatory value: (\S+)", str(error))
    if missing is None and isinstance(error, InterpolationResolutionError):
        return _one_line(error)
    key = missing.group(1) if missing else str(error.full_key or "")
    return f"{key} is not set: add {key}=VALUE to the command line"


def _unknown_override(error: Exception) -> str | None:
    found = re.search(r"(?:override|Key) '([^']+)'", str(error))
    if found is None or not _is_about_a_name(error):
        return None
    new = re.search(r"full_key: (\S+)", str(error.__cause__))
    if new is not None and new.group(1).startswith(f"{found.group(1)}."):
        return f"'{new.group(1)}' does not exist yet: add it with +{new.group(1)}=VALUE"
    from experiments.build import compose, flat_keys, unknown_key

    config = compose()
    return unknown_key(found.group(1).split("@")[0], [*config.choices, *flat_keys(config)])


def _is_about_a_name(error: Exception) -> bool:
    return isinstance(error, ConfigCompositionException) and any(
        text in str(error) for text in ("Could not override", "not in struct", "not found")
    )


def _one_line(error: BaseException) -> str:
    text = " ".join(line.strip() for line in str(error).splitlines() if line.strip())
    return text[:400]
