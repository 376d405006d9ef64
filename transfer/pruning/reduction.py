"""Distribute scoring over processes: whole batches round-robin, summed in batch order."""

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from checkpoints.backbone import digest
from transfer.errors import RunError
from transfer.pruning.scaled import Scaled

Statistic = dict[str, Scaled]


class Processes:
    """A single process, or those of an ``accelerate.Accelerator``."""

    def __init__(self, accelerator: Any = None):
        self._accelerator = accelerator if accelerator is not None and accelerator.num_processes > 1 else None
        self.count = self._accelerator.num_processes if self._accelerator else 1
        self.rank = self._accelerator.process_index if self._accelerator else 0

    def mine(self, batch: int) -> bool:
        """Return whether this process handles the batch of this index."""
        return batch % self.count == self.rank

    def in_order(self, own: Statistic | None, batches: int) -> Iterator[Statistic]:
        """Yield, in rank order and on every process, the one-batch statistics of the first ``batches`` processes.

        ``own`` is this process's statistic, None if it had no batch.
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

    def check_weights(self, model: nn.Module) -> None:
        """Check that every process has the same weights.

        Raises:
            RunError: the weights differ.
        """
        if self._accelerator is None:
            return
        own = bytes.fromhex(digest(model.state_dict()))
        mine = torch.tensor(list(own), dtype=torch.uint8, device=self._accelerator.device)
        if not bool((self._accelerator.gather(mine.unsqueeze(0)) == mine).all()):
            raise RunError("the processes have models with different weights; load the same backbone with one seed")

    def of_first(self, masks: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Broadcast the masks of the first process: GPU kernels may round differently on each run."""
        if self._accelerator is None:
            return dict(masks)
        from accelerate.utils import broadcast

        flat = torch.cat([mask.to(self._accelerator.device, torch.uint8).flatten() for mask in masks.values()])
        parts = broadcast(flat, from_process=0).split([mask.numel() for mask in masks.values()])
        return {
            name: part.bool().view_as(mask).to(mask.device)
            for (name, mask), part in zip(masks.items(), parts, strict=True)
        }
