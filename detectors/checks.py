"""Checks of values a user chooses in the configuration."""

import difflib
from collections.abc import Collection

from detectors.errors import ConfigError


def check_choice(key: str, value: str, choices: Collection[str]) -> None:
    """Refuses a `value` that is none of `choices`, naming the nearest one."""
    if value in choices:
        return
    near = difflib.get_close_matches(str(value), choices, n=1, cutoff=0.0)[0]
    raise ConfigError(f"{key}={value} is none of {', '.join(choices)}: did you mean {near}?")
