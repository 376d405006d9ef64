"""Prune a pretrained vision backbone before fine-tuning it on your task.

The four calls most people need are ``transfer.run(recipe)``, ``transfer.pruning.prune(model, batches, ...)``,
``transfer.finetune(model, masks, data, train, task=...)`` and ``transfer.evaluate(model, batches, task=...)``.
"""

from typing import Any

__version__ = "0.1.0"

_HOMES = {
    "run": "transfer.runs.run",
    "finetune": "transfer.training",
    "evaluate": "transfer.training",
    "Result": "transfer.runs.run",
    "InputError": "checkpoints.errors",
}
__all__ = ["InputError", "Result", "__version__", "evaluate", "finetune", "run"]


def __getattr__(name: str) -> Any:
    """Import a public call when it is first asked for, so that ``--help`` need not wait for torch."""
    if name not in _HOMES:
        raise AttributeError(f"module 'transfer' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)
