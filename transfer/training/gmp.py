"""Gradual magnitude pruning: the smallest weights go while the model trains (Zhu & Gupta 2018, arXiv:1710.01878)."""

import logging
from dataclasses import dataclass, field
from typing import Any

from accelerate import Accelerator
from torch import nn

from transfer.pruning import patterns
from transfer.pruning import schedule as schedules
from transfer.pruning.gradual import window
from transfer.pruning.masks import Masks
from transfer.pruning.prunable import prunable
from transfer.pruning.received import check_received
from transfer.pruning.reduction import Processes
from transfer.pruning.smallest import smallest_dropped
from transfer.recipe import Prune

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Gradual:
    """What tightens the masks during a training, at ``rounds`` steps evenly between two steps of it.

    With ``nΔt = end − begin`` and ``s_i = 0`` the sparsity after round k of n is that of the paper,
    ``s_f + (s_i − s_f) · (1 − k/n)³``, or of another schedule. Where there are fewer steps than rounds, a step takes
    several rounds at once. Everything follows from the number of the step, so that a resumed training goes on the same.
    """

    sparsity: float
    rounds: int
    schedule: str
    allocation: str
    pattern: str
    begin: int
    """The optimizer step after which the rounds begin."""
    end: int
    """The optimizer step after which the last round comes."""
    constraint: patterns.Constraint | None = field(default=None, repr=False, compare=False)
    processes: Processes = field(default_factory=Processes, repr=False, compare=False)

    def after(self, step: int, model: nn.Module, masks: Masks) -> Masks | None:
        """Return the masks that hold from after this optimizer step on; None = as before."""
        done = self._rounds(step)
        if done == self._rounds(step - 1):
            return None
        sparsity = schedules.sparsity_after(done, self.rounds, self.sparsity, self.schedule)
        tighter = smallest_dropped(
            model, masks, schedules.kept(masks.total, sparsity),
            allocation=self.allocation, constraint=self.constraint, processes=self.processes,
        )  # fmt: skip
        level = logging.INFO if done == self.rounds else logging.DEBUG
        _log.log(level, "gmp: round %d of %d after step %d, density %.4f", done, self.rounds, step, tighter.density)
        return tighter

    def final(self, step: int) -> bool:
        """Return whether the masks stay as they are after this optimizer step."""
        return step >= self.end

    def _rounds(self, step: int) -> int:
        """Return how many rounds are due after a step."""
        return min(max(step - self.begin, 0) * self.rounds // (self.end - self.begin), self.rounds)


def gradual(model: nn.Module, pruning: Prune, steps: int, accelerator: Accelerator | None = None) -> Gradual:
    """Return gmp as a resolved recipe asks for it, for a training of ``steps`` optimizer steps.

    Raises:
        InputError: a weight is computed in the forward, or the pattern does not suit the model.
    """
    weights = prunable(model, pruning.exclude)
    check_received(model, weights, None)
    options: dict[str, Any] = pruning.method_options()
    begin, end = (round(fraction * steps) for fraction in window(**options))
    begin = min(begin, steps - 1)
    return Gradual(
        pruning.sparsity, pruning.rounds or 1, pruning.schedule or schedules.SCHEDULES[0], pruning.allocation,
        pruning.pattern, begin, max(end, begin + 1),
        patterns.bind(pruning.pattern, model, weights, sparsity=pruning.sparsity, exclude=pruning.exclude),
        Processes(accelerator),
    )  # fmt: skip
