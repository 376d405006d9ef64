"""Holes instead of halvings: a pretrained network at a finer resolution, with the features that it was trained for."""

from collections.abc import Callable
from math import comb
from typing import Any

import torch
import torch.nn.functional as F
from timm.layers import BlurPool2d, Conv2dSame
from torch import Tensor, nn

from checkpoints.errors import InputError

SIDE = 64  # of the image that shows where a network halves


class Average(nn.Module):
    """The mean of 2 × 2 places, ``rate`` apart to the right and below, at every place.

    It has the values of a 2 × 2 average pooling of stride 2 at the places that such a pooling keeps. Beyond the last
    row or column there is nothing: the mean is of the places that exist, as ``count_include_pad=False`` has it.
    """

    def __init__(self, rate: int) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) → (N, C, H, W)."""
        x = (x + torch.cat((x[..., self.rate :, :], x[..., -self.rate :, :]), -2)) / 2
        return (x + torch.cat((x[..., self.rate :], x[..., -self.rate :]), -1)) / 2


class Filter(nn.Module):
    """A fixed window around every place: an odd number of taps along each side, ``rate`` apart."""

    def __init__(self, taps: tuple[float, ...], rate: int, padding: str) -> None:
        super().__init__()
        self.taps, self.rate, self.padding = taps, rate, padding

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) → (N, C, H, W)."""
        far = len(self.taps) // 2 * self.rate
        for dim, sides in ((-2, (0, 0, far, far)), (-1, (far, far, 0, 0))):
            size, wide = x.shape[dim], F.pad(x, sides, mode=self.padding)
            x = wide.narrow(dim, 0, size) * self.taps[0]
            for i, tap in enumerate(self.taps[1:], start=1):
                x = x + wide.narrow(dim, i * self.rate, size) * tap
        return x


class Uneven(nn.Conv2d):
    """A convolution of stride 1 that looks ``back`` places up and left, and as far down and right as its window goes.

    It has the values of TensorFlow's "SAME" convolution of a larger stride at the places that such a one keeps, on a
    map whose sides divide by that stride. Beyond the border are zeros.
    """

    def __init__(self, conv: Conv2dSame, rate: int) -> None:
        own = {"groups": conv.groups, "bias": conv.bias is not None, "device": "meta"}
        steps = (conv.dilation[0] * rate, conv.dilation[1] * rate)
        super().__init__(conv.in_channels, conv.out_channels, conv.kernel_size, dilation=steps, **own)
        self.weight, self.bias = conv.weight, conv.bias
        sides = zip(conv.kernel_size, conv.stride, conv.dilation, strict=True)
        self.back = tuple(max((size - 1) * step + 1 - stride, 0) // 2 * rate for size, stride, step in sides)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) → (N, D, H, W)."""
        (top, left), (high, wide) = self.back, self.kernel_size
        bottom, right = (high - 1) * self.dilation[0] - top, (wide - 1) * self.dilation[1] - left
        return self._conv_forward(F.pad(x, (left, right, top, bottom)), self.weight, self.bias)


def dilate(model: nn.Module, output_stride: int) -> None:
    """Keep a network's maps from getting smaller than 1 / ``output_stride`` of the image's sides, in place.

    The algorithme à trous (Holschneider et al. 1989; Yu and Koltun 2016, arXiv:1511.07122): each halving beyond takes
    steps of 1, and what comes after it looks at places twice as far apart. At every second (after two halvings:
    fourth) place the maps are then exactly those of the network as it was, at the borders too (of an image whose
    sides divide by the network's own stride: of another one, the "SAME" convolutions of TensorFlow's networks would
    have begun elsewhere). Only what is taken from the whole map, as in squeeze-and-excitation,
    changes: it sees more places. Convolutions and average poolings are dilated, recognised by type; the state_dict's
    keys stay.

    Raises:
        InputError: another window, such as a max-pool's, lies where the network would have to be dilated.
    """
    for name, (before, after) in _reductions(model).items():
        if after <= output_stride:
            continue
        module, rate = model.get_submodule(name), max(1, before // output_stride)
        if isinstance(module, Conv2dSame):
            model.set_submodule(name, Uneven(module, rate))
            continue
        if isinstance(module, nn.Conv2d) and _symmetric(module):
            module.stride = (1, 1)
            if module.kernel_size != (1, 1):  # which has a faster kernel without
                module.dilation = (module.dilation[0] * rate, module.dilation[1] * rate)
                module.padding = (int(module.padding[0]) * rate, int(module.padding[1]) * rate)
            continue
        pooling = _pooling(module, rate)
        if pooling is None:
            raise InputError(
                f"output_stride is {output_stride}, but {name} ({type(module).__name__}) cannot be dilated; "
                "choose a network that halves by convolutions or average pooling, such as a ResNet"
            )
        model.set_submodule(name, pooling)


def _reductions(model: nn.Module) -> dict[str, tuple[int, int]]:
    """Return, for every module with a window, how many times smaller than the image its input and its output are."""
    sides: dict[str, tuple[int, int]] = {}

    def watch(name: str) -> Callable[..., None]:
        def note(module: nn.Module, args: tuple[Tensor], out: Tensor) -> None:
            sides[name] = SIDE // args[0].shape[-1], SIDE // out.shape[-1]

        return note

    windows = (nn.Conv2d, nn.AvgPool2d, nn.MaxPool2d, BlurPool2d)
    hooks = [m.register_forward_hook(watch(name)) for name, m in model.named_modules() if isinstance(m, windows)]
    with torch.no_grad():
        model.eval()(torch.zeros(1, 3, SIDE, SIDE))
    model.train()
    for hook in hooks:
        hook.remove()
    return sides


def _symmetric(conv: nn.Conv2d) -> bool:
    """Whether it looks as far to the left as to the right, with zeros beyond the border."""
    if isinstance(conv.padding, str) or conv.padding_mode != "zeros":
        return False
    sides = zip(conv.kernel_size, conv.padding, conv.dilation, strict=True)
    return all(2 * padding == (size - 1) * step for size, padding, step in sides)


def _pooling(module: nn.Module, rate: int) -> nn.Module | None:
    """Return what computes the same at every place, from places ``rate`` apart; None: not known."""
    if isinstance(module, BlurPool2d) and module.filt_size % 2:
        size = module.filt_size
        return Filter(tuple(comb(size - 1, i) / 2 ** (size - 1) for i in range(size)), rate, module.pad_mode)
    if type(module) is not nn.AvgPool2d or module.divisor_override is not None:
        return None
    size, padding = _one(module.kernel_size), _one(module.padding)
    if (size, _one(module.stride), padding) == (2, 2, 0):
        return Average(rate)
    if size is not None and size % 2 and padding == size // 2 and module.count_include_pad:
        return Filter((1 / size,) * size, rate, "constant")
    return None


def _one(sides: Any) -> int | None:
    """Return the number that holds for both sides, if it is one."""
    both = {sides} if isinstance(sides, int) else set(sides)
    return both.pop() if len(both) == 1 else None
