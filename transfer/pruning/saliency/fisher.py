"""Fisher: curvature of the loss from squared per-sample gradients (LeCun 1989; Gollini Navarrete 2026)."""

import torch
from torch import Tensor

from checkpoints.errors import InputError
from transfer.pruning.problem import Batch, Problem
from transfer.pruning.saliency.ntk_trace import signs


def score(problem: Problem, *, draws: int = 1) -> dict[str, Tensor]:
    """Return ``½ · θ² · F`` with ``F = E_n[(∂L_n/∂θ)²]``, the diagonal of the empirical Fisher information.

    With independent random signs v over the samples of a batch, the squared gradient of ``Σ v_n L_n`` has expectation
    ``Σ (∂L_n/∂θ)²``, at one backward per draw; ``draws=0`` computes the sum exactly, at one backward per sample.

    Raises:
        InputError: ``draws`` is negative.
    """
    _, fisher = _moments(problem, draws, mean=False)
    return {name: fisher[name] * w.to(torch.float64).square() / 2 for name, w in problem.weights.items()}


def taylor(problem: Problem, *, draws: int = 1) -> dict[str, Tensor]:
    """Return ``|θ · ∂L/∂θ + ½ · θ² · F|`` (FTS): the loss to second order, with F for its Hessian.

    Raises:
        InputError: ``draws`` is negative.
    """
    mean, fisher = _moments(problem, draws, mean=True)
    wide = {name: w.to(torch.float64) for name, w in problem.weights.items()}
    return {name: (mean[name] * w + fisher[name] * w.square() / 2).abs() for name, w in wide.items()}


def _moments(problem: Problem, draws: int, *, mean: bool) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Return the means over all samples of ∂L_n/∂θ (if ``mean``) and of its square."""
    if draws < 0:
        raise InputError(f"option draws is {draws}; give 0 (every sample by itself) or more")
    sums, samples = problem.total(lambda batch: _of_batch(problem, batch, draws, mean))
    first = {name: sums[f"mean {name}"] / samples for name in problem.weights} if mean else {}
    return first, {name: sums[name] / samples for name in problem.weights}


def _of_batch(problem: Problem, batch: Batch, draws: int, mean: bool) -> dict[str, Tensor]:
    leaves = problem.leaves()
    with torch.enable_grad():
        outputs = problem.output(leaves, batch.inputs)
        pairs = zip(outputs.split(1), batch.targets.split(1), strict=True)
        losses = torch.stack([problem.loss(output, target) for output, target in pairs])
        alone = [signs(losses, batch.generator) for _ in range(draws)] or list(torch.eye(len(losses)).to(losses))

        def gradient(weights: Tensor) -> list[Tensor]:
            parts = problem.gradients(leaves, losses, leaves.values(), weights, retain_graph=True)
            return [part.to(torch.float64) for part in parts]

        squares = [part.square() for part in gradient(alone[0])]  # not in place: autograd may return one tensor twice
        for weights in alone[1:]:
            for square, part in zip(squares, gradient(weights), strict=True):
                square.addcmul_(part, part)
        whole = dict(zip(leaves, gradient(torch.ones_like(losses)), strict=True)) if mean else {}
    second = {name: square / (draws or 1) for name, square in zip(leaves, squares, strict=True)}
    return second | {f"mean {name}": value for name, value in whole.items()}
