"""Random pruning: uniform scores, the floor that every method has to beat."""

import torch
from torch import Tensor

from transfer.pruning.problem import Problem


def score(problem: Problem) -> dict[str, Tensor]:
    """Return independent uniform scores in [0, 1), the same for the same seed on every device."""
    generator = problem.generator()
    return {
        name: torch.rand(w.shape, generator=generator, dtype=torch.float64).to(w.device)
        for name, w in problem.weights.items()
    }
