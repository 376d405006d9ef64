"""SNIP: the effect of a weight's mask on the loss (Lee 2019, eq. 4-5; the normalisation of eq. 6 does not rank)."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.func import functional_call

if TYPE_CHECKING:
    from transfer.pruning.scoring import Problem


def score(problem: "Problem") -> dict[str, Tensor]:
    """Return ``|θ · ∂L/∂θ|``, L the mean loss over all samples of the labelled batches, BatchNorm in eval mode.

    Several rounds of it are iterative SNIP (de Jorge 2021).
    """
    gradient = {name: torch.zeros_like(w, dtype=torch.float64) for name, w in problem.weights.items()}
    samples = 0
    for inputs, targets in problem.walk():
        leaves = {name: w.detach().requires_grad_() for name, w in problem.weights.items()}
        with torch.enable_grad():
            loss = problem.loss(functional_call(problem.model, leaves, (inputs,)), targets) * len(inputs)
        for name, part in zip(leaves, torch.autograd.grad(loss, list(leaves.values())), strict=True):
            gradient[name] += part
        samples += len(inputs)
    total = problem.processes.sum(torch.tensor(float(samples)))
    return {
        name: (problem.processes.sum(gradient[name]) * w / total.to(w.device)).abs()
        for name, w in problem.weights.items()
    }
