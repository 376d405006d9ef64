"""SynFlow: the flow through a weight in the network of absolute values, without data (Tanaka 2020, eq. 2)."""

import torch
from torch import Tensor

from transfer.pruning.flow import products
from transfer.pruning.problem import Problem


def score(problem: Problem) -> dict[str, Tensor]:
    """Return ``|θ| · ∂R/∂|θ|`` with R the sum of the outputs of the network of absolute values on ones."""
    return products(problem, torch.ones_like(problem.first()), view=torch.abs, statistics=problem.constants())
