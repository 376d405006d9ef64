"""The CSV of accuracy_grid.py for a pair, which several processes may append to and any of them may be killed."""

import csv
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

from filelock import FileLock
from grid_cells import IDENTITY, Row

from checkpoints.errors import InputError
from checkpoints.files import write_whole

SETTINGS = IDENTITY[:11]  # columns of the pair, the same for every way
COLUMNS = (
    *IDENTITY, "way", "kept", "accuracy", "test_loss", "prune_seconds", "train_seconds", "cpu_seconds",
    "empty_layers", "masks", "threads", "device", "torch", "version", "error",
)  # fmt: skip


@dataclass(frozen=True)
class Table:
    """The CSV of a pair, which several processes may append to; new rows keep the columns of the file."""

    path: Path

    def rows(self) -> list[Row]:
        """Return the complete rows.

        Raises:
            InputError: the file has other columns.
        """
        with self._lock():
            return self._read()[1] if self.path.exists() else []

    def append(self, row: Mapping[str, Any]) -> None:
        """Append a row to disk; drop an incomplete last line, left by a killed process.

        Raises:
            InputError: the file has other columns.
        """
        with self._lock():
            self._mend()
            columns, _ = self._read()
            with open(self.path, "ab") as file:
                file.write(_line(row.get(column, "") for column in columns).encode())
                file.flush()
                os.fsync(file.fileno())

    def drop_errors(self) -> None:
        """Remove the rows with an error, so that their cells are run again."""
        with self._lock():
            if self.path.exists():
                columns, rows = self._read()
                kept = [_line(row[column] for column in columns) for row in rows if not row["error"]]
                write_whole(self.path, _line(columns) + "".join(kept))

    def _lock(self) -> FileLock:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        return FileLock(self.path.with_name(f".{self.path.name}.lock"))

    def _mend(self) -> None:
        content = self.path.read_bytes() if self.path.exists() else b""
        whole = content[: content.rfind(b"\n") + 1]
        if not whole:
            self.path.write_text(_line(COLUMNS))
        elif whole != content:
            os.truncate(self.path, len(whole))

    def _read(self) -> tuple[list[str], list[Row]]:
        """Return columns and rows; a file of an earlier version may lack columns that do not identify cells."""
        content = self.path.read_text()
        header, *rows = list(csv.reader(StringIO(content[: content.rfind("\n") + 1]))) or [list(COLUMNS)]
        if not {*IDENTITY, "way", "accuracy", "error"} <= set(header) <= set(COLUMNS):
            raise InputError(f"{self.path} has other columns; move it away or give another --out")
        return header, [dict(zip(header, row, strict=True)) for row in rows]


def _line(values: Iterable[object]) -> str:
    text = StringIO()
    csv.writer(text, lineterminator="\n").writerow([" ".join(str(value).split()) for value in values])
    return text.getvalue()


def csv_of(out: Path, name: str) -> Path:
    """Return the path of the CSV of a pair."""
    return out / f"methods-{name}.csv"
