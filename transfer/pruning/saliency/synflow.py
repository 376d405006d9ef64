"""The SynFlow family: the flow through a weight in a network of absolute values or squares, without labels.

``score`` (Tanaka 2020, eq. 2) and ``log`` (Cavagnero 2023, §3) take absolute values, ``l2`` (Gebhart 2021, §4.2)
squares; the ``dist`` forms (the same section) put the mean image in place of ones.
"""

import math

import torch
from torch import Tensor

from transfer.pruning.paths.flow import flow, mean_image, products
from transfer.pruning.problem import Problem


def score(problem: Problem) -> dict[str, Tensor]:
    """Return ``|θ| · ∂R/∂|θ|`` with R the sum of the outputs of the network of absolute values on ones."""
    return products(problem, torch.ones_like(problem.first()), view=torch.abs, statistics=problem.constants())


def dist(problem: Problem) -> dict[str, Tensor]:
    """Return SynFlow's score on μ, the mean over all images of ``|x|`` at each pixel, in place of ones.

    The absolute value: the paper's images are not negative, normalised ones are.
    """
    return products(problem, mean_image(problem), view=torch.abs, statistics=problem.constants())


def l2(problem: Problem) -> dict[str, Tensor]:
    """Return ``θ² · ∂R/∂θ²`` with R the sum of the squared network's outputs on ones (R of eq. 15).

    The score multiplies by θ², where the text prints θ: it is then the share of R that runs through the weight, and is
    conserved from layer to layer.
    """
    return products(problem, torch.ones_like(problem.first()), view=torch.square, statistics=problem.constants())


def l2_dist(problem: Problem) -> dict[str, Tensor]:
    """Return SynFlow-L2's score on μ, the mean over all images of ``|x|`` at each pixel, in place of ones."""
    return products(problem, mean_image(problem), view=torch.square, statistics=problem.constants())


def log(problem: Problem) -> dict[str, Tensor]:
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
