"""Random pruning: uniform scores, the floor that every method has to beat."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from transfer.pruning.scoring import Problem


def score(problem: "Problem") -> dict[str, Tensor]:
    """Return independent uniform scores in [0, 1), the same for the same seed on every device."""
    return {
        name: torch.rand(w.shape, generator=problem.generator, dtype=torch.float64).to(w.device)
        for name, w in problem.weights.items()
    }
