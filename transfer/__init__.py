"""Prune a pretrained vision backbone before fine-tuning it on your task.

The names in ``__all__`` are the stable API (docs/python.md); everything else may change.
"""

from typing import Any

__version__ = "0.1.0"

_HOMES = {
    "Data": "transfer.recipe",
    "InputError": "checkpoints.errors",
    "Masks": "transfer.pruning",
    "Prune": "transfer.recipe",
    "Recipe": "transfer.recipe",
    "Result": "transfer.runs.run",
    "RunError": "transfer.errors",
    "Setup": "transfer.runs.prepare",
    "Train": "transfer.recipe",
    "classification": "transfer.runs.setups",
    "evaluate": "transfer.training",
    "finetune": "transfer.training",
    "load_sparse": "checkpoints.sparse.read",
    "prune": "transfer.pruning",
    "run": "transfer.runs.run",
    "save_sparse": "checkpoints.sparse.write",
    "score": "transfer.pruning",
    "segmentation": "transfer.runs.setups",
}
_ROOMS = ("data", "pruning", "tasks")
__all__ = ["__version__", *_HOMES, *_ROOMS]


def __getattr__(name: str) -> Any:
    """Import a public name on first access, so that ``--help`` does not wait for torch."""
    from importlib import import_module

    if name in _ROOMS:
        return import_module(f"transfer.{name}")
    if name not in _HOMES:
        raise AttributeError(f"module 'transfer' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
