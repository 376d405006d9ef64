"""Classification: cross entropy and accuracy."""

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Classification:
    """Logits (N, K) against class indices (N,)."""

    name = "classification"
    headline = "accuracy"

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the mean cross entropy."""
        return F.cross_entropy(outputs, targets)

    def counts(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return (right, seen)."""
        right = (outputs.argmax(1) == targets).sum()
        return torch.stack([right, torch.full_like(right, len(targets))])

    def metrics(self, counts: Tensor) -> dict[str, float]:
        """Return the top-1 accuracy."""
        right, seen = counts.tolist()
        return {"accuracy": right / seen}

    def table(self, counts: Tensor) -> list[dict[str, Any]]:
        """Return nothing: the counts do not tell classes apart."""
        return []
