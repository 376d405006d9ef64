"""Scores that were tried against ntk-trace, iterated snip and px; docs/methods.md has the results.

    python scripts/accuracy_grid.py --register scripts/tried_scores.py --ways tried-geometric ntk-trace,correct=1

Registers these methods, by default with batch statistics and 20 rounds:

    tried-geometric     geometric mean of |θ · ∂L/∂θ| (snip) and the square root of ntk-trace
    tried-joined        the same with tried-centred in place of ntk-trace
    tried-ranks         sum of the two ranks
    tried-centred       ntk-trace of the outputs minus their mean over the classes, to which softmax is invariant
    tried-softmax       ntk-trace under the Fisher metric of the softmax: labels sampled from the model's predictions
    tried-averaged      ntk-trace, averaged over the rounds so far
    tried-removal       loss of trace when a weight is removed, from its own term and those of the other weights
    tried-rooted        ntk-balanced, before it had its name
    tried-balanced      ntk-balanced with balance=1: every layer has the same sum, as in conserved scores
    tried-barrier       sum of ntk-trace over its whole sum and the mean part of tried-balanced
    tried-share         px with the factor 1 − p, p the weight's share of the flow into its channel

``correct=1`` in a way fits the kept weights of each layer, front to back, to the unpruned layer's outputs on the
pruning set by least squares, before fine-tuning.
"""

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tried_reconstruct import reconstruct

from transfer.pruning import Problem, register
from transfer.pruning.problem import Batch
from transfer.pruning.saliency import find
from transfer.pruning.saliency.ntk_trace import balanced, signs
from transfer.pruning.saliency.ntk_trace import score as ntk_trace
from transfer.pruning.saliency.snip import score as snip

Scores = dict[str, Tensor]


def geometric(problem: Problem, *, draws: int = 1) -> Scores:
    """Return ``|θ · ∂L/∂θ| · √(θ² · Σ (∂f/∂θ)²)``."""
    first, second = snip(problem), ntk_trace(problem, draws=draws)
    return {name: first[name] * second[name].sqrt() for name in first}


def joined(problem: Problem) -> Scores:
    """Return the same with the centred outputs of tried-centred."""
    first, second = snip(problem), centred(problem)
    return {name: first[name] * second[name].sqrt() for name in first}


def ranks(problem: Problem) -> Scores:
    """Return the sum of the ranks of snip and ntk-trace among the kept weights."""
    first, second = _ranked(snip(problem)), _ranked(ntk_trace(problem))
    return {name: first[name] + second[name] for name in first}


def _ranked(scores: Scores) -> Scores:
    flat = torch.cat([value.flatten() for value in scores.values()])
    places = torch.empty_like(flat)
    places[flat.argsort(stable=True)] = torch.arange(len(flat), dtype=flat.dtype)
    parts = places.split([value.numel() for value in scores.values()])
    return {name: part.view_as(value) for (name, value), part in zip(scores.items(), parts, strict=True)}


def centred(problem: Problem) -> Scores:
    """Return ntk-trace of ``f^k − mean_k f``."""

    def cotangent(outputs: Tensor, batch: Batch) -> Tensor:
        drawn = signs(outputs, batch.generator)
        return drawn - drawn.mean(1, keepdim=True)

    return _squared(problem, cotangent)


def softmax(problem: Problem) -> Scores:
    """Return ``θ² · Σ_n E_{y ~ p_n}[(∂ log p_n^y/∂θ)²]``, estimated with one sampled label and one sign per sample."""

    def cotangent(outputs: Tensor, batch: Batch) -> Tensor:
        probabilities = outputs.detach().softmax(1)
        drawn = torch.multinomial(probabilities.cpu(), 1, generator=batch.generator)[:, 0].to(outputs.device)
        sign = signs(probabilities[:, :1], batch.generator)
        return sign * (F.one_hot(drawn, outputs.shape[1]) - probabilities)

    return _squared(problem, cotangent)


def _squared(problem: Problem, cotangent: Any) -> Scores:
    def of_batch(batch: Batch) -> dict[str, Tensor]:
        leaves = problem.leaves()
        with torch.enable_grad():
            outputs = problem.output(leaves, batch.inputs)
            parts = torch.autograd.grad(outputs, list(leaves.values()), cotangent(outputs, batch))
        return {name: part.to(torch.float64).square_() for name, part in zip(leaves, parts, strict=True)}

    sums, _ = problem.total(of_batch)
    return {name: sums[name] * w.to(torch.float64).square() for name, w in problem.weights.items()}


_SUMS: Scores = {}


def averaged(problem: Problem) -> Scores:
    """Return the sum over the rounds so far of ntk-trace, each normalised to sum 1."""
    if all(bool(mask.all()) for mask in problem.masks.values()):
        _SUMS.clear()
    scores = ntk_trace(problem)
    total = sum(float(value.sum()) for value in scores.values())
    for name, value in scores.items():
        _SUMS[name] = value / total + _SUMS.get(name, 0.0)
    return dict(_SUMS)


def removal(problem: Problem) -> Scores:
    """Return ``θ_j · ∂T/∂θ_j`` with ``T = Σ_i (θ_i · ∂(v·f)/∂θ_i)²``, v random signs."""

    def of_batch(batch: Batch) -> dict[str, Tensor]:
        leaves = problem.leaves()
        weights = list(leaves.values())
        with torch.enable_grad():
            outputs = problem.output(leaves, batch.inputs)
            parts = torch.autograd.grad(outputs, weights, signs(outputs, batch.generator), create_graph=True)
            trace = torch.stack([(w * part).square().sum() for w, part in zip(weights, parts, strict=True)]).sum()
            found = torch.autograd.grad(trace, weights)
        return {name: part.to(torch.float64) for name, part in zip(leaves, found, strict=True)}

    sums, _ = problem.total(of_batch)
    return {name: sums[name] * w for name, w in problem.weights.items()}


def equal(problem: Problem) -> Scores:
    """Return ntk-trace over its sum over the weight's layer."""
    return balanced(problem, balance=1.0)


def barrier(problem: Problem) -> Scores:
    """Return the gradient, over masks, of the log of the trace and the mean log of the layers' parts of it."""
    scores, shares = ntk_trace(problem), equal(problem)
    whole = float(torch.stack([value.sum() for value in scores.values()]).sum()) or 1.0
    return {name: value / whole + shares[name] / len(scores) for name, value in scores.items()}


def share(problem: Problem) -> Scores:
    """Return px times 1 − p, p the weight's share of its output channel's score."""
    scores = find("px")(problem)
    return {
        name: value * (1 - value / value.flatten(1).sum(1).clamp(min=1e-300).view(-1, *[1] * (value.dim() - 1)))
        for name, value in scores.items()
    }


for text, function, labels, paths in (
    ("geometric", geometric, True, False), ("joined", joined, True, False),
    ("ranks", ranks, True, False), ("centred", centred, False, False),
    ("softmax", softmax, False, False), ("averaged", averaged, False, False), ("removal", removal, False, False),
    ("rooted", balanced, False, False), ("balanced", equal, False, False), ("barrier", barrier, False, False),
    ("share", share, False, True),
):  # fmt: skip
    register(f"tried-{text}", function, rounds=20, labels=labels, paths=paths)


def correct(model: nn.Module, dense: nn.Module, masks: Mapping[str, Tensor], batches: Any) -> None:
    """Reconstruct the layers of a pruned model."""
    reconstruct(model, dict(dense.named_parameters()), masks, batches)
