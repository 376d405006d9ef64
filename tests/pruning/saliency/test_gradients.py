"""The methods that differentiate the model, each against its definition written out.

References differentiate through BatchNorm in training mode where the statistics are those of the batch.
"""

import copy
import itertools
import math

import pytest
import torch
from torch import nn
from torch.func import functional_call, jacrev

from checkpoints.errors import InputError
from tests.pruning.references import STATISTICS, Small, flat, norms, seen, unflat
from tests.pruning.small_nets import TinyVgg, images, randomised
from transfer.pruning import Masks, default_rounds, methods, prune, score
from transfer.pruning.prunable import prunable
from transfer.pruning.rounds import CollapseWarning
from transfer.pruning.saliency import about


def batches(shape=(3, 3, 3), sizes=(3, 2)):
    return [images(shape, n, n, torch.float64) for n in sizes]


@pytest.mark.parametrize("statistics", STATISTICS)
def test_grasp_is_the_explicit_hessian_times_the_gradient(statistics):
    model = randomised(Small()).double()
    weights = {n: w.detach() for n, w in prunable(model).items()}
    data = batches()
    net = seen(model, data, statistics)

    def loss(vector):
        own = unflat(weights, vector)
        logits = [functional_call(net, own, (x,)) for x, _ in data]
        sums = [nn.functional.cross_entropy(z / 50, y, reduction="sum") for z, (_, y) in zip(logits, data, strict=True)]
        return sum(sums) / 5

    theta = flat(weights)
    gradient = torch.func.grad(loss)(theta)
    hessian = torch.autograd.functional.hessian(loss, theta)
    assert hessian.abs().max() > 1e-6
    found = flat(score("grasp", model, data, temperature=50.0, statistics=statistics))
    torch.testing.assert_close(found, theta * (hessian @ gradient), rtol=1e-9, atol=1e-16)


def test_grasp_refuses_batches_that_change_between_its_passes():
    data = batches()

    class Shuffles:
        turn = 0

        def __iter__(self):
            self.turn += 1
            return iter(data if self.turn % 2 else data[::-1])

    class Shrinks(Shuffles):
        def __iter__(self):
            self.turn += 1
            return iter(data[: 3 - self.turn])

    model = randomised(Small()).double()
    for loader in (Shuffles(), Shrinks()):
        with pytest.raises(InputError, match=r"different when walked again.*turn shuffling"):
            score("grasp", model, loader)


def test_grasp_refuses_batches_of_the_same_sums_that_change_between_its_passes():
    (x, y), turn = images((3, 3, 3), 4, 1, torch.float64), []

    class Changes:
        def __init__(self, change):
            self.change = change

        def __iter__(self):
            turn.append(1)
            yield self.change(x, y) if len(turn) % 2 else (x, y)

    model = randomised(Small()).double()
    for change in (
        lambda x, y: (x.flip(3), y),
        lambda x, y: (x.flip(0), y),
        lambda x, y: (x, y.flip(0)),
        lambda x, y: (x.permute(0, 1, 3, 2), y),
    ):
        with pytest.raises(InputError, match=r"different when walked again.*turn shuffling"):
            score("grasp", model, Changes(change))
    same = score("grasp", model, Changes(lambda x, y: (x.clone().to(memory_format=torch.channels_last), y.clone())))
    assert bool(flat(same).any())


def test_every_batch_draws_its_own_signs():
    """Of two equal batches, each has its own: one set of signs twice would give twice the score of one batch."""
    model, batch = randomised(Small()).double(), images((3, 3, 3), 4, 1, torch.float64)
    one, two = (flat(score("jacobian", model, [batch] * count)) for count in (1, 2))
    assert not torch.allclose(two, 2 * one, rtol=1e-3)


@pytest.mark.parametrize("resamplings", [1, 3])
@pytest.mark.parametrize("inputs", ["real", "gaussian"])
@pytest.mark.parametrize(
    ("weights", "statistics"),
    [("pretrained", "batch"), ("pretrained", "running"), ("resampled", "batch"), ("resampled", "running")],
)
def test_ntk_sap_is_its_formula_with_the_same_noise(inputs, weights, statistics, resamplings):
    """The noise is recorded while the method draws it; the formula is evaluated on a copy."""
    model = randomised(TinyVgg()).double()
    masks = Masks({n: torch.rand(w.shape, generator=torch.Generator().manual_seed(5)) < 0.7
                   for n, w in prunable(model).items()})  # fmt: skip
    masks.apply_(model)
    data = [images((3, 8, 8), 4, n, torch.float64) for n in (1, 2)]
    options = {"inputs": inputs, "weights": weights, "epsilon": 0.05, "resamplings": resamplings}
    options["statistics"] = statistics  # weights drawn anew have those of the batch in any case

    drawn, plain = [], torch.randn
    torch.randn = lambda *a, **k: drawn.append(plain(*a, **k)) or drawn[-1]
    try:
        found = score("ntk-sap", model, data, masks=masks, seed=11, **options)
    finally:
        torch.randn = plain

    reference = TinyVgg().double()
    reference.load_state_dict(model.state_dict())
    reference.eval()
    if statistics == "batch":
        for module in norms(reference):
            module.train()
    bits = {n: m.double().requires_grad_() for n, m in masks.items()}
    draws, expected = iter(drawn), [0.0] * len(bits)
    assert len({round(float(noise.sum()), 9) for noise in drawn}) == len(drawn), "a draw was repeated"
    generator = torch.Generator().manual_seed(11)
    for x, _ in data * resamplings:
        if weights == "resampled" and x is data[0][0]:
            for module in reference.modules():
                if isinstance(module, (nn.Conv2d, nn.Linear)):
                    nn.init.kaiming_normal_(module.weight, nonlinearity="relu", generator=generator)
                    nn.init.zeros_(module.bias)
                elif isinstance(module, nn.BatchNorm2d):
                    nn.init.ones_(module.weight), nn.init.zeros_(module.bias)
                    module.train()
        theta = {n: w.detach() for n, w in prunable(reference).items()}
        x = next(draws).double() if inputs == "gaussian" else x
        noise = {n: next(draws).double() for n in theta}
        here = functional_call(reference, {n: bits[n] * theta[n] for n in theta}, (x,))
        there = functional_call(reference, {n: bits[n] * (theta[n] + 0.05 * noise[n]) for n in theta}, (x,))
        parts = torch.autograd.grad((here - there).square().sum(), list(bits.values()))
        expected = [part + before for part, before in zip(parts, expected, strict=True)]
    for (name, mask), gradient in zip(masks.items(), expected, strict=True):
        torch.testing.assert_close(found[name], (mask * gradient).abs(), rtol=1e-8, atol=1e-12)


def test_ntk_sap_resamples_anew_for_each_draw_and_seed():
    model, data = randomised(TinyVgg()), [images((3, 8, 8), 8)]
    one, two, other = (score("ntk-sap", model, data, seed=s, resamplings=r) for s, r in ((1, 1), (1, 2), (2, 1)))
    assert not torch.equal(flat(one), flat(two))
    assert not torch.equal(flat(one), flat(other))


def test_ntk_sap_ignores_the_weights_unless_asked_and_never_moves_batch_norm():
    data = [images((3, 8, 8), 8)]
    first, second = randomised(TinyVgg(), 1), randomised(TinyVgg(), 2)
    before = {k: v.clone() for k, v in first.state_dict().items()}
    assert torch.equal(flat(score("ntk-sap", first, data)), flat(score("ntk-sap", second, data)))
    own = {"weights": "pretrained"}
    assert not torch.equal(flat(score("ntk-sap", first, data, **own)), flat(score("ntk-sap", second, data, **own)))
    assert all(torch.equal(before[k], v) for k, v in first.state_dict().items())


def test_ntk_sap_wants_more_than_one_sample_for_batch_statistics():
    class Head(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = nn.Sequential(nn.Flatten(), nn.Linear(12, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))

        def forward(self, x):
            return self.net(x)

    with pytest.raises(InputError, match=r"the statistics of the batch.*larger batches"):
        score("ntk-sap", Head(), [images((3, 2, 2), 1)])


def test_ntk_sap_calls_no_other_error_a_lack_of_samples():
    class Picky(nn.Linear):
        def forward(self, x):
            raise ValueError("images must be 224 px")

    with pytest.raises(ValueError, match=r"^images must be 224 px$"):
        score("ntk-sap", Picky(12, 2), [images((3, 2, 2), 4)])


class Tied(nn.Module):
    """A weight that two layers share, and one that an embedding and a head share, the embedding first."""

    def __init__(self):
        super().__init__()
        self.words = nn.Embedding(3, 4)
        self.inner = nn.Linear(12, 4)
        self.a, self.b, self.head = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 3)
        self.b.weight = self.a.weight
        self.head.weight = self.words.weight

    def forward(self, x):
        x = torch.relu(self.inner(x.flatten(1)))
        return self.head(torch.relu(self.b(torch.relu(self.a(x)))))


@pytest.mark.parametrize("method", methods())
def test_a_shared_weight_is_scored_once_under_the_name_that_the_model_gives_it(method):
    model, data = randomised(Tied()), [images((3, 2, 2), 4)]
    assert set(score(method, model, data)) == {"words.weight", "inner.weight", "a.weight"}
    for name in ("a", "b"):
        assert set(score(method, model, data, exclude=[name])) == {"words.weight", "inner.weight"}
    for name in ("words", "head"):
        assert set(score(method, model, data, exclude=[name])) == {"inner.weight", "a.weight"}


def test_snip_of_a_shared_weight_sees_all_its_uses():
    model, (x, y) = randomised(Tied()).double(), images((3, 2, 2), 4, dtype=torch.float64)
    nn.functional.cross_entropy(model(x), y).backward()
    for name, values in score("snip", model, [(x, y)]).items():
        weight = dict(model.named_parameters())[name]
        torch.testing.assert_close(values, (weight * weight.grad).abs(), rtol=1e-10, atol=1e-14)


def test_snip_of_maps_leaves_out_what_is_not_labelled():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 3, 1)).double()
    x = torch.randn(2, 3, 5, 5, dtype=torch.float64)
    y = torch.randint(0, 3, (2, 5, 5))
    y[torch.rand(2, 5, 5) < 0.3] = 255
    counted = y != 255
    logits = model(x).permute(0, 2, 3, 1)[counted]
    (-logits.log_softmax(1)[torch.arange(len(logits)), y[counted]].mean()).backward()
    for name, values in score("snip", model, [(x, y)]).items():
        weight = dict(model.named_parameters())[name]
        torch.testing.assert_close(values, (weight * weight.grad).abs(), rtol=1e-10, atol=1e-14)


def squared_jacobian(model, data, statistics):
    """Σ_n Σ_k (∂f^k(x_n)/∂θ)² over all batches, from the Jacobian itself."""
    weights, total = {n: w.detach() for n, w in prunable(model).items()}, {}
    net = seen(model, data, statistics)
    for x, _ in data:
        jacobian = jacrev(lambda own, x=x: functional_call(net, own, (x,)))(weights)
        for name, w in weights.items():
            square = jacobian[name].reshape(-1, *w.shape).square().sum(0)
            total[name] = total.get(name, 0.0) + square
    return total


class Segments(nn.Module):
    """A map of outputs: (N, 2, 1, 2)."""

    shape = (3, 2, 2)

    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Conv2d(3, 2, (2, 1)), nn.BatchNorm2d(2), nn.Softplus(), nn.Conv2d(2, 2, 1))

    def forward(self, x):
        return self.net(x)


@pytest.mark.parametrize("statistics", STATISTICS)
@pytest.mark.parametrize("make", [Small, Segments])
def test_the_expectation_of_ntk_trace_is_the_sum_of_squared_gradients(make, statistics, monkeypatch):
    """All sign vectors of two samples, each as likely: 2^6 of three outputs, 2^8 of two outputs at two places."""
    model = randomised(make()).double()
    batch = images(make.shape, 2, 1, torch.float64)
    weights = {n: w.detach() for n, w in prunable(model).items()}
    shape = tuple(model(batch[0]).shape)
    count = 2 ** torch.Size(shape).numel()
    total = dict.fromkeys(weights, 0.0)
    for signs in itertools.product((0, 1), repeat=torch.Size(shape).numel()):
        with monkeypatch.context() as patch:
            patch.setattr(torch, "randint", lambda *a, signs=signs, **k: torch.tensor(signs).to(torch.int8).view(shape))
            found = score("ntk-trace", model, [batch], statistics=statistics)
        total = {n: total[n] + found[n] / count for n in weights}
    for name, expected in squared_jacobian(model, [batch], statistics).items():
        torch.testing.assert_close(total[name], expected * weights[name].square(), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("statistics", ["batch", "running"])
def test_ntk_trace_with_many_draws_comes_near_its_expectation(statistics):
    """The variance of a draw is at most twice the square of its mean: 500 draws leave 6 %, and 40 % is 6 of that."""
    model, data = randomised(Small()).double(), batches()
    weights = {n: w.detach() for n, w in prunable(model).items()}
    square = squared_jacobian(model, data, statistics)
    expected = torch.cat([(square[n] * w.square()).flatten() for n, w in weights.items()])
    found = flat(score("ntk-trace", model, data, draws=500, statistics=statistics))
    torch.testing.assert_close(found, expected, rtol=0.4, atol=1e-3 * float(found.max()))


def test_jacobian_is_ntk_trace_in_one_round():
    model, data = randomised(TinyVgg()), [images((3, 8, 8), 4)]
    assert (default_rounds("jacobian"), default_rounds("ntk-trace")) == (1, 20)
    assert torch.equal(flat(score("jacobian", model, data)), flat(score("ntk-trace", model, data)))


def test_draws_of_ntk_trace_are_averaged():
    """With one output and one sample every sign squares away: any number of draws gives the same."""
    model, x = nn.Sequential(nn.Flatten(), nn.Linear(12, 1)), torch.randn(1, 3, 2, 2)
    one, many = (score("ntk-trace", model, [x], draws=d)["1.weight"] for d in (1, 3))
    torch.testing.assert_close(one, many)


@pytest.mark.parametrize("balance", [0.5, 1.0])
def test_balanced_ntk_trace_is_over_a_power_of_the_layers_sum(balance):
    model, data = randomised(Small()).double(), batches()
    plain, found = score("ntk-trace", model, data), score("ntk-balanced", model, data, balance=balance)
    for name, part in plain.items():
        torch.testing.assert_close(found[name], part / math.fsum(part.flatten().tolist()) ** balance)


def test_balance_guards_a_layer_whose_part_of_the_trace_is_small():
    """f = W₁ x + W₂ 1000 x: one layer has a part a millionth of the other's."""

    class Sides(nn.Module):
        def __init__(self):
            super().__init__()
            self.small, self.large = nn.Linear(4, 4), nn.Linear(4, 4)

        def forward(self, x):
            return self.small(x.flatten(1)) + self.large(1000 * x.flatten(1))

    data, settings = [images((1, 2, 2), 8, 0, torch.float64)], {"sparsity": 0.75, "rounds": 4}
    with pytest.warns(CollapseWarning, match="small"):
        prune(randomised(Sides()).double(), data, method="ntk-trace", **settings)
    masks = prune(randomised(Sides()).double(), data, method="ntk-balanced", **settings, balance=1.0)
    assert 3 <= int(masks["small.weight"].sum()) <= 5


def test_balance_of_a_layer_without_any_part_is_zero():
    model = randomised(Small()).double()
    nn.init.zeros_(prunable(model)["net.0.weight"])
    found = score("ntk-balanced", model, batches(), balance=1.0)
    assert not found["net.0.weight"].any()
    assert torch.isfinite(flat(found)).all()


@pytest.mark.parametrize(
    ("method", "options", "says"),
    [
        ("grasp", {"temperature": 0.0}, "positive"),
        ("grasp", {"temperature": "hot"}, "should be float"),
        ("grasp", {"temprature": 1.0}, "has no option 'temprature'; it takes temperature"),
        ("snip", {"draws": 1}, "it takes none"),
        ("jacobian", {"draws": 0}, "give 1 or more"),
        ("jacobian", {"draws": 1.5}, "should be int"),
        ("ntk-trace", {"draws": 0}, "option draws is 0; give 1 or more"),
        ("ntk-balanced", {"balance": 1.5}, "option balance is 1.5; give a number from 0 to 1"),
        ("ntk-balanced", {"balance": float("nan")}, "option balance is nan; give a number from 0 to 1"),
        ("fisher", {"draws": -1}, "option draws is -1; give 0 .every sample by itself. or more"),
        ("fts", {"draws": -1}, "option draws is -1"),
        ("hutchinson", {"draws": 0}, "draws is 0, .* give 1 or more"),
        ("hts", {"temperature": 0.0}, "temperature is 0.0; give .* above 0"),
        ("hutchinson", {"temperature": float("inf")}, "temperature is inf"),
        ("px-released", {"power": 3}, "power of 'px-released' is 3; give 4, as released, or 2"),
        ("px-released", {"power": 2.0}, "should be int"),
        ("ntk-sap", {"resamplings": 0}, "resamplings is 0"),
        ("ntk-sap", {"epsilon": -1.0}, "epsilon is -1.0"),
        ("ntk-sap", {"inputs": "noise"}, "allowed: real, gaussian"),
        ("ntk-sap", {"weights": "pretraind"}, "allowed: resampled, pretrained"),
        ("px", {"bf16": "yes"}, "should be bool"),
    ],
)
def test_options_that_are_refused(method, options, says):
    with pytest.raises(InputError, match=says) as caught:
        score(method, TinyVgg(), [images((3, 8, 8), 2)], **options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("method", [m for m in methods() if about(m).labels])
def test_labels_that_cannot_be_used(method):
    model, (x, y) = TinyVgg(), images((3, 8, 8), 4)
    for targets, says in (
        (y + 5, "classes 0 to 2"),
        (y - 5, "classes 0 to 2"),
        (y.float(), "class indices"),
        (torch.zeros(4, 3).long(), "class indices"),
    ):
        with pytest.raises(InputError, match=says):
            score(method, model, [(x, targets)])
    with pytest.raises(InputError, match="no targets, which this method needs") as caught:
        score(method, model, [x])
    assert "\n" not in str(caught.value)


def test_methods_without_labels_take_images_alone():
    model, (x, y) = randomised(TinyVgg()), images((3, 8, 8), 4)
    for method in (m for m in methods() if not about(m).labels):
        alone, labelled = score(method, model, [x]), score(method, model, [(x, y)])
        assert torch.equal(flat(alone), flat(labelled))


class Rms(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm = nn.RMSNorm(8)

    def forward(self, x):
        return self.norm(x.movedim(1, -1)).movedim(-1, 1)


NORMS = {
    "instance": lambda: nn.InstanceNorm2d(8, affine=True, track_running_stats=True),
    "instance without statistics": lambda: nn.InstanceNorm2d(8, affine=True),
    "rms": Rms,
    "group": lambda: nn.GroupNorm(2, 8),
    "batch": lambda: nn.BatchNorm2d(8),
}


@pytest.mark.parametrize("norm", NORMS)
def test_ntk_sap_draws_weights_anew_with_norms_as_they_are_made(norm):
    fresh = TinyVgg()
    fresh.features[1] = NORMS[norm]()
    fresh.double()
    trained = randomised(copy.deepcopy(fresh))
    before = {name: value.clone() for name, value in trained.state_dict().items()}
    one, two = (score("ntk-sap", model, batches((3, 8, 8))) for model in (fresh, trained))
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert all(torch.equal(before[name], value) for name, value in trained.state_dict().items())


@pytest.mark.filterwarnings("ignore:.*weight_norm.*is deprecated:FutureWarning")
@pytest.mark.parametrize("computed", [nn.utils.weight_norm, nn.utils.parametrizations.weight_norm])
def test_ntk_sap_leaves_a_computed_weight_that_is_excluded(computed):
    model = randomised(TinyVgg()).double()
    model.features[4] = computed(model.features[4])
    scores = score("ntk-sap", model, batches((3, 8, 8)), exclude=["features.4"])
    assert set(scores) == {"features.0.weight", "head.2.weight"}
    assert all(bool(values.any()) for values in scores.values())
