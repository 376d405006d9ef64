"""The lists of a comparison or a sweep."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from checkpoints.errors import InputError


@dataclass(frozen=True)
class Grid:
    """What to combine; an empty list stands for the recipe's own value."""

    methods: tuple[str, ...] = ()
    sparsities: tuple[float, ...] = ()
    backbones: tuple[str, ...] = ()
    statistics: tuple[str, ...] = ()
    allocations: tuple[str, ...] = ()
    seeds: tuple[int, ...] = ()

    def to_dict(self) -> dict[str, list[Any]]:
        """Return the lists as JSON types."""
        return {name: list(values) for name, values in dataclasses.asdict(self).items()}


def check_lists(**lists: Sequence[Any]) -> None:
    """Refuse lists that are empty or repeat a value.

    Raises:
        InputError: one is or does; the line names it.
    """
    for name, values in lists.items():
        if not values or len(set(values)) != len(values):
            raise InputError(f"{name} are {list(values)}; give one or more, each once")
