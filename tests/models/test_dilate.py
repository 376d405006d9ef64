"""Dilated trunks: at every second or fourth place exactly the maps of the network as it was pretrained."""

from collections.abc import Callable
from copy import deepcopy
from functools import cache

import pytest
import timm
import torch
import torch.nn.functional as F
from timm.layers import BlurPool2d
from torch import Tensor, nn

from checkpoints import InputError
from tests.checkpoints.networks import randomized
from transfer.models.dilate import Average, Filter, Uneven, dilate
from transfer.pruning import score

EVEN = (64, 96)
ODD = (48, 80)  # 3 × 5 places at stride 16, of which the undilated network keeps 2 × 3
CLIP = "resnet50_clip_gap"
LITE = "tf_efficientnet_lite0"


def images(count: int, height: int, width: int) -> Tensor:
    return torch.randn(count, 3, height, width, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


@cache
def plain(arch: str) -> nn.Module:
    """The network as timm makes it without an output stride, in evaluation."""
    return randomized(timm.create_model(arch, features_only=True))


@cache
def maps(arch: str, size: tuple[int, int]) -> list[Tensor]:
    with torch.no_grad():
        return deepcopy(plain(arch)).double()(images(1, *size))


def dilated(arch: str, stride: int) -> nn.Module:
    """The same network with the same weights after ``dilate``."""
    model = deepcopy(plain(arch))
    dilate(model, stride)
    return model


@pytest.mark.parametrize("stride", [16, 8])
@pytest.mark.parametrize(
    ("arch", "size"),
    [
        *[(arch, EVEN) for arch in ("resnet18", "resnet50", CLIP, "resnet50d", "resnetblur18")],
        (LITE, (32, 64)),  # depthwise convolutions are slow in float64
        *[(arch, ODD) for arch in ("resnet18", "resnet18d")],
    ],
)
def test_a_dilated_map_holds_the_undilated_one(arch: str, size: tuple[int, int], stride: int) -> None:
    """At every second or fourth place, the outermost ones included. CLIP's network has even sizes only."""
    with torch.no_grad():
        found = dilated(arch, stride).eval().double()(images(1, *size))
    for i, (few, many) in enumerate(zip(maps(arch, size), found, strict=True), start=1):
        step = max(1, 2**i // stride)
        assert many.shape[2:] == (size[0] * step // 2**i, size[1] * step // 2**i)
        torch.testing.assert_close(many[..., ::step, ::step], few, rtol=0, atol=1e-9 * float(few.abs().max()))
    assert step == 32 // stride


@pytest.mark.parametrize("arch", [CLIP, "resnet50d"])
def test_timms_own_dilation_does_not(arch: str) -> None:
    """What this file is for; if it fails, timm has changed."""
    theirs = timm.create_model(arch, features_only=True, output_stride=8).eval()
    theirs.load_state_dict(plain(arch).state_dict())
    with torch.no_grad():
        few, many = maps(arch, EVEN)[-1], theirs.double()(images(1, *EVEN))[-1]
    assert float((many[..., ::4, ::4] - few).norm() / few.norm()) > 0.02


@pytest.mark.parametrize("arch", ["resnet18d", "resnetblur18", "test_byobnet", LITE])
def test_keys_weights_and_statistics_stay(arch: str) -> None:
    before, model = plain(arch).state_dict(), dilated(arch, 8)
    assert list(model.state_dict()) == list(before)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert all(module.training for module in model.modules())
    assert not any(module._forward_hooks for module in model.modules())


def phases(x: Tensor, rate: int, work: Callable[[Tensor], Tensor]) -> Tensor:
    """Do ``work`` on each of the rate × rate sub-grids by itself and put the results together."""
    out = torch.empty_like(x)
    for top in range(rate):
        for left in range(rate):
            out[..., top::rate, left::rate] = work(x[..., top::rate, left::rate])
    return out


def mean_of_those_there(x: Tensor) -> Tensor:
    n, m = x.shape[-2:]
    cells = [[x[..., i : i + 2, j : j + 2].mean((-2, -1)) for j in range(m)] for i in range(n)]
    return torch.stack([torch.stack(row, -1) for row in cells], -2)


@pytest.mark.parametrize("rate", [1, 2, 3])
def test_the_average_is_the_mean_of_its_places_on_every_sub_grid(rate: int) -> None:
    x = images(2, 9, 12)
    torch.testing.assert_close(Average(rate)(x), phases(x, rate, mean_of_those_there))


def test_an_average_on_a_map_smaller_than_its_rate_is_the_map() -> None:
    assert torch.equal(Average(4)(images(1, 3, 2)), images(1, 3, 2))


@pytest.mark.parametrize("rate", [1, 2])
@pytest.mark.parametrize(
    ("taps", "padding", "pooling"),
    [
        ((1 / 3, 1 / 3, 1 / 3), "constant", nn.AvgPool2d(3, 1, 1)),
        ((1 / 4, 1 / 2, 1 / 4), "reflect", BlurPool2d(3, stride=1)),
    ],
)
def test_a_filter_is_its_pooling_on_every_sub_grid(
    taps: tuple[float, ...], padding: str, pooling: nn.Module, rate: int
) -> None:
    """Away from a mirrored border, whose mirror stands elsewhere in a sub-grid."""
    x = images(1, 16, 20)[..., :3, :, :]
    found, wanted = Filter(taps, rate, padding)(x), phases(x, rate, pooling.double())
    inner = slice(None) if padding == "constant" else slice(rate, -rate)
    torch.testing.assert_close(found[..., inner, inner], wanted[..., inner, inner])


@pytest.mark.parametrize("rate", [1, 2, 4])
@pytest.mark.parametrize(
    ("kernel", "stride", "dilation"), [(3, 2, 1), (5, 2, 1), (4, 2, 1), (1, 2, 1), (3, 4, 1), (3, 2, 2)]
)
def test_an_uneven_window_is_the_same_convolution_at_the_places_that_it_keeps(
    kernel: int, stride: int, dilation: int, rate: int
) -> None:
    """On a map whose every ``rate``-th place is the map that the strided convolution sees."""
    conv = timm.layers.Conv2dSame(3, 6, kernel, stride, dilation=dilation, groups=3).double()
    x = images(1, 16 * rate, 24 * rate)
    with torch.no_grad():
        wanted, found = conv(x[..., ::rate, ::rate]), Uneven(conv, rate)(x)
    assert found.shape == (1, 6, 16 * rate, 24 * rate)
    step = stride * rate
    torch.testing.assert_close(found[..., ::step, ::step], wanted)


class Pooled(nn.Module):
    """The mean of 2 × 2 places by torch's own operations."""

    def forward(self, x: Tensor) -> Tensor:
        return F.avg_pool2d(F.pad(x, (0, 1, 0, 1), mode="replicate"), 2, 1)


@pytest.mark.parametrize(
    ("ours", "torchs"),
    [(Average(1), Pooled()), (Filter((1 / 3, 1 / 3, 1 / 3), 1, "constant"), nn.AvgPool2d(3, 1, 1))],
)
@pytest.mark.parametrize("method", ["px", "px-gated", "synflow-l2"])
def test_paths_run_through_a_window_as_through_torchs_own(ours: nn.Module, torchs: nn.Module, method: str) -> None:
    torch.manual_seed(0)
    first, last = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 5, 3, padding=1)
    batches = [(images(2, 8, 8), torch.randint(0, 5, (2, 8, 8)))]
    found, wanted = (
        score(method, nn.Sequential(first, nn.ReLU(), window, last).double(), batches) for window in (ours, torchs)
    )
    one, other = torch.cat([v.flatten() for v in found.values()]), torch.cat([v.flatten() for v in wanted.values()])
    assert bool((one > 0).all())
    torch.testing.assert_close(one / one.sum(), other / other.sum())


def steep(layer: nn.Module) -> nn.Module:
    """Halves five times, the last time by ``layer``."""
    return nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), *[nn.Conv2d(4, 4, 3, 2, 1) for _ in range(3)], layer)


@pytest.mark.parametrize(
    ("layer", "name"),
    [
        (nn.MaxPool2d(2), "MaxPool2d"),
        (nn.Conv2d(4, 4, 2, 2), "Conv2d"),
        (nn.Conv2d(4, 4, 3, 2, 1, padding_mode="reflect"), "Conv2d"),
        (nn.AvgPool2d(3, 2, 1, count_include_pad=False), "AvgPool2d"),
        (nn.AvgPool2d(4, 2, 1), "AvgPool2d"),
        (nn.AvgPool2d(2, divisor_override=3), "AvgPool2d"),
        (timm.layers.AvgPool2dSame(2, 2), "AvgPool2dSame"),
    ],
)
def test_a_window_that_is_not_known_is_refused(layer: nn.Module, name: str) -> None:
    with pytest.raises(InputError, match=rf"^output_stride is 16, but 4 \({name}\) cannot be dilated; choose"):
        dilate(steep(layer), 16)
    dilate(steep(layer), 32)


def test_windows_before_the_stride_stay() -> None:
    model = nn.Sequential(nn.MaxPool2d(2), nn.Conv2d(3, 4, 2, 2), steep(nn.AvgPool2d(2))[1:])
    before = str(model[:2])
    dilate(model, 8)
    assert str(model[:2]) == before
    assert [tuple(layer.stride) for layer in model[2][:3]] == [(2, 2), (1, 1), (1, 1)]
    assert [tuple(layer.dilation) for layer in model[2][:3]] == [(1, 1), (1, 1), (2, 2)]
    assert isinstance(model[2][3], Average)
    assert model[2][3].rate == 4
