"""What is known of a tensor's channels: which ones stand or fall together, and which hold one constant."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from torch import Tensor


@dataclass(frozen=True)
class Channels:
    """The C channels of a tensor (N, C, …).

    Attributes:
        atoms: (C,) int64; channels with tied atoms are removed together or not at all.
        constant: (C,) bool; whether the channel holds ``value`` at every position, for every image.
        value: (C,) float64; 0 where the channel varies.
    """

    atoms: Tensor
    constant: Tensor
    value: Tensor

    @classmethod
    def varying(cls, atoms: Tensor) -> Channels:
        """Return channels of which nothing is known."""
        return cls(atoms, torch.zeros_like(atoms, dtype=torch.bool), torch.zeros_like(atoms, dtype=torch.float64))

    def with_constants(self, constant: Tensor, value: Tensor) -> Channels:
        """Return the same channels with other constants; a value that is not finite is no constant."""
        constant = constant & value.isfinite()
        return Channels(self.atoms, constant, value.double().masked_fill(~constant, 0.0))

    def only(self, constant: Tensor) -> Channels:
        """Return the same channels, constant only where ``constant`` (C,) holds too."""
        return self.with_constants(self.constant & constant, self.value)

    def __len__(self) -> int:
        return len(self.atoms)


class Atoms:
    """Numbers channels, and joins those that share a fate."""

    def __init__(self) -> None:
        self.count = 0
        self._pairs: list[Tensor] = []

    def fresh(self, channels: int) -> Tensor:
        """Return ``channels`` new atoms."""
        self.count += channels
        return torch.arange(self.count - channels, self.count)

    def tie(self, one: Tensor, other: Tensor) -> None:
        """Join two lists of atoms of one length, pair by pair."""
        self._pairs.append(torch.stack([one, other]))

    def classes(self) -> Tensor:
        """Return the number of every atom's class, (atoms,) int64."""
        pairs = torch.cat([torch.zeros(2, 0, dtype=torch.int64), *self._pairs], 1).numpy()
        graph = coo_matrix((np.ones(pairs.shape[1]), (pairs[0], pairs[1])), shape=(self.count, self.count))
        return torch.from_numpy(connected_components(graph, directed=False)[1]).long()


class Kept:
    """Which channels stay; it only ever grows."""

    def __init__(self, atoms: Atoms) -> None:
        self._class = atoms.classes()
        self._kept = torch.zeros(atoms.count, dtype=torch.bool)

    @property
    def count(self) -> int:
        """Number of classes that stay."""
        return int(self._kept.sum())

    def of(self, channels: Channels) -> Tensor:
        """Return which of a tensor's channels stay, (C,) bool."""
        return self._kept[self._class[channels.atoms]]

    def places(self, channels: Channels) -> Tensor:
        """Return the indices of the channels that stay, int64."""
        return self.of(channels).nonzero().flatten()

    def add(self, channels: Channels, wanted: Tensor | None = None) -> None:
        """Keep the channels where ``wanted`` (C,) holds; None: all."""
        atoms = channels.atoms if wanted is None else channels.atoms[wanted]
        self._kept[self._class[atoms]] = True

    def add_one(self, channels: Channels) -> None:
        """Keep at least one channel, a constant one if there is any, since it costs least."""
        if not self.of(channels).any():
            first = int(channels.constant.int().argmax())
            self._kept[self._class[channels.atoms[first]]] = True
