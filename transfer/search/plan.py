"""The plan of a search: at how many epochs trials are compared, and how many go on from there."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from checkpoints.errors import InputError

METHODS = (
    "random", "magnitude", "snip", "grasp", "synflow", "synflow-dist", "synflow-l2", "synflow-l2-dist", "logsynflow",
    "px", "ntk-trace", "ntk-balanced", "jacobian", "fisher", "fts",
)  # fmt: skip
"""Methods that score in less time than an epoch of training takes."""
ALLOCATIONS = ("global", "erk")
FACTOR = 3  # between the epochs of two rungs


@dataclass(frozen=True)
class Rung:
    """Trials that are trained to the end of an epoch, and compared there."""

    epochs: int
    trials: int


@dataclass(frozen=True)
class Plan:
    """The rungs of a search, the last of which trains to the recipe's end."""

    rungs: tuple[Rung, ...]

    @property
    def cost(self) -> int:
        """Epochs of training in all; a trial goes on from its last rung."""
        return sum(spent for _, spent in self.steps())

    def steps(self) -> Iterator[tuple[Rung, int]]:
        """Yield each rung and the epochs of training that it takes."""
        before = 0
        for rung in self.rungs:
            yield rung, rung.trials * (rung.epochs - before)
            before = rung.epochs


def plan(trials: int, epochs: int, budget: int | None = None, *, warmup: int = 0) -> Plan:
    """Return the plan in which the largest share of trials goes on at every rung that the budget allows.

    Args:
        trials: number of trials, 1 or more; all are trained to the first rung.
        epochs: of the recipe.
        budget: epochs of training in all; None = a third of what training every trial to its end takes.
        warmup: epochs of rising learning rate, after which the first rung is.

    Raises:
        InputError: the budget is too small, or the recipe does not train.
    """
    if not epochs:
        raise InputError("train.epochs is 0, so that there is nothing to compare; give 1 or more")
    at = rungs(epochs, warmup)
    least = _halved(trials, at, 0.0).cost
    allowed = max(least, -(-trials * epochs // 3)) if budget is None else budget
    if allowed < least:
        raise InputError(
            f"budget is {budget} epochs; {trials} trials to epoch {at[0]} and the best of them to epoch {epochs} take "
            f"{least}; give as much, or fewer methods or allocations"
        )
    shares = (1 - step / 1000 for step in range(1001))
    return next(made for made in (_halved(trials, at, share) for share in shares) if made.cost <= allowed)


def rungs(epochs: int, warmup: int = 0) -> tuple[int, ...]:
    """Return the epochs of the rungs: the first after the warm-up, then 3, 9 ... times as many, and the last epoch.

    Those less than half as many again before the last are left out.
    """
    rising = ((warmup + 1) * FACTOR**step for step in range(epochs.bit_length()))
    return (*(each for each in rising if 3 * each <= 2 * epochs), epochs)


def _halved(trials: int, at: Sequence[int], share: float) -> Plan:
    return Plan(tuple(Rung(epochs, max(1, int(trials * share**step))) for step, epochs in enumerate(at)))
