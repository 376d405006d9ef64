"""Path eXclusion: weights ranked by their part in an upper bound on the trace of the NTK (Iurada 2024, eq. 9)."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from transfer.errors import ScoreError
from transfer.pruning.paths import follow, stand_ins
from transfer.pruning.saliency.synflow_l2 import of_squared_network
from transfer.pruning.scaled import Scaled

if TYPE_CHECKING:
    from transfer.pruning.scoring import Problem


def score(problem: "Problem") -> dict[str, Tensor]:
    """Return ``θ² · ∂R/∂θ²`` with ``R = Σ_n Σ_k g^k(x_n²; M, a_n) · h^k(1; θ²)``.

    g carries the squared images through the masks (weights 1 where kept) along the paths that are active in the real
    forward f(x_n); h is the squared network on ones. Data enters only through G = Σ_n g(x_n²), one number a class (a
    class and a pixel for maps), so g needs no gradient and h runs once, on one sample. A further batch costs two
    forwards.

    While a global pool and one linear head follow the trunk and the head's mask is full, all G_k are equal and the
    ranking is that of SynFlow-L2; after that the head's mask tells them apart.
    """
    activity = _activity(problem).tensor
    if not bool(activity.any()):
        raise ScoreError(
            "method 'px' finds no path that is kept and active for any image, so nothing tells the weights apart; "
            "prune less, in more rounds, or with more images"
        )
    return of_squared_network(problem, activity)


@torch.no_grad()
def _activity(problem: "Problem") -> Scaled:
    """Return G = Σ_n g(x_n²), shaped like one sample of the output, in float64."""
    masks = problem.masks
    views = stand_ins(problem.model, lambda name, w: masks[name].to(w.dtype) if name in masks else torch.ones_like(w))
    total: Scaled | None = None
    for inputs, _ in problem.walk():
        g = follow(problem.model, inputs, inputs.square(), views, None, gated=True)
        total = Scaled(g.tensor.to(torch.float64).sum(0), g.exponent).plus(total)
    like = problem.model(problem.first()[:1])[0] if total is None else total.tensor  # None: a process without a batch
    return problem.processes.sum_scaled(total, like)
