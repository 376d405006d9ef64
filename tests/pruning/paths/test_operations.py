"""The path algebra: operations it knows, errors for those it does not, and numbers over any depth."""

import math
import warnings

import open_clip
import pytest
import timm
import torch
from torch import nn

import checkpoints.architectures  # noqa: F401
from checkpoints.errors import InputError
from tests.pruning.small_nets import Activated, images
from transfer.pruning import methods, prune, score
from transfer.pruning.paths import gated
from transfer.pruning.paths.carried import NoPathError
from transfer.pruning.paths.follow import follow, stand_ins
from transfer.pruning.paths.operations import window_sum


def ones_view(model):
    return stand_ins(model, lambda _, w: torch.ones_like(w))


def count(model, shape):
    """Number of paths, as an exact pair (mantissa, exponent)."""
    with torch.no_grad():
        x = torch.ones(1, *shape)
        out = follow(model, x, x, ones_view(model), None, gated=False)
    return out.tensor.double().sum().item(), out.exponent


class Chain(nn.Module):
    def __init__(self, width, depth):
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(width, width) for _ in range(depth))

    def forward(self, x):
        for layer in self.layers:
            x = torch.relu(layer(x))
        return x


@pytest.mark.parametrize(("width", "depth"), [(2, 3), (7, 10), (64, 60), (100, 200)])
def test_the_number_of_paths_of_a_chain_in_float32(width, depth):
    mantissa, exponent = count(Chain(width, depth), (width,))
    exact = width ** (depth + 1)  # a Python integer
    found = math.log2(mantissa) + exponent
    assert abs(found - math.log2(exact)) < 1e-6 * max(1, math.log2(exact))


def test_float32_agrees_with_float64_on_a_deep_residual_net():
    torch.manual_seed(0)
    model = timm.create_model("resnet50", num_classes=5, zero_init_last=False).eval()
    x = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        single = follow(model, x, x.square(), ones_view(model), None, gated=True)
        model.double()
        double = follow(model, x.double(), x.double().square(), ones_view(model), None, gated=True)
    assert double.exponent > 300, "this is why the exponent is kept apart"
    aligned = single.tensor.double() * 2.0 ** (single.exponent - double.exponent)
    torch.testing.assert_close(aligned, double.tensor, rtol=1e-4, atol=0)  # gates near 0 may differ


@pytest.mark.parametrize("method", ["synflow", "synflow-l2", "logsynflow", "px", "px-gated", "px-trace"])
def test_scores_in_float32_agree_with_float64_and_rank_alike(method):
    """px-gated and px-trace differentiate through every batch: 2e-6 is what plain float32 has there too (below)."""
    torch.manual_seed(0)
    model = timm.create_model("resnet20", num_classes=5).eval()
    x = torch.randn(2, 3, 32, 32)
    stored = {"statistics": "running"}  # those of a batch are in the precision of the model
    single, double = score(method, model, [x], **stored), score(method, model.double(), [x.double()], **stored)
    high = [max(float(v.max()) for v in s.values()) for s in (single, double)]
    ours, exact = (
        torch.cat([v.flatten() / h for v in s.values()]) for s, h in zip((single, double), high, strict=True)
    )
    limit = 5e-6 if method in ("px-gated", "px-trace") else 1e-6
    torch.testing.assert_close(ours, exact, rtol=limit, atol=0)
    order = exact.argsort(descending=True)
    apart = exact[order][:-1] > exact[order][1:] * (1 + 2 * limit)  # by more than rounding
    assert int(apart.sum()) > 1000
    assert bool((ours[order][:-1] > ours[order][1:])[apart].all()), "the order differs where it is no tie"


@pytest.mark.parametrize("method", ["px-gated", "px-trace"])
def test_rescaling_adds_no_rounding_to_plain_float32_where_that_does_not_overflow(method, monkeypatch):
    torch.manual_seed(0)
    model, x = timm.create_model("resnet20", num_classes=5).eval(), torch.randn(2, 3, 32, 32)
    ours = score(method, model, [x])

    def unscaled(*arguments):
        views = stand_ins(*arguments)
        for view in views.values():
            view.settled = True
        return views

    monkeypatch.setattr(gated, "stand_ins", unscaled)
    plain = score(method, model, [x])
    shift = torch.frexp(plain["fc.weight"].max() / ours["fc.weight"].max())
    assert float(shift.mantissa) == 0.5
    assert all(torch.equal(ours[name] * 2.0 ** (int(shift.exponent) - 1), plain[name]) for name in plain)


class Shared(nn.Module):
    """One convolution applied many times; every gate is open on positive images."""

    def __init__(self, times):
        super().__init__()
        self.conv, self.fc, self.times = nn.Conv2d(3, 3, 3, padding=1), nn.Linear(3, 3), times
        with torch.no_grad():
            self.conv.weight.abs_()
            self.conv.bias.fill_(0.1)

    def forward(self, x):
        for _ in range(self.times):
            x = torch.relu(self.conv(x))
        return self.fc(x.mean((2, 3)))


@pytest.mark.parametrize("scale", [1e-3, 1.0, 255.0, 1e3])
@pytest.mark.parametrize("times", [2, 10, 60])
@pytest.mark.parametrize("method", ["px", "px-gated", "px-trace", "synflow"])
def test_a_module_used_many_times_stays_in_range(method, times, scale):
    torch.manual_seed(0)
    model = Shared(times)
    data = [torch.rand(2, 3, 8, 8) * scale, torch.rand(3, 3, 8, 8) * scale]
    single, double = score(method, model, data), score(method, model.double(), [x.double() for x in data])
    ours, exact = (torch.cat([v.flatten() for v in s.values()]) for s in (single, double))
    torch.testing.assert_close(ours / ours.max(), exact / exact.max(), rtol=1e-4, atol=0)


@pytest.mark.slow
def test_synflow_of_resnet152_is_finite_in_float32():
    torch.manual_seed(0)
    model = timm.create_model("resnet152", num_classes=5, zero_init_last=False).eval()
    scores = score("synflow", model, [torch.randn(1, 3, 32, 32)], statistics="running")
    assert all(bool(torch.isfinite(v).all()) and bool((v > 0).any()) for v in scores.values())
    with torch.no_grad():  # as published, in float32: infinite
        for p in model.state_dict().values():
            if p.is_floating_point():
                p.abs_()
        assert not bool(torch.isfinite(model(torch.ones(1, 3, 32, 32))).all())


@pytest.mark.slow
def test_open_clip_as_it_comes_names_its_attention_and_its_trunk_has_paths():
    visual = open_clip.create_model("RN50-quickgelu", pretrained=None, require_pretrained=False).visual.eval()
    with pytest.raises(NoPathError, match=r"attnpool .*these work on it: random, magnitude, snip"):
        score("px", visual, [torch.randn(1, 3, 224, 224)])
    visual.attnpool = nn.Identity()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        for module in visual.modules():
            if isinstance(module, nn.BatchNorm2d):
                nn.init.uniform_(module.weight, 0.5, 1.5)
    scores = score("px", visual, [torch.randn(1, 3, 64, 64)])
    assert all(bool(v.any()) for v in scores.values())


def test_rescaling_is_exact_in_float64():
    torch.manual_seed(0)
    model = timm.create_model("test_resnet", num_classes=5, zero_init_last=False).double().eval()
    x = torch.randn(3, 3, 32, 32, dtype=torch.float64)
    with torch.no_grad():
        views = ones_view(model)
        first = follow(model, x, x.square(), views, None, gated=True)
        assert all(view.settled for view in views.values())
        second = follow(model, x, x.square(), views, None, gated=True)  # powers now lie in the views
        for view in (views := ones_view(model)).values():
            view.settled = True  # no rescaling at all
        plain = follow(model, x, x.square(), views, None, gated=True)
    assert torch.equal(first.tensor, second.tensor)
    assert first.exponent == second.exponent
    assert torch.equal(first.tensor * 2.0**first.exponent, plain.tensor)


@pytest.mark.parametrize(
    "activation",
    [
        nn.ReLU(),
        nn.ReLU(True),
        nn.LeakyReLU(0.3),
        nn.LeakyReLU(0.3, True),
        nn.PReLU(1, 0.2),
        nn.ReLU6(True),
        nn.GELU(),
        nn.SiLU(True),
        nn.Hardswish(True),
        nn.ELU(inplace=True),
        nn.Mish(True),
        nn.Tanh(),
        nn.Softsign(),
        nn.RReLU(inplace=True),
        nn.Hardshrink(0.3),
        nn.Softshrink(0.3),
        nn.Tanhshrink(),
        nn.Threshold(-0.1, 0.0, True),
    ],
    ids=lambda a: f"{type(a).__name__} {'in place' if getattr(a, 'inplace', False) else ''}",
)
def test_gates_are_the_squared_slopes_of_any_activation(activation):
    torch.manual_seed(0)
    model = Activated(activation).double().eval()
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            parameter.data.zero_()
    x = torch.randn(5, 3, 8, 8, dtype=torch.float64)
    views = stand_ins(model, lambda _, w: w.clone())
    with torch.no_grad():
        found = follow(model, x, x, views, None, gated=True)
        z1 = model.net[0](x)
        s1 = torch.where(z1 == 0, 0, activation(z1.clone()) / z1)
        z2 = model.net[2](activation(z1.clone()))
        s2 = torch.where(z2 == 0, 0, activation(z2.clone()) / z2)
        expected = model.net[5](model.net[4](model.net[2](z1 * s1**2) * s2**2))
    torch.testing.assert_close(found.tensor * 2.0**found.exponent, expected, rtol=1e-10, atol=1e-12)


class Odd(nn.Module):
    def __init__(self, odd, *, layers=None):
        super().__init__()
        self.conv, self.fc = nn.Conv2d(3, 4, 3, padding=1), nn.Linear(4, 3)
        self.odd = odd
        self.extra = layers

    def forward(self, x):
        x = self.odd(self.conv(x))
        return self.fc(x.mean((2, 3)))


class Filter(nn.Module):
    """Fixed coefficients along each row, in a buffer, as of a blur or an edge filter."""

    def __init__(self, row):
        super().__init__()
        self.register_buffer("row", torch.tensor(row).expand(4, 1, 1, 3).contiguous())

    def forward(self, x):
        return nn.functional.conv2d(x, self.row, padding=(0, 1), groups=4)


class Doubled(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return 2 * x

    @staticmethod
    def backward(ctx, g):
        return 2 * g


class Function(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


def assigned(x):
    out = torch.zeros_like(x)
    out[:] = torch.relu(x)
    return x + out


def overwritten(x):
    torch.relu_(x.view(len(x), -1))
    return x


def seen_before(x):
    """A view that is older than the operation in place on what it shows."""
    view = x.view(x.shape)
    torch.relu_(x)
    return view


def seen_beside(x):
    view = x.view(x.shape)
    x.view(len(x), -1).mul_(2.0)
    return view


def partly_overwritten(x):
    x = x * 1.0
    x[:, 0] = 0.0
    return x


class Standardised(nn.Conv2d):
    def forward(self, x):
        return self._conv_forward(x, self.weight - self.weight.mean(), self.bias)


WITHOUT_PATHS = {
    "softmax": Function(lambda x: x.softmax(1)),
    "sigmoid gate": Function(lambda x: x * torch.sigmoid(x.mean((2, 3), keepdim=True))),
    "layer norm": nn.LayerNorm(8),
    "group norm": nn.GroupNorm(2, 4),
    "instance norm": nn.InstanceNorm2d(4),
    "batch norm without statistics": nn.BatchNorm2d(4, track_running_stats=False),
    "data times data": Function(lambda x: x * x),
    "computed weight": Standardised(4, 4, 1),
    "minus": Function(lambda x: x - x.mean()),
    "clamp": Function(lambda x: x.clamp(min=0)),
    "a tensor factor": Function(lambda x: x * torch.ones(4, 1, 1)),
    "pad with one": Function(lambda x: nn.functional.pad(x, (1, 1), value=1.0)),
    "one minus": Function(lambda x: 1 - x),
    "a negative factor": Function(lambda x: x + torch.relu(x) * -1.0),
    "a number made from data": Function(lambda x: x * float(x.detach().mean())),
    "assignment": Function(assigned),
    "a constant minus": Function(lambda x: torch.sub(torch.ones(4, 8, 8), x)),
    "bicubic": nn.Upsample(scale_factor=2, mode="bicubic"),
    "a filter with negative coefficients": Filter([-1.0, 0.0, 1.0]),
    "a threshold to another value": nn.Threshold(0.1, 20.0),
    "sigmoid": nn.Sigmoid(),
    "torch.batch_norm": Function(
        lambda x: torch.batch_norm(x, None, None, torch.zeros(4), torch.ones(4), False, 0.1, 1e-5, False)
    ),
}


@pytest.mark.parametrize("method", ["px", "synflow-l2"])
@pytest.mark.parametrize("what", WITHOUT_PATHS)
def test_what_has_no_paths_is_an_error_that_names_the_module_and_the_way_out(what, method):
    model = Odd(WITHOUT_PATHS[what])
    with pytest.raises(NoPathError, match=r"odd.*random, magnitude, snip") as caught:
        score(method, model, [images((3, 8, 8), 2)], statistics="running")
    assert "\n" not in str(caught.value)


WITH_PATHS = {
    "number": Function(lambda x: 2 * x / 3),
    "in-place number": Function(lambda x: x.mul_(0.5)),
    "bias": Function(lambda x: x + torch.ones(4, 1, 1)),
    "pad": Function(lambda x: nn.functional.pad(x, (1, 1, 1, 1))),
    "cat": Function(lambda x: torch.cat([x[:, :2], x[:, 2:]], 1)),
    "chunk": Function(lambda x: torch.cat(x.chunk(2, 1)[::-1], 1)),
    "interpolate": nn.Upsample(scale_factor=2, mode="bilinear"),
    "average pool": nn.AvgPool2d(2),
    "adaptive max pool": nn.AdaptiveMaxPool2d(2),
    "dropout": nn.Dropout(0.5),
    "identity": nn.Identity(),
    "contiguous": Function(lambda x: x.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)),
    "depthwise": nn.Conv2d(4, 4, 3, groups=4),
    "transposed": nn.ConvTranspose2d(4, 4, 2, 2),
    "stack": Function(lambda x: torch.stack([x, x]).sum(0)),
    "a filter without negative coefficients": Filter([0.25, 0.5, 0.25]),
    "tanh": Function(lambda x: torch.tanh(x) + x.tanh() + nn.functional.tanh(x)),
    "a python function with a backward of its own": Function(lambda x: Doubled.apply(x)),
}


@pytest.mark.parametrize("what", WITH_PATHS)
def test_what_has_paths_is_scored(what):
    scores = score("px", Odd(WITH_PATHS[what]), [images((3, 8, 8), 2)])
    assert all(bool((s > 0).any()) for s in scores.values())


REFUSED = {
    "item": lambda x: x * torch.relu(x).sum().item(),
    "float": lambda x: x * float(torch.relu(x).sum()),
    "int": lambda x: x * int(torch.relu(x).sum()),
    "index": lambda x: x + torch.relu(x).sum().to(torch.int64).__index__(),
    "tolist": lambda x: x * torch.relu(x).sum().tolist(),
    "numpy": lambda x: x + torch.from_numpy(torch.relu(x).numpy()),
    "assignment to a part": partly_overwritten,
    "out": lambda x: x + torch.relu(x) + torch.add(x, x, out=torch.empty(0)),
}


@pytest.mark.parametrize("what", REFUSED)
def test_values_that_would_leave_the_graph_are_refused(what):
    with pytest.raises(NoPathError, match=r"odd \(Function\): .* moves values past the graph"):
        score("px", Odd(Function(REFUSED[what])), [images((3, 8, 8), 2)])


def test_minus_a_constant_is_plus_its_opposite():
    shift = torch.tensor([0.5, -0.5, 0.1, 0.0]).view(4, 1, 1)
    minus, plus, in_place = (
        Odd(nn.Sequential(Function(f), nn.ReLU(), nn.Conv2d(4, 4, 1)))
        for f in (lambda x: x - shift - 0.25, lambda x: x + -shift + -0.25, lambda x: x.sub_(shift).sub_(0.25))
    )
    data = [images((3, 8, 8), 4)]
    plus.load_state_dict(minus.state_dict())
    in_place.load_state_dict(minus.state_dict())
    expected = score("px-gated", plus, data)
    for model in (minus, in_place):
        found = score("px-gated", model, data)
        assert all(torch.equal(found[name], expected[name]) for name in expected)


POOLS = [
    (nn.MaxPool1d(3), nn.MaxPool2d((1, 3))),
    (nn.MaxPool1d(3, 1, 1), nn.MaxPool2d((1, 3), 1, (0, 1))),
    (nn.MaxPool1d(3, 2, ceil_mode=True), nn.MaxPool2d((1, 3), (1, 2), ceil_mode=True)),
    (nn.MaxPool3d((1, 2, 3)), nn.MaxPool2d((2, 3))),
    (nn.MaxPool3d((1, 2, 3), 1, (0, 1, 1)), nn.MaxPool2d((2, 3), 1, 1)),
    (nn.MaxPool3d((1, 2, 3), (1, 2, 2), ceil_mode=True), nn.MaxPool2d((2, 3), 2, ceil_mode=True)),
]


@pytest.mark.parametrize("pools", POOLS, ids=str)
@pytest.mark.parametrize("method", ["px-gated", "synflow"])
def test_a_max_pool_of_one_or_three_dimensions_is_that_of_two(method, pools):
    """The same numbers as images of height 1, or as videos of one image."""
    torch.manual_seed(0)
    flat = isinstance(pools[0], nn.MaxPool1d)
    conv = nn.Conv1d if flat else nn.Conv3d
    other, two = (
        nn.Sequential(kind(3, 4, 1), nn.ReLU(), pool, kind(4, 4, 1), nn.Flatten(), nn.LazyLinear(3))
        for kind, pool in zip((conv, nn.Conv2d), pools, strict=True)
    )
    x = torch.randn(4, 3, 1 if flat else 5, 8)
    y = x.squeeze(2) if flat else x.unsqueeze(2)
    two(x), other(y)
    other.load_state_dict({n: two.state_dict()[n].view_as(v) for n, v in other.state_dict().items()})
    expected = score(method, two, [x])
    for name, values in score(method, other, [y]).items():
        torch.testing.assert_close(values.view_as(expected[name]), expected[name], rtol=1e-6, atol=0)


@pytest.mark.parametrize("pool", [pool for pair in POOLS for pool in pair], ids=str)
def test_the_sum_over_the_windows_of_a_max_pool_is_a_convolution_with_ones(pool):
    sides = {"1": 1, "2": 2, "3": 3}[type(pool).__name__[-2]]
    x = torch.randn(2, 3, *(8,) * sides, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    kernel, step, pad = (
        (v,) * sides if isinstance(v, int) else v for v in (pool.kernel_size, pool.stride, pool.padding)
    )
    wide = [part for k, p in zip(kernel[::-1], pad[::-1], strict=True) for part in (p, p + k)]  # more than ceil needs
    convolve = {1: nn.functional.conv1d, 2: nn.functional.conv2d, 3: nn.functional.conv3d}[sides]
    sums = convolve(nn.functional.pad(x, wide).flatten(0, 1)[:, None], torch.ones(1, 1, *kernel).to(x), stride=step)
    shape = pool(x).shape
    sums = sums[tuple(slice(n) for n in (6, 1, *shape[2:]))].view(shape)
    func = {1: nn.functional.max_pool1d, 2: nn.functional.max_pool2d, 3: nn.functional.max_pool3d}[sides]
    found = window_sum(func)(x, pool.kernel_size, pool.stride, pool.padding, 1, pool.ceil_mode)
    torch.testing.assert_close(found, sums, rtol=1e-12, atol=1e-12)


class PreActivation(nn.Module):
    """A BatchNorm whose input is also the skip, followed by an in-place ReLU: the skip must not be overwritten."""

    def __init__(self, inplace):
        super().__init__()
        self.stem, self.bn = nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)
        self.relu, self.conv, self.fc = nn.ReLU(inplace), nn.Conv2d(4, 4, 1), nn.Linear(4, 2)

    def forward(self, x):
        x = self.stem(x)
        x = self.conv(self.relu(self.bn(x))) + x
        return self.fc(x.mean((2, 3)))


def test_in_place_operations_change_nothing():
    torch.manual_seed(0)
    fresh, in_place = PreActivation(False), PreActivation(True)
    in_place.load_state_dict(fresh.state_dict())
    a, b = (score("px", m, [images((3, 8, 8), 2)]) for m in (fresh, in_place))
    assert all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("what", [overwritten, seen_before, seen_beside])
@pytest.mark.parametrize("method", ["px", "px-gated", "synflow"])
def test_what_was_overwritten_through_another_view_is_an_error_when_used_again(what, method):
    with pytest.raises(NoPathError, match="overwritten in place through another view"):
        score(method, Odd(Function(what)), [images((3, 8, 8), 2)])


def test_batches_that_end_after_one_walk_are_refused():
    with pytest.raises(InputError, match="ends after one walk"):
        score("snip", Odd(nn.ReLU()), iter([images((3, 8, 8), 2)]))


def test_pruning_twice_warns_that_zeros_count_as_kept():
    model = Odd(nn.ReLU())
    prune(model, [], method="random", sparsity=0.5)
    with pytest.warns(UserWarning, match="are 0 already"):
        prune(model, [], method="random", sparsity=0.9, seed=1)


def test_an_image_with_no_active_path_is_an_error():
    model = nn.Sequential(nn.Conv2d(3, 2, 1), nn.ReLU(), nn.Flatten(), nn.Linear(32, 2))
    nn.init.constant_(model[0].bias, -1e6)
    with pytest.raises(RuntimeError, match="no path that is kept and active"):
        score("px", model, [images((3, 4, 4), 2)])


def test_a_model_that_returns_no_tensor():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(4, 2)

        def forward(self, x):
            return {"out": self.fc(x.flatten(1))}

    with pytest.raises(InputError, match="the output is dict"):
        score("synflow-l2", Two(), [images((1, 2, 2), 2)])


def scripted(what):
    def gated(x):
        return torch.sigmoid(x)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if what == "function":
            return Function(torch.jit.script(gated))
        if what == "traced function":
            return Function(torch.jit.trace(gated, torch.ones(2, 4, 8, 8)))
        return torch.jit.script(nn.Sequential(nn.Conv2d(4, 4, 1), nn.ReLU()))


@pytest.mark.parametrize("method", ["px", "synflow", "px-gated", "px-released"])
@pytest.mark.parametrize("what", ["function", "traced function", "module"])
def test_what_torch_jit_runs_is_not_taken_for_a_constant(what, method):
    """The skip around it would have paths, and the part itself be a bias."""
    part = scripted(what)
    model = Odd(Function(lambda x: x + part(x)), layers=part if what == "module" else None)
    with pytest.raises(
        NoPathError, match=r"(odd|extra) \(\w+\): aten\.\S+ is within what torch\.jit .*random, magnitude, snip"
    ) as e:
        score(method, model, [images((3, 8, 8), 2)], statistics="running")
    assert "\n" not in str(e.value)
    assert score("snip", model, [images((3, 8, 8), 2)], statistics="running")


class Wrapped(nn.Module):
    """A model whose outputs are something else."""

    def __init__(self, wrap, model):
        super().__init__()
        self.wrap, self.model = wrap, model

    def forward(self, x):
        return self.wrap(self.model(x))


@pytest.mark.parametrize("wrap", [lambda x: {"out": x}, lambda x: (x, x), lambda x: x.detach()])
@pytest.mark.parametrize("odd", [nn.Identity(), nn.Softmax(1)], ids=["paths", "no paths"])
@pytest.mark.parametrize("method", ["px", "synflow-l2", "px-released"])
def test_only_methods_that_take_the_model_are_recommended(method, odd, wrap):
    model, data = Wrapped(wrap, Odd(odd)), [images((3, 8, 8), 2)]
    with pytest.raises(NoPathError, match=r"these work on it: random, magnitude$"):
        score(method, model, data, statistics="running")
    for other in methods():
        if other in ("random", "magnitude"):
            assert score(other, model, data)
        else:
            with pytest.raises(InputError):
                score(other, model, data)


def test_every_method_that_is_recommended_scores_the_model():
    model, data = Odd(nn.Softmax(1)), [images((3, 8, 8), 2)]
    with pytest.raises(NoPathError) as caught:
        score("px", model, data)
    for other in str(caught.value).rsplit(": ", 1)[1].split(", "):
        assert score(other, model, data)
