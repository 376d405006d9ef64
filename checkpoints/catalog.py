"""The published backbones as data: ``catalog.toml``, read once."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.resources import files
from typing import Any

from .backbone import Backbone, Card
from .fetch import Source

tomllib = import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")


@dataclass(frozen=True)
class Entry:
    """One published backbone: what it is, where its file is, on what terms, how its images are prepared."""

    name: str
    arch: str
    source: Source
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    interpolation: str
    input_size: tuple[int, int, int]
    licence: str | None = None
    paper: str | None = None
    non_commercial: bool = False
    notes: str = ""

    def backbone(self, state_dict: dict[str, Any], sha256: str) -> Backbone:
        """Return the backbone of weights that were read from the file with this hash."""
        card = Card(
            name=self.name,
            licence=self.licence,
            paper=self.paper,
            url=self.source.address(),
            sha256=sha256,
            non_commercial=self.non_commercial,
            notes=self.notes,
        )
        return Backbone(
            arch=self.arch,
            state_dict=state_dict,
            mean=self.mean,
            std=self.std,
            interpolation=self.interpolation,
            input_size=self.input_size,
            card=card,
        )


@cache
def entries() -> dict[str, Entry]:
    """Return the entries of ``catalog.toml`` by name, in the file's order."""
    tables = tomllib.loads((files(__package__) / "catalog.toml").read_text("utf-8"))
    return {name: _entry(name, table) for name, table in tables.items()}


def _entry(name: str, table: dict[str, Any]) -> Entry:
    fields: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in table.items()}
    source = {key: fields.pop(key) for key in Source.__dataclass_fields__ if key in fields}
    return Entry(name=name, source=Source(**source), **fields)
