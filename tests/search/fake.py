"""Trials without training: metrics that are drawn from the trial's name."""

from transfer.search.study import Trial
from transfer.seeds import seed_of
from transfer.tasks import Metric

ACCURACY = Metric("accuracy", "accuracy")
ERROR = Metric("error", "error", larger_is_better=False)


def metrics(method: str, allocation: str, epochs: int, seed: int = 0) -> list[dict[str, float]]:
    """Coarse metrics, so that some are equal."""
    drawn = [seed_of(seed, method, allocation, epoch) for epoch in range(1, epochs + 1)]
    return [
        {"epoch": epoch, "accuracy": value % 4 / 4, "error": value % 4 / 4, "test_loss": value // 4 % 3 / 3}
        for epoch, value in enumerate(drawn, start=1)
    ]


def train(trial: Trial, epochs: int) -> list[dict[str, float]]:
    """Return the metrics of a trial."""
    return metrics(trial.method, trial.allocation, epochs)
