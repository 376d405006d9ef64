"""Metrics of a fine-tuning per epoch, and the position within the current epoch."""

from dataclasses import dataclass, field

from torch import Tensor

from transfer.tasks import Metric


@dataclass
class History:
    """One row of metrics per epoch, which epoch was the best, and the task's counts of the last test.

    For the current epoch: the number of steps ``done``, the seconds they took, and this process's ``log`` of them, (2,
    steps per epoch): loss and number of images.
    """

    epochs: list[dict[str, float]] = field(default_factory=list)
    best_epoch: int = 0
    seconds: list[float] = field(default_factory=list)
    counts: Tensor | None = None
    done: int = 0
    elapsed: float = 0.0
    log: Tensor | None = None
    masks: dict[str, Tensor] | None = None
    """The masks that hold now, if the training made them tighter; True = kept."""

    @property
    def place(self) -> str:
        """The position in the training, in words."""
        epoch = len(self.epochs)
        return f"epoch {epoch + 1}, step {self.done}" if self.done else f"the end of epoch {epoch}"

    @property
    def last(self) -> dict[str, float]:
        """Metrics after the last epoch."""
        return self.epochs[-1]

    @property
    def best(self) -> dict[str, float]:
        """Metrics of the best epoch."""
        return self.epochs[self.best_epoch - 1] if self.best_epoch else self.epochs[-1]

    def add(self, row: dict[str, float], headline: Metric, seconds: float, *, counts: bool = True) -> bool:
        """Append the row of a finished epoch; return whether its ``headline`` is the best so far.

        An epoch that does not count (as the model was not yet as sparse as it will be) is never the best.
        """
        best = counts and (not self.best_epoch or headline.better(row[headline.name], self.best[headline.name]))
        self.epochs.append(row)
        self.best_epoch = len(self.epochs) if best else self.best_epoch
        self.seconds.append(seconds)
        self.done, self.elapsed, self.log = 0, 0.0, None
        return best
