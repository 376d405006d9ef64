"""How scoring is spread over processes: whole batches, dealt in turn, summed in float64."""

from typing import Any

import torch
from torch import Tensor

from transfer.errors import RunError
from transfer.pruning.scaled import Scaled


class Processes:
    """One process, or those of an ``accelerate.Accelerator``."""

    def __init__(self, accelerator: Any = None):
        self._accelerator = accelerator if accelerator is not None and accelerator.num_processes > 1 else None
        self.count = self._accelerator.num_processes if self._accelerator else 1
        self.rank = self._accelerator.process_index if self._accelerator else 0

    def mine(self, batch: int) -> bool:
        """Say whether this process has the batch of this index."""
        return batch % self.count == self.rank

    def sum(self, value: Tensor) -> Tensor:
        """Return the sum over processes, in float64; the same bits everywhere."""
        value = value.to(torch.float64)
        return value if self._accelerator is None else self._gathered(value).sum(0)

    def sum_scaled(self, value: Scaled | None, like: Tensor) -> Scaled:
        """Return the sum over processes of values with exponents; None (a process without a batch) counts 0."""
        own = value or Scaled(torch.zeros_like(like, dtype=torch.float64), -(2**40))
        if self._accelerator is None:
            return own
        tensors = self._gathered(own.tensor.to(torch.float64))
        exponents = self._gathered(torch.tensor(own.exponent, device=own.tensor.device))
        total: Scaled | None = None
        for tensor, exponent in zip(tensors, exponents.tolist(), strict=True):
            total = Scaled(tensor, exponent).plus(total)
        assert total is not None
        return total

    def agree(self, digest: str) -> None:
        """Check that every process made the same masks.

        Raises:
            RunError: they differ.
        """
        if self._accelerator is None:
            return
        own = torch.tensor(list(bytes.fromhex(digest)), dtype=torch.uint8, device=self._accelerator.device)
        if not bool((self._gathered(own) == own).all()):
            raise RunError("the processes made different masks; do they see the same weights and batches?")

    def _gathered(self, value: Tensor) -> Tensor:
        return self._accelerator.gather(value.unsqueeze(0))  # type: ignore[union-attr]
