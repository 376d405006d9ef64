"""The pattern RxC: blocks of R output × C input channels are kept or removed as a whole."""

import math
import sys
from collections.abc import Mapping

from torch import Tensor

from checkpoints.errors import InputError
from transfer.pruning.patterns.channels import Channels
from transfer.pruning.patterns.constraint import Constraint, Selection
from transfer.pruning.patterns.text import Blocks


class BlockConstraint(Constraint):
    """Whole blocks: the score of a block is the sum of its weights' scores."""

    def __init__(self, axes: Mapping[str, Channels], pattern: Blocks):
        super().__init__(axes)
        self._pattern = pattern
        self._size = pattern.outputs * pattern.inputs

    def __str__(self) -> str:
        return str(self._pattern)

    def choose(
        self, scores: Mapping[str, Tensor], masks: Mapping[str, Tensor], keep: int, free: Selection
    ) -> dict[str, Tensor]:
        """Keep as many whole blocks as ``keep`` weights suffice for, of those blocks that are whole in the masks."""
        scale = self._scale(scores)
        sums = {name: self._sum(self._blocks(name, score) * scale) for name, score in scores.items()}
        whole = {name: self._blocks(name, masks[name]).all(4).all(2) for name in scores}
        chosen = free(sums, whole, keep // self._size)
        return {name: self._expanded(name, blocks) for name, blocks in chosen.items()}

    def fitting(self, keep: int) -> int:
        """Return the weights in the whole blocks that fit."""
        return keep // self._size * self._size

    def room(self, masks: Mapping[str, Tensor]) -> int:
        """Return the weights in blocks that are whole."""
        return sum(int(self._blocks(name, mask).all(4).all(2).sum()) for name, mask in masks.items()) * self._size

    def check(self, keep: int, sparsity: float) -> None:
        """Check that a block is left.

        Raises:
            InputError: ``keep`` is less than a block has.
        """
        if keep < self._size:
            raise InputError(
                f"sparsity {sparsity:g} leaves {keep} weights, fewer than a block of pattern {self} has; give a lower "
                "sparsity or a smaller block"
            )

    def _blocks(self, name: str, weight: Tensor) -> Tensor:
        """Return (groups, outputs / R, R, inputs / C, C, entries of the kernel)."""
        axes, pattern = self._axes[name], self._pattern
        shape = (axes.outputs // pattern.outputs, pattern.outputs, axes.inputs // pattern.inputs, pattern.inputs)
        return axes.split(weight).reshape(axes.groups, *shape, -1)

    def _expanded(self, name: str, chosen: Tensor) -> Tensor:
        axes, pattern = self._axes[name], self._pattern
        wide = chosen[:, :, None, :, None].expand(-1, -1, pattern.outputs, -1, pattern.inputs, -1)
        return axes.joined(wide.reshape(axes.groups, axes.outputs, axes.inputs, -1))

    def _scale(self, scores: Mapping[str, Tensor]) -> float:
        """Return 1, or the power of two that keeps the sum of the largest scores finite."""
        largest = max(abs(float(end)) for score in scores.values() for end in score.aminmax())
        least = math.ldexp(1.0, -self._size.bit_length())
        return least if largest > sys.float_info.max * least else 1.0

    @staticmethod
    def _sum(blocks: Tensor) -> Tensor:
        """Sum over axes 2 and 4 in a fixed order, so that every machine and thread count gives the same bits."""
        rows = _added(blocks, 2)
        return _added(rows, 3)


def _added(parts: Tensor, axis: int) -> Tensor:
    total, *others = parts.unbind(axis)
    if not others:
        return total
    total = total + others[0]
    for other in others[1:]:
        total += other
    return total
