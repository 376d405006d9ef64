"""The files of a figure: its numbers as JSON and as CSV."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from checkpoints.files import write_json, write_whole
from transfer.report.tables import csv_text


def write(out: Path, name: str, content: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> None:
    """Write ``out/name.json`` and ``out/name.csv``."""
    write_json(out / f"{name}.json", content)
    write_whole(out / f"{name}.csv", csv_text(rows))
