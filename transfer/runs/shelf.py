"""A cache per process: the runs of a comparison need the same backbone and data."""

import json
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import checkpoints
from checkpoints import Backbone
from transfer import data as datasets
from transfer.recipe import Recipe


def alike(recipe: Recipe) -> str:
    """Return a text that is equal for recipes of which a trial reveals the same.

    They differ only in seed, rounds or a sparsity above 0.
    """
    sparsity = 0.5 if recipe.prune.sparsity else 0.0
    usual = replace(recipe, seed=0, prune=replace(recipe.prune, sparsity=sparsity, rounds=None))
    return json.dumps(usual.to_dict(), sort_keys=True)


class Shelf:
    """Caches the last backbone and the last data set, and records which recipes were tried on random images.

    Pass one to :func:`transfer.runs.prepare.prepare` for several recipes, so that what they share is loaded and tried
    once. ``tried`` is the :attr:`tried` of another process. Cached objects are shared: do not modify them.
    """

    def __init__(self, tried: Iterable[str] = ()) -> None:
        self.tried = set(tried)
        self._backbone: tuple[Any, Backbone] | None = None
        self._data: tuple[str, Any] | None = None

    def backbone(self, name: str, seed: int) -> Backbone:
        """Return ``checkpoints.load(name, seed=seed)``.

        Raises:
            InputError: it cannot be loaded.
        """
        key = (name, seed if name.startswith("random:") else 0)  # only random weights depend on the seed
        if self._backbone is None or self._backbone[0] != key:
            self._backbone = key, checkpoints.load(name, seed=seed)
        return self._backbone[1]

    def data(self, name: str) -> Any:
        """Return ``transfer.data.load(name)``.

        Raises:
            InputError: it cannot be loaded.
        """
        if self._data is None or self._data[0] != name:
            self._data = name, datasets.load(name)
        return self._data[1]

    def first(self, recipe: Recipe) -> bool:
        """Record the recipe; return whether a trial of it could reveal anything new."""
        key = alike(recipe)
        new = key not in self.tried
        self.tried.add(key)
        return new
