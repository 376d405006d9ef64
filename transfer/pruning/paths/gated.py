"""The squared network gated by the model's own forward, differentiable with respect to its weights."""

from collections.abc import Mapping

import torch
from torch import Tensor

from transfer.pruning.paths.follow import follow, stand_ins
from transfer.pruning.problem import Batch, Problem
from transfer.pruning.scaled import Scaled, View
from transfer.pruning.statistics import Norms


class GatedNetwork:
    """``R' = Σ_n Σ_k f_gated^k(x_n²; θ², a_n)`` and its gradients with respect to θ², one batch at a time.

    The exponents that keep its tensors in range are found once, on one image, and then stored with the weights.
    ``squares`` are the θ² to differentiate by, each divided by ``2**exponents[name]``.
    """

    squares: Mapping[str, Tensor]
    exponents: Mapping[str, int]

    def __init__(self, problem: Problem) -> None:
        self.model = problem.model
        self._statistics = problem.constants()
        self._settled = stand_ins(self.model, lambda _, w: w.square())
        first = problem.first()
        with torch.no_grad():
            self._follow(first, self._settled)
        settled = {n: self._settled[id(p)] for n, p in self.model.named_parameters() if n in problem.weights}
        self.squares = {name: view.tensor.detach().requires_grad_() for name, view in settled.items()}
        self.exponents = {name: view.exponent for name, view in settled.items()}

    def gradients(self, batch: Batch, *, differentiable: bool = False) -> tuple[int, dict[str, Tensor]]:
        """Return e and the gradients of ``R' · 2**−e`` by ``squares``, themselves differentiable if asked for."""
        named = dict(self.model.named_parameters())
        leaves = {id(self._settled[id(named[name])]): square for name, square in self.squares.items()}
        with torch.enable_grad():
            made = {
                id(v): View(leaves.get(id(v), v.tensor), v.exponent, v.settled) for v in self._settled.values()
            }  # weights that share memory share a view
            views = {key: made[id(v)] for key, v in self._settled.items()}
            found = self._follow(batch.inputs, views)
            parts = torch.autograd.grad(
                found.tensor.sum(), list(self.squares.values()), create_graph=differentiable, materialize_grads=True
            )
        return found.exponent, dict(zip(self.squares, parts, strict=True))

    def _follow(self, inputs: Tensor, views: Mapping[int, View]) -> Scaled:
        norms = None if self._statistics is None else Norms(self._statistics)
        return follow(self.model, inputs, inputs.square(), views, torch.square, gated=True, norms=norms)
