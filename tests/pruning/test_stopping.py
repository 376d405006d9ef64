"""Rounds that end early: exactly as many weights, the choice of the round that stopped, resumable."""

import copy

import pytest
import torch

from checkpoints.errors import InputError
from tests.pruning.small_nets import TinyVgg, images, randomised
from transfer.pruning import Masks, prune, score
from transfer.pruning import schedule as schedules
from transfer.pruning.rounds import _ROUND
from transfer.pruning.selection import select

ROUNDS, SPARSITY = 12, 0.8
DATA = [images((3, 8, 8), 6)]


def pruned(rounds=ROUNDS, **options):
    """Return the masks of px, and those after each round but the last."""
    seen: dict[int, Masks] = {}
    masks = prune(
        randomised(TinyVgg()), DATA, method="px", sparsity=SPARSITY, rounds=rounds,
        after_round=lambda done, masks: seen.update({done: masks}), **options,
    )  # fmt: skip
    return masks, seen


def jaccard(a, b):
    a, b = (torch.cat([mask.flatten() for mask in masks.values()]) for masks in (a, b))
    return float((a & b).sum() / (a | b).sum())


def finals():
    """Return, by number of rounds, the masks if the rounds ended there, from scores taken one at a time."""
    model, found = randomised(TinyVgg()), {}
    masks = None
    for round_ in range(1, ROUNDS + 1):
        scores = score("px", model, DATA, masks=masks, seed=_ROUND * (round_ - 1))
        masks = masks or Masks.full(scores)
        found[round_] = select(scores, masks, schedules.kept(masks.total, SPARSITY))
        keep = schedules.kept(masks.total, schedules.sparsity_after(round_, ROUNDS, SPARSITY))
        masks = Masks(select(scores, masks, keep))
        masks.apply_(model)
    return found


@pytest.mark.parametrize("overlap", [0.6, 0.9, 0.97, 1.0])
def test_rounds_stop_where_two_final_choices_overlap_enough_and_the_count_is_exact(overlap):
    ends = finals()
    wanted = next((r for r in range(2, ROUNDS) if jaccard(ends[r - 1], ends[r]) >= overlap), ROUNDS)
    masks, seen = pruned(stop_overlap=overlap)
    assert list(seen) == list(range(1, wanted))
    assert masks.digest() == Masks(ends[wanted]).digest()
    assert masks.kept == schedules.kept(masks.total, SPARSITY)


def test_the_overlaps_above_stop_rounds_early_and_late():
    ends = finals()
    steps = [jaccard(ends[r - 1], ends[r]) for r in range(2, ROUNDS)]
    assert min(steps) < 0.97 < 1.0
    assert max(steps) > 0.6


def test_a_stop_taken_up_one_round_back_ends_the_same():
    ends = finals()
    steps = {r: jaccard(ends[r - 1], ends[r]) for r in range(2, ROUNDS)}
    last = max(steps, key=lambda r: steps[r])  # the first time that this much is reached
    whole, seen = pruned(stop_overlap=steps[last])
    assert list(seen) == list(range(1, last))
    for done in range(1, last - 1):
        assert pruned(stop_overlap=steps[last], begin=(done, seen[done]))[0].digest() == whole.digest()


def test_a_stop_works_with_shares_patterns_and_another_methods_allocation():
    for options in ({"allocation": "erk"}, {"allocation": "snip"}, {"exclude": ["features.0"]}):
        masks, seen = pruned(stop_overlap=0.01, **options)
        assert list(seen) == [1]
        assert masks.kept == schedules.kept(masks.total, SPARSITY)


@pytest.mark.parametrize("overlap", [0.0, -1.0, 1.01, float("nan")])
def test_an_overlap_that_is_none_is_refused(overlap):
    model = randomised(TinyVgg())
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(InputError, match=r"stop_overlap is .*above 0 and at most 1"):
        prune(model, DATA, method="px", sparsity=0.5, stop_overlap=overlap)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
