"""px-released against three networks built by hand: f for the gates, g of masks, h of squares."""

import copy

import pytest
import torch
from torch import nn
from torch.func import functional_call

from checkpoints.errors import InputError
from tests.pruning.small_nets import images, randomised
from transfer.pruning import Masks, score
from transfer.pruning.paths.carried import NoPathError
from transfer.pruning.prunable import prunable


class Released(nn.Module):
    """Two convolutions with BatchNorm and ReLU, the first in place, and a head."""

    shape = (3, 5, 5)

    def __init__(self):
        super().__init__()
        self.a, self.bn_a, self.act_a = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(inplace=True)
        self.b, self.bn_b, self.act_b = nn.Conv2d(4, 3, 2), nn.BatchNorm2d(3), nn.ReLU()
        self.fc = nn.Linear(3, 2)

    def forward(self, x):
        x = self.act_a(self.bn_a(self.a(x)))
        return self.fc(self.act_b(self.bn_b(self.b(x))).mean((2, 3)))


LAYERS = ("a", "b", "fc")


class Gate(nn.Module):
    def __init__(self, open_):
        super().__init__()
        self.open = open_

    def forward(self, x):
        return x * self.open


def reference(model, masks, batches, power):
    """|∂R/∂θ²| · |θ|^power with R = Σ_n Σ_k g · h; a weight without a mask counts as 1 in g, and squared in h."""
    total = dict.fromkeys(masks, 0.0)
    for inputs, _ in batches:
        f, gates = copy.deepcopy(model).train(), []
        for act in (f.act_a, f.act_b):
            act.register_forward_pre_hook(lambda module, given: gates.append(given[0] > 0))  # noqa: B023
        with torch.no_grad():
            f(inputs)
        g, h = copy.deepcopy(model).train(), copy.deepcopy(model).train()
        g.act_a, g.act_b = Gate(gates[0]), Gate(gates[1])
        h.act_a = h.act_b = nn.Identity()
        with torch.no_grad():
            for layer in LAYERS:
                weight = getattr(g, layer).weight
                weight.copy_(masks.get(f"{layer}.weight", torch.ones_like(weight)))
                for parameter in getattr(h, layer).parameters():
                    parameter.square_()
            carried = g(inputs)
        squares = {name: p.detach().clone().requires_grad_() for name, p in h.named_parameters() if name in masks}
        reached = (carried * functional_call(h, squares, (inputs,))).sum()
        for name, part in zip(squares, torch.autograd.grad(reached, list(squares.values())), strict=True):
            total[name] = total[name] + part
    weights = dict(model.named_parameters())
    return {name: part.abs() * weights[name].detach().abs() ** power for name, part in total.items()}


def built(masked, exclude=()):
    model = randomised(Released(), 2).double()
    generator = torch.Generator().manual_seed(1)
    weights = prunable(model, exclude)
    keep = 0.7 if masked else 1.1
    masks = Masks({n: torch.rand(w.shape, generator=generator) < keep for n, w in weights.items()})
    masks.apply_(model)
    return model, masks, [images(Released.shape, n, n, torch.float64, classes=2) for n in (4, 3)]


@pytest.mark.parametrize("exclude", [(), ("b",)])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("options", [{}, {"power": 2}])
def test_it_is_its_formula_on_three_networks(options, masked, exclude):
    model, masks, batches = built(masked, exclude)
    expected = reference(model, masks, batches, options.get("power", 4))
    found = score("px-released", model, batches, masks=masks, exclude=exclude, **options)
    assert set(found) == set(expected)
    for name, values in expected.items():
        assert bool(values.any())
        torch.testing.assert_close(found[name], values, rtol=1e-9, atol=1e-9 * float(values.max()))


def test_what_is_stored_and_what_is_asked_for_do_not_matter():
    model, masks, batches = built(True)
    other = copy.deepcopy(model)
    for norm in (other.bn_a, other.bn_b):
        norm.running_mean.add_(3.0)
        norm.running_var.mul_(2.0)
    usual = score("px-released", model, batches, masks=masks)
    for net in (model, other):
        for statistics in ("batch", "warmup", "running"):
            again = score("px-released", net, batches, masks=masks, statistics=statistics)
            assert all(torch.equal(usual[name], again[name]) for name in usual)


@pytest.mark.parametrize("spelled", [
    lambda x: nn.functional.relu(x), lambda x: torch.relu(x), lambda x: x.relu(), lambda x: torch.relu_(x),
    lambda x: x.relu_(), lambda x: nn.functional.relu(x, inplace=True),
])  # fmt: skip
@pytest.mark.parametrize("returned", [True, False])
def test_an_activation_is_replaced_however_it_is_written(spelled, returned):
    class Written(Released):
        def forward(self, x):
            x = self.bn_a(self.a(x))
            y = spelled(x)
            x = y if returned else x  # in place: the model goes on with the tensor that was overwritten
            return self.fc(self.act_b(self.bn_b(self.b(x))).mean((2, 3)))

    model, masks, batches = built(False)
    probe = torch.tensor([-1.0])
    spelled(probe)
    if not returned and float(probe) < 0:
        return  # not in place
    written = Written().double()
    written.load_state_dict(model.state_dict())
    for name, values in reference(model, masks, batches, 4).items():
        found = score("px-released", written, batches, masks=masks)[name]
        torch.testing.assert_close(found, values, rtol=1e-9, atol=1e-9 * float(values.max()))


def test_a_network_without_paths_is_told():
    model = nn.Sequential(nn.Conv2d(3, 4, 2), nn.BatchNorm2d(4), nn.Softplus(), nn.Flatten(), nn.Linear(36, 3))
    with pytest.raises(NoPathError, match="Softplus"):
        score("px-released", model, [images((3, 4, 4), 4)])


def test_another_power_is_told_in_one_line():
    model, _, batches = built(False)
    with pytest.raises(InputError, match="power of 'px-released' is 3; give 4, as released, or 2") as caught:
        score("px-released", model, batches, power=3)
    assert "\n" not in str(caught.value)
