"""What fine-tuning asks of its batches."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor


class EpochBatches(Protocol):
    """Batches of one process; ``len`` and the order are those of the global batches."""

    def __len__(self) -> int: ...
    def __iter__(self) -> Any: ...
    def set_epoch(self, epoch: int, start: int = 0) -> None:
        """Choose the order and augmentation of an epoch, and the global batch at which its walks begin."""


@dataclass(frozen=True)
class Loaders:
    """What a model is trained on and tested on: pairs of inputs (N, 3, H, W) and targets, on the model's device.

    With several processes each has its part of every batch, and all have equally many test batches.
    """

    train: EpochBatches
    test: Iterable[tuple[Tensor, Tensor]]
