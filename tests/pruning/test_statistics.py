"""Which BatchNorm a score sees: the constants themselves, how they follow rounds, and what is refused."""

import copy
import warnings

import pytest
import timm
import torch
from timm.layers import BatchNormAct2d
from torch import nn

import checkpoints.architectures  # noqa: F401
from checkpoints.errors import InputError
from tests.pruning.references import calls, norms, storing
from tests.pruning.small_nets import TinyVgg, images, randomised
from transfer.pruning import Masks, methods, prune, schedule, score
from transfer.pruning.paths.carried import NoPathError
from transfer.pruning.problem import Problem, cross_entropy
from transfer.pruning.prunable import prunable
from transfer.pruning.reduction import Processes
from transfer.pruning.saliency import about
from transfer.pruning.saliency.snip import mean_gradient
from transfer.pruning.scoring import statistics_of
from transfer.pruning.selection import select

BLIND = ("random", "magnitude")


class Twice(nn.Module):
    """One BatchNorm module, called at two places of the forward."""

    shape = (3, 4, 4)

    def __init__(self):
        super().__init__()
        self.a, self.b, self.norm = nn.Conv2d(3, 4, 2), nn.Conv2d(4, 4, 2), nn.BatchNorm2d(4)
        self.fc = nn.Linear(4, 3)

    def forward(self, x):
        x = torch.relu(self.norm(self.a(x)))
        return self.fc(torch.relu(self.norm(self.b(x))).mean((2, 3)))


class Norm(nn.Module):
    """A convolution and a norm of any kind."""

    shape = (3, 4, 4)

    def __init__(self, norm):
        super().__init__()
        self.conv, self.norm, self.fc = nn.Conv2d(3, 4, 2), norm, nn.Linear(4, 3)

    def forward(self, x):
        return self.fc(torch.relu(self.norm(self.conv(x))).mean((2, 3)))


class Joined(nn.Module):
    """A residual net that can be differentiated."""

    shape = (3, 4, 4)

    def __init__(self):
        super().__init__()
        self.a, self.bn_a = nn.Conv2d(3, 2, 3, 2, 1, bias=False), nn.BatchNorm2d(2)
        self.b, self.bn_b = nn.Conv2d(2, 3, 3, 1, 1), nn.BatchNorm2d(3)
        self.c, self.bn_c, self.fc = nn.Conv2d(2, 3, 1), nn.BatchNorm2d(3), nn.Linear(3, 3)

    def forward(self, x):
        x = torch.relu(self.bn_a(self.a(x)))
        return self.fc(torch.relu(self.bn_b(self.b(x)) + self.bn_c(self.c(x))).mean((2, 3)))


NORMED = {
    "residual": Joined,
    "twice": Twice,
    "none stored": lambda: Norm(nn.BatchNorm2d(4, track_running_stats=False)),
    "synchronised": lambda: nn.SyncBatchNorm.convert_sync_batchnorm(Norm(nn.BatchNorm2d(4))),
    "timm": lambda: Norm(BatchNormAct2d(4)),
    "no scale": lambda: Norm(nn.BatchNorm2d(4, affine=False)),
    "own momentum": lambda: Norm(nn.BatchNorm2d(4, momentum=None, eps=0.1)),
}


def ragged(shape, sizes=(5, 2, 3), dtype=torch.float64):
    return [images(shape, n, n, dtype) for n in sizes]


def problem(model, batches, statistics):
    weights = {name: w.detach() for name, w in prunable(model).items()}
    return Problem(model, weights, Masks.full(weights), batches, cross_entropy, 0, Processes(), statistics)


def close(found, expected):
    assert len(found) == len(expected)
    for ours, theirs in zip(found, expected, strict=True):
        for a, b in zip(ours, theirs, strict=True):
            assert a.dtype == torch.float64
            torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("net", NORMED)
def test_constants_are_the_means_of_the_batches_statistics_weighted_by_their_images(net):
    model = randomised(NORMED[net]()).double()
    batches = ragged(model.shape)
    before = copy.deepcopy(model.state_dict())
    found = statistics_of(model, batches).norms
    close(found, calls(model, batches))
    assert len(found) == {"residual": 3, "twice": 2}.get(net, 1)
    unweighted = torch.stack([calls(model, [batch])[0][0] for batch in batches]).mean(0)
    assert not torch.allclose(found[0][0], unweighted, rtol=1e-3)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


@pytest.mark.parametrize("net", NORMED)
@pytest.mark.parametrize("statistics", ["batch", "warmup"])
@pytest.mark.parametrize("method", ["snip", "px", "px-gated", "synflow", "px-released"])
def test_norms_of_every_kind_are_scored(net, statistics, method):
    model = randomised(NORMED[net]()).double()
    scores = score(method, model, ragged(model.shape), statistics=statistics)
    assert all(bool(torch.isfinite(values).all() and values.any()) for values in scores.values())


def test_a_norm_that_is_called_twice_has_statistics_for_each_call():
    """As an unrolled net has, whose two norms store those of the two calls."""

    class Unrolled(Twice):
        def __init__(self):
            super().__init__()
            self.second = nn.BatchNorm2d(4)

        def forward(self, x):
            x = torch.relu(self.norm(self.a(x)))
            return self.fc(torch.relu(self.second(self.b(x))).mean((2, 3)))

    model, unrolled = randomised(Twice()).double(), Unrolled().double().eval()
    unrolled.load_state_dict(model.state_dict(), strict=False)
    unrolled.second.load_state_dict(model.norm.state_dict())
    batches = ragged(model.shape)
    stored = storing(unrolled, calls(model, batches))
    for method in ("px", "snip", "synflow-l2"):
        ours = score(method, model, batches, statistics="warmup")
        theirs = score(method, stored, batches, statistics="running")
        for name in ours:
            torch.testing.assert_close(ours[name], theirs[name], rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("method", [m for m in methods() if m not in (*BLIND, "ntk-sap", "px-released")])
def test_warm_up_is_the_same_as_statistics_that_are_stored(method):
    model = randomised(Joined()).double()
    batches = ragged(model.shape)
    ours = score(method, model, batches, statistics="warmup")
    given = score(method, model, batches, statistics=statistics_of(model, batches))
    stored = score(method, storing(model, calls(model, batches)), batches, statistics="running")
    for name, values in ours.items():
        assert torch.equal(values, given[name])
        torch.testing.assert_close(values, stored[name], rtol=1e-8, atol=1e-8 * float(values.abs().max()))


@pytest.mark.parametrize("method", ["snip", "px", "synflow", "px-gated"])
@pytest.mark.parametrize("statistics", ["batch", "warmup", "running"])
def test_in_rounds_batch_follows_the_masked_network_and_warm_up_stays(method, statistics):
    """prune() against rounds by hand: what is stored in a copy is set anew in each round, once, or never."""
    model = randomised(TinyVgg()).double()
    batches = [images((3, 8, 8), n, n, torch.float64) for n in (4, 6)]
    masks = prune(copy.deepcopy(model), batches, method=method, sparsity=0.9, rounds=3, statistics=statistics)
    by_hand = Masks.full(prunable(model))
    first = statistics_of(model, batches)
    for done in (1, 2, 3):
        seen = first if statistics == "warmup" else statistics
        scores = score(method, model, batches, masks=by_hand, statistics=seen)
        by_hand = Masks(select(scores, by_hand, schedule.kept(masks.total, schedule.sparsity_after(done, 3, 0.9))))
        by_hand.apply_(model)
    assert masks.digest() == by_hand.digest()
    close(statistics_of(model, batches).norms, calls(model, batches))
    moved = [a for a, b in zip(statistics_of(model, batches).norms, first.norms, strict=True) if not a[1].equal(b[1])]
    assert moved, "the masked network has other statistics"


def test_warm_up_of_a_guided_allocation_is_that_of_the_unpruned_network():
    model = randomised(TinyVgg())
    batches, options = [images((3, 8, 8), 6)], {"sparsity": 0.8, "rounds": 2, "allocation": "px"}
    masks = prune(copy.deepcopy(model), batches, method="snip", statistics="warmup", **options)
    given = storing(model, [(m, v) for m, v in calls(model, batches)])
    stored = prune(given, batches, method="snip", statistics="running", **options)
    assert [row["kept"] for row in masks.layers()] == [row["kept"] for row in stored.layers()]
    agree = sum(int((masks[name] == stored[name]).sum()) for name in masks)
    assert agree >= 0.99 * masks.total


@pytest.mark.parametrize("statistics", ["batch", "running"])
def test_the_scale_of_a_channel_has_no_gradient_where_batch_norm_divides_it_out(statistics):
    """Σ θ · ∂L/∂θ over a channel that BatchNorm follows is 0, but for ε, and is not where statistics are fixed."""
    model = randomised(TinyVgg()).double()
    for module in norms(model):
        module.eps = 1e-12
    gradient = mean_gradient(problem(model, [images((3, 8, 8), 6, 1, torch.float64)], statistics))
    for name in ("features.0.weight", "features.4.weight"):
        radial = (gradient[name] * dict(model.named_parameters())[name].detach()).flatten(1)
        left, whole = radial.sum(1).abs(), radial.abs().sum(1)
        assert bool(whole.any())
        assert bool((left <= 1e-9 * whole).all()) if statistics == "batch" else bool((left > 1e-3 * whole).any())


@pytest.mark.parametrize("method", [m for m in methods() if m not in BLIND])
def test_one_value_a_channel_is_told_in_one_line(method):
    model = nn.Sequential(nn.Conv2d(3, 4, 2), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(4, 3))
    single, several = images((3, 2, 2), 1), images((3, 2, 2), 4)
    for batches in ([single], [several, single]):
        for statistics in ("batch", "warmup"):
            if statistics == "warmup" and method == "px-released":
                continue
            with pytest.raises(InputError, match=r"larger batches .prune\.batch., or statistics='running'") as caught:
                score(method, model, batches, statistics=statistics)
            assert "\n" not in str(caught.value)
    if method not in ("ntk-sap", "px-released"):
        assert score(method, model, [several, single], statistics="running")


def test_another_error_of_a_layer_is_not_called_a_lack_of_samples():
    class Picky(nn.BatchNorm2d):
        def forward(self, x):
            raise ValueError("images must be 224 px")

    model = nn.Sequential(nn.Conv2d(3, 4, 2), Picky(4), nn.Flatten(), nn.Linear(4, 3))
    with pytest.raises(ValueError, match=r"^images must be 224 px$"):
        score("snip", model, [images((3, 2, 2), 4)])


def test_a_model_with_a_scripted_part_is_told_in_one_line():
    plain = randomised(nn.Sequential(
        nn.Conv2d(3, 4, 2), nn.Sequential(nn.BatchNorm2d(4), nn.ReLU()), nn.Flatten(), nn.Linear(36, 3)
    ))  # fmt: skip
    scripted = copy.deepcopy(plain)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        scripted[1] = torch.jit.script(scripted[1])
    batches = [images((3, 4, 4), 4)]
    for statistics in ("batch", "warmup", None):
        for call in (
            lambda: score("snip", scripted, batches, statistics=statistics),  # noqa: B023
            lambda: prune(scripted, batches, method="snip", sparsity=0.5, statistics=statistics),  # noqa: B023
        ):
            with pytest.raises(InputError, match=r"scripted.*statistics='running'") as caught:
                call()
            assert "\n" not in str(caught.value)
    ours, theirs = (score("snip", m, batches, statistics="running") for m in (scripted, plain))
    for name in theirs:
        torch.testing.assert_close(ours[name], theirs[name], rtol=1e-4, atol=1e-8)
    assert score("magnitude", scripted, batches)


@pytest.mark.parametrize(("given", "near"), [("bacth", "did you mean batch"), ("", "batch"), ("runing", "running")])
@pytest.mark.parametrize("call", [score, prune])
def test_unknown_statistics_are_told_with_near_names(call, given, near):
    arguments = ("px", TinyVgg()) if call is score else (TinyVgg(),)
    options = {} if call is score else {"sparsity": 0.5}
    with pytest.raises(InputError, match=f"unknown statistics {given!r}; .*{near}") as caught:
        call(*arguments, [images((3, 8, 8), 4)], statistics=given, **options)
    assert "\n" not in str(caught.value)


def test_a_forward_of_more_norms_than_were_seen_is_told():
    model = randomised(Twice())
    fewer = statistics_of(Norm(nn.BatchNorm2d(4)), [images((3, 4, 4), 4)])
    with pytest.raises(InputError, match=r"more BatchNorm calls than the 1 .*statistics='running'"):
        score("snip", model, [images((3, 4, 4), 4)], statistics=fewer)


def test_constants_in_float32_on_a_real_net():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = timm.create_model("resnet20", num_classes=3)
    batches = ragged((3, 16, 16), (3, 2), torch.float32)
    for ours, theirs in zip(statistics_of(model, batches).norms, calls(model.double(), [
        (x.double(), y) for x, y in batches
    ]), strict=True):  # fmt: skip
        for a, b in zip(ours, theirs, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("method", [m for m in methods() if about(m).paths])
def test_an_operation_without_paths_is_told_whatever_the_statistics(method):
    model = nn.Sequential(nn.Conv2d(3, 4, 2), nn.BatchNorm2d(4), nn.Sigmoid(), nn.Flatten(), nn.Linear(36, 3))
    for statistics in ("batch", "warmup", "running"):
        with pytest.raises(NoPathError, match="Sigmoid"):
            score(method, model, [images((3, 4, 4), 4)], statistics=statistics)
