"""SNIP: the effect of a weight's mask on the loss (Lee 2019, eq. 4-5; eq. 6 only normalises)."""

import torch
from torch import Tensor

from transfer.pruning.problem import Batch, Problem


def score(problem: Problem) -> dict[str, Tensor]:
    """Return ``|θ · ∂L/∂θ|``, L the mean loss over all labelled samples.

    Several rounds of it are iterative SNIP (de Jorge 2021).
    """
    gradient = mean_gradient(problem)
    return {name: (gradient[name] * w).abs() for name, w in problem.weights.items()}


def mean_gradient(problem: Problem, temperature: float = 1.0) -> dict[str, Tensor]:
    """Return ∂L/∂θ in float64, L the mean loss over all samples for outputs divided by ``temperature``."""

    def of_batch(batch: Batch) -> dict[str, Tensor]:
        leaves = problem.leaves()
        with torch.enable_grad():
            outputs = problem.output(leaves, batch.inputs) / temperature
            loss = problem.loss(outputs, batch.targets) * len(batch.inputs)
            parts = problem.gradients(leaves, loss, leaves.values())
        return dict(zip(leaves, parts, strict=True))

    sums, samples = problem.total(of_batch)
    return {name: value / samples for name, value in sums.items()}
