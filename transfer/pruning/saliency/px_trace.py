"""PX-trace: the loss of the path-diagonal NTK trace when a weight goes (ours)."""

import torch
from torch import Tensor

from transfer.pruning.gated import GatedNetwork
from transfer.pruning.problem import Batch, Problem
from transfer.pruning.processes import Statistic
from transfer.pruning.saliency.grasp import products
from transfer.pruning.scaled import Scaled, aligned, power


def score(problem: Problem) -> dict[str, Tensor]:
    """Return ``∂R'/∂t_j + t_j · ∂T/∂t_j`` with t = θ², R' of px-gated and ``T = Σ_i M_i ∂R'/∂t_i``.

    T is the trace of the NTK with the gates held and the products of different paths left out; the sum over i runs over
    kept weights. R' is linear in each weight that a path meets once, and then the score is exactly what T loses when
    weight j is set to 0; a weight that a path meets several times is scored to first order.
    """
    network = GatedNetwork(problem)
    least = min(network.exponents.values())
    units = {name: power(least - e) for name, e in network.exponents.items()}  # ∂s/∂θ², without 2**−least
    along = {name: problem.masks[name].to(s.dtype) * units[name] for name, s in network.squares.items()}

    def of_batch(batch: Batch) -> Statistic:
        exponent, gradients = network.gradients(batch, differentiable=True)
        leaves = list(network.squares.values())
        with torch.enable_grad():
            live = [(g, along[name]) for name, g in gradients.items() if g.requires_grad]
            seconds = products(live, leaves, torch.autograd.grad, materialize_grads=True)
        return {
            name: Scaled((g.detach() * units[name]).addcmul_(network.squares[name].detach(), second), exponent)
            for (name, g), second in zip(gradients.items(), seconds, strict=True)
        }

    sums, _ = problem.total(of_batch)
    return aligned(sums)
