"""What a report knows of one finished run, as plain data."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from checkpoints.errors import InputError
from transfer import tasks
from transfer.recipe import KEEP, Prune, Recipe
from transfer.tasks import Metric, Task

_MACHINE = ("device", "precision", "processes")
_PLACE = ("prune.method", "prune.sparsity")
_NOT_DECISIVE = ("seed", "data.workers", "train.save_minutes")


@dataclass(frozen=True)
class Record:
    """A finished run: what its files say.

    Attributes:
        folder: the run's folder.
        recipe: its settings, as they were run.
        result: the content of ``result.json``.
        data: what identifies its data, from ``origin.json``; empty if unknown.
        layers: the rows of ``layers.csv``.
        epochs: the rows of ``metrics.jsonl``.
        prune_s: seconds of pruning; None if unknown.
        train_s: seconds of training; None if unknown.
        dense_bytes: of the file of weights; None if it is not there.
        sparse_bytes: of the same weights in a sparse file; None if they are not there.
        spectrum: eigenvalues of the NTK under "dense" and "pruned"; None if they were not computed.
        spectrum_settings: what they were computed with; empty if unknown.
    """

    folder: Path
    recipe: Recipe
    result: Mapping[str, Any]
    data: Mapping[str, Any]
    layers: Sequence[Mapping[str, Any]] = ()
    epochs: Sequence[Mapping[str, float]] = ()
    prune_s: float | None = None
    train_s: float | None = None
    dense_bytes: int | None = None
    sparse_bytes: int | None = None
    spectrum: Mapping[str, Sequence[float]] | None = None
    spectrum_settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def task(self) -> type[Task]:
        """The run's task."""
        return tasks.find(self.result["task"])

    @property
    def headline(self) -> Metric:
        """The metric that the run is judged by."""
        return self.task.headline

    @property
    def value(self) -> float:
        """The headline after the last epoch."""
        return float(self.result[self.headline.name])

    @property
    def method(self) -> str:
        """The pruning method; "dense" if nothing was pruned."""
        return str(self.result["method"])

    @property
    def dense(self) -> bool:
        """Whether nothing was pruned."""
        return self.recipe.prune.dense

    @property
    def level(self) -> float:
        """The sparsity that was asked for; for a backbone that was pruned before, the one that it has."""
        exact = float(self.result["sparsity" if self.method == KEEP else "sparsity_asked"])
        rounded = round(exact, 6)
        return rounded if rounded < 1 else exact

    @property
    def ablated(self) -> bool:
        """Whether the pruning was undone in part, to see what it is worth: no model to be recommended."""
        return self.recipe.prune.ablate is not None

    @property
    def seed(self) -> int:
        """The run's seed."""
        return self.recipe.seed

    @property
    def file_bytes(self) -> int | None:
        """Bytes of the smaller of the two files."""
        if self.dense_bytes is None or self.sparse_bytes is None:
            return None
        return min(self.dense_bytes, self.sparse_bytes)

    @cached_property
    def settings(self) -> dict[str, Any]:
        """The recipe's settings by their paths, such as "train.epochs"."""
        return flat(self.recipe.to_dict())

    @cached_property
    def way(self) -> dict[str, Any]:
        """How the run prunes besides method and sparsity: settings by name."""
        return _way(self.recipe)

    @cached_property
    def unusual(self) -> set[str]:
        """Names in :attr:`way` of what is not as the method has it by default.

        Of a method that is not registered, what is not as in a recipe without settings.
        """
        own = self.recipe.prune
        usual = replace(self.recipe, prune=Prune(method=own.method, sparsity=own.sparsity, allocation=own.allocation))
        with suppress(InputError):
            usual = usual.resolved()
        plain = _way(usual) | {"allocation": Prune().allocation}
        return {name for name, value in self.way.items() if value != plain[name]}

    @cached_property
    def protocol(self) -> dict[str, str]:
        """What runs must have in common to be averaged or compared, as text by name."""
        shared = {
            path: value
            for path, value in self.settings.items()
            if not path.startswith("prune.") and path not in _NOT_DECISIVE
        }
        weights = "" if self.recipe.backbone.startswith("random:") else str(self.result.get("backbone_digest", ""))
        found = {"task": self.result["task"], **shared, "backbone's weights": weights[:12], "data": self._data()}
        found |= {name: self.result.get(name) for name in _MACHINE}
        found |= {f"version of {name}": value for name, value in self.result.get("versions", {}).items()}
        return {name: text(value) for name, value in found.items()}

    def _data(self) -> str:
        """Return a short digest of the data."""
        content = json.dumps(self.data, sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()[:12] if self.data else "unknown"


def _way(recipe: Recipe) -> dict[str, Any]:
    own = flat(recipe.to_dict())
    return {path.removeprefix("prune."): own[path] for path in own if path.startswith("prune.") and path not in _PLACE}


def flat(content: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested settings by their paths."""
    found: dict[str, Any] = {}
    for key, value in content.items():
        found |= flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return found


def text(value: Any) -> str:
    """Return a setting as text."""
    if isinstance(value, list | tuple):
        return " ".join(map(text, value)) or "none"
    return "none" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
