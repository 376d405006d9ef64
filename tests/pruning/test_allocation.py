"""Shares of layers: exact, within their room, and by the stated rule."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from checkpoints.errors import InputError
from tests.pruning.small_nets import TinyVgg, images, randomised
from transfer.pruning import Masks, prune, score
from transfer.pruning.allocation import spread
from transfer.pruning.prunable import prunable

pytestmark = pytest.mark.filterwarnings("ignore::transfer.pruning.CollapseWarning")


def test_spread_by_hand():
    assert spread(6, {"a": 1, "b": 2}, {"a": 10, "b": 10}) == {"a": 2, "b": 4}
    assert spread(7, {"a": 1, "b": 2}, {"a": 10, "b": 10}) == {"a": 2, "b": 5}  # remainders 1/3 and 2/3
    assert spread(2, {"a": 1, "b": 1, "c": 1}, {"a": 9, "b": 9, "c": 9}) == {"a": 1, "b": 1, "c": 0}  # ties: earlier
    assert spread(12, {"a": 2, "b": 1, "c": 1}, {"a": 3, "b": 9, "c": 9}) == {"a": 3, "b": 5, "c": 4}  # a overflows
    assert spread(0, {"a": 1}, {"a": 5}) == {"a": 0}
    assert spread(5, {"a": 1}, {"a": 5}) == {"a": 5}


layers = st.lists(st.tuples(st.integers(1, 50), st.integers(0, 60)), min_size=1, max_size=8)


@given(layers, st.data())
@settings(max_examples=300, deadline=None)
def test_spread_is_exact_and_within_the_room(drawn, data):
    wanted = {f"l{i}": w for i, (w, _) in enumerate(drawn)}
    room = {f"l{i}": r for i, (_, r) in enumerate(drawn)}
    keep = data.draw(st.integers(0, sum(room.values())))
    shares = spread(keep, wanted, room)
    assert sum(shares.values()) == keep
    assert all(0 <= shares[n] <= room[n] for n in room)
    open_ = [n for n in room if shares[n] < room[n]]
    for a in open_:  # layers that are not full are in proportion, to one weight
        for b in open_:
            assert shares[a] <= wanted[a] * (shares[b] + 1) / wanted[b] + 1


@pytest.mark.parametrize("sparsity", [0.1, 0.5, 0.9, 0.97])
@pytest.mark.parametrize("allocation", ["uniform", "erk", "px", "snip", "random"])
@pytest.mark.parametrize("method", ["magnitude", "snip", "px"])
def test_counts_are_exact_under_every_allocation(method, allocation, sparsity):
    model = randomised(TinyVgg())
    total = sum(w.numel() for w in prunable(model).values())
    masks = prune(model, [images((3, 8, 8), 6)], method=method, allocation=allocation, sparsity=sparsity, rounds=4)
    assert masks.kept == total - int(sparsity * total + 0.5)
    assert all(torch.equal(w == 0, ~masks[n]) for n, w in prunable(model).items())


def test_uniform_gives_every_layer_the_same_density():
    masks = prune(randomised(TinyVgg()), [images((3, 8, 8), 6)], method="snip", allocation="uniform", sparsity=0.75)
    assert all(abs(row["density"] - 0.25) <= 1 / row["total"] for row in masks.layers())


def test_erk_follows_the_sides_of_the_weights():
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 16, 3), nn.Flatten(), nn.Linear(64, 10))
    masks = prune(model, [images((3, 6, 6), 2)], method="magnitude", allocation="erk", sparsity=0.95)
    keep = masks.kept
    sides = {"0": 3 + 8 + 3 + 3, "1": 8 + 16 + 3 + 3, "3": 64 + 10}
    for row in masks.layers():
        assert abs(row["kept"] - keep * sides[row["layer"]] / sum(sides.values())) <= 1


def test_a_method_as_allocation_gives_its_densities_and_the_other_chooses_unpruned():
    data = [images((3, 8, 8), 6)]
    shares = prune(randomised(TinyVgg()), data, method="px", sparsity=0.8, rounds=5)
    model = randomised(TinyVgg())
    scores = score("snip", model, data)
    masks = prune(model, data, method="snip", allocation="px", sparsity=0.8, rounds=5)
    for name, values in scores.items():
        count = int(shares[name].sum())
        assert int(masks[name].sum()) == count
        expected = torch.zeros(values.numel(), dtype=torch.bool)
        expected[values.flatten().topk(count).indices] = True
        assert torch.equal(masks[name].flatten(), expected)


def test_rounds_can_be_taken_up_again():
    data, seen = [images((3, 8, 8), 6)], {}
    for method in ("px", "random", "ntk-sap"):
        whole = prune(
            randomised(TinyVgg()), data, method=method, sparsity=0.9, rounds=5,
            after_round=lambda done, masks: seen.update({done: masks}),
        )  # fmt: skip
        assert list(seen) == [1, 2, 3, 4]
        for done in (1, 4):
            again = prune(randomised(TinyVgg()), data, method=method, sparsity=0.9, rounds=5, begin=(done, seen[done]))
            assert again.digest() == whole.digest()
        seen.clear()


def test_an_unknown_allocation():
    with pytest.raises(InputError, match="did you mean uniform"):
        prune(TinyVgg(), [images((3, 8, 8), 2)], method="magnitude", allocation="unifrom", sparsity=0.5)
    assert Masks.full(prunable(TinyVgg())).sparsity == 0
