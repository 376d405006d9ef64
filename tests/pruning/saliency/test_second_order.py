"""fisher, fts, hutchinson and hts against gradients of single samples and against the Hessian itself."""

import itertools

import pytest
import torch
from torch import nn
from torch.func import functional_call

from checkpoints.errors import InputError
from tests.pruning.references import STATISTICS, Small, flat, seen, unflat
from tests.pruning.small_nets import images, randomised
from transfer.pruning import Masks, score
from transfer.pruning.prunable import prunable

SIZES = (4, 3)


def data(shape=Small.shape, sizes=SIZES):
    return [images(shape, n, n, torch.float64) for n in sizes]


def masked():
    model = randomised(Small()).double()
    generator = torch.Generator().manual_seed(4)
    masks = Masks({n: torch.rand(w.shape, generator=generator) < 0.8 for n, w in prunable(model).items()})
    masks.apply_(model)
    return model, masks


def weights_of(model):
    return {name: w.detach() for name, w in prunable(model).items()}


def single_gradients(model, batches, statistics):
    """∂L_n/∂θ of each sample, (samples, weights) for each batch, one backward at a time.

    With the statistics of the batch a sample has no gradient by itself: its loss is taken in the forward of its batch.
    Else it goes through the network alone.
    """
    net, found = seen(model, batches, statistics), []
    for inputs, targets in batches:
        rows = []
        for n in range(len(inputs)):
            own = {name: w.clone().requires_grad_() for name, w in weights_of(model).items()}
            alone = slice(n, n + 1)
            given = inputs if statistics == "batch" else inputs[alone]
            output = functional_call(net, own, (given,))
            loss = nn.functional.cross_entropy(output[alone] if statistics == "batch" else output, targets[alone])
            rows.append(torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(own.values()))]))
        found.append(torch.stack(rows))
    return found


def expected_of_fisher(model, batches, statistics):
    gradients = torch.cat(single_gradients(model, batches, statistics))
    theta = flat(weights_of(model))
    fisher = gradients.square().mean(0)
    return theta.square() * fisher / 2, (theta * gradients.mean(0) + theta.square() * fisher / 2).abs()


@pytest.mark.parametrize("statistics", STATISTICS)
def test_fisher_without_draws_is_the_sum_over_single_samples(statistics):
    model, masks = masked()
    fisher, taylor = expected_of_fisher(model, data(), statistics)
    for method, expected in (("fisher", fisher), ("fts", taylor)):
        found = flat(score(method, model, data(), masks=masks, draws=0, statistics=statistics))
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-16)


def test_fisher_without_draws_does_not_depend_on_the_order_of_samples():
    model, _ = masked()
    turned = [(x.flip(0), y.flip(0)) for x, y in data()]
    for method in ("fisher", "fts"):
        one, two = (flat(score(method, model, batches, draws=0)) for batches in (data(), turned))
        torch.testing.assert_close(one, two, rtol=1e-9, atol=1e-16)


@pytest.mark.parametrize("statistics", ["batch", "running"])
def test_the_expectation_of_fisher_over_signs_is_the_sum_over_single_samples(statistics, monkeypatch):
    """All 2^4 sign vectors of a batch of four, each as likely."""
    model, _ = masked()
    batches = data(sizes=(4,))
    expected, _ = expected_of_fisher(model, batches, statistics)
    total = 0.0
    for signs in itertools.product((0, 1), repeat=4):
        with monkeypatch.context() as patch:
            patch.setattr(torch, "randint", lambda *a, signs=signs, **k: torch.tensor(signs).to(torch.int8))
            total = total + flat(score("fisher", model, batches, statistics=statistics)) / 16
    torch.testing.assert_close(total, expected, rtol=1e-9, atol=1e-16)


def test_draws_of_fisher_are_averaged_and_fts_has_the_gradient_once():
    """Of single samples, every sign squares away; the gradient of the mean loss takes no sign."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(12, 3)).double()
    batches = data((3, 2, 2), (1, 1, 1))
    for method in ("fisher", "fts"):
        exact, one, many = (score(method, model, batches, draws=d)["1.weight"] for d in (0, 1, 5))
        torch.testing.assert_close(one, exact, rtol=1e-12, atol=0)
        torch.testing.assert_close(many, exact, rtol=1e-12, atol=0)


def hessian(model, batches, statistics, temperature):
    """Gradient and Hessian of the mean loss of softened logits, by the prunable weights."""
    net, weights = seen(model, batches, statistics), weights_of(model)
    samples = sum(len(x) for x, _ in batches)

    def loss(vector):
        own = unflat(weights, vector)
        sums = [
            nn.functional.cross_entropy(functional_call(net, own, (x,)) / temperature, y, reduction="sum")
            for x, y in batches
        ]
        return sum(sums) / samples

    theta = flat(weights)
    return torch.func.grad(loss)(theta).detach(), torch.autograd.functional.hessian(loss, theta)


class Few(nn.Module):
    """Eight weights: 256 sign vectors."""

    shape = (2, 1, 2)

    def __init__(self):
        super().__init__()
        self.conv, self.norm, self.fc = nn.Conv2d(2, 2, 1), nn.BatchNorm2d(2), nn.Linear(2, 2)

    def forward(self, x):
        return self.fc(nn.functional.softplus(self.norm(self.conv(x))).mean((2, 3)))


@pytest.mark.parametrize("statistics", STATISTICS)
def test_the_expectation_of_hutchinson_over_signs_is_the_diagonal_of_the_hessian(statistics, monkeypatch):
    model = randomised(Few(), 1).double()
    inputs, targets = images(Few.shape, 4, 1, torch.float64, classes=2)
    batches = [(inputs, targets)]
    _, second = hessian(model, batches, statistics, 200.0)
    theta, total = flat(weights_of(model)), 0.0
    for signs in itertools.product((0, 1), repeat=8):
        stream = iter(torch.tensor(signs, dtype=torch.int8).split(4))

        def drawn(low, high, shape, stream=stream, **named):
            return next(stream).clone().view(shape)

        with monkeypatch.context() as patch:
            patch.setattr(torch, "randint", drawn)
            total = total + flat(score("hutchinson", model, batches, draws=1, statistics=statistics)) / 256
    expected = theta.square() * second.diagonal() / 2
    torch.testing.assert_close(total, expected, rtol=1e-9, atol=1e-9 * float(expected.abs().max()))
    assert bool((expected < 0).any()), "a negative entry stands"
    assert bool((total < 0).any())


@pytest.mark.parametrize("statistics", ["batch", "running"])
@pytest.mark.parametrize("temperature", [1.0, 200.0])
def test_one_draw_is_the_product_with_its_own_signs_for_each_batch(temperature, statistics, monkeypatch):
    """v · H_b v summed over batches b, each with signs of its own, recorded while they are drawn; hts with |…|."""
    model, masks = masked()
    batches, theta = data(), flat(weights_of(model))
    net = seen(model, batches, statistics)
    for method in ("hutchinson", "hts"):
        drawn, plain = [], torch.randint
        with monkeypatch.context() as patch:
            patch.setattr(torch, "randint", lambda *a, **k: drawn.append(plain(*a, **k)) or drawn[-1].clone())  # noqa: B023
            found = flat(score(
                method, model, batches, masks=masks, draws=2, temperature=temperature, statistics=statistics
            ))  # fmt: skip
        layers = len(masks)
        vectors = [torch.cat([v.flatten() for v in drawn[i : i + layers]]).double() * 2 - 1
                   for i in range(0, len(drawn), layers)]  # fmt: skip
        assert len({tuple(v.tolist()) for v in vectors}) == len(vectors) == 4
        gradient, diagonal = 0.0, 0.0
        for number, (x, y) in enumerate(batches):
            first, second = hessian(net, [(x, y)], statistics, temperature)
            gradient = gradient + first * len(x) / sum(SIZES)
            for v in vectors[2 * number : 2 * number + 2]:
                diagonal = diagonal + v * (second @ v) * len(x) / sum(SIZES) / 2
        expected = theta.square() * diagonal / 2
        if method == "hts":
            expected = (theta * gradient + expected).abs()
        torch.testing.assert_close(found, expected, rtol=1e-8, atol=1e-9 * float(expected.abs().max()))


def test_many_draws_of_hts_come_near_the_loss_to_second_order():
    """A draw of v · H v varies by the other entries of a row: Var = Σ_{j≠i} H_ij²; 6 deviations are allowed."""
    model = randomised(Few(), 1).double()
    batches = [images(Few.shape, 4, 1, torch.float64, classes=2)]
    gradient, second = hessian(model, batches, "batch", 200.0)
    theta, draws = flat(weights_of(model)), 400
    expected = (theta * gradient + theta.square() * second.diagonal() / 2).abs()
    off = second - second.diagonal().diag()
    allowed = 6 * theta.square() / 2 * (off.square().sum(1) / draws).sqrt() + 1e-15
    found = flat(score("hts", model, batches, draws=draws))
    assert bool(((found - expected).abs() <= allowed).all())


class Summed(nn.Module):
    """Two weights that enter as their sum, so that autograd gives both one and the same gradient."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.head = nn.Linear(12, 4, bias=False), nn.Linear(12, 4, bias=False), nn.Linear(4, 3)

    def forward(self, x):
        return self.head(nn.functional.softplus(nn.functional.linear(x.flatten(1), self.a.weight + self.b.weight)))


@pytest.mark.parametrize(("method", "options"), [
    ("fisher", {"draws": 0}), ("fts", {"draws": 0}), ("fisher", {"draws": 1}), ("ntk-trace", {}), ("snip", {}),
    ("grasp", {}),
])  # fmt: skip
def test_weights_that_share_a_gradient_are_scored_apart(method, options):
    """In two copies, one with the weight halved, the halves count by their own size: no gradient is used up twice."""
    model = randomised(Summed()).double()
    batch = images((3, 2, 2), 3, 1, torch.float64)
    scores = score(method, model, [batch], **options)
    single = nn.Sequential(nn.Flatten(), nn.Linear(12, 4, bias=False), nn.Softplus(), nn.Linear(4, 3)).double()
    with torch.no_grad():
        single[1].weight.copy_(model.a.weight + model.b.weight)
        single[3].load_state_dict(model.head.state_dict())
    if method in ("fts", "grasp"):
        assert bool(torch.isfinite(flat(scores)).all())
        return
    whole, power = score(method, single, [batch], **options)["1.weight"], 1 if method == "snip" else 2
    for half in (model.a, model.b):
        share = (half.weight / single[1].weight).detach().abs() ** power
        torch.testing.assert_close(scores["a.weight" if half is model.a else "b.weight"], whole * share)


@pytest.mark.parametrize("method", ["hutchinson", "hts"])
def test_hutchinson_of_weights_that_share_a_second_derivative(method, monkeypatch):
    """One fixed sign for all: v · H v of a and of b is the row sum of H, the same for both."""
    model = randomised(Summed()).double()
    batch = images((3, 2, 2), 3, 1, torch.float64)
    signs = torch.tensor([0, 1], dtype=torch.int8)
    monkeypatch.setattr(torch, "randint", lambda low, high, shape, **k: signs.repeat(shape.numel() // 2).view(shape))
    found = flat(score(method, model, [batch], draws=1))
    gradient, second = hessian(model, [batch], "running", 200.0)
    theta = flat(weights_of(model))
    v = (signs.double() * 2 - 1).repeat(len(theta) // 2)
    expected = theta.square() * v * (second @ v) / 2
    expected = (theta * gradient + expected).abs() if method == "hts" else expected
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9 * float(expected.abs().max()))


@pytest.mark.parametrize("method", ["fisher", "fts", "hutchinson", "hts", "snip", "grasp"])
def test_images_alone_are_not_enough(method):
    with pytest.raises(InputError, match="no targets, which this method needs") as caught:
        score(method, randomised(Small()).double(), [data()[0][0]])
    assert "\n" not in str(caught.value)
