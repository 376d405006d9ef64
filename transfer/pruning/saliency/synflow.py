"""The SynFlow family: flow through a weight in a network of absolute values or squares, without labels.

``score`` (Tanaka 2020, eq. 2) and ``log`` (Cavagnero 2023, §3) use absolute values, ``l2`` (Gebhart 2021, §4.2)
squares; the ``dist`` variants (same section) use the mean image as the input instead of ones.
"""

import math

import torch
from torch import Tensor

from transfer.pruning.paths.flow import flow, mean_image, products
from transfer.pruning.problem import Problem


def score(problem: Problem) -> dict[str, Tensor]:
    """Return ``|θ| · ∂R/∂|θ|``, R the summed outputs of the absolute-value network on an input of ones."""
    return products(problem, torch.ones_like(problem.first()), view=torch.abs, statistics=problem.constants())


def dist(problem: Problem) -> dict[str, Tensor]:
    """Return SynFlow's score on μ, the per-pixel mean of ``|x|`` over all images, instead of ones.

    Absolute values, because the paper's images are not negative and normalised ones are.
    """
    return products(problem, mean_image(problem), view=torch.abs, statistics=problem.constants())


def l2(problem: Problem) -> dict[str, Tensor]:
    """Return ``θ² · ∂R/∂θ²``, R the summed outputs of the squared network on an input of ones (R of eq. 15).

    Multiplies by θ² where the paper prints θ: the score is then the share of R that flows through the weight, and is
    conserved from layer to layer.
    """
    return products(problem, torch.ones_like(problem.first()), view=torch.square, statistics=problem.constants())


def l2_dist(problem: Problem) -> dict[str, Tensor]:
    """Return SynFlow-L2's score on μ, the per-pixel mean of ``|x|`` over all images, instead of ones."""
    return products(problem, mean_image(problem), view=torch.square, statistics=problem.constants())


def log(problem: Problem) -> dict[str, Tensor]:
    """Return ``|θ| · log(1 + ∂R/∂|θ|)``, R as in SynFlow.

    Logarithms of the gradient and of its power of two are taken separately, to exceed the range of float64.
    """
    start, statistics = torch.ones_like(problem.first()), problem.constants()
    exponent, found = flow(problem.model, problem.weights, start, view=torch.abs, statistics=statistics)
    shift = exponent * math.log(2)
    return {
        name: leaf.to(torch.float64) * torch.logaddexp(torch.zeros(()).to(g), g.log() + shift)
        for name, leaf, g in found
    }
