"""The run folders of the cells of a sweep, found without making a model or downloading anything."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import checkpoints
from transfer.data.identity import fingerprint
from transfer.recipe import Recipe
from transfer.runs.folder import RunFolder
from transfer.runs.prepare import origin
from transfer.runs.shelf import Shelf

State = Literal["done", "begun", "new"]


@dataclass
class Places:
    """Finds run folders under ``out``; reads each backbone and data set once."""

    out: Path
    shelf: Shelf
    _backbones: dict[tuple[str, int], str] = field(default_factory=dict)
    _data: dict[str, Any] = field(default_factory=dict)

    def folder(self, recipe: Recipe) -> RunFolder:
        """Return the folder of a recipe's run.

        Raises:
            InputError: the backbone or the data cannot be loaded; ``NotReady`` if a run would get them first.
        """
        with checkpoints.only_looking():
            backbone, data = self._backbone(recipe), self._images(recipe.data.name)
        resolved = recipe.resolved()
        return RunFolder(self.out, resolved, origin(resolved, backbone, data))

    def _backbone(self, recipe: Recipe) -> str:
        key = recipe.backbone, recipe.seed if recipe.backbone.startswith("random:") else 0
        if key not in self._backbones:
            self._backbones[key] = self.shelf.backbone(recipe.backbone, recipe.seed).digest()
        return self._backbones[key]

    def _images(self, name: str) -> Any:
        if name not in self._data:
            self._data[name] = fingerprint(self.shelf.data(name))
        return self._data[name]


def state(folder: RunFolder) -> State:
    """Return what a run folder holds: a finished run, a part of one, or nothing."""
    if folder.finished() is not None:
        return "done"
    return "begun" if folder.path.exists() else "new"
