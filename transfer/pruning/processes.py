"""How scoring is spread over processes: whole batches, dealt in turn, summed in the order of the batches."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from transfer.errors import RunError
from transfer.pruning.scaled import Scaled

Statistic = dict[str, Scaled]


class Processes:
    """One process, or those of an ``accelerate.Accelerator``."""

    def __init__(self, accelerator: Any = None):
        self._accelerator = accelerator if accelerator is not None and accelerator.num_processes > 1 else None
        self.count = self._accelerator.num_processes if self._accelerator else 1
        self.rank = self._accelerator.process_index if self._accelerator else 0

    def mine(self, batch: int) -> bool:
        """Say whether this process has the batch of this index."""
        return batch % self.count == self.rank

    def in_order(self, own: Statistic | None, batches: int) -> Iterator[Statistic]:
        """Yield what the first ``batches`` processes found in one batch each, in their order, on every process.

        ``own`` is this process's, None where it had no batch.
        """
        if self._accelerator is None:
            if own is not None:
                yield own
            return
        from accelerate.utils import broadcast, broadcast_object_list

        device = self._accelerator.device
        for owner in range(batches):
            mine = own if self.rank == owner and own is not None else {}
            form = [{name: (tuple(x.tensor.shape), x.exponent) for name, x in mine.items()}]
            found: Statistic = {}
            for name, (shape, exponent) in broadcast_object_list(form, from_process=owner)[0].items():
                value = mine[name].tensor if name in mine else torch.empty(shape, dtype=torch.float64, device=device)
                found[name] = Scaled(broadcast(value.to(torch.float64).contiguous(), from_process=owner), exponent)
            yield found

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
