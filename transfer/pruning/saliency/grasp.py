"""GraSP: the effect of a weight on gradient flow (Wang 2020, eq. 8 and algorithm 1)."""

from collections.abc import Callable, Iterable
from functools import partial

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from checkpoints.errors import InputError
from transfer.pruning.problem import Batch, Problem
from transfer.pruning.saliency.snip import mean_gradient


def score(problem: Problem, *, temperature: float = 200.0) -> dict[str, Tensor]:
    """Return ``θ · (H ∇L)`` for logits divided by ``temperature``; L is the mean loss over all samples.

    The largest are kept: removing one of them would reduce the gradient norm most. (The paper writes ``−θ · H g`` and
    drops the largest.) Both passes use the same batches; ∇L is that of all of them. Scores may be negative.

    Raises:
        InputError: ``temperature`` is not positive, or the batches differ between the passes.
    """
    if not 0 < temperature < float("inf"):
        raise InputError(f"option temperature of 'grasp' is {temperature}; give a positive number")
    direction = {name: g.to(problem.weights[name].dtype) for name, g in mean_gradient(problem, temperature).items()}

    def of_batch(batch: Batch) -> dict[str, Tensor]:
        leaves = problem.leaves()
        with torch.enable_grad(), sdpa_kernel(SDPBackend.MATH):  # fused attention has no second derivative
            outputs = problem.output(leaves, batch.inputs) / temperature
            loss = problem.loss(outputs, batch.targets) * len(batch.inputs)
            gradient = problem.gradients(leaves, loss, leaves.values(), create_graph=True)
            live = [(g, direction[name]) for name, g in zip(leaves, gradient, strict=True) if g.requires_grad]
            seconds = products(live, list(leaves.values()), partial(problem.gradients, leaves))
        return dict(zip(leaves, seconds, strict=True))

    sums, samples = problem.total(of_batch)
    return {name: sums[name] / samples * w for name, w in problem.weights.items()}


def products(
    live: list[tuple[Tensor, Tensor]], leaves: list[Tensor], grad: Callable[..., Iterable[Tensor]], **options: bool
) -> list[Tensor]:
    """Return ``∂/∂leaf Σ (gradient · direction)`` by ``grad``; 0 where no gradient depends on a leaf."""
    if not live:
        return [torch.zeros_like(leaf) for leaf in leaves]
    gradients, directions = zip(*live, strict=True)
    return list(grad(gradients, leaves, directions, **options))
