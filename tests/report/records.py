"""Records of runs by hand, without folders."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from tests.report.run_folders import DATA, RECIPE
from transfer.pruning.saliency import methods
from transfer.recipe import Prune, Recipe
from transfer.report.record import Record


def record(
    method: str = "px", sparsity: float = 0.9, seed: int = 0, value: float = 0.9, *, size: int | None = None,
    recipe: Recipe = RECIPE, data: Any = DATA, prune: dict[str, Any] | None = None, **result: Any,
) -> Record:  # fmt: skip
    """Return the record of a run; ``result`` replaces entries of its result."""
    asked = Prune(method=method, sparsity=sparsity, **(prune or {}))
    found = {
        "task": "classification", "dataset": "digits", "train_split": "train", "split": "test", "image_size": 32,
        "method": method, "sparsity_asked": sparsity, "sparsity": sparsity, "kept": round(1000 * (1 - sparsity)),
        "total": 1000, "accuracy": value, "device": "cpu", "precision": "no", "processes": 1,
        "backbone_digest": "c" * 64, "versions": {"px-transfer": "0.1.0", "torch": "2.14.1"},
    }  # fmt: skip
    own = dataclasses.replace(recipe, prune=asked, seed=seed)
    if method in (*methods(), "dense", "imp", "gmp"):
        own = own.resolved()  # as a run writes it
    return Record(Path(f"runs/{method}-{sparsity}-{seed}"), own, found | result, data, dense_bytes=size and 4000,
                  sparse_bytes=size)  # fmt: skip
