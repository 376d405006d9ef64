"""How each torch operation acts on paths, recognised by the operation itself and never by a module's name."""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import resolve_name


def _methods(names: str) -> set[Any]:
    return {getattr(Tensor, name) for name in names.split()}


WEIGHTED = {
    F.conv1d,
    F.conv2d,
    F.conv3d,
    F.conv_transpose1d,
    F.conv_transpose2d,
    F.conv_transpose3d,
    F.linear,
}
PRODUCTS = {torch.matmul, torch.mm, torch.bmm, torch.mv, torch.addmm, torch.baddbmm, torch.einsum, torch.tensordot}
PRODUCTS |= _methods("matmul __matmul__ __rmatmul__ mm bmm mv addmm baddbmm") | {F.bilinear}
NORM = {F.batch_norm}
RELU = {F.relu, torch.relu, Tensor.relu, F.relu_, torch.relu_, Tensor.relu_}
SLOPED = {
    F.leaky_relu,
    F.relu6,
    F.hardtanh,
    F.prelu,
    F.elu,
    F.celu,
    F.selu,
    F.gelu,
    F.silu,
    F.mish,
    F.hardswish,
    torch.tanh,
    Tensor.tanh,
    F.softsign,
    F.rrelu,
    F.hardshrink,
    F.softshrink,
    F.tanhshrink,
    F.threshold,
}
MAX_POOL: dict[Any, Callable[..., tuple[Tensor, Tensor]]] = {
    F.max_pool1d: F.max_pool1d_with_indices,
    F.max_pool2d: F.max_pool2d_with_indices,
    F.max_pool3d: F.max_pool3d_with_indices,
    torch.max_pool1d: F.max_pool1d_with_indices,
    torch.max_pool2d: F.max_pool2d_with_indices,
    torch.max_pool3d: F.max_pool3d_with_indices,
    F.adaptive_max_pool2d: F.adaptive_max_pool2d_with_indices,
}
ADD = {torch.add} | _methods("add __add__ __radd__ add_ __iadd__")
SUBTRACT = {torch.sub, torch.subtract} | _methods("sub subtract __sub__ sub_ subtract_ __isub__")
JOIN = {torch.cat, torch.concat, torch.stack}
BY_NUMBER: dict[Any, Any] = {  # products and quotients with a Python number, and their out-of-place version
    **dict.fromkeys({torch.mul} | _methods("mul mul_ __mul__ __rmul__ __imul__"), torch.mul),
    **dict.fromkeys({torch.div} | _methods("div div_ __truediv__ __itruediv__"), torch.div),
}
_SHAPE = "mean sum flatten reshape permute transpose squeeze unsqueeze chunk split narrow roll flip clone unbind"
LINEAR = _methods(_SHAPE) | {getattr(torch, name) for name in _SHAPE.split()}
LINEAR |= _methods("view contiguous expand unflatten __getitem__ to float double")
LINEAR |= {F.avg_pool1d, F.avg_pool2d, F.avg_pool3d, F.adaptive_avg_pool1d, F.adaptive_avg_pool2d}
LINEAR |= {F.adaptive_avg_pool3d, F.interpolate, F.pad, F.pixel_shuffle, F.pixel_unshuffle}
SHAPE = {Tensor.dim, Tensor.size, Tensor.shape.__get__, Tensor.ndim.__get__}  # type: ignore[attr-defined]
REFUSED = _methods("__setitem__ item tolist numpy __float__ __int__ __index__")  # return no tensor, or hide one
LINEAR |= {F.dropout, F.dropout1d, F.dropout2d, F.dropout3d, F.alpha_dropout, F.feature_alpha_dropout}


def window_sum(func: Any) -> Callable[..., Tensor]:
    """Return the function that sums over a max-pool's window instead of taking its maximum."""
    return _adaptive_sum if func is F.adaptive_max_pool2d else _sum_pool


def _sum_pool(
    x: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1, ceil_mode: bool = False,
    return_indices: bool = False,
) -> Tensor:  # fmt: skip
    sides = x.dim() - 2
    kernel, step, pad, spread = (_each(v, sides) for v in (kernel_size, stride or kernel_size, padding, dilation))
    if set(spread) != {1}:
        raise NotImplementedError("a dilated max-pool has no sum over its window here")
    if sides == 3:
        return F.avg_pool3d(x, kernel, step, pad, ceil_mode, divisor_override=1)
    if sides == 1:  # F.avg_pool1d has no divisor_override
        return _sum_pool(x.unsqueeze(2), (1, *kernel), (1, *step), (0, *pad), 1, ceil_mode).squeeze(2)
    return F.avg_pool2d(x, kernel, step, pad, ceil_mode, divisor_override=1)


def _each(value: Any, sides: int) -> tuple[int, ...]:
    return (value,) * sides if isinstance(value, int) else tuple(value) * (sides // len(value))


def _adaptive_sum(x: Tensor, output_size: Any, return_indices: bool = False) -> Tensor:
    sides = F.adaptive_avg_pool2d(x, output_size)
    if x.shape[-2] % sides.shape[-2] or x.shape[-1] % sides.shape[-1]:
        raise NotImplementedError("an adaptive max-pool of unequal windows has no sum over its window here")
    return sides * (x.shape[-2] // sides.shape[-2] * (x.shape[-1] // sides.shape[-1]))


def name(func: Any) -> str:
    """Return an operation's name as users write it."""
    full = resolve_name(func) or getattr(func, "__name__", str(func))
    return full.removeprefix("torch.nn.functional.")
