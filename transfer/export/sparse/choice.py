"""Each layer in the form that is faster here."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from transfer.export.sparse.layer import Dense, Fused, Sparse

TURNS = 5
HOPELESS = 3  # times as slow in the first turn; the other turns would take long and change nothing


@dataclass(frozen=True)
class Choice:
    """A layer's measured times.

    Attributes:
        name: of the layer.
        density: fraction of its weights that are not 0.
        dense_ms: median milliseconds of the dense form, over all calls of the layer for one batch.
        sparse_ms: the same of the sparse form; None if there is none.
    """

    name: str
    density: float
    dense_ms: float
    sparse_ms: float | None

    @property
    def sparse(self) -> bool:
        """Whether the sparse form is faster."""
        return self.sparse_ms is not None and self.sparse_ms < self.dense_ms


class Candidate(nn.Module):
    """A layer in both forms, which takes the time of each whenever it is called."""

    def __init__(self, name: str, fused: Fused, density: float) -> None:
        super().__init__()
        self.name, self.density = name, density
        self.dense = Dense(fused)
        plain = fused.weight.dtype == torch.float32 and fused.weight.device.type == "cpu"
        self.sparse = Sparse(fused) if plain else None
        self._ms: dict[str, float] = {"dense": 0.0, "sparse": 0.0}

    def forward(self, x: Tensor, other: Tensor | None = None) -> Tensor:
        """Return the dense form's result; add to the times."""
        forms: dict[str, nn.Module] = {"dense": self.dense}
        if self.sparse is not None:
            forms["sparse"] = self.sparse
        for form, seconds in _in_turns(forms, x, other).items():
            self._ms[form] += 1e3 * statistics.median(seconds)
        return self.dense(x, other)

    def choice(self) -> Choice:
        """Return what was measured since the layer was made."""
        return Choice(self.name, self.density, self._ms["dense"], None if self.sparse is None else self._ms["sparse"])

    def chosen(self) -> nn.Module:
        """Return the faster form."""
        return self.sparse if self.choice().sparse and self.sparse is not None else self.dense

    def extra_repr(self) -> str:
        """Say whose layer it is."""
        return self.name


def _in_turns(forms: dict[str, nn.Module], x: Tensor, other: Tensor | None) -> dict[str, list[float]]:
    taken: dict[str, list[float]] = {form: [] for form in forms}
    for turn in range(TURNS + 1):
        for form, layer in forms.items():
            begin = time.perf_counter()
            layer(x, other)
            taken[form].append(time.perf_counter() - begin)
        if turn == 1 and "sparse" in taken and taken["sparse"][1] > HOPELESS * taken["dense"][1]:
            break
    return {form: seconds[1:] for form, seconds in taken.items()}
