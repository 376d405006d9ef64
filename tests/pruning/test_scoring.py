"""snip against autograd with explicit masks; bad batches, methods and schedules."""

import math

import pytest
import torch
from torch import nn
from torch.func import functional_call

from checkpoints.errors import InputError
from tests.pruning.small_nets import TinyVgg, images, randomised
from transfer.pruning import default_rounds, methods, prune, schedule, score
from transfer.pruning.prunable import prunable


def test_snip_is_the_gradient_of_an_explicit_mask():
    model = randomised(TinyVgg()).double()
    batches = [images((3, 8, 8), n, n, torch.float64) for n in (5, 2)]
    weights = {n: w.detach() for n, w in prunable(model).items()}
    masks = {n: torch.ones_like(w, requires_grad=True) for n, w in weights.items()}
    total = sum(
        nn.functional.cross_entropy(
            functional_call(model, {n: weights[n] * masks[n] for n in weights}, (x,)), y, reduction="sum"
        )
        for x, y in batches
    )
    expected = torch.autograd.grad(total / 7, list(masks.values()))
    found = score("snip", model, batches)
    for name, gradient in zip(masks, expected, strict=True):
        torch.testing.assert_close(found[name], gradient.abs(), rtol=1e-10, atol=1e-14)


def test_magnitude_by_hand():
    model = nn.Sequential(nn.Flatten(), nn.Linear(3, 2))
    with torch.no_grad():
        model[1].weight.copy_(torch.tensor([[1.0, -4.0, 2.0], [0.5, 3.0, -6.0]]))
    masks = prune(model, [images((3, 1, 1), 1)], method="magnitude", sparsity=0.5)
    assert masks["1.weight"].tolist() == [[False, True, False], [False, True, True]]
    assert model[1].weight.tolist() == [[0.0, -4.0, 0.0], [0.0, 3.0, -6.0]]


def test_random_depends_on_the_seed_alone():
    model, batches = TinyVgg(), [images((3, 8, 8), 2)]
    first, same, other = (score("random", model, batches, seed=s) for s in (1, 1, 2))
    assert all(torch.equal(first[n], same[n]) for n in first)
    assert not any(torch.equal(first[n], other[n]) for n in first)


@pytest.mark.parametrize(
    ("batches", "says"),
    [
        ([], "yield nothing"),
        ([3], "give pairs"),
        ([(torch.zeros(2, 3, 8, 8),) * 3], "give pairs"),
        ([torch.zeros(0, 3, 8, 8)], "no inputs"),
        ([(torch.zeros(2, 3, 8, 8), [0, 1])], "give pairs"),
        ([(torch.zeros(2, 3, 8, 8, dtype=torch.uint8), torch.zeros(2).long())], "dtype torch.uint8"),
        ([(torch.zeros(2, 3, 8, 8), torch.zeros(3).long())], "2 inputs and 3 targets"),
        ([(torch.full((2, 3, 8, 8), torch.nan), torch.zeros(2).long())], "nan or infinite"),
        ([(torch.full((2, 3, 8, 8), torch.inf), torch.zeros(2).long())], "nan or infinite"),
    ],
)
@pytest.mark.parametrize("method", ["snip", "px", "synflow-l2"])
def test_unusable_batches(batches, says, method):
    with pytest.raises(InputError, match=says):
        score(method, TinyVgg(), batches)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"sparsity": 1.0}, "in \\[0, 1\\)"),
        ({"sparsity": -0.1}, "in \\[0, 1\\)"),
        ({"sparsity": math.nan}, "in \\[0, 1\\)"),
        ({"sparsity": 90}, "for 90 % give 0.9"),
        ({"sparsity": 0.99999}, "leaves none"),
        ({"sparsity": 0.5, "rounds": 0}, "rounds is 0"),
        ({"sparsity": 0.5, "rounds": -3}, "rounds is -3"),
        ({"sparsity": 0.5, "schedule": "exponental"}, "did you mean exponential"),
        ({"sparsity": 0.5, "method": "snipp"}, "did you mean snip"),
        ({"sparsity": 0.5, "method": "zzz"}, "known: random"),
        ({"sparsity": 0.5, "method": "snip", "temperature": 2}, "temperature"),
        ({"sparsity": 0.5, "exclude": ("*",)}, "every Conv and Linear module is excluded"),
    ],
)
def test_what_prune_refuses(options, says):
    model = TinyVgg()
    state = {k: v.clone() for k, v in model.state_dict().items()}
    with pytest.raises(InputError, match=says) as caught:
        prune(model, [images((3, 8, 8), 2)], **{"method": "magnitude", **options})
    assert "\n" not in str(caught.value)
    assert all(torch.equal(state[k], v) for k, v in model.state_dict().items())


def test_a_model_without_weights():
    with pytest.raises(InputError, match="no Conv or Linear"):
        score("magnitude", nn.BatchNorm2d(3), [images((3, 8, 8), 2)])


def test_a_parametrized_weight_is_refused():
    model = nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(3, 3)))
    with pytest.raises(InputError, match="remove_parametrizations"):
        score("magnitude", model, [images((3, 8, 8), 2)])


def test_prunable_is_conv_and_linear_by_type_and_shared_weights_count_once():
    model = nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3), nn.Embedding(3, 3), nn.Linear(3, 3), nn.Linear(3, 3))
    model[4].weight = model[3].weight
    assert list(prunable(model)) == ["0.weight", "3.weight"]


def test_schedule():
    assert [schedule.sparsity_after(r, 2, 0.99) for r in (1, 2)] == pytest.approx([0.9, 0.99])
    assert [schedule.sparsity_after(r, 2, 0.8, "linear") for r in (1, 2)] == pytest.approx([0.4, 0.8])
    assert schedule.sparsity_after(7, 7, 0.982) == 0.982
    assert schedule.kept(1000, 0.9) == 100
    assert schedule.kept(3, 0.5) == 1
    assert schedule.kept(270_896, 0.982) == 270_896 - 266_020
    assert {m for m in methods() if default_rounds(m) == 1} == {"random", "magnitude", "snip", "grasp", "jacobian"}
    assert {default_rounds(m) for m in methods()} == {1, 100}
