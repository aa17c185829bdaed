"""A CSV log that survives being interrupted."""

import csv
import io
import os
from pathlib import Path
from typing import Any

from lightning.fabric.utilities.rank_zero import rank_zero_only
from lightning.pytorch.loggers.logger import Logger

from callbacks.files import write_text_atomically

Row = dict[str, str]
FIRST = ("step", "epoch")


class CsvLog(Logger):
    """One row per step and one column per metric, in `<save_dir>/<filename>`.

    (Lightning's CSVLogger deletes the file when a run resumes.) What is logged is on disk when
    `log_metrics` returns. Values of one step share a row. A training step before the last row means
    that the run was resumed from a checkpoint: the rows after it are dropped, for they come again.
    The file of a resumed run is therefore that of an uninterrupted one.
    """

    def __init__(self, save_dir: str, filename: str = "metrics.csv") -> None:
        super().__init__()
        self.path = Path(save_dir) / filename
        self._rows: dict[int, Row] | None = None
        self._columns: list[str] = []
        self._last_row_at = 0
        """Where in the file the last row starts, bytes."""

    @property
    def name(self) -> str:
        """Of the logger."""
        return "csv"

    @property
    def version(self) -> str:
        """There is one per folder."""
        return ""

    @property
    def save_dir(self) -> str:
        """The folder of the file."""
        return str(self.path.parent)

    @rank_zero_only
    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """The configuration is a file of its own."""

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, Any], step: int | None = None) -> None:
        """Adds the metrics to the row of `step`."""
        rows = self._load()
        last = max(rows, default=-1)
        step = last + 1 if step is None else step
        resumed = step < last and any(key.startswith("train/") for key in metrics)
        if resumed:
            rows = self._rows = {known: row for known, row in rows.items() if known <= step}
        row = rows.setdefault(step, {"step": str(step)})
        row.update({key: str(value) for key, value in metrics.items()})
        new_columns = row.keys() - set(self._columns)
        if new_columns or resumed or step < last:
            self._columns = _ordered({*self._columns, *new_columns})
            self._write_all(rows)
        else:
            self._write_last(row, replace=step == last)

    def _load(self) -> dict[int, Row]:
        if self._rows is None:
            self._rows = {}
            if self.path.is_file():
                self._columns, rows = read_log(self.path)
                self._rows = {int(row["step"]): row for row in rows}
                self._write_all(self._rows)
        return self._rows

    def _write_all(self, rows: dict[int, Row]) -> None:
        lines = [self._line(dict(zip(self._columns, self._columns, strict=True)))]
        lines += [self._line(rows[step]) for step in sorted(rows)]
        write_text_atomically(self.path, "".join(lines))
        self._last_row_at = sum(len(line.encode()) for line in lines[:-1])

    def _write_last(self, row: Row, *, replace: bool) -> None:
        with self.path.open("r+b") as file:
            end = file.seek(0, os.SEEK_END)
            self._last_row_at = self._last_row_at if replace else end
            file.seek(self._last_row_at)
            file.write(self._line(row).encode())
            file.truncate()

    def _line(self, row: Row) -> str:
        text = io.StringIO()
        csv.DictWriter(text, self._columns, restval="", lineterminator="\n").writerow(row)
        return text.getvalue()


def read_log(path: Path) -> tuple[list[str], list[Row]]:
    """The columns of such a file, and its rows without what is empty.

    A line that a killed process left half written is left out.
    """
    with path.open(newline="") as file:
        table = csv.DictReader(file)
        rows = [_known(row) for row in table if _whole(row)]
    return list(table.fieldnames or []), rows


def _ordered(columns: set[str]) -> list[str]:
    return [*FIRST, *sorted(columns - {*FIRST})]


def _whole(row: dict[Any, Any]) -> bool:
    return None not in row and None not in row.values() and row["step"].isdecimal()


def _known(row: Row) -> Row:
    return {key: value for key, value in row.items() if value != ""}
