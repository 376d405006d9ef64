"""Flow through each weight of an open path network: one input sample, all gates open."""

from collections.abc import Callable, Iterator, Mapping

import torch
from torch import Tensor, nn

from checkpoints.errors import InputError
from transfer.pruning.eval_mode import untouched
from transfer.pruning.masks import kept
from transfer.pruning.paths.follow import follow, stand_ins
from transfer.pruning.plain import plain
from transfer.pruning.problem import Batch, Problem
from transfer.pruning.prunable import prunable, refuse_half
from transfer.pruning.reduction import Statistic
from transfer.pruning.scaled import Scaled
from transfer.pruning.statistics import Constants, Norms

Flow = Iterator[tuple[str, Tensor, Tensor]]
"""Yields, in model order, (name, weight of the path network, float64 gradient of its output); single-use."""


def flow(
    model: nn.Module,
    names: Mapping[str, object],
    start: Tensor,
    *,
    view: Callable[[Tensor], Tensor],
    cotangent: Tensor | None = None,
    summed: bool = False,
    masks: Mapping[str, Tensor] | None = None,
    statistics: Constants | None = None,
    looked: bool = False,
) -> tuple[int, Flow]:
    """Differentiate ``Σ_k c_k h_k(start)`` with respect to the weights of the path network h.

    h is the model with ``view`` applied to its weights and BatchNorm scales γ/√(σ²+ε), biases dropped and activations
    open; a max-pool takes the maximum of h itself, or the sum of its window.

    Args:
        model: in eval mode; not modified.
        names: parameters to differentiate with respect to.
        start: (1, C, H, W), non-negative.
        view: ``torch.abs`` or ``torch.square``.
        cotangent: c, shaped like one sample of the output; None = ones.
        summed: whether a max-pool sums.
        masks: weights that count as 0 (False), if the model has not zeroed them.
        statistics: of every BatchNorm; None = the stored ones.
        looked: see :func:`transfer.pruning.paths.follow.follow`.

    Returns:
        An exponent e, and the weights with their gradients divided by ``2**e``.
    """
    masks = masks or {}
    views = stand_ins(model, lambda name, w: view(w * masks[name] if name in masks else w))
    leaves = {name: views[id(p)].tensor for name, p in model.named_parameters() if name in names}
    for leaf in leaves.values():
        leaf.requires_grad_()
    with torch.enable_grad():
        norms = None if statistics is None else Norms(statistics)
        h = follow(model, start, start, views, view, gated=False, summed=summed, norms=norms, looked=looked)
        weight = torch.ones_like(h.tensor) if cotangent is None else Scaled(cotangent).rescaled().tensor.to(h.tensor)
        parts = torch.autograd.grad(h.tensor, list(leaves.values()), weight.view_as(h.tensor), allow_unused=True)
    return h.exponent, _let_go(leaves, list(parts))


def _let_go(leaves: dict[str, Tensor], parts: list[Tensor | None]) -> Flow:
    """Yield layer by layer, so that not all of them are held in float64 at once."""
    for name in list(leaves):
        weight, part = leaves.pop(name).detach(), parts.pop(0)
        yield name, weight, torch.zeros_like(weight) if part is None else part.to(torch.float64)


def products(
    problem: Problem, start: Tensor, *, view: Callable[[Tensor], Tensor], cotangent: Tensor | None = None,
    statistics: Constants | None = None, looked: bool = False,
) -> dict[str, Tensor]:  # fmt: skip
    """Return weight · gradient of :func:`flow` by name, in float64: the share of the output through each weight.

    Up to a common power of two.
    """
    _, found = flow(
        problem.model, problem.weights, start, view=view, cotangent=cotangent, statistics=statistics, looked=looked
    )
    return {name: weight.to(torch.float64).mul_(gradient) for name, weight, gradient in found}


def mean_image(problem: Problem) -> Tensor:
    """Return μ, (1, C, H, W): the per-pixel mean of ``|x|`` over all images."""

    def of_batch(batch: Batch) -> Statistic:
        return {"μ": Scaled(batch.inputs.abs().sum(0, keepdim=True, dtype=torch.float64))}

    sums, samples = problem.scaled_total(of_batch)
    return (sums["μ"].tensor / samples).to(problem.first().dtype)


def path_kernel_trace(
    model: nn.Module, input_size: int | tuple[int, int, int], *, masks: Mapping[str, Tensor] | None = None
) -> float:
    """Return the trace of the path kernel, ``Tr(Π) = Σ_i Σ_{p ∋ i} Π_{j ∈ p, j ≠ i} θ_j²`` (Gebhart 2021, §3).

    Every path from an input value to an output value counts, through every position of a max-pool's window, with all
    gates open; i runs over the kept weights of convolutions and linear layers. BatchNorm scales enter squared; average
    pooling and interpolation are unchanged, as everywhere here.

    Args:
        model: a network that is a sum over paths; not modified.
        input_size: side of a square RGB image in pixels, or (C, H, W).
        masks: True = kept, other weights count as 0; None keeps all.

    Returns:
        The trace; ``inf`` beyond the range of a float.

    Raises:
        InputError: a size is below 1, or the masks do not fit the model.
        NoPathError: the network has an operation that is not defined on paths.
    """
    shape = (3, input_size, input_size) if isinstance(input_size, int) else tuple(input_size)
    if len(shape) != 3 or min(shape) < 1:
        raise InputError(f"input_size is {input_size}; give pixels, such as 224, or (channels, height, width)")
    weights = prunable(model)
    refuse_half(*weights.values())
    alive = kept({name: w.detach() for name, w in weights.items()}, masks)
    start = torch.ones(1, *shape).to(next(iter(weights.values())))
    with untouched(model), plain():
        exponent, found = flow(model, weights, start, view=torch.square, summed=True, masks=alive)
        total = sum(float((gradient * alive[name]).sum()) for name, _, gradient in found)
    try:
        return total * 2.0**exponent
    except OverflowError:
        return float("inf")
