"""Score the weights of a model, select what stays, hold the masks."""

from transfer.pruning.loop import default_rounds, prune
from transfer.pruning.masks import Masks
from transfer.pruning.saliency import methods
from transfer.pruning.scoring import score

__all__ = ["Masks", "default_rounds", "methods", "prune", "score"]
