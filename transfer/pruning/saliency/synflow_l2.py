"""SynFlow-L2: the saliency of a weight in the squared network, without data (Gebhart 2021, §4.2)."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from transfer.pruning.paths import follow, stand_ins
from transfer.pruning.scaled import Scaled

if TYPE_CHECKING:
    from transfer.pruning.scoring import Problem


def score(problem: "Problem") -> dict[str, Tensor]:
    """Return ``θ² · ∂R/∂θ²`` with R the sum of the squared network's outputs on ones (R of eq. 15).

    The score multiplies by θ², where the text prints θ: it is then the share of R that runs through the weight, and is
    conserved from layer to layer.
    """
    return of_squared_network(problem, None)


def of_squared_network(problem: "Problem", cotangent: Tensor | None) -> dict[str, Tensor]:
    """Return ``θ² · ∂(Σ_k c_k h_k)/∂θ²`` up to a power of two.

    h is the squared network on one sample of ones: weights θ², BatchNorm scales s², biases dropped, activations open,
    max-pools taken of h itself.

    Args:
        problem: what is scored; only the shape of the first batch is used.
        cotangent: c, shaped like one sample of the output; None = ones.
    """
    ones = torch.ones_like(problem.first()[:1])
    views = stand_ins(problem.model, lambda _, w: w.square())
    leaves = {name: views[id(p)].tensor for name, p in problem.model.named_parameters() if name in problem.weights}
    for leaf in leaves.values():
        leaf.requires_grad_()
    with torch.enable_grad():
        h = follow(problem.model, ones, ones, views, torch.square, gated=False).tensor
        weight = torch.ones_like(h) if cotangent is None else Scaled(cotangent).rescaled().tensor.to(h.dtype)
        parts = torch.autograd.grad(h, list(leaves.values()), weight.view_as(h), allow_unused=True)
    gradients = dict(zip(leaves, parts, strict=True))
    del views, parts, h  # let each layer's tensors go as its scores are made
    return {name: _product(leaves.pop(name), gradients.pop(name)) for name in list(leaves)}


def _product(leaf: Tensor, part: Tensor | None) -> Tensor:
    value = leaf.detach().to(torch.float64)
    return torch.zeros_like(value) if part is None else value.mul_(part)
