"""What happens to a mistake in a dataset's files: the program ends, or goes on without it."""

from collections.abc import Iterator
from contextlib import contextmanager

from datamodules.sources.checks import InvalidBox
from detectors.errors import ConfigError, DataError

_TOLERATED: dict[str, tuple[type[DataError], ...]] = {
    "error": (),
    "drop_boxes": (InvalidBox,),
    "drop_all": (DataError,),
}


class Mistakes:
    """Keeps the tolerated mistakes in `found`; any other is raised.

    Args:
        policy: `error`, `drop_boxes` or `drop_all`; see `FileSource`.
    """

    def __init__(self, policy: str) -> None:
        if policy not in _TOLERATED:
            raise ConfigError(
                f"datamodule.mistakes={policy} is unknown: choose {', '.join(_TOLERATED)}"
            )
        self._tolerated = _TOLERATED[policy]
        self.found: list[DataError] = []

    @contextmanager
    def left_out(self) -> Iterator[None]:
        """What is read inside is left out if it holds a tolerated mistake."""
        try:
            yield
        except self._tolerated as mistake:
            self.found.append(mistake)
