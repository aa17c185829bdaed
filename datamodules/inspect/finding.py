"""A finding of the data check, and the form of a check.

A check is a function that yields a `Found` per mistake. Its name is the kind of the findings, its
docstring says what goes wrong in training if they are ignored: users read it as the consequence.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

Severity = Literal["error", "warning", "note"]


class Found(NamedTuple):
    """What a check yields: how bad, in which file, what it is, and what the user can do."""

    severity: Severity
    file: str
    what: str
    remedy: str


@dataclass(slots=True, frozen=True)
class Finding:
    """One thing that is wrong with a dataset, ready to be shown."""

    kind: str
    severity: Severity
    file: str
    what: str
    consequence: str
    remedy: str


def findings_of(
    checks: Sequence[Callable[..., Iterable[Found]]], *arguments: object
) -> list[Finding]:
    """What the checks find, in their order; the same thing found in two splits is said once."""
    return [
        Finding(_kind(check), found.severity, found.file, found.what, _text(check), found.remedy)
        for check in checks
        for found in dict.fromkeys(check(*arguments))
    ]


def _kind(check: Callable[..., Iterable[Found]]) -> str:
    return check.__name__.replace("_", " ")


def _text(check: Callable[..., Iterable[Found]]) -> str:
    return " ".join((check.__doc__ or "").split())
