"""Successive halving (Jamieson & Talwalkar 2016) as an Optuna study.

Optuna holds the trials, their metrics and their states. Its own ``SuccessiveHalvingPruner`` judges a trial among those
that came before it, so that the first always goes on and the cost is not known before; :class:`Halving`, a pruner on
Optuna's interface, compares all trials of a rung, so that the plan holds. Nothing of a study is stored: a search that
goes on replays it from the metrics in the run folders.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from checkpoints.errors import InputError
from transfer.search.plan import Plan
from transfer.search.trial import Epoch
from transfer.tasks import Metric

try:
    import optuna
    from optuna.distributions import CategoricalDistribution
except ImportError as error:
    raise InputError("transfer search needs Optuna; pip install 'px-transfer[search]'") from error

optuna.logging.set_verbosity(optuna.logging.WARNING)
State = Literal["open", "stopped", "finished", "failed"]


@dataclass
class Trial:
    """A method with an allocation, and how far it came."""

    number: int
    method: str
    allocation: str
    rung: int = 0
    """How many rungs it has reached."""
    epochs: list[Epoch] = field(default_factory=list)
    state: State = "open"
    error: str | None = None

    def __str__(self) -> str:
        return f"{self.method}, {self.allocation}"


class Halving(optuna.pruners.BasePruner):
    """Stops all trials of a rung but the best.

    Args:
        going_on: how many trials go on, by the epochs of their rung.
    """

    def __init__(self, going_on: Mapping[int, int]) -> None:
        self._going_on = going_on

    def prune(self, study: optuna.study.Study, trial: optuna.trial.FrozenTrial) -> bool:
        """Return whether the trial is not among the best of its rung."""
        step = trial.last_step
        assert step is not None
        return trial.number not in ranked(study, step)[: self._going_on[step]]


def ranked(study: optuna.study.Study, step: int) -> list[int]:
    """Return the trials that reached an epoch, the best first; of equal metrics the smaller test loss, then number."""
    sign = -1 if study.direction == optuna.study.StudyDirection.MAXIMIZE else 1
    reached = [each for each in study.get_trials(deepcopy=False) if step in each.intermediate_values]
    keys = {each.number: (sign * each.intermediate_values[step], each.user_attrs[str(step)]) for each in reached}
    return sorted(keys, key=lambda number: (keys[number], number))


class Study:
    """The trials of a search, and the decisions on them."""

    def __init__(self, pairs: Sequence[tuple[str, str]], plan: Plan, metric: Metric) -> None:
        self.plan, self._metric = plan, metric
        going_on = {now.epochs: then.trials for now, then in zip(plan.rungs, plan.rungs[1:], strict=False)}
        self._study = optuna.create_study(
            direction="maximize" if metric.larger_is_better else "minimize", pruner=Halving(going_on)
        )
        columns = zip(("method", "allocation"), zip(*pairs, strict=True), strict=True)
        space = {name: CategoricalDistribution(list(dict.fromkeys(values))) for name, values in columns}
        for method, allocation in pairs:
            self._study.enqueue_trial({"method": method, "allocation": allocation})
        self._asked = [self._study.ask(space) for _ in pairs]
        self.trials = [Trial(number, *pair) for number, pair in enumerate(pairs)]

    @property
    def open(self) -> list[Trial]:
        """The trials that go on."""
        return [each for each in self.trials if each.state == "open"]

    def report(self, trial: Trial, epochs: list[Epoch]) -> None:
        """Record the metrics of a trial that has reached its next rung."""
        trial.rung, trial.epochs = trial.rung + 1, epochs
        asked, step = self._asked[trial.number], len(epochs)
        asked.set_user_attr(str(step), epochs[-1]["test_loss"])
        asked.report(epochs[-1][self._metric.name], step)

    def fail(self, trial: Trial, error: str) -> None:
        """Record that a trial cannot go on."""
        trial.state, trial.error = "failed", error
        self._study.tell(self._asked[trial.number], state=optuna.trial.TrialState.FAIL)

    def judge(self) -> list[Trial]:
        """Compare the open trials, which have all reached the same rung; return those that end there."""
        return [each for each in self.open if self._ended(each)]

    def _ended(self, trial: Trial) -> bool:
        asked = self._asked[trial.number]
        if trial.rung == len(self.plan.rungs):
            self._study.tell(asked, trial.epochs[-1][self._metric.name])
            trial.state = "finished"
        elif asked.should_prune():
            self._study.tell(asked, state=optuna.trial.TrialState.PRUNED)
            trial.state = "stopped"
        return trial.state != "open"

    def order(self) -> list[Trial]:
        """Return the trials: those that came furthest first, then by their metrics; failed ones last."""
        place = {
            number: at for rung in self.plan.rungs for at, number in enumerate(ranked(self._study, rung.epochs))
        }  # fmt: skip
        return sorted(self.trials, key=lambda t: (t.state == "failed", -t.rung, place.get(t.number, 0), t.number))
