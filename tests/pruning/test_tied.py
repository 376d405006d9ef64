"""Two parameters over one memory are one weight: one mask, one count, one score."""

import warnings

import pytest
import torch
from torch import nn

from checkpoints.errors import InputError
from tests.pruning.small_nets import images
from transfer.analysis.flops import multiply_adds
from transfer.analysis.ntk import trace
from transfer.pruning import Masks, live, methods, prune, report, score
from transfer.pruning.prunable import prunable


class Tied(nn.Module):
    """A convolution used as two: through one parameter, or through two over one memory."""

    def __init__(self, memory):
        super().__init__()
        torch.manual_seed(0)
        self.a = nn.Conv2d(3, 3, 3, padding=1)
        self.b = nn.Conv2d(3, 3, 3, padding=1)
        self.b.weight = nn.Parameter(self.a.weight.data) if memory else self.a.weight
        self.fc = nn.Linear(3, 3)

    def forward(self, x):
        return self.fc(self.b(self.a(x).relu()).relu().mean((2, 3)))


DATA = [images((3, 6, 6), 4, seed) for seed in range(2)]


def test_the_first_is_listed_and_none_where_one_is_excluded():
    model = Tied(memory=True)
    assert list(prunable(model)) == ["a.weight", "fc.weight"]
    for glob in "ab":
        assert list(prunable(model, [glob])) == ["fc.weight"]
    model.b.weight.data = model.b.weight.data.clone()
    assert list(prunable(model)) == ["a.weight", "b.weight", "fc.weight"]


@pytest.mark.parametrize("method", methods())
def test_scores_and_masks_are_those_of_one_parameter(method):
    models = [Tied(memory=False), Tied(memory=True)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        one, two = (score(method, model, DATA, seed=1) for model in models)
        assert list(one) == list(two)
        if method != "ntk-sap":  # which draws weights anew, module by module
            for name in one:
                torch.testing.assert_close(one[name], two[name])
        masks = prune(models[1], DATA, method=method, sparsity=0.5, rounds=2)
    total = 81 + 9
    assert (masks.total, masks.kept) == (total, 45)
    assert torch.equal(models[1].a.weight, models[1].b.weight)
    assert int((models[1].b.weight == 0).sum()) == int((~masks["a.weight"]).sum())


def test_what_is_told_of_a_model_counts_one():
    one, two = Tied(memory=False), Tied(memory=True)
    masks = Masks({name: torch.ones_like(w, dtype=torch.bool) for name, w in prunable(two).items()})
    masks["a.weight"][0] = False
    for model in (one, two):
        masks.apply_(model)
    assert report(one, masks, DATA[0][0]) == report(two, masks, DATA[0][0])
    assert live(one, masks, DATA[0][0]).digest() == live(two, masks, DATA[0][0]).digest()
    assert multiply_adds(one, (3, 6, 6), masks).layers == multiply_adds(two, (3, 6, 6), masks).layers
    assert trace(one, DATA[0][0], masks) == pytest.approx(trace(two, DATA[0][0], masks))


@pytest.mark.parametrize("named", ["a.weight", "b.weight"])
def test_masks_hold_both(named):
    model = Tied(memory=True)
    masks = Masks({named: torch.rand(3, 3, 3, 3) < 0.5})
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
    hold = masks.hold(model, optimizer)
    for _ in range(2):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(DATA[0][0]), DATA[0][1]).backward()
        for layer in (model.a, model.b):
            assert not layer.weight.grad[~masks[named]].any()
            assert layer.weight.grad[masks[named]].any()
        optimizer.step()
        assert not model.a.weight[~masks[named]].any()
        assert torch.equal(model.a.weight, model.b.weight)
    hold.remove()
    assert not any(p._post_accumulate_grad_hooks for p in (model.a.weight, model.b.weight))


def overlapping(kind):
    model = nn.Sequential(nn.Flatten(), nn.Linear(6, 6, bias=False), nn.Linear(6, 6, bias=False), nn.Linear(6, 3))
    weight = model[1].weight.data
    if kind == "turned":
        model[2].weight = nn.Parameter(weight.T)
    elif kind == "a part":
        model[3].weight = nn.Parameter(weight[:3])
    else:  # halves of one memory, side by side and one row after the other
        halves = torch.randn(6, 12)
        model[1].weight, model[2].weight = nn.Parameter(halves[:, :6]), nn.Parameter(halves[:, 6:])
        model.append(nn.Linear(3, 1))
    return model


@pytest.mark.parametrize(("kind", "other"), [("turned", "2"), ("a part", "3")])
def test_views_that_overlap_are_refused(kind, other):
    with pytest.raises(InputError, match=rf"^1.weight and {other}.weight are different views of one memory") as caught:
        prunable(overlapping(kind))
    assert "\n" not in str(caught.value)
    assert list(prunable(overlapping(kind), ["1", other])) == ["2.weight" if other == "3" else "3.weight"]


def test_views_that_do_not_overlap_are_two_weights():
    assert len(prunable(overlapping("halves"))) == 4
