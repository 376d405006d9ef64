"""The plan: rungs at 1, 3, 9 … epochs, and as many trials on each as the budget allows."""

import pytest

from checkpoints.errors import InputError
from transfer.search.plan import Plan, Rung, plan, rungs


@pytest.mark.parametrize(
    ("epochs", "at"),
    [(1, (1,)), (2, (1, 2)), (4, (1, 4)), (5, (1, 3, 5)), (8, (1, 3, 8)), (10, (1, 3, 10)), (30, (1, 3, 9, 30)),
     (160, (1, 3, 9, 27, 81, 160))],
)  # fmt: skip
def test_the_rungs(epochs: int, at: tuple[int, ...]) -> None:
    assert rungs(epochs) == at


@pytest.mark.parametrize(
    ("epochs", "warmup", "at"), [(8, 1, (2, 8)), (30, 1, (2, 6, 18, 30)), (160, 5, (6, 18, 54, 160)), (3, 3, (3,))]
)
def test_the_first_rung_is_after_the_warm_up(epochs: int, warmup: int, at: tuple[int, ...]) -> None:
    assert rungs(epochs, warmup) == at
    assert plan(5, epochs, 5 * epochs, warmup=warmup).rungs == tuple(Rung(each, 5) for each in at)


def test_a_trial_goes_on_from_its_last_rung() -> None:
    assert Plan((Rung(1, 20), Rung(3, 8), Rung(8, 3))).cost == 20 + 8 * 2 + 3 * 5


@pytest.mark.parametrize("trials", [1, 2, 7, 20, 40])
@pytest.mark.parametrize("epochs", [1, 2, 8, 30])
def test_the_budget_is_kept_and_used(trials: int, epochs: int) -> None:
    least, most = trials + epochs - 1, trials * epochs
    budgets = sorted({*range(least, most, 1 + (most - least) // 20), most})
    costs = [plan(trials, epochs, budget).cost for budget in budgets]
    assert all(least <= cost <= budget for budget, cost in zip(budgets, costs, strict=True))
    assert costs == sorted(costs)
    assert plan(trials, epochs, most) == plan(trials, epochs, 10 * most)
    assert plan(trials, epochs, most).cost == most  # every trial to the end
    for budget in (least, most):
        counts = [rung.trials for rung in plan(trials, epochs, budget).rungs]
        assert counts[0] == trials
        assert counts == sorted(counts, reverse=True)


def test_without_a_budget_it_is_a_third() -> None:
    assert plan(20, 8) == plan(20, 8, 54)
    assert plan(2, 30).cost == 31  # a third of 60 would not bring one trial to the end


def test_a_budget_that_is_too_small() -> None:
    assert plan(20, 8, 27).rungs == (Rung(1, 20), Rung(3, 1), Rung(8, 1))
    for budget in (26, 0, -1):
        with pytest.raises(InputError, match=rf"^budget is {budget} epochs; .* take 27; give as much"):
            plan(20, 8, budget)
    with pytest.raises(InputError, match=r"^train.epochs is 0"):
        plan(20, 0)
