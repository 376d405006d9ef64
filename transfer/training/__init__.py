"""Fine-tune a sparse model through accelerate, and evaluate it."""

from transfer.data.image_batches import Loaders
from transfer.training.accelerators import accelerator_for
from transfer.training.evaluation import evaluate
from transfer.training.history import History
from transfer.training.loop import finetune
from transfer.training.recalibrate import recalibrate

__all__ = ["History", "Loaders", "accelerator_for", "evaluate", "finetune", "recalibrate"]
