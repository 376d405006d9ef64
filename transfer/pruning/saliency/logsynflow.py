"""LogSynFlow: SynFlow with a logarithm of the gradient, against a few huge layers (Cavagnero 2023, §3)."""

import math

import torch
from torch import Tensor

from transfer.pruning.flow import flow
from transfer.pruning.problem import Problem


def score(problem: Problem) -> dict[str, Tensor]:
    """Return ``|θ| · log(1 + ∂R/∂|θ|)``, R as in SynFlow.

    The logarithm is taken of the gradient and its power of two apart, so that it holds beyond the range of float64.
    """
    start, statistics = torch.ones_like(problem.first()), problem.constants()
    exponent, found = flow(problem.model, problem.weights, start, view=torch.abs, statistics=statistics)
    shift = exponent * math.log(2)
    return {
        name: leaf.to(torch.float64) * torch.logaddexp(torch.zeros(()).to(g), g.log() + shift)
        for name, leaf, g in found
    }
