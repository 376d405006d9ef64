"""The files of a figure: its numbers as JSON and as CSV."""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from checkpoints.errors import InputError
from checkpoints.files import write_json, write_whole


def check_folder(out: Path) -> None:
    """Raise InputError if ``out`` is there and is no folder."""
    if out.exists() and not out.is_dir():
        raise InputError(f"{out} is no folder; choose another --out")


def write_table(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write rows of the same keys as CSV; None is an empty field."""
    text = io.StringIO()
    table = csv.DictWriter(text, fieldnames=list(rows[0]), lineterminator="\n")
    table.writeheader()
    table.writerows(rows)
    write_whole(path, text.getvalue())


def write(out: Path, name: str, content: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> None:
    """Write ``out/name.json`` and ``out/name.csv``."""
    write_json(out / f"{name}.json", content)
    write_table(out / f"{name}.csv", rows)
