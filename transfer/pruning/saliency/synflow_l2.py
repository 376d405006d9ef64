"""SynFlow-L2: the saliency of a weight in the squared network, without data (Gebhart 2021, §4.2)."""

import torch
from torch import Tensor

from transfer.pruning.flow import products
from transfer.pruning.problem import Problem


def score(problem: Problem) -> dict[str, Tensor]:
    """Return ``θ² · ∂R/∂θ²`` with R the sum of the squared network's outputs on ones (R of eq. 15).

    The score multiplies by θ², where the text prints θ: it is then the share of R that runs through the weight, and is
    conserved from layer to layer.
    """
    return products(problem, torch.ones_like(problem.first()), view=torch.square, statistics=problem.constants())
