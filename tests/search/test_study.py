"""Halving: the best of each rung go on, as a few lines without Optuna find them; a failed trial ends alone."""

import itertools

import pytest

from tests.search import fake
from transfer.errors import TrainingError
from transfer.search.plan import Plan, plan
from transfer.search.search import halve
from transfer.search.study import Study, Trial
from transfer.tasks import Metric

PAIRS = [(method, allocation) for method in "abcdef" for allocation in ("global", "erk")]


def reference(made: Plan, metric: Metric) -> list[list[int]]:
    """Return which trials reach each rung."""
    sign = -1 if metric.larger_is_better else 1
    found = [list(range(len(PAIRS)))]
    for rung, following in itertools.pairwise(made.rungs):
        rows = {number: fake.metrics(*PAIRS[number], rung.epochs)[-1] for number in found[-1]}
        best = sorted(rows, key=lambda n: (sign * rows[n][metric.name], rows[n]["test_loss"], n))
        found.append(sorted(best[: following.trials]))
    return found


@pytest.mark.parametrize("metric", [fake.ACCURACY, fake.ERROR])
@pytest.mark.parametrize("budget", [20, 40, 60, 108])
def test_the_best_of_each_rung_go_on(metric: Metric, budget: int) -> None:
    made, saved, ended = plan(len(PAIRS), 9, budget), [], []
    study = Study(PAIRS, made, metric)
    halve(study, train=fake.train, save=lambda: saved.append(1), ended=ended.append)
    for place, alive in enumerate(reference(made, metric), start=1):
        assert [t.number for t in study.trials if t.rung >= place] == alive
    assert sum(len(t.epochs) for t in study.trials) == made.cost
    last = made.rungs[-1].trials
    assert [t.state for t in study.order()] == ["finished"] * last + ["stopped"] * (len(PAIRS) - last)
    values = [t.epochs[-1][metric.name] for t in study.order()[:last]]
    assert values == sorted(values, reverse=metric.larger_is_better)
    assert {t.number for t in ended} == set(range(len(PAIRS)))
    assert len(saved) == sum(rung.trials + 1 for rung in made.rungs)


def test_a_failed_trial_ends_alone() -> None:
    def train(trial: Trial, epochs: int) -> list[dict[str, float]]:
        if trial.method == "a" or (trial.number == 4 and epochs > 1):
            raise TrainingError("the loss is\nnot finite")
        return [{"accuracy": 1 / trial.number, "test_loss": 1.0}] * epochs

    study = Study(PAIRS, plan(len(PAIRS), 9, 60), fake.ACCURACY)
    halve(study, train=train, save=lambda: None, ended=lambda trial: None)
    failed = [t for t in study.trials if t.state == "failed"]
    assert [(t.number, t.rung, t.error) for t in failed] == [
        (0, 0, "the loss is not finite"), (1, 0, "the loss is not finite"), (4, 1, "the loss is not finite"),
    ]  # fmt: skip
    assert study.order()[0].number == 2
    assert [t.number for t in study.order()[-3:]] == [4, 0, 1]


def test_a_bug_is_no_failed_trial() -> None:
    def broken(trial: Trial, epochs: int) -> list[dict[str, float]]:
        raise KeyError("x")

    with pytest.raises(KeyError):
        halve(Study(PAIRS, plan(len(PAIRS), 9), fake.ACCURACY), train=broken, save=lambda: None, ended=lambda t: None)
