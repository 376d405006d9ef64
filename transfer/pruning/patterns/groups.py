"""The pattern N:M: of M consecutive input channels, at most N weights are kept."""

from collections.abc import Mapping

import torch
from torch import Tensor

from transfer.pruning.patterns.channels import Channels
from transfer.pruning.patterns.constraint import Constraint, Selection
from transfer.pruning.patterns.text import Groups, too_low
from transfer.pruning.selection import ordered

_PAIRS = 16  # largest group that is ranked by comparing all pairs, which is faster than sorting


class GroupConstraint(Constraint):
    """At most N of M: while more than that are wanted, the N best of a group stay, and others compete for the rest.

    So the exact count holds in every round, and the pattern holds from the first round on that keeps few enough.
    """

    def __init__(self, axes: Mapping[str, Channels], pattern: Groups):
        super().__init__(axes)
        self._pattern = pattern

    def __str__(self) -> str:
        return str(self._pattern)

    def choose(
        self, scores: Mapping[str, Tensor], masks: Mapping[str, Tensor], keep: int, free: Selection
    ) -> dict[str, Tensor]:
        """Keep exactly ``keep`` weights: of the N best of every group, and of others only when all of these are."""
        best = {name: self._best(name, score, masks[name]) for name, score in scores.items()}
        spare = sum(int(mask.sum()) for mask in best.values()) - keep
        if spare > 0:
            return free(scores, best, keep)
        if spare < 0:
            more = free(scores, {name: masks[name] & ~mask for name, mask in best.items()}, -spare)
            best = {name: mask | more[name] for name, mask in best.items()}
        return best

    def fitting(self, keep: int) -> int:
        """Return ``keep``: counts are exact."""
        return keep

    def room(self, masks: Mapping[str, Tensor]) -> int:
        """Return the sum over the groups of the weights that are kept, N at most."""
        kept = (self._grouped(name, mask).sum(1) for name, mask in masks.items())
        return sum(int(count.clamp(max=self._pattern.most).sum()) for count in kept)

    def check(self, keep: int, sparsity: float) -> None:
        """Check that ``keep`` is at most N/M of all weights.

        Raises:
            InputError: it is more; states the least sparsity.
        """
        total = sum(torch.Size(axes.shape).numel() for axes in self._axes.values())
        if keep * self._pattern.inputs > total * self._pattern.most:
            raise too_low(self._pattern, sparsity)

    def _grouped(self, name: str, weight: Tensor) -> Tensor:
        """Return (groups, M, entries of the kernel)."""
        parts = self._axes[name].split(weight)
        return parts.reshape(-1, self._pattern.inputs, parts.shape[-1])

    def _best(self, name: str, score: Tensor, mask: Tensor) -> Tensor:
        axes = self._axes[name]
        words = self._grouped(name, ordered(score, mask).view(score.shape))
        parts = _first(words, self._pattern.most).view(axes.groups, axes.outputs, axes.inputs, -1)
        return axes.joined(parts) & mask


def _first(words: Tensor, most: int) -> Tensor:
    """Mark the ``most`` largest along axis 1 of (groups, M, entries); of equal ones the earlier."""
    size = words.shape[1]
    if size > _PAIRS:
        order = words.sort(dim=1, descending=True, stable=True).indices[:, :most]
        return torch.zeros(words.shape, dtype=torch.bool, device=words.device).scatter_(1, order, True)
    parts = words.unbind(1)
    larger = [torch.full_like(part, size - 1 - i, dtype=torch.uint8) for i, part in enumerate(parts)]
    for i, part in enumerate(parts):  # ``larger[i]`` counts those that rank before i; at first, all that come later
        for j in range(i + 1, size):
            before = (part >= parts[j]).view(torch.uint8)
            larger[j] += before
            larger[i] -= before
    return torch.stack([count < most for count in larger], 1)
