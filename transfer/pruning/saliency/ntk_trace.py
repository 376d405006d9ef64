"""NTK-trace: what a weight gives to the trace of the neural tangent kernel over masks; balanced over layers (ours)."""

import torch
from torch import Tensor

from checkpoints.errors import InputError
from transfer.pruning.problem import Batch, Problem


def score(problem: Problem, *, draws: int = 1) -> dict[str, Tensor]:
    """Return ``θ² · Σ_n Σ_k (∂f^k(x_n)/∂θ)²``, estimated without bias.

    With independent random signs v over the samples and outputs of a batch, the squared gradient of ``Σ v_nk f^k(x_n)``
    has that sum as its expectation (Hutchinson 1990). ``draws`` sign vectors per batch are averaged. With batch
    statistics, gradients flow through them: the scale of a channel, which BatchNorm divides out, then does not affect
    the score. A batch costs one forward and ``draws`` backwards, and is held in memory as a whole.

    ``ntk-trace`` prunes in 20 rounds, ``jacobian`` is the same score in one.

    Raises:
        InputError: ``draws`` is below 1.
    """
    if draws < 1:
        raise InputError(f"option draws is {draws}; give 1 or more")
    sums, _ = problem.total(lambda batch: squared_gradients(problem, batch, draws))
    return {name: sums[name] * w.to(torch.float64).square() for name, w in problem.weights.items()}


def balanced(problem: Problem, *, draws: int = 1, balance: float = 0.5) -> dict[str, Tensor]:
    """Return the scores of ntk-trace, each over a power of their sum in its layer: ``ntk-balanced``.

    What is kept large is ``Σ_l T_l^(1 − balance)``, T_l the part of layer l in the trace, and ``Σ_l log T_l`` with 1.
    So a layer whose part gets small is guarded, the more so the nearer ``balance`` is to 1.

    Raises:
        InputError: ``draws`` is below 1, or ``balance`` is not from 0 to 1.
    """
    if not 0 <= balance <= 1:
        raise InputError(f"option balance is {balance}; give a number from 0 to 1")
    return {name: part / _sum(part) ** balance for name, part in score(problem, draws=draws).items()}


def _sum(part: Tensor) -> float:
    """Return the sum of a layer's scores, the same on any number of threads; 1 where all are 0."""
    return float(part.cpu().numpy().sum()) or 1.0


def squared_gradients(problem: Problem, batch: Batch, draws: int) -> dict[str, Tensor]:
    """Return the squared gradient of a batch's outputs under random signs, averaged over ``draws``."""
    leaves = problem.leaves()
    found: dict[str, Tensor] = {}
    with torch.enable_grad():
        outputs = problem.output(leaves, batch.inputs)
        for draw in range(draws):
            cotangents = signs(outputs, batch.generator)
            parts = problem.gradients(leaves, outputs, leaves.values(), cotangents, retain_graph=draw + 1 < draws)
            for name, part in zip(leaves, parts, strict=True):
                square = part.to(torch.float64, copy=True).square_()
                found[name] = found[name].add_(square) if name in found else square
    return {name: value if draws == 1 else value.div_(draws) for name, value in found.items()}


def signs(like: Tensor, generator: torch.Generator) -> Tensor:
    """Return independent random signs of a tensor's shape, dtype and device, identical on every device."""
    drawn = torch.randint(0, 2, like.shape, generator=generator, dtype=torch.int8).mul_(2).sub_(1)
    return drawn.to(like.device, like.dtype)
