"""Bounds on the trace of the neural tangent kernel by sums over paths, as logarithms (Iurada et al. 2024, eq. 5-9).

With J_v the derivative of the outputs by the path values and J_θ that of the path values by the weights,
Tr Θ = ‖J_v J_θ‖² ≤ Σ_k G_k · H_k ≤ ‖J_v‖² · ‖J_θ‖², where G_k = Σ_n g^k(x_n²) and H_k = Σ_i ∂h^k/∂θ_i² are the parts
of output k, ‖J_v‖² = Σ_k G_k and ‖J_θ‖² = Σ_k H_k = Tr Π, the trace of the path kernel. Biases start no paths: a
network that has them can exceed the bounds.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from transfer.analysis.ntk import trace
from transfer.pruning.eval_mode import untouched
from transfer.pruning.masks import kept
from transfer.pruning.paths.flow import flow
from transfer.pruning.paths.follow import follow, stand_ins
from transfer.pruning.plain import plain
from transfer.pruning.prunable import prunable
from transfer.pruning.scaled import Scaled


@dataclass(frozen=True)
class Bounds:
    """Decimal logarithms; None where the value is 0.

    Attributes:
        trace: Tr Θ, the truth.
        path_kernel: Tr Π = ‖J_θ‖².
        activity: ‖J_v‖².
        tight: Σ_k G_k · H_k.
        loose: ‖J_v‖² · ‖J_θ‖².
    """

    trace: float | None
    path_kernel: float | None
    activity: float | None
    tight: float | None
    loose: float | None


def bounds(model: nn.Module, inputs: Tensor, masks: Mapping[str, Tensor] | None = None) -> Bounds:
    """Return the trace of the kernel and its bounds, over the kept weights.

    Args:
        model: a network that is a sum over paths, its pruned weights 0 already; not modified.
        inputs: images (n, C, H, W) on the model's device.
        masks: True = kept; None keeps all.

    Raises:
        InputError: unusable inputs or masks, or more than 20,000 outputs in total.
        NoPathError: the network has an operation that is not defined on paths.
    """
    truth = trace(model, inputs, masks)
    alive = kept({name: w.detach() for name, w in prunable(model).items()}, masks)
    with untouched(model), plain():
        activity = _activity(model, inputs, alive)
        tight = _flow(model, inputs, alive, activity.tensor)
        path_kernel = _flow(model, inputs, alive, None)
    seen, kernel = _log10(float(activity.tensor.sum()), activity.exponent), _log10(*path_kernel)
    return Bounds(
        trace=_log10(truth, 0),
        path_kernel=kernel,
        activity=seen,
        tight=_log10(tight[0], tight[1] + activity.exponent),
        loose=None if seen is None or kernel is None else seen + kernel,
    )


@torch.no_grad()
def _activity(model: nn.Module, inputs: Tensor, alive: Mapping[str, Tensor]) -> Scaled:
    """Return G, float64, shaped like one sample of the output."""
    views = stand_ins(model, lambda name, w: alive[name].to(w.dtype) if name in alive else torch.ones_like(w))
    g = follow(model, inputs, inputs.square(), views, None, gated=True)
    return Scaled(g.tensor.double().sum(0), g.exponent).rescaled()


def _flow(model: nn.Module, inputs: Tensor, alive: Mapping[str, Tensor], cotangent: Tensor | None) -> tuple[float, int]:
    """Return ``Σ_k c_k H_k`` and its exponent; no cotangent is one of ones."""
    ones = torch.ones_like(inputs[:1])
    exponent, found = flow(model, alive, ones, view=torch.square, cotangent=cotangent, summed=True, masks=alive)
    return sum(float((gradient * alive[name]).sum()) for name, _, gradient in found), exponent


def _log10(value: float, exponent: int) -> float | None:
    return math.log10(value) + exponent * math.log10(2) if value > 0 else None
