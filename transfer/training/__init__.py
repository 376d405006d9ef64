"""Fine-tune a sparse model through accelerate, and evaluate it."""

from transfer.training.loop import History, Loaders, evaluate, finetune

__all__ = ["History", "Loaders", "evaluate", "finetune"]
