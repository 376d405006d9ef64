"""snip against autograd with explicit masks; bad batches, methods and schedules."""

import math

import pytest
import torch
import torch.nn.utils.prune
from torch import nn
from torch.func import functional_call

from checkpoints.errors import InputError
from tests.pruning.references import STATISTICS, seen
from tests.pruning.small_nets import TinyVgg, images, randomised
from transfer.errors import ScoreError
from transfer.pruning import Masks, default_rounds, methods, path_kernel_trace, prune, schedule, score
from transfer.pruning.prunable import prunable


@pytest.mark.parametrize("statistics", STATISTICS)
def test_snip_is_the_gradient_of_an_explicit_mask(statistics):
    model = randomised(TinyVgg()).double()
    batches = [images((3, 8, 8), n, n, torch.float64) for n in (5, 2)]
    weights = {n: w.detach() for n, w in prunable(model).items()}
    masks = {n: torch.ones_like(w, requires_grad=True) for n, w in weights.items()}
    net = seen(model, batches, statistics)
    total = sum(
        nn.functional.cross_entropy(
            functional_call(net, {n: weights[n] * masks[n] for n in weights}, (x,)), y, reduction="sum"
        )
        for x, y in batches
    )
    expected = torch.autograd.grad(total / 7, list(masks.values()))
    found = score("snip", model, batches, statistics=statistics)
    for name, gradient in zip(masks, expected, strict=True):
        torch.testing.assert_close(found[name], gradient.abs(), rtol=1e-9, atol=1e-14)


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


@pytest.mark.filterwarnings("ignore:.*weight_norm.*is deprecated:FutureWarning")
@pytest.mark.parametrize(
    ("computed", "cure", "undo"),
    [
        (
            nn.utils.parametrizations.weight_norm,
            r"torch\.nn\.utils\.parametrize\.remove_parametrizations\(module, 'weight'\)",
            lambda m: nn.utils.parametrize.remove_parametrizations(m, "weight"),
        ),
        (nn.utils.weight_norm, r"torch\.nn\.utils\.remove_weight_norm\(module\)", nn.utils.remove_weight_norm),
        (nn.utils.spectral_norm, r"torch\.nn\.utils\.remove_spectral_norm\(module\)", nn.utils.remove_spectral_norm),
        (
            lambda m: nn.utils.prune.l1_unstructured(m, "weight", 0.5),
            r"torch\.nn\.utils\.prune\.remove\(module, 'weight'\)",
            lambda m: nn.utils.prune.remove(m, "weight"),
        ),
    ],
    ids=["parametrization", "weight_norm", "spectral_norm", "prune"],
)
def test_a_computed_weight_is_refused_with_its_own_cure(computed, cure, undo):
    model = nn.Sequential(nn.Flatten(), computed(nn.Linear(192, 6)), nn.Linear(6, 3))
    with pytest.raises(InputError, match=rf"weight of 1 is computed .* {cure}, or exclude"):
        score("magnitude", model, [images((3, 8, 8), 2)])
    assert list(prunable(model, ["1"])) == ["2.weight"]
    undo(model[1])
    assert set(score("magnitude", model, [images((3, 8, 8), 2)])) == {"1.weight", "2.weight"}


def test_a_text_in_place_of_a_list_of_globs():
    with pytest.raises(InputError, match=r"exclude is the text 'fc'; give a list of globs, such as \['fc'\]"):
        score("magnitude", TinyVgg(), [images((3, 8, 8), 2)], exclude="fc")


@pytest.mark.parametrize(
    ("masks", "says"),
    [
        ({"head.2.weight": torch.ones(1, 1, dtype=torch.bool)}, r"of shape \(1, 1\); .* shape \(3, 12\)"),
        ({"head.2.weight": torch.ones(3, 12)}, "torch.float32"),
        ({"head.1.weight": torch.ones(3, 12, dtype=torch.bool)}, "of no prunable weight"),
    ],
)
@pytest.mark.parametrize("method", ["px", "magnitude", "ntk-sap"])
def test_masks_that_do_not_fit_are_refused(method, masks, says):
    with pytest.raises(InputError, match=says):
        score(method, TinyVgg(), [images((3, 8, 8), 4)], masks=masks)
    if all(mask.dtype == torch.bool for mask in masks.values()):
        with pytest.raises(InputError, match=says):
            path_kernel_trace(TinyVgg(), 8, masks=masks)
        with pytest.raises(InputError, match=says):
            prune(TinyVgg(), [images((3, 8, 8), 4)], method=method, sparsity=0.5, rounds=2, begin=(1, Masks(masks)))


def test_a_weight_without_a_mask_is_kept_whole():
    model, data = randomised(TinyVgg()), [images((3, 8, 8), 4)]
    full = Masks.full(prunable(model))
    some = {"head.2.weight": full["head.2.weight"].clone()}
    some["head.2.weight"][0] = False
    ours, expected = (score("px", model, data, masks=masks) for masks in (some, {**full, **some}))
    assert all(torch.equal(ours[name], expected[name]) for name in expected)


class Dictionary(TinyVgg):
    def forward(self, x):
        return {"out": super().forward(x)}


@pytest.mark.parametrize("method", [m for m in methods() if m not in ("random", "magnitude")])
def test_a_model_of_several_outputs_is_refused(method):
    with pytest.raises(InputError, match=r"(model returns|output is) dict") as caught:
        score(method, Dictionary(), [images((3, 8, 8), 4)])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("method", methods())
def test_inference_mode_is_refused(method):
    model, data = TinyVgg(), [images((3, 8, 8), 4)]
    with torch.inference_mode():
        made_inside = TinyVgg()
        with pytest.raises(InputError, match=r"inference_mode\(\) forbids"):
            score(method, model, data)
    with pytest.raises(InputError, match=r"inference_mode\(\) forbids"):
        score(method, made_inside, data)
    with torch.no_grad():
        assert score(method, model, data)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("method", methods())
def test_sixteen_bits_are_refused_where_scores_would_be_lost(method, dtype):
    model, (x, y) = randomised(TinyVgg()).to(dtype), images((3, 8, 8), 4)
    if method in ("random", "magnitude"):
        assert score(method, model, [(x.to(dtype), y)])
        return
    for inputs in (x, x.to(dtype)):
        with pytest.raises(InputError, match=rf"lost in {dtype}; score model\.float\(\)"):
            score(method, model, [(inputs, y)])
    with pytest.raises(InputError, match=rf"lost in {dtype}"):
        path_kernel_trace(model, 8)


def test_rounds_have_their_own_seeds():
    """With one seed for all rounds, random pruning in rounds would keep what it keeps at once."""
    data = [images((3, 8, 8), 2)]
    once, twice = (prune(randomised(TinyVgg()), data, method="random", sparsity=0.5, rounds=r) for r in (1, 2))
    assert once.digest() != twice.digest()


def zero_branch():
    model = randomised(TinyVgg())
    with torch.no_grad():
        model.features[5].weight.zero_()
    return model


@pytest.mark.parametrize("allocation", ["global", "uniform", "erk", "magnitude"])
def test_layers_that_score_0_are_an_error_only_where_something_goes(allocation):
    data = [images((3, 8, 8), 4)]
    with pytest.raises(ScoreError, match="0 before anything is pruned, so that nothing tells them apart") as caught:
        prune(zero_branch(), data, method="px", sparsity=0.5, rounds=2, allocation=allocation)
    assert "empty it" not in str(caught.value)
    masks = prune(zero_branch(), data, method="px", sparsity=0.0, rounds=2, allocation=allocation)
    assert masks.kept == masks.total


def test_gates_found_in_bfloat16_differ_a_little_and_only_there():
    """8 bits of mantissa move pre-activations by about 0.4 %: a few gates near 0 turn, and scores with them."""
    model, data = randomised(TinyVgg()), [images((3, 8, 8), 16)]
    with torch.no_grad():
        model.head[2].weight[0, :6] = 0.0
    masks = {"head.2.weight": model.head[2].weight != 0}
    exact, rough, forward = score("px", model, data, masks=masks), score("px", model, data, masks=masks, bf16=True), []
    handle = model.features[0].register_forward_hook(lambda m, x, y: forward.append(y.dtype))
    score("px", model, data, bf16=True)
    handle.remove()
    assert torch.bfloat16 in forward
    a, b = (torch.cat([v.flatten() for v in s.values()]) for s in (exact, rough))
    change = ((b / b.sum() - a / a.sum()).abs() / (a / a.sum()))[a > 0].max()
    assert 1e-6 < float(change) < 0.05


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
    at_once = {"random", "magnitude", "snip", "grasp", "jacobian", "fisher", "fts", "hutchinson", "hts"}
    assert {m for m in methods() if default_rounds(m) == 1} == at_once
    assert {m: default_rounds(m) for m in methods() if default_rounds(m) not in (1, 100)} == {
        "ntk-trace": 20,
        "ntk-balanced": 20,
    }
