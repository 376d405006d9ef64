"""Sparse layers against torch's dense ones, over windows, sizes, densities, threads and what follows a layer."""

import math
import pickle
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from checkpoints.errors import InputError
from transfer.export.sparse.layer import Dense, Fused, Sparse
from transfer.export.sparse.planes import Planes, Window

WINDOWS = {  # window, channels in and out, height and width
    "1x1": (Window((1, 1)), 6, 9, (8, 13)),
    "1x1 strided": (Window((1, 1), (2, 2)), 6, 9, (8, 13)),
    "1x1 padded": (Window((1, 1), (2, 2), (1, 1)), 6, 9, (8, 13)),
    "3x3": (Window((3, 3), (1, 1), (1, 1)), 6, 9, (7, 10)),
    "3x3 strided": (Window((3, 3), (2, 2), (1, 1)), 6, 9, (8, 9)),
    "3x3 dilated": (Window((3, 3), (1, 1), (4, 4), (4, 4)), 6, 9, (7, 10)),
    "3x3 wider than the image": (Window((3, 3), (1, 1), (12, 12), (12, 12)), 6, 9, (5, 4)),
    "3x3 without padding": (Window((3, 3), (3, 3)), 6, 9, (13, 12)),
    "7x7": (Window((7, 7), (2, 2), (3, 3)), 3, 8, (33, 30)),
    "uneven": (Window((3, 2), (2, 3), (1, 0), (2, 1)), 6, 9, (11, 14)),
    "grouped": (Window((3, 3), (2, 2), (1, 1), (1, 1), 3), 6, 9, (9, 10)),
    "depthwise": (Window((5, 5), (1, 1), (2, 2), (1, 1), 6), 6, 6, (9, 10)),
    "many tiles": (Window((3, 3), (1, 1), (1, 1)), 3, 4, (90, 101)),
}


@pytest.fixture(autouse=True)
def _threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def drawn(*shape: int, density: float = 1.0) -> Tensor:
    g = torch.Generator().manual_seed(sum(shape))
    return torch.randn(shape, generator=g) * (torch.rand(shape, generator=g) < density)


@pytest.mark.parametrize("name", WINDOWS)
@pytest.mark.parametrize("density", [0.0, 0.1, 1.0])
def test_a_convolution_equals_torchs(name: str, density: float) -> None:
    window, inputs, outputs, sides = WINDOWS[name]
    weight = drawn(outputs, inputs // window.groups, *window.size, density=density)
    weight[2] = 0
    bias, x = drawn(outputs), drawn(3, inputs, *sides)
    at = (window.stride, window.padding, window.dilation, window.groups)
    wanted = F.conv2d(x.double(), weight.double(), bias.double(), *at)
    layer = Sparse(Fused(weight, bias, window))
    for threads in (1, 3):
        torch.set_num_threads(threads)
        for count in (1, 3):
            assert (layer(x[:count]) - wanted[:count]).abs().max() <= 1e-5 * wanted.abs().max()


@pytest.mark.parametrize("bounds", [(-math.inf, math.inf), (0.0, math.inf), (0.0, 1.0)])
@pytest.mark.parametrize("summed", [False, True])
def test_what_follows_a_layer_is_in_both_forms(bounds: tuple[float, float], summed: bool) -> None:
    window = Window((3, 3), (1, 1), (1, 1))
    fused = Fused(drawn(5, 4, 3, 3, density=0.3), drawn(5), window, *bounds)
    x = drawn(2, 4, 6, 7)
    other = drawn(2, 5, 6, 7).to(memory_format=torch.channels_last) if summed else None
    wanted = F.conv2d(x, fused.weight, fused.bias, padding=1)
    wanted = (wanted + other if other is not None else wanted).clamp(*bounds)
    for form in (Dense(fused), Sparse(fused)):
        assert torch.allclose(form(x, other), wanted, atol=1e-5)


@pytest.mark.parametrize("shape", [(6,), (1, 6), (5, 6), (2, 3, 6)])
def test_a_linear_layer_equals_torchs(shape: tuple[int, ...]) -> None:
    fused = Fused(drawn(7, 6, density=0.4), drawn(7), None, 0.0)
    x, other = drawn(*shape), drawn(*shape[:-1], 7)
    wanted = F.linear(x, fused.weight, fused.bias)
    for form in (Dense(fused), Sparse(fused)):
        assert torch.allclose(form(x), wanted.relu(), atol=1e-5)
        assert torch.allclose(form(x, other), (wanted + other).relu(), atol=1e-5)


def test_other_sizes_and_memory_formats_of_images() -> None:
    window = Window((3, 3), (2, 2), (1, 1))
    layer = Sparse(Fused(drawn(5, 4, 3, 3, density=0.3), drawn(5), window))
    same = pickle.loads(pickle.dumps(layer))
    for sides in ((8, 8), (5, 9), (8, 8)):
        x = drawn(2, 4, *sides).to(memory_format=torch.channels_last)
        assert torch.equal(layer(x), layer(x.contiguous()))
        assert torch.equal(layer(x), same(x))


def test_nan_and_infinity_are_not_hidden() -> None:
    layer = Sparse(Fused(torch.ones(1, 2, 1, 1), torch.zeros(1), Window((1, 1)), 0.0))
    x = torch.tensor([[math.nan, math.inf, 1.0], [0.0, 0.0, 0.0]]).view(1, 2, 1, 3)
    assert layer(x).isfinite().flatten().tolist() == [False, False, True]


def test_pieces_never_leave_their_line() -> None:
    """What the loops read is not checked when they run, so it is here: the last place plus the last position."""
    for window, inputs, _, sides in WINDOWS.values():
        planes = Planes.of(window, sides)
        rows, columns = (n.flatten() for n in torch.meshgrid(*map(torch.arange, window.size), indexing="ij"))
        last = int(planes.places(torch.full_like(rows, inputs - 1), rows, columns).max())
        width, pitch, tile = planes.lines
        total = planes.result[0] * planes.result[1] // width * pitch - (pitch - width)
        assert last + total <= planes.lay(drawn(1, inputs, *sides)).shape[1]
        assert tile % pitch == 0


@pytest.mark.parametrize("count", [0, 1, 2, 3, 4, 5, 7])
def test_an_infinite_input_reaches_only_the_rows_that_have_a_weight_for_it(count: int) -> None:
    weight = torch.zeros(2, 8, 1, 1)
    weight[0, 1 : 1 + count] = 1.0
    weight[1, 0] = -2.0
    x = torch.ones(1, 8, 1, 2)
    x[0, 0, 0, 0] = math.inf
    found = Sparse(Fused(weight, torch.ones(2), Window((1, 1))))(x)
    assert found.flatten().tolist() == pytest.approx([count + 1.0, count + 1.0, -math.inf, -1.0])


def test_no_gradient_is_lost_without_a_word() -> None:
    layer: nn.Module = Sparse(Fused(drawn(5, 4, 1, 1), drawn(5), Window((1, 1))))
    x = drawn(1, 4, 5, 5)
    wants = x.clone().requires_grad_()
    for inputs in ((wants,), (x, drawn(1, 5, 5, 5).requires_grad_())):
        with pytest.raises(InputError, match="no gradients; call the model under"):
            layer(*inputs)
    with torch.no_grad():
        assert torch.equal(layer(wants), layer(x))


@pytest.mark.parametrize(
    ("window", "inputs", "message"),
    [
        (Window((1, 1)), (drawn(1, 3, 5, 5),), r"of shape \(1, 3, 5, 5\), but takes \(N, 4, height, width"),
        (Window((1, 1)), (drawn(4, 5, 5),), r"of shape \(4, 5, 5\)"),
        (None, (drawn(2, 3),), r"of shape \(2, 3\), but takes \(…, 4\)"),
        (Window((1, 1)), (drawn(1, 4, 5, 5).double(),), "got torch.float64 on cpu, but takes torch.float32"),
        (Window((1, 1)), (torch.zeros(1, 4, 5, 5, device="meta"),), "got torch.float32 on meta"),
        (Window((1, 1)), (drawn(1, 4, 5, 5), drawn(1, 6, 5, 4)), r"adds .* \(1, 6, 5, 4\) to one of \(1, 6"),
        (None, (drawn(2, 4), drawn(3, 6)), "adds a tensor of shape"),
    ],
)  # fmt: skip
def test_tensors_that_the_loops_would_misread_are_refused(
    window: Window | None, inputs: tuple[Tensor, ...], message: str
) -> None:
    weight = drawn(6, 4) if window is None else drawn(6, 4, 1, 1)
    with pytest.raises(InputError, match=message):
        Sparse(Fused(weight, drawn(6), window))(*inputs)
