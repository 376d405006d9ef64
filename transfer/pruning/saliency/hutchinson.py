"""Hutchinson: the diagonal of the Hessian of the loss from random signs (Gollini Navarrete 2026)."""

from functools import partial

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from checkpoints.errors import InputError
from transfer.pruning.problem import Batch, Problem
from transfer.pruning.saliency.grasp import products
from transfer.pruning.saliency.ntk_trace import signs


def score(problem: Problem, *, draws: int = 10, temperature: float = 200.0) -> dict[str, Tensor]:
    """Return ``½ · θ² · diag(H)``, H the Hessian of the mean loss of logits divided by ``temperature``.

    With independent random signs v over the weights, ``v · H v`` has the diagonal as its expectation; it is averaged
    over ``draws`` sign vectors per batch. Negative entries are kept as such, so their weights are pruned first.

    Raises:
        InputError: ``draws`` is below 1, or ``temperature`` is not positive.
    """
    _, diagonal = _derivatives(problem, draws, temperature)
    return {name: diagonal[name] * w.to(torch.float64).square() / 2 for name, w in problem.weights.items()}


def taylor(problem: Problem, *, draws: int = 10, temperature: float = 200.0) -> dict[str, Tensor]:
    """Return ``|θ · ∂L/∂θ + ½ · θ² · diag(H)|`` (HTS): the loss to second order, both terms of the same logits.

    Raises:
        InputError: ``draws`` is below 1, or ``temperature`` is not positive.
    """
    gradient, diagonal = _derivatives(problem, draws, temperature)
    wide = {name: w.to(torch.float64) for name, w in problem.weights.items()}
    return {name: (gradient[name] * w + diagonal[name] * w.square() / 2).abs() for name, w in wide.items()}


def _derivatives(problem: Problem, draws: int, temperature: float) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Return the gradient of the mean loss and the estimated diagonal of its Hessian."""
    if draws < 1 or not 0 < temperature < float("inf"):
        raise InputError(f"options: draws is {draws}, temperature is {temperature}; give 1 or more and above 0")
    sums, samples = problem.total(lambda batch: _of_batch(problem, batch, draws, temperature))
    first = {name: sums[f"gradient {name}"] / samples for name in problem.weights}
    return first, {name: sums[name] / samples for name in problem.weights}


def _of_batch(problem: Problem, batch: Batch, draws: int, temperature: float) -> dict[str, Tensor]:
    leaves = problem.leaves()
    weights = list(leaves.values())
    diagonal = {name: torch.zeros_like(w, dtype=torch.float64) for name, w in leaves.items()}
    with torch.enable_grad(), sdpa_kernel(SDPBackend.MATH):  # fused attention has no second derivative
        outputs = problem.output(leaves, batch.inputs) / temperature
        loss = problem.loss(outputs, batch.targets) * len(batch.inputs)
        gradient = problem.gradients(leaves, loss, weights, create_graph=True)
        for draw in range(draws):
            vector = {name: signs(w, batch.generator) for name, w in leaves.items()}
            live = [(g, vector[name]) for name, g in zip(leaves, gradient, strict=True) if g.requires_grad]
            seconds = products(live, weights, partial(problem.gradients, leaves), retain_graph=draw + 1 < draws)
            for name, second in zip(leaves, seconds, strict=True):
                diagonal[name].addcmul_(second.to(torch.float64), vector[name].to(torch.float64))
    first = {f"gradient {name}": g.detach() for name, g in zip(leaves, gradient, strict=True)}
    return first | {name: value / draws for name, value in diagonal.items()}
