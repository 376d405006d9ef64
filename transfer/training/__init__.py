"""Fine-tune a sparse model through accelerate, and evaluate it."""

from transfer.data.image_batches import Loaders
from transfer.distributed import accelerator_for
from transfer.pruning.calibration import recalibrate
from transfer.training.evaluation import evaluate
from transfer.training.history import History
from transfer.training.loop import finetune

__all__ = ["History", "Loaders", "accelerator_for", "evaluate", "finetune", "recalibrate"]
