"""Passes without gradients: their memory layout and what they overwrite change nothing that is seen from outside."""

import copy

import pytest
import timm
import torch
import torch.nn.functional as F
from torch import nn

import transfer.pruning.paths.follow as follow_module
from transfer.pruning import score
from transfer.pruning.paths.follow import follow, stand_ins


class Net(nn.Module):
    """Two convolutions with a norm between them; ``middle`` is given (model, result of the first convolution)."""

    def __init__(self, middle):
        super().__init__()
        self.one, self.two = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.norm, self.other = nn.BatchNorm2d(4), nn.BatchNorm2d(4)
        self.fc, self.middle = nn.Linear(4 * 6 * 6, 3), middle

    def forward(self, x):
        return self.fc(self.middle(self, self.one(x)).flatten(1))


def both_of_the_norm(net, y):
    z = net.norm(y)
    z.relu_()
    return z + y


def norm_of_what_is_cut_later(net, y):
    z = net.norm(y)
    y.relu_()
    return z + y


def norm_of_a_norm(net, y):
    z = net.norm(net.norm(y))
    z.relu_()
    return net.two(z) + y


def constant_added(net, y):
    z = y + 1.0
    y.relu_()
    return z + y


def copied_on_the_way(net, y):
    z = y.contiguous(memory_format=torch.channels_last) if y.is_contiguous() else y.contiguous()
    y.relu_()
    return net.two(z) + y


def parts_kept(net, y):
    a, b = y.clone().chunk(2, 1)
    y.relu_()
    return torch.cat([a, b], 1) + y


def residual(net, y):
    y = torch.relu_(net.norm(y))
    z = net.two(y)
    z += y
    return z.relu_()


def added_to_itself(net, y):
    y += net.two(y)
    y += y
    return y.relu_()


def cut_twice(net, y):
    z = torch.relu(y)
    z.relu_()
    return net.two(z) + torch.relu(y)


def two_norms_of_one(net, y):
    z, y = net.norm(y), net.other(y)
    z.relu_()
    return net.two(z) + y


def two_norms_of_one_summed(net, y):
    z, y = net.norm(y), net.other(y)
    z += net.two(z)
    return z + y


def a_constant_after_the_norm(net, y):
    z = net.norm(y)
    y = y + 1.0
    z.relu_()
    return net.two(z) + y


def a_view_after_the_norm(net, y):
    z = net.norm(y)
    y = y.unsqueeze(0).squeeze(0)
    z.relu_()
    return net.two(z) + y


def a_copy_after_the_norm(net, y):
    z = net.norm(y)
    y = y.contiguous(memory_format=torch.channels_last)
    z.relu_()
    return net.two(z) + y


def a_view_of_the_norm(net, y):
    z = net.norm(y)
    w = z.clone().flatten(1)
    y.relu_()
    return net.two(y + z).flatten(1) + w


def norms_in_a_row(net, y):
    a = net.norm(y)
    y = net.other(a)
    b = net.norm(a)
    a = None
    b.relu_()
    return net.two(b) + y


MIDDLES = [
    both_of_the_norm, norm_of_what_is_cut_later, norm_of_a_norm, constant_added, copied_on_the_way, parts_kept,
    residual, added_to_itself, cut_twice, two_norms_of_one, two_norms_of_one_summed, a_constant_after_the_norm,
    a_view_after_the_norm, a_copy_after_the_norm, a_view_of_the_norm, norms_in_a_row,
]  # fmt: skip


class Pair:
    """A tensor of the model and its path tensor in float64; every operation makes both anew."""

    def __init__(self, value, path):
        self.value, self.path = value, path

    def __add__(self, other):
        if isinstance(other, Pair):
            return Pair(self.value + other.value, self.path + other.path)
        return Pair(self.value + other, self.path)

    def relu_(self):
        self.value, self.path = self.value.relu(), self.path * (self.value > 0)
        return self

    def __iadd__(self, other):
        self.value, self.path = self.value + other.value, self.path + other.path
        return self

    def chunk(self, *args):
        return [Pair(*both) for both in zip(self.value.chunk(*args), self.path.chunk(*args), strict=True)]

    def __getattr__(self, name):
        if name not in ("clone", "contiguous", "flatten", "squeeze", "unsqueeze"):
            return getattr(self.value, name)
        return lambda *args, **kwargs: Pair(*(getattr(x, name)(*args, **kwargs) for x in (self.value, self.path)))

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func in (F.conv2d, F.linear):
            x, weight, bias, *rest = args
            path = func(x.path, weight.detach().double().square(), None, *rest)
            return Pair(func(x.value, weight, bias, *rest), path)
        if func is F.batch_norm:
            return Pair(func(args[0].value, *args[1:], **kwargs), args[0].path)
        if func is torch.cat:
            return Pair(*(func([getattr(x, kind) for x in args[0]], *args[1:]) for kind in ("value", "path")))
        assert func in (torch.relu, torch.relu_), func
        return (args[0] if func is torch.relu_ else args[0] + 0.0).relu_()


def gated(model, x):
    views = stand_ins(model, lambda _, w: w.square())
    with torch.no_grad():
        found = follow(model, x, x.square(), views, None, gated=True)
    return found.tensor.double() * 2.0**found.exponent


@pytest.mark.parametrize("middle", MIDDLES, ids=lambda middle: middle.__name__)
def test_overwriting_memory_that_nothing_else_holds_changes_no_bit(middle, monkeypatch):
    torch.manual_seed(0)
    model, x = Net(middle).eval(), torch.randn(5, 3, 6, 6)
    ours = gated(model, x)
    monkeypatch.setattr(follow_module, "alone", lambda _: False)
    assert torch.equal(ours, gated(model, x))
    assert bool(ours.any())


@pytest.mark.parametrize("middle", MIDDLES, ids=lambda middle: middle.__name__)
def test_paths_are_those_of_operations_that_overwrite_nothing(middle):
    torch.manual_seed(0)
    model, x = Net(middle).eval(), torch.randn(5, 3, 6, 6)
    with torch.no_grad():
        wanted = model(Pair(x, x.double().square()))
        torch.testing.assert_close(wanted.value, model(x))
    torch.testing.assert_close(gated(model, x), wanted.path, rtol=1e-5, atol=0)


def test_memory_of_a_residual_network_is_overwritten(monkeypatch):
    torch.manual_seed(0)
    model, x = timm.create_model("test_resnet", num_classes=3, zero_init_last=False).eval(), torch.randn(2, 3, 32, 32)
    over, own = [], follow_module._pass_active

    def seen(path, active, memory):
        over.append(memory is not None)
        return own(path, active, memory)

    monkeypatch.setattr(follow_module, "_pass_active", seen)
    ours = gated(model, x)
    assert any(over)
    monkeypatch.setattr(follow_module, "alone", lambda _: False)
    assert torch.equal(ours, gated(model, x))


class Viewed(nn.Module):
    """Relies on the default memory layout."""

    def __init__(self):
        super().__init__()
        self.conv, self.fc = nn.Conv2d(3, 4, 3, padding=1), nn.Linear(4 * 36, 3)

    def forward(self, x):
        x = torch.relu_(self.conv(x))
        return self.fc(x.view(len(x), -1))


class Flattened(Viewed):
    def forward(self, x):
        return self.fc(torch.relu(self.conv(x)).flatten(1))


def test_a_model_that_relies_on_the_default_layout_is_scored():
    torch.manual_seed(0)
    model, x = Viewed().eval(), torch.randn(4, 3, 6, 6)
    other = Flattened().eval()
    other.load_state_dict(model.state_dict())
    ours, theirs = score("px", model, [x]), score("px", other, [x])
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_the_layout_of_model_and_images_is_left_as_it_is(layout):
    torch.manual_seed(0)
    model = timm.create_model("test_resnet", num_classes=3, zero_init_last=False).eval().to(memory_format=layout)
    x = torch.randn(4, 3, 32, 32).to(memory_format=layout)
    before, image = copy.deepcopy(model), x.clone()
    score("px", model, [x])
    assert torch.equal(x, image)
    assert x.stride() == image.stride()
    for a, b in zip(model.state_dict().values(), before.state_dict().values(), strict=True):
        assert a.stride() == b.stride()
        assert torch.equal(a, b)


def test_both_layouts_give_the_scores_up_to_rounding(monkeypatch):
    torch.manual_seed(0)
    model = timm.create_model("test_resnet", num_classes=3, zero_init_last=False).eval()
    x = torch.randn(8, 3, 32, 32)
    ours = score("px", model, [x], statistics="running")
    monkeypatch.setattr(follow_module, "_layout", lambda _: torch.preserve_format)
    theirs = score("px", model, [x], statistics="running")
    ours, theirs = (torch.cat([v.flatten() for v in s.values()]) for s in (ours, theirs))
    torch.testing.assert_close(ours / ours.max(), theirs / theirs.max(), rtol=1e-4, atol=1e-9)
