"""Replace strides by dilation; features stay unchanged."""

from collections.abc import Callable
from math import comb
from typing import Any

import torch
import torch.nn.functional as F
from timm.layers import BlurPool2d, Conv2dSame
from torch import Tensor, nn

from checkpoints.errors import InputError

SIDE = 64  # of the image used to find where a network downsamples


class Average(nn.Module):
    """Mean over a 2 × 2 window with dilation ``rate``, extending right and down, at stride 1.

    Equals a 2 × 2 average pooling of stride 2 at the positions that such a pooling keeps. Beyond the last row or
    column, the mean is over the positions that exist, as with ``count_include_pad=False``.
    """

    def __init__(self, rate: int) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        """Average: (N, C, H, W) → (N, C, H, W)."""
        x = (x + torch.cat((x[..., self.rate :, :], x[..., -self.rate :, :]), -2)) / 2
        return (x + torch.cat((x[..., self.rate :], x[..., -self.rate :]), -1)) / 2


class Filter(nn.Module):
    """Fixed separable filter at stride 1, with an odd number of taps along each side and dilation ``rate``."""

    def __init__(self, taps: tuple[float, ...], rate: int, padding: str) -> None:
        super().__init__()
        self.taps, self.rate, self.padding = taps, rate, padding

    def forward(self, x: Tensor) -> Tensor:
        """Filter: (N, C, H, W) → (N, C, H, W)."""
        far = len(self.taps) // 2 * self.rate
        for dim, sides in ((-2, (0, 0, far, far)), (-1, (far, far, 0, 0))):
            size, wide = x.shape[dim], F.pad(x, sides, mode=self.padding)
            x = wide.narrow(dim, 0, size) * self.taps[0]
            for i, tap in enumerate(self.taps[1:], start=1):
                x = x + wide.narrow(dim, i * self.rate, size) * tap
        return x


class Uneven(nn.Conv2d):
    """Stride-1 convolution whose window reaches ``back`` positions up and left, and the rest down and right.

    Equals TensorFlow's "SAME" convolution of a larger stride at the positions that such a one keeps, on maps whose
    sides are multiples of that stride. Pads with zeros.
    """

    def __init__(self, conv: Conv2dSame, rate: int) -> None:
        own = {"groups": conv.groups, "bias": conv.bias is not None, "device": "meta"}
        steps = (conv.dilation[0] * rate, conv.dilation[1] * rate)
        super().__init__(conv.in_channels, conv.out_channels, conv.kernel_size, dilation=steps, **own)
        self.weight, self.bias = conv.weight, conv.bias
        sides = zip(conv.kernel_size, conv.stride, conv.dilation, strict=True)
        self.back = tuple(max((size - 1) * step + 1 - stride, 0) // 2 * rate for size, stride, step in sides)

    def forward(self, x: Tensor) -> Tensor:
        """Convolve: (N, C, H, W) → (N, D, H, W)."""
        (top, left), (high, wide) = self.back, self.kernel_size
        bottom, right = (high - 1) * self.dilation[0] - top, (wide - 1) * self.dilation[1] - left
        return self._conv_forward(F.pad(x, (left, right, top, bottom)), self.weight, self.bias)


def dilate(model: nn.Module, output_stride: int) -> None:
    """Limit a network's downsampling to ``output_stride`` by replacing strides with dilation, in place.

    The algorithme à trous (Holschneider et al. 1989; Yu and Koltun 2016, arXiv:1511.07122): each stride of 2 beyond the
    limit becomes 1, and the layers after it are dilated by a further factor of 2. At every second (after two replaced
    strides: fourth) position the maps then equal those of the original network exactly, borders included, for images
    whose sides are multiples of the network's own stride (for others, the "SAME" convolutions of TensorFlow's networks
    would have started at another offset). Only operations over the whole map, as in squeeze-and-excitation, change:
    they see more positions. Convolutions and average poolings are dilated, recognised by type; the state_dict's keys
    are unchanged.

    Raises:
        InputError: another window, such as a max-pool's, would have to be dilated.
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
            if module.kernel_size != (1, 1):  # the same undilated, with a faster kernel
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
    """Return, for every module with a window, the downsampling factors of its input and its output."""
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
    """Return whether the window is centred and padded with zeros."""
    if isinstance(conv.padding, str) or conv.padding_mode != "zeros":
        return False
    sides = zip(conv.kernel_size, conv.padding, conv.dilation, strict=True)
    return all(2 * padding == (size - 1) * step for size, padding, step in sides)


def _pooling(module: nn.Module, rate: int) -> nn.Module | None:
    """Return a stride-1 module that computes the same pooling with dilation ``rate``; None if there is none."""
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
    """Return the number that holds for both sides, or None if they differ."""
    both = {sides} if isinstance(sides, int) else set(sides)
    return both.pop() if len(both) == 1 else None
