"""Prune in rounds: score, select, apply."""

import logging
import time
import warnings
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from transfer.errors import ScoreError
from transfer.log import track
from transfer.pruning import allocation as allocations
from transfer.pruning import patterns, saliency
from transfer.pruning import schedule as schedules
from transfer.pruning.masks import Masks, kept
from transfer.pruning.problem import Batches, Loss
from transfer.pruning.prunable import prunable, zeros
from transfer.pruning.received import check_received
from transfer.pruning.reduction import Processes
from transfer.pruning.saliency import about, check_options, find, methods
from transfer.pruning.scoring import score, statistics_of
from transfer.pruning.statistics import Constants, Statistics
from transfer.pruning.statistics import check as check_statistics
from transfer.recommended import RECOMMENDED

_log = logging.getLogger(__name__)
_ROUND = 1_000_003  # seed offset between rounds, so that no round repeats the draws of another


class CollapseWarning(UserWarning):
    """Pruning left entire layers without a weight."""


def default_rounds(method: str) -> int:
    """Return the method's default number of rounds, that of its paper: 1 for one-shot methods, mostly 100 otherwise."""
    return about(method).rounds


def prune(
    model: nn.Module,
    batches: Batches,
    *,
    method: str = RECOMMENDED,
    sparsity: float,
    allocation: str = "global",
    rounds: int | None = None,
    schedule: str = "exponential",
    pattern: str = patterns.NONE,
    loss: Loss | None = None,
    exclude: Iterable[str] = (),
    seed: int = 0,
    accelerator: Any = None,
    statistics: Statistics | None = None,
    progress: bool = False,
    begin: tuple[int, Masks] | None = None,
    after_round: Callable[[int, Masks], None] | None = None,
    **options: Any,
) -> Masks:
    """Prune a model in place and return the masks; pruned weights never return.

    Of N prunable weights exactly ``N − floor(sparsity · N + 0.5)`` are kept (with blocks, as many whole blocks as
    that number suffices for). BatchNorm statistics are unchanged. If anything fails, the weights are restored. Every
    call starts from full masks: weights that are already 0 count as kept until they are pruned (a warning reports how
    many).

    Args:
        model: its pruned weights are set to 0.
        batches: (inputs, targets) pairs with normalised inputs (N, 3, H, W); iterated at least once per round, after a
            check on the first two images (see :mod:`transfer.pruning.received`).
        method: one of :func:`transfer.pruning.methods`; by default the recommended one.
        sparsity: fraction removed, in [0, 1).
        allocation: "global", "uniform", "erk" (see :mod:`transfer.pruning.allocation`), or a method: that method prunes
            in ``rounds`` rounds and sets the number of kept weights per layer; which ones is then decided by scoring
            the unpruned weights once with ``method``.
        rounds: at least 1; None = the paper's number, see :func:`default_rounds`.
        schedule: "exponential", "linear" or "cubic", see :func:`transfer.pruning.schedule.sparsity_after`.
        pattern: "N:M" keeps at most N of M consecutive input channels, "RxC" keeps or removes blocks of R output × C
            input channels as a whole, "none" keeps any weights; see :mod:`transfer.pruning.patterns`.
        loss: (outputs, targets) → mean over samples; None = cross entropy.
        exclude: globs over names of modules that are not pruned and do not count in N.
        seed: seeds the method's random draws, and the global RNG while the model is scored (for always-on dropout).
        accelerator: distributes the batches over its processes; all get the masks of the first process.
        statistics: BatchNorm statistics for scoring: "batch", "warmup" or "running", see
            :mod:`transfer.pruning.statistics`; None = the method's default.
        progress: show a progress bar.
        begin: number of completed rounds and the masks after them, to resume from.
        after_round: called with the number of completed rounds and their masks after each round but the last.
        **options: the method's own.

    Raises:
        InputError: invalid arguments; raised before anything is changed.
        RunError: the processes have different weights.
        ScoreError: scores are not finite, or all scores of a layer are 0 before anything is pruned.
    """
    check_options(method, find(method), options)
    allocations.check(allocation)
    check_statistics(statistics)
    guided, guide = allocation in methods(), saliency.guide(method, allocation)
    rounds = default_rounds(guide) if rounds is None else rounds
    schedules.check(None, sparsity, rounds, schedule)
    bare = model if accelerator is None else accelerator.unwrap_model(model)
    weights = prunable(bare, exclude)
    masks = Masks.full(weights)
    schedules.check(masks.total, sparsity, rounds, schedule)
    constraint = patterns.bind(pattern, bare, weights, sparsity=sparsity, exclude=exclude)
    check_received(bare, weights, batches, seed)
    _warn_of_zeros(weights)
    processes = Processes(accelerator)
    processes.check_weights(bare)
    settings: dict[str, Any] = {"loss": loss, "exclude": exclude, "accelerator": accelerator}
    usual = saliency.statistics(method, allocation)
    seen: Statistics | Constants | None = usual and (statistics or usual)
    if seen == "warmup":
        seen = statistics_of(bare, batches, exclude=exclude, seed=seed, accelerator=accelerator)
    settings["statistics"] = seen
    before = {name: w.detach().clone() for name, w in weights.items()}
    done, masks = begin or (0, masks)
    masks = Masks(kept(weights, masks))
    if constraint and begin:
        constraint.check_begin(masks, schedules.kept(masks.total, sparsity))
    start = time.perf_counter()
    try:
        masks.apply_(bare)
        label = f"prune {method} {sparsity:.2%}"
        for round_ in track(range(done + 1, rounds + 1), label, shown=progress and rounds > 1):
            keep = schedules.kept(masks.total, schedules.sparsity_after(round_, rounds, sparsity, schedule))
            own = {"seed": seed + _ROUND * (round_ - 1), **({} if guided else options)}
            scores = score(guide, bare, batches, masks=masks, **settings, **own)
            if round_ == 1 and sparsity:
                _refuse_empty(guide, scores)
            chosen = allocations.choose(scores, masks, keep, "global" if guided else allocation, constraint)
            masks = Masks(processes.of_first(chosen))
            masks.apply_(bare)
            _tell(label, f"round {round_} of {rounds}", masks, time.perf_counter() - start, last=round_ == rounds)
            if after_round and round_ < rounds:
                after_round(round_, masks)
        if guided:
            _restore(weights, before)
            shares = {name: int(mask.sum()) for name, mask in masks.items()}
            scores = score(method, bare, batches, seed=seed, **settings, **options)
            if sparsity:
                _refuse_empty(method, scores)
            masks = Masks(
                processes.of_first(allocations.choose_shares(scores, Masks.full(weights), shares, constraint))
            )
            masks.apply_(bare)
    except BaseException:
        _restore(weights, before)
        raise
    _warn_of_collapse(method, masks)
    return masks


def _tell(label: str, place: str, masks: Masks, seconds: float, *, last: bool) -> None:
    """Log a round; those before the last are many, and so are for the debugging log only."""
    level = logging.INFO if last else logging.DEBUG
    if not _log.isEnabledFor(level):
        return
    empty = len(masks.collapsed())
    _log.log(level, "%s: %s, density %.4f, %d empty layers, %.1f s", label, place, masks.density, empty, seconds)


@torch.no_grad()
def _restore(weights: Mapping[str, Tensor], before: Mapping[str, Tensor]) -> None:
    for name, w in weights.items():
        w.copy_(before[name])


def _refuse_empty(method: str, scores: Mapping[str, Tensor]) -> None:
    """Reject layers whose scores are all 0 before anything is pruned: they give no ranking."""
    empty = [name.removesuffix(".weight") for name, values in scores.items() if not bool(values.any())]
    if empty:
        more = f" and {len(empty) - 1} more" if len(empty) > 1 else ""
        raise ScoreError(
            f"method {method!r} scores every weight of layer {empty[0]}{more} 0 before anything is pruned, so that "
            "nothing tells them apart. Is the BatchNorm after it zero-initialised (load pretrained weights, or build "
            "the model with zero_init_last=False), does the layer not reach the output (exclude it), or does it run "
            "under torch.no_grad() or a checkpoint with use_reentrant=True?"
        )


def _warn_of_zeros(weights: Mapping[str, Tensor]) -> None:
    none, total = zeros(weights)
    if none > total // 100:
        warnings.warn(
            f"{none} of {total} prunable weights are 0 already; they count as kept until they are pruned",
            stacklevel=3,
        )


def _warn_of_collapse(method: str, masks: Masks) -> None:
    empty = [name.removesuffix(".weight") for name in masks.collapsed()]
    if empty:
        named = ", ".join(empty[:3]) + (f" and {len(empty) - 3} more" if len(empty) > 3 else "")
        warnings.warn(
            f"{method} at sparsity {masks.sparsity:.2%} left {len(empty)} of {len(masks)} layers without a weight "
            f"({named}); try more rounds, allocation erk, another method, or a lower sparsity",
            CollapseWarning,
            stacklevel=3,
        )
