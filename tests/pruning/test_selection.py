"""Exact selection under ties, zeros, infinities of range and every count."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from transfer.errors import ScoreError
from transfer.pruning import prune, register, saliency
from transfer.pruning.selection import select

pytestmark = pytest.mark.filterwarnings("ignore::transfer.pruning.CollapseWarning")


def reference(scores, masks, keep):
    """Sort (−score, position) in Python and keep the first."""
    flat = [
        (-float(s), place)
        for place, (s, alive) in enumerate(
            (s, m) for name in scores for s, m in zip(scores[name].flatten(), masks[name].flatten(), strict=True)
        )
        if bool(alive)
    ]
    chosen = {place for _, place in sorted(flat)[:keep]}
    out, start = {}, 0
    for name, s in scores.items():
        out[name] = torch.tensor([start + i in chosen for i in range(s.numel())]).view(s.shape)
        start += s.numel()
    return out


def full(scores):
    return {name: torch.ones_like(s, dtype=torch.bool) for name, s in scores.items()}


values = st.one_of(
    st.sampled_from([0.0, -0.0, 1.0, -1.0, 1e-300, 1e300, 5e-324, 1.5, 1.5000000001]),
    st.floats(allow_nan=False, allow_infinity=False),
)


@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_selection_equals_sorting(data):
    sizes = data.draw(st.lists(st.integers(1, 12), min_size=1, max_size=4))
    scores = {
        f"layer{i}": torch.tensor(data.draw(st.lists(values, min_size=n, max_size=n)), dtype=torch.float64)
        for i, n in enumerate(sizes)
    }
    masks = {
        name: torch.tensor(data.draw(st.lists(st.booleans(), min_size=len(s), max_size=len(s))))
        for name, s in scores.items()
    }
    alive = sum(int(m.sum()) for m in masks.values())
    keep = data.draw(st.integers(0, alive))
    chosen, expected = select(scores, masks, keep), reference(scores, masks, keep)
    for name in scores:
        assert torch.equal(chosen[name], expected[name])


@settings(max_examples=50, deadline=None)
@given(data=st.data())
def test_a_score_that_is_not_finite_is_never_selected_from_but_an_error(data):
    """prune() must not rank nan or infinity, whichever weight has it, at any sparsity and allocation."""
    flat = data.draw(st.lists(st.floats(width=32), min_size=15, max_size=15))
    allocation = data.draw(st.sampled_from(["global", "uniform", "erk"]))
    bad = [value for value in flat if not math.isfinite(value)]
    model = nn.Sequential(nn.Flatten(), nn.Linear(3, 3), nn.Linear(3, 2))
    parts = torch.tensor(flat, dtype=torch.float64).split([9, 6])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(saliency, "_METHODS", dict(saliency._METHODS))
        shapes = {"1.weight": (3, 3), "2.weight": (2, 3)}
        scores = {name: part.view(shape) for (name, shape), part in zip(shapes.items(), parts, strict=True)}
        register("drawn", lambda problem: scores)
        before = {k: v.clone() for k, v in model.state_dict().items()}
        if bad:
            counts = [int((~torch.isfinite(part)).sum()) for part in parts]
            layer = 1 if counts[0] else 2
            with pytest.raises(
                ScoreError, match=rf"gave {counts[layer - 1]} of {parts[layer - 1].numel()} .* layer {layer} "
            ):
                prune(model, [], method="drawn", sparsity=0.5, allocation=allocation)
            assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())
        elif all(bool(part.any()) for part in parts):
            assert prune(model, [], method="drawn", sparsity=0.5, allocation=allocation).kept == 7


def test_golden_by_hand():
    scores = {"a": torch.tensor([[3.0, 1.0], [2.0, 2.0]]), "b": torch.tensor([2.0, 5.0, 0.0])}
    chosen = select(scores, full(scores), 4)
    assert chosen["a"].tolist() == [[True, False], [True, True]]
    assert chosen["b"].tolist() == [False, True, False]  # 5, 3 and two of the three 2s, the earlier ones


@pytest.mark.parametrize("keep", [1, 199, 200, 399])
def test_ties_keep_the_first_positions(keep):
    scores = {"a": torch.full((200,), 7.0), "b": torch.full((200,), 7.0)}
    chosen = select(scores, full(scores), keep)
    joined = torch.cat([chosen["a"], chosen["b"]])
    assert joined.tolist() == [i < keep for i in range(400)]


def test_equals_kthvalue_on_a_million_scores_over_200_orders_of_magnitude():
    generator = torch.Generator().manual_seed(0)
    exponent = torch.rand(1_000_000, generator=generator, dtype=torch.float64) * 400 - 200
    scores = {"a": 10.0 ** exponent[:700_000], "b": 10.0 ** exponent[700_000:].view(300, 1000)}
    keep = 123_456
    chosen = select(scores, full(scores), keep)
    flat = torch.cat([s.flatten() for s in scores.values()])
    cut = flat.kthvalue(len(flat) - keep + 1).values
    assert torch.equal(torch.cat([m.flatten() for m in chosen.values()]), flat >= cut)
