"""What the text formats share: a file's text, the numbers in it, one way to pair it with images."""

from collections.abc import Collection, Mapping
from pathlib import Path

from datamodules.sources.checks import no_labels
from datamodules.sources.file_source import Record
from detectors.errors import ConfigError, DataError

_UNLABELLED = ("error", "empty", "skip")


def text_of(path: Path) -> str:
    """The text of a UTF-8 file, with or without a byte order mark.

    Raises:
        DataError: missing, unreadable, or in another encoding.
    """
    try:
        return path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        what = f"cannot be opened ({error.strerror})"
        raise DataError(path, what, "restore the file, or correct its name") from None
    except UnicodeDecodeError as error:
        what = f"not UTF-8 text (byte {error.start})"
        raise DataError(path, what, "restore the file, or save it as UTF-8") from None


def shown(value: object) -> str:
    """A value as an error message quotes it: not longer than the line it stands in."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def number(value: object, where: str, name: str) -> float:
    """A number as a file has it, parsed or as text; it need not be finite.

    Raises:
        DataError: it is none.
    """
    try:
        if isinstance(value, str | int | float) and not isinstance(value, bool):
            return float(value)
    except (ValueError, OverflowError):
        pass
    found = "is missing" if value is None else f"is {shown(value)}"
    raise DataError(where, f"{name} {found}", "write a number")


def whole_number(value: object, where: str, name: str) -> int:
    """As `number`, without a fraction."""
    found = number(value, where, name)
    if not found.is_integer():
        raise DataError(where, f"{name} is {shown(value)}", "write a whole number")
    return int(found)


def checked_unlabelled(policy: str) -> str:
    """What to do with images without labels; see the formats that have `unlabelled`."""
    if policy not in _UNLABELLED:
        choices = ", ".join(_UNLABELLED)
        raise ConfigError(f"datamodule.train.unlabelled={policy} is unknown: choose {choices}")
    return policy


def unlabelled_images(
    images: Mapping[str, Path], labelled: Collection[str], labels: Path, policy: str
) -> dict[str, Record | DataError]:
    """The images nobody labelled, as `policy` wants them: a mistake, without objects, or none."""
    remedy = "label it, remove it, or set unlabelled=empty (it shows no object) or skip"
    return {
        name: Record(image, list, str(image))
        if policy == "empty"
        else no_labels(image, name, labels, remedy)
        for name, image in images.items()
        if name not in labelled and policy != "skip"
    }
