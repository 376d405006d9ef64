"""Baselines without data: random scores, which every method should beat, and magnitude."""

import torch
from torch import Tensor

from transfer.pruning.problem import Problem


def random(problem: Problem) -> dict[str, Tensor]:
    """Return independent uniform scores in [0, 1), identical for one seed on every device."""
    generator = problem.generator()
    return {
        name: torch.rand(w.shape, generator=generator, dtype=torch.float64).to(w.device)
        for name, w in problem.weights.items()
    }


def magnitude(problem: Problem) -> dict[str, Tensor]:
    """Return ``|θ|`` (Janowsky 1989; Han 2015)."""
    return {name: w.abs().to(torch.float64) for name, w in problem.weights.items()}
