"""A task is a head, a loss and a metric; :class:`Task` says what training and evaluation ask of it."""

from typing import Any, Protocol

from torch import Tensor


class Task(Protocol):
    """What training and evaluation ask of a task.

    ``counts`` are integers that add over batches and processes, so that a metric of the whole data set is exact
    whatever the batches were.
    """

    name: str
    headline: str  # the metric that decides which epoch is best: larger is better

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the mean loss over the samples, a scalar."""

    def counts(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return int64 counts of a batch, one shape for all batches."""

    def metrics(self, counts: Tensor) -> dict[str, float]:
        """Return the metrics, fractions in [0, 1], from the summed counts."""

    def table(self, counts: Tensor) -> list[dict[str, Any]]:
        """Return one row a class, as in ``classes.csv`` of a run; none where there is nothing to tell."""
