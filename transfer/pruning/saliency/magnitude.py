"""Magnitude pruning: the absolute value of the weight (Janowsky 1989; Han 2015)."""

import torch
from torch import Tensor

from transfer.pruning.problem import Problem


def score(problem: Problem) -> dict[str, Tensor]:
    """Return ``|θ|``."""
    return {name: w.abs().to(torch.float64) for name, w in problem.weights.items()}
