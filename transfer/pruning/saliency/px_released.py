"""PX as first released by its authors (April 2024): all three networks on the images, BatchNorm in training mode.

Our own code for the formula of the authors' first public release (github.com/iurada/px-ntk-pruning, 82ce2bf), which
differs from the paper's eq. 9 and from their last commit; which of them produced the paper's numbers is unknown.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd
from torch.overrides import TorchFunctionMode

from checkpoints.errors import InputError
from transfer.pruning.paths import operations as ops
from transfer.pruning.paths.follow import follow, stand_ins
from transfer.pruning.plain import no_autocast
from transfer.pruning.problem import Batch, Problem
from transfer.pruning.recompute import backward
from transfer.pruning.statistics import Norms
from transfer.pruning.tied import with_twins


def score(problem: Problem, *, power: int = 4) -> dict[str, Tensor]:
    """Return ``|θ|^power · |∂R/∂θ²|`` with ``R = Σ_n Σ_k g^k(x_n; M, a_n) · h^k(x_n; θ²)``.

    h has squared weights (and squared biases in the same layers) and no activations; g has 1 for every kept weight and
    the gates of f in place of activations. Images are not squared, and f, g and h all use BatchNorm with its scale and
    shift and batch statistics, whatever ``statistics`` is: path products are normalised away, layer by layer. The
    release multiplies by θ⁴; eq. 9's θ² is ``power=2``.

    Raises:
        InputError: ``power`` is neither 4 nor 2.
        NoPathError: the network has an operation that is not defined on paths.
    """
    views = stand_ins(problem.model, lambda _, w: w)
    follow(problem.model, problem.first(), problem.first(), views, None, gated=False)  # raises NoPathError
    if power not in (2, 4):
        raise InputError(
            f"option power of 'px-released' is {power}; give 4, as released, or 2, as in the paper's eq. 9"
        )
    sums, _ = problem.total(lambda batch: _of_batch(problem, batch))
    return {name: sums[name].abs() * w.to(torch.float64).pow(power) for name, w in problem.weights.items()}


def _of_batch(problem: Problem, batch: Batch) -> dict[str, Tensor]:
    gates: list[Tensor] = []
    ones = {
        name: problem.masks[name].to(p.dtype) if name in problem.masks else torch.ones_like(p)
        for name, p in _of_layers(problem).items()
        if p.dim() > 1 or name in problem.masks
    }
    with torch.no_grad():
        _run(problem, {}, batch.inputs, _Record(gates))
        g = _run(problem, ones, batch.inputs, _Replace(iter(gates)))
    leaves = {name: w.square().requires_grad_() for name, w in problem.weights.items()}
    with torch.enable_grad():
        rest = {name: p.square() for name, p in _of_layers(problem).items() if name not in leaves}
        h = _run(problem, rest | leaves, batch.inputs, _Replace(None))
        parts = backward(
            problem.model, rest | leaves, lambda: _seen(_Replace(None)),
            lambda: torch.autograd.grad((g * h).sum(), list(leaves.values()), materialize_grads=True),
        )  # fmt: skip
    return dict(zip(leaves, parts, strict=True))


def _run(problem: Problem, weights: dict[str, Tensor], inputs: Tensor, activations: TorchFunctionMode) -> Tensor:
    with _seen(activations):
        return torch.func.functional_call(problem.model, with_twins(problem.model, weights), (inputs,))


@contextmanager
def _seen(activations: TorchFunctionMode) -> Iterator[None]:
    with Norms(), activations, no_autocast():
        yield


def _of_layers(problem: Problem) -> dict[str, Tensor]:
    """Return the parameters of convolutions and linear layers, including biases and excluded ones."""
    layers = (m for m in problem.model.modules() if isinstance(m, (_ConvNd, nn.Linear)))
    held = {id(p) for layer in layers for p in layer.parameters(recurse=False)}
    return {name: p.detach() for name, p in problem.model.named_parameters() if id(p) in held}


class _Record(TorchFunctionMode):
    """Record where the input of each activation is positive."""

    def __init__(self, gates: list[Tensor]) -> None:
        super().__init__()
        self.gates = gates

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in ops.RELU or func in ops.SLOPED:
            self.gates.append(args[0] > 0)
        return func(*args, **(kwargs or {}))


class _Replace(TorchFunctionMode):
    """Replace activations by gates, in order, keeping in-place calls in place; None replaces them by the identity."""

    def __init__(self, gates: Iterator[Tensor] | None) -> None:
        super().__init__()
        self.gates = gates

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func not in ops.RELU and func not in ops.SLOPED:
            return func(*args, **kwargs)
        if self.gates is None:
            return args[0]
        in_place = kwargs.get("inplace") or ops.name(func).endswith("_")
        return (args[0].mul_ if in_place else args[0].mul)(next(self.gates))
