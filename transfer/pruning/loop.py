"""prune(): rounds of score, select, apply."""

import warnings
from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from transfer.pruning import schedule as schedules
from transfer.pruning.masks import Masks
from transfer.pruning.processes import Processes
from transfer.pruning.prunable import prunable
from transfer.pruning.saliency import ITERATIVE, find
from transfer.pruning.scoring import Batches, Loss, score
from transfer.pruning.selection import select
from transfer.report.progress import track


def default_rounds(method: str) -> int:
    """Return the number of rounds that a method's paper uses: 100 for the iterative ones, 1 for the rest."""
    return 100 if method in ITERATIVE else 1


def prune(
    model: nn.Module,
    batches: Batches,
    *,
    method: str = "px",
    sparsity: float,
    rounds: int | None = None,
    schedule: str = "exponential",
    loss: Loss | None = None,
    exclude: Iterable[str] = (),
    seed: int = 0,
    accelerator: Any = None,
    progress: bool = False,
    **options: Any,
) -> Masks:
    """Prune a model in place and return the masks; a pruned weight never returns.

    Of N prunable weights exactly ``N − floor(sparsity · N + 0.5)`` stay. BatchNorm statistics stay as they are. If
    anything fails on the way, the model's weights are what they were. Every call starts from full masks: weights that
    are 0 already count as kept until they are pruned (a warning says how many).

    Args:
        model: the model; its pruned weights are set to 0.
        batches: pairs of normalised inputs (N, 3, H, W) and targets; walked once or more a round.
        method: one of :func:`transfer.pruning.methods`.
        sparsity: fraction removed, in [0, 1).
        rounds: 1 or more; None = the paper's number, see :func:`default_rounds`.
        schedule: "exponential" or "linear", see :func:`transfer.pruning.schedule.sparsity_after`.
        loss: (outputs, targets) → mean over samples; None = cross entropy.
        exclude: globs over module names that are not pruned and do not count in N.
        seed: of whatever the method draws.
        accelerator: spreads the batches over its processes; masks are the same on all.
        progress: show a progress bar.
        **options: the method's own.

    Raises:
        InputError: before anything is done, for what cannot be followed.
        ScoreError: scores that are not finite.
    """
    find(method)
    rounds = default_rounds(method) if rounds is None else rounds
    schedules.check(None, sparsity, rounds, schedule)
    bare = model if accelerator is None else accelerator.unwrap_model(model)
    weights = prunable(bare, exclude)
    masks = Masks.full(weights)
    schedules.check(masks.total, sparsity, rounds, schedule)
    zeros = sum(int((w == 0).sum()) for w in weights.values())
    if zeros > masks.total // 100:
        warnings.warn(
            f"{zeros} of {masks.total} prunable weights are 0 already; they count as kept until they are pruned",
            stacklevel=2,
        )
    before = {name: w.detach().clone() for name, w in weights.items()}
    try:
        for round_ in track(range(1, rounds + 1), f"prune {method} {sparsity:.2%}", shown=progress and rounds > 1):
            keep = schedules.kept(masks.total, schedules.sparsity_after(round_, rounds, sparsity, schedule))
            scores = score(
                method, bare, batches,
                masks=masks, loss=loss, exclude=exclude, seed=seed, accelerator=accelerator, **options,
            )  # fmt: skip
            masks = Masks(select(scores, masks, keep))
            masks.apply_(bare)
            Processes(accelerator).agree(masks.digest())
    except BaseException:
        with torch.no_grad():
            for name, w in weights.items():
                w.copy_(before[name])
        raise
    return masks
