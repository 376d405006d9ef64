"""Path eXclusion (PX), and two variants of ours that keep more of the NTK.

``score`` ranks weights by their contribution to an upper bound on the trace of the NTK (Iurada 2024, eq. 9). ``gated``
weights every path by its own activation and input, in one network instead of a bound by two; ``trace`` scores by how
much the path-diagonal trace drops when a weight is removed.
"""

import torch
from torch import Tensor

from transfer.errors import ScoreError
from transfer.pruning.paths.flow import products
from transfer.pruning.paths.follow import follow, stand_ins
from transfer.pruning.paths.gated import GatedNetwork
from transfer.pruning.problem import Batch, Problem
from transfer.pruning.reduction import Statistic
from transfer.pruning.saliency.grasp import products as hessian_products
from transfer.pruning.scaled import Scaled, aligned, power
from transfer.pruning.statistics import Constants, Norms, pooled


def score(problem: Problem, *, bf16: bool = False) -> dict[str, Tensor]:
    """Return ``θ² · ∂R/∂θ²`` with ``R = Σ_n Σ_k g^k(x_n²; M, a_n) · h^k(1; θ²)``.

    g propagates the squared images through the masks (weights 1 where kept) along the paths that are active in the real
    forward f(x_n); h is the squared network on ones. Data enters only through G = Σ_n g(x_n²), one number per class
    (per class and pixel for maps), so g needs no gradient and h runs once, on one sample. Each batch costs two
    forwards, which also measure its BatchNorm statistics.

    As long as the trunk is followed by a global pool and one linear head, and the head's mask is full, all G_k are
    equal and the ranking is that of SynFlow-L2; afterwards the head's mask makes them differ.

    Args:
        problem: targets are not used.
        bf16: run the real forward, which only sets the gates, in bfloat16 (autocast). scripts/bench_scoring.py reports
            how that changes the masks.

    Raises:
        ScoreError: no kept path is active for any image.
    """
    activity, statistics = _activity(problem, bf16)
    if not bool(activity.any()):
        raise ScoreError(
            "method 'px' finds no path that is kept and active for any image, so nothing tells the weights apart; "
            "prune less, in more rounds, or with more images"
        )
    ones = torch.ones_like(problem.first())
    # the passes of _activity have looked for operations that cannot be followed
    return products(problem, ones, view=torch.square, cotangent=activity, statistics=statistics, looked=True)


def gated(problem: Problem) -> dict[str, Tensor]:
    """Return ``θ² · ∂R'/∂θ²`` with ``R' = Σ_n Σ_k f_gated^k(x_n²; θ², a_n)``.

    f_gated is the squared network with the gates of the real forward f(x_n). PX bounds a sum over paths of products
    (input² · activation) · (weights²) by the product of two sums; here the products stay together. A batch costs a
    forward of the model and a forward and backward of f_gated.
    """
    network = GatedNetwork(problem)

    def of_batch(batch: Batch) -> Statistic:
        exponent, gradients = network.gradients(batch)
        return {name: Scaled(g, exponent) for name, g in gradients.items()}

    sums, _ = problem.scaled_total(of_batch)
    return {name: g.mul_(network.squares[name].detach()) for name, g in aligned(sums).items()}


def trace(problem: Problem) -> dict[str, Tensor]:
    """Return ``∂R'/∂t_j + t_j · ∂T/∂t_j`` with t = θ², R' of px-gated and ``T = Σ_i M_i ∂R'/∂t_i``.

    T is the trace of the NTK with fixed gates and without cross terms of different paths; the sum over i runs over kept
    weights. R' is linear in each weight that a path meets once, for which the score is exactly the drop in T when
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
            seconds = hessian_products(live, leaves, torch.autograd.grad, materialize_grads=True)
        return {
            name: Scaled((g.detach() * units[name]).addcmul_(network.squares[name].detach(), second), exponent)
            for (name, g), second in zip(gradients.items(), seconds, strict=True)
        }

    sums, _ = problem.scaled_total(of_batch)
    return aligned(sums)


def _activity(problem: Problem, bf16: bool) -> tuple[Tensor, Constants | None]:
    """Return G = Σ_n g(x_n²), float64, shaped like one sample of the output, and the statistics for h.

    G is up to a power of two. Batch statistics are measured in the same pass.
    """
    masks, batch_mode = problem.masks, problem.statistics == "batch"
    fixed = None if batch_mode else problem.constants()
    views = stand_ins(problem.model, lambda name, w: masks[name].to(w.dtype) if name in masks else torch.ones_like(w))

    @torch.no_grad()
    def of_batch(batch: Batch) -> Statistic:
        norms = Norms(fixed, record=batch_mode) if batch_mode or fixed else None
        g = follow(problem.model, batch.inputs, batch.inputs.square(), views, None, gated=True, bf16=bf16, norms=norms)
        found = {"G": Scaled(g.tensor.to(torch.float64).sum(0), g.exponent)}
        return found | (norms.sums(len(batch.inputs)) if norms else {})

    sums, samples = problem.scaled_total(of_batch)
    return sums["G"].tensor, pooled(sums, samples) if batch_mode else fixed
