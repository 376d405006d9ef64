"""Which sides of images a traced network takes, tried out on its guard and said in plain words."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from checkpoints.errors import InputError

_LEAST = 1024  # pixels up to which sides are tried
_GROWTH = ((1.0, 1.6, 1.3), (1.3, 1.0, 1.6), (1.6, 1.3, 1.0))


class SizeCheck(nn.Module):
    """Refuses images of a shape for which a traced graph may not be the model.

    Args:
        guard: raises AssertionError for such images; reads sizes only.
        example: images (N, C, …) that it takes.
    """

    def __init__(self, guard: nn.Module, example: Tensor) -> None:
        super().__init__()
        self.guard = guard
        self._shape = tuple(example.shape)
        self._limit = max(_LEAST, *(2 * side for side in self._shape[2:]))

    def forward(self, x: Tensor) -> None:
        """Return if the shape is allowed.

        Raises:
            InputError: it is not, says which are; or the images are no batch with the example's channels.
        """
        count, channels = len(self._shape), self._shape[1]
        if x.dim() != count or x.shape[1] != channels:
            sides = ", ".join(["N", str(channels), *"DHW"[5 - count :]])
            raise InputError(f"images have the shape {tuple(x.shape)}; give ({sides})")
        try:
            self.guard(x)
        except AssertionError:
            sides = "×".join(map(str, x.shape[2:]))
            raise InputError(
                f"an image is {sides} px, but the network takes {self.words()}; resize or pad it"
            ) from None

    def words(self) -> str:
        """Return which sides are allowed, each tried with the example's other sides."""
        each = [_words(self.allowed(dim), self._limit) for dim in range(2, len(self._shape))]
        if len(set(each)) == 1:
            return f"sides of {each[0]} px"
        names = ["height", "width"] if len(each) == 2 else [f"side {i}" for i in range(1, len(each) + 1)]
        return ", ".join(f"{name} of {side} px" for name, side in zip(names, each, strict=True))

    def others(self) -> list[tuple[int, ...]]:
        """Return a few other sides to try a network with: a little and much larger ones, as far as they are allowed."""
        allowed = [self.allowed(dim) for dim in range(2, len(self._shape))]
        turns = [
            [
                _from(sizes, int(side * more) + 1)
                for sizes, side, more in zip(allowed, self._shape[2:], growth, strict=False)
            ]
            for growth in _GROWTH
        ]
        return [each for each in dict.fromkeys(map(tuple, turns)) if each != self._shape[2:]]

    def allowed(self, dim: int) -> range | list[int]:
        """Return the allowed sizes of a dimension from 2 up to a limit; a range that ends there goes on beyond."""
        found = [size for size in range(2, self._limit + 1) if self._takes(dim, size)]
        steps = {after - before for before, after in pairwise(found)}
        return range(found[0], found[-1] + 1, *steps) if len(steps) == 1 else found

    def _takes(self, dim: int, size: int) -> bool:
        shape = (*self._shape[:dim], size, *self._shape[dim + 1 :])
        try:
            self.guard(torch.empty(1).expand(shape))
        except AssertionError:
            return False
        return True


def _words(sizes: range | list[int], limit: int) -> str:
    first, last = sizes[0], sizes[-1]
    if not isinstance(sizes, range):
        return f"{first}" if first == last else f"{', '.join(map(str, _even(sizes)))}, …"
    step = sizes.step
    end = "" if last + step > limit else f" to {last}"
    if step == 1:
        return f"{first}{end or ' or more'}"
    return f"{first}, {first + step}, {first + 2 * step}, …{end}"


def _even(sizes: list[int]) -> list[int]:
    """Return the first three sizes, or the first three multiples of the smallest power of two that all are sizes."""
    for step in (2, 4, 8, 16, 32):
        multiples = [size for size in sizes if size % step == 0]
        if len(multiples) > 2 and len(multiples) == len(range(multiples[0], sizes[-1] + 1, step)):
            return multiples[:3]
    return sizes[:3]


def _from(sizes: range | list[int], least: int) -> int:
    """Return the smallest size that is no less than ``least``, else the largest."""
    return next((size for size in sizes if size >= least), sizes[-1])


def size_check(exported: Any, example: Tensor) -> SizeCheck | None:
    """Return the check of a program of ``torch.export``; None if this version of torch guards no sizes."""
    guard = getattr(exported.module(), "_guards_fn", None)
    return None if guard is None else SizeCheck(guard, example)
