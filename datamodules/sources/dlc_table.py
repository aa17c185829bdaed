"""DeepLabCut's tables of labelled parts (CollectedData_*.csv and .h5), row by row.

Above the rows stand `scorer`, `individuals` (several animals only), `bodyparts` and `coords`; in
front of them the image's path, in one column or in one per folder.
"""

import csv
import importlib
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from datamodules.sources.file_source import parsed
from datamodules.sources.parsing import number, text_of
from detectors.errors import DataError

_NOT_AN_ANIMAL = "single"
"""DeepLabCut's individual for parts that exist once, such as the corners of an arena."""

_ABSENT = ("", "nan")

Column = tuple[str, str, str]
"""Individual ('' where there is one animal only), body part, and x or y."""


@dataclass(slots=True)
class Row:
    """One image: what stands in its cells, not read yet."""

    where: str
    image: str
    cells: Mapping[Column, str]

    @property
    def is_empty(self) -> bool:
        """Nothing is labelled; DeepLabCut writes such rows for images that nobody opened."""
        return all(cell.lower() in _ABSENT for cell in self.cells.values())

    def animals(self) -> dict[str, dict[str, tuple[float, float]]]:
        """Individual -> its labelled parts -> x, y as written. Animals without any are left out.

        Raises:
            DataError: what stands there is no number, or half a point.
        """
        found: dict[str, dict[str, tuple[float, float]]] = {}
        for individual, part, axis in self.cells:
            if axis != "x" or individual == _NOT_AN_ANIMAL:
                continue
            x, y = (self._number((individual, part, name)) for name in "xy")
            if math.isnan(x) != math.isnan(y):
                what = f"'{part}' has x or y only"
                raise DataError(self.where, what, "write both, or none of them")
            if not math.isnan(x):
                found.setdefault(individual, {})[part] = (x, y)
        return found

    def _number(self, column: Column) -> float:
        text = self.cells[column]
        individual, part, axis = column
        where = f"{self.where}: {individual}" if individual else self.where
        return math.nan if text.lower() in _ABSENT else number(text, where, f"{axis} of '{part}'")


@dataclass(slots=True)
class Table:
    """The labelled images of one file."""

    file: Path
    parts: Sequence[str]
    rows: Sequence[Row | DataError]


def read_table(file: Path) -> Table:
    """The table in a CSV or HDF5 file; an HDF5 file can run code, so open none from strangers.

    Raises:
        DataError: the file cannot be read or is not a table of DeepLabCut's.
    """
    text = text_of(file) if file.suffix.lower() == ".csv" else _hdf_as_text(file)
    reader = csv.reader(io.StringIO(text, newline=""))
    try:
        lines = [(reader.line_num, line) for line in reader if any(line)]
    except csv.Error as error:
        raise DataError(file, f"not a readable table ({error})", "restore the file") from None
    header = _header([line for _, line in lines], file)
    height, index_width = len(header), _index_width(header["coords"], file)
    columns = _columns(header, index_width, file)
    rows = [
        parsed(_row, f"{file}: line {count}", line, index_width, columns)
        for count, line in lines[height:]
    ]
    parts = list(dict.fromkeys(part for who, part, _ in columns if who != _NOT_AN_ANIMAL))
    return Table(file, parts, rows)


def _hdf_as_text(file: Path) -> str:
    """What DeepLabCut would have written as CSV."""
    try:
        pandas = importlib.import_module("pandas")
        importlib.import_module("tables")  # pandas needs it, and says so in several lines
    except ImportError as error:
        raise DataError(
            file,
            f"cannot be read without {error.name}",
            "pip install pandas tables, or name the .csv beside it in datamodule.train.tables",
        ) from None
    try:
        return pandas.read_hdf(file).to_csv()
    except Exception as error:  # PyTables and pandas raise whatever they like
        what = " ".join(str(error).split())
        raise DataError(file, f"not a readable table ({what})", "restore the file") from None


def _header(lines: Sequence[Sequence[str]], file: Path) -> dict[str, Sequence[str]]:
    """Name of a header row -> its cells."""
    header: dict[str, Sequence[str]] = {}
    for line in lines[:4]:
        header[line[0].strip()] = [cell.strip() for cell in line]
        if "coords" in header:
            break
    if header.keys() - {"individuals"} != {"scorer", "bodyparts", "coords"}:
        raise DataError(
            file,
            "does not begin with the rows scorer, (individuals,) bodyparts and coords",
            "give CollectedData files of DeepLabCut in datamodule.train.tables",
        )
    return header


def _index_width(coords: Sequence[str], file: Path) -> int:
    if "x" not in coords:
        raise DataError(file, "its row 'coords' names no x", "restore the file")
    return coords.index("x")


def _columns(header: Mapping[str, Sequence[str]], start: int, file: Path) -> list[Column]:
    width = len(header["coords"])
    individuals = header.get("individuals", [""] * width)
    if not len(individuals) == len(header["bodyparts"]) == width:
        raise DataError(file, "its header rows differ in length", "restore the file")
    columns = list(zip(individuals, header["bodyparts"], header["coords"], strict=True))[start:]
    pairs = {(who, part) for who, part, _ in columns}
    if len(set(columns)) != len(columns) or set(columns) != {(*p, a) for p in pairs for a in "xy"}:
        raise DataError(
            file,
            "has not one x and one y for each part",
            "give hand-labelled data (CollectedData), not predictions",
        )
    return columns


def _row(where: str, line: Sequence[str], index_width: int, columns: Sequence[Column]) -> Row:
    cells = [cell.strip() for cell in line]
    if len(cells) != index_width + len(columns):
        raise DataError(
            where,
            f"{len(cells)} cells, but the header has {index_width + len(columns)}",
            "correct the line",
        )
    image = "/".join(filter(None, cells[:index_width])).replace("\\", "/")
    return Row(where, image, dict(zip(columns, cells[index_width:], strict=True)))
