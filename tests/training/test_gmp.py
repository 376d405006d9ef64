"""Gradual magnitude pruning: exact counts in every round, of the largest weights; resumed to the bit."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from checkpoints import InputError
from tests.training.small import Small, equal, left_behind, small_loaders, train_small
from tests.training.test_resume import SGD, stop_at
from transfer.pruning import Masks
from transfer.pruning.prunable import prunable
from transfer.pruning.schedule import kept, sparsity_after
from transfer.recipe import Prune
from transfer.training import finetune
from transfer.training.gmp import Gradual, gradual

STEPS = 8  # two epochs of four
FULL = Masks.full(prunable(Small()))
PRUNE = Prune(method="gmp", sparsity=0.8, rounds=3, schedule="cubic")


def made(prune: Prune = PRUNE, steps: int = STEPS) -> Gradual:
    return gradual(Small(), prune, steps)


class Seen:
    """Hands on to gmp; keeps each step's weights before it and masks after it."""

    def __init__(self, plain: Gradual) -> None:
        self.plain, self.rounds = plain, {}  # type: ignore[var-annotated]

    def after(self, step: int, model: nn.Module, masks: Masks) -> Masks | None:
        weights = {name: value.detach().clone() for name, value in masks.match(model).items()}
        tighter = self.plain.after(step, model, masks)
        if tighter is not None:
            self.rounds[step] = (weights, tighter)
        return tighter

    def final(self, step: int) -> bool:
        return self.plain.final(step)


def test_the_sparsity_is_the_papers_cubic_by_hand() -> None:
    found = [sparsity_after(round_, 4, 0.8, "cubic") for round_ in (1, 2, 3, 4)]
    assert found == pytest.approx([0.4625, 0.7, 0.7875, 0.8])
    assert found[-1] == 0.8


@pytest.mark.parametrize(
    ("begin", "end", "rounds", "expected"),
    [
        (0.0, 0.75, 3, [2, 4, 6]),
        (0.25, 1.0, 2, [5, 8]),
        (0.0, 0.5, 100, [1, 2, 3, 4]),
        (0.99, 1.0, 5, [8]),  # a window of less than a step is one step
        (0.0, 0.01, 5, [1]),
    ],
)
def test_rounds_come_evenly_between_the_two_steps(begin: float, end: float, rounds: int, expected: list[int]) -> None:
    plan = made(replace(PRUNE, rounds=rounds, options=(f"begin={begin}", f"end={end}")))
    masks, model, found = FULL, Small(), []
    for step in range(1, STEPS + 1):
        tighter = plan.after(step, model, masks)
        if tighter is not None:
            found.append(step)
            masks = tighter
        assert plan.final(step) == (step >= expected[-1])
    assert found == expected
    assert masks.kept == kept(masks.total, 0.8)


def test_each_round_keeps_exactly_the_largest_of_what_is_left() -> None:
    seen, model = Seen(made()), Small()
    history = finetune(model, FULL, small_loaders(), SGD, tightening=seen)
    before = FULL
    asked = (0.8 * 19 / 27, 0.8 * 26 / 27, 0.8)
    for (step, (weights, masks)), sparsity in zip(seen.rounds.items(), asked, strict=True):
        assert masks.kept == kept(masks.total, sparsity), step
        assert not any(bool((masks[name] & ~before[name]).any()) for name in masks)
        sizes = torch.cat([value.abs().flatten() for value in weights.values()])
        cut = sizes.sort(descending=True).values[masks.kept - 1]
        assert equal(dict(masks), {name: value.abs() >= cut for name, value in weights.items()})
        before = masks
    assert history.masks is not None
    assert equal(history.masks, dict(before))
    assert all(bool((value[~before[name]] == 0).all()) for name, value in before.match(model).items())


def test_layers_keep_the_share_that_the_allocation_gives_them() -> None:
    masks = made(replace(PRUNE, allocation="uniform")).after(6, Small(), FULL)
    assert masks is not None
    assert [row["density"] for row in masks.layers()] == pytest.approx([0.2, 0.2, 0.2], abs=0.01)
    halves = made(replace(PRUNE, sparsity=0.5, pattern="2:4", exclude=("encoder.0",)))
    masks = halves.after(6, Small(), Masks.full(prunable(Small(), ("encoder.0",))))
    assert masks is not None
    assert bool((masks["head.weight"].view(3, 4, 4).sum(2) == 2).all())


def test_only_epochs_with_the_final_masks_count_as_the_best(tmp_path: Path) -> None:
    bests: list[bool] = []
    plan = made(replace(PRUNE, options=("end=0.6",)))
    finetune(Small(), FULL, small_loaders(), SGD, tightening=plan, after_epoch=lambda history, best: bests.append(best))
    assert bests == [False, True]


def test_stopped_at_any_step_it_goes_on_to_the_same_bits(tmp_path: Path) -> None:
    options = {"masks": FULL, "tightening": made(), "dropout": 0.5}
    expected, _ = train_small(SGD, tmp_path / "whole", **options)
    whole = left_behind(tmp_path / "whole")
    assert Masks(whole["masks"]).kept == kept(FULL.total, 0.8)
    for step in (1, 2, 5, 6):
        folder = tmp_path / str(step)
        with pytest.raises(SystemExit):
            train_small(SGD, folder, at_step=stop_at(step), **options)
        history, model = train_small(SGD, folder, **options)
        assert (history.epochs, history.best_epoch) == (expected.epochs, expected.best_epoch)
        assert equal(left_behind(folder), whole)
        assert not any(bool(value[~whole["masks"][name]].any()) for name, value in FULL.match(model).items())


def test_a_resume_with_another_schedule_is_refused(tmp_path: Path) -> None:
    train_small(SGD, tmp_path, masks=FULL, tightening=made())
    with pytest.raises(InputError, match=r"sparsity=0\.8.*, now Gradual\(sparsity=0\.9") as caught:
        train_small(SGD, tmp_path, masks=FULL, tightening=made(replace(PRUNE, sparsity=0.9)))
    assert "\n" not in str(caught.value)
