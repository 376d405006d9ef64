"""The metrics of a fine-tuning, epoch by epoch."""

from dataclasses import dataclass, field

from torch import Tensor


@dataclass
class History:
    """One row of metrics an epoch, where the best weights were, and the task's counts of the last test."""

    epochs: list[dict[str, float]] = field(default_factory=list)
    best_epoch: int = 0
    seconds: list[float] = field(default_factory=list)
    counts: Tensor | None = None

    @property
    def last(self) -> dict[str, float]:
        """Metrics after the last epoch."""
        return self.epochs[-1]

    @property
    def best(self) -> dict[str, float]:
        """Metrics of the best epoch."""
        return self.epochs[self.best_epoch - 1] if self.best_epoch else self.epochs[-1]

    def add(self, row: dict[str, float], headline: str, seconds: float) -> bool:
        """Add the row of an epoch; return whether its ``headline`` is the largest so far."""
        best = not self.best_epoch or row[headline] > self.best[headline]
        self.epochs.append(row)
        self.best_epoch = len(self.epochs) if best else self.best_epoch
        self.seconds.append(seconds)
        return best
