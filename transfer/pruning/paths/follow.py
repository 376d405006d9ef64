"""The path algebra: what a network computes when only its input-output paths are kept.

A ReLU network is a sum over paths from an input unit to an output unit; a path's value is the product of its weights,
its activation the product of its gates (Gebhart 2021, eq. 6-8; Iurada 2024, eq. 6). :func:`follow` runs the model
unchanged and, for every tensor that depends on the input, also carries the tensor of a *linear* network with the same
graph: weights replaced by a view of them (ones, squares, absolute values), biases dropped, BatchNorm reduced to its
scale or to 1, activations replaced by the gates of the model's own forward, or by the identity.

It intercepts operations, not modules, so functional calls, in-place ReLUs and reused modules all work. Fixed linear
steps (average pooling, interpolation, a product with a number) are unchanged. An operation that is not defined on paths
raises :class:`NoPathError`.

Range: a product over 50 layers overflows float32 (in ResNet-50 the ones-view reaches 1e125), so the linear network's
tensors carry a power of two (:mod:`transfer.pruning.scaled`).
"""

from collections.abc import Callable, Hashable, Iterable, Mapping
from contextlib import nullcontext
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from transfer.pruning.not_finite import check_finite
from transfer.pruning.paths import operations as ops
from transfer.pruning.paths.carried import NoPathError, alone, give, on_path, own, path_of, share, tensors_in
from transfer.pruning.plain import bfloat16
from transfer.pruning.scaled import Scaled, View
from transfer.pruning.statistics import Norms
from transfer.pruning.tied import place

Norm = Callable[[Tensor], Tensor]
After = Callable[[Scaled], Scaled]


def _layout(inputs: Tensor) -> torch.memory_format:
    """Return the memory layout of a pass: without gradients, convolutions on a CPU are faster in channels_last."""
    wanted = inputs.dim() == 4 and inputs.device.type == "cpu" and not torch.is_grad_enabled()
    return torch.channels_last if wanted else torch.preserve_format


def stand_ins(model: nn.Module, view: Callable[[str, Tensor], Tensor]) -> dict[int, View]:
    """Return, by ``id`` of each weight (parameter of two or more dimensions), the view that replaces it.

    Weights that share memory have one view, created with the name of the first.
    """
    views: dict[int, View] = {}
    of_memory: dict[Hashable, View] = {}
    for name, p in model.named_parameters():
        if p.dim() > 1:
            if place(p) not in of_memory:
                of_memory[place(p)] = View(view(name, p.detach()))
            views[id(p)] = of_memory[place(p)]
    return views


def follow(
    model: nn.Module,
    inputs: Tensor,
    start: Tensor,
    views: Mapping[int, View],
    norm: Norm | None,
    *,
    gated: bool,
    summed: bool = False,
    bf16: bool = False,
    after: After = Scaled.rescaled,
    norms: Norms | None = None,
    looked: bool = False,
) -> Scaled:
    """Run the model on ``inputs`` and its linear path network on ``start``; return the latter's output.

    Gradients flow through the path network if enabled, never through the model.

    Args:
        model: in eval mode; not modified.
        inputs: (N, C, H, W) input of the model, which only sets the gates. Without gates, its values do not matter and
            the model's convolutions and linear layers are not computed.
        start: (N, C, H, W) non-negative input of the path network, such as squared images or ones.
        views: by ``id`` of a weight, its replacement; settled in place unless gradients are enabled.
        norm: maps a BatchNorm's scale γ/√(σ²+ε) to its replacement; None for 1.
        gated: True: a ReLU passes what the model's ReLU passes (another activation multiplies by its squared slope
            φ(z)/z, 0 at z = 0) and a max-pool picks what the model's picks. False: an activation passes everything and
            a max-pool takes the maximum of the path network itself.
        summed: a max-pool passes the sum of its window: every path counts.
        bf16: run the model in bfloat16 (autocast); the path network keeps the precision of ``start``.
        norms: BatchNorm statistics of the model in this forward; None = the stored ones.
        after: applied to the result of a weight, unless its view is settled and this is its first use in the pass;
            rescales by default.
        looked: a pass with this model was watched for operations that cannot be followed; it costs some µs for each.

    Raises:
        NoPathError: an operation is not defined on paths; names the module.
    """
    device = inputs.device.type
    machine = _Follow(model, views, norm, gated, summed, device if bf16 else None, after)
    unseen = _Unseen(machine)
    looked = looked or all(view.settled for view in views.values())
    watch = nullcontext() if looked else unseen
    layout = _layout(inputs)
    first = inputs.clone(memory_format=layout)
    give(first, Scaled(start.to(memory_format=layout)))
    try:
        with torch.no_grad(), bfloat16(device, enabled=bf16), watch, machine, norms or nullcontext():
            output = model(first)
        if not on_path(output):
            raise NoPathError(f"the output is {type(output).__name__}, not one tensor made from the input")
    except (NoPathError, RuntimeError) as error:
        reason = unseen.found or error  # torch.jit replaces errors raised inside it by its own
        if not isinstance(reason, NoPathError):
            raise
        raise NoPathError(f"path methods cannot score {_innermost(error, model)}: {reason}") from None
    if gated:
        check_finite(output, model, lambda: model(inputs), norms and norms.again())
    return path_of(output)


class _Follow(TorchFunctionMode):
    """Run every operation unchanged and attach the corresponding path tensor to its result."""

    def __init__(
        self, model: nn.Module, views: Mapping[int, View], norm: Norm | None, gated: bool, summed: bool,
        mixed: str | None, after: After,
    ) -> None:  # fmt: skip
        super().__init__()
        self.views, self.norm, self.gated, self.summed, self.after = views, norm, gated, summed, after
        self.mixed = mixed  # device type under autocast, which must not affect the path network
        self.fixed = {id(buffer) for buffer in model.buffers()}
        self.used: set[int] = set()
        self.grad = torch.is_grad_enabled()
        self.busy = False

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        count = sum(on_path(x) for x in tensors_in([args, kwargs]))
        if not count:
            return func(*args, **kwargs)
        self.busy = True
        try:
            return self._carry(count, func, args, kwargs)
        finally:
            self.busy = False

    def _carry(self, count: int, func: Any, args: Any, kwargs: Any) -> Any:
        if func in ops.REFUSED or kwargs.get("out") is not None:
            raise NoPathError(f"{ops.name(func)} moves values past the graph")
        rule = _RULES.get(func)
        if rule not in _READING and func not in ops.SHAPE:
            share(tensors_in([args, kwargs]))
        if rule is not None and (count == 1 or rule in (_add, _join)):
            return rule(self, func, *args, **kwargs)
        if count > 1:
            raise NoPathError(f"{ops.name(func)} joins two tensors that both depend on the input")
        out = func(*args, **kwargs)
        if any(True for _ in tensors_in([out])):
            raise NoPathError(f"{ops.name(func)} has no meaning on paths")
        return out

    def path(self, func: Any, x: Tensor, *args: Any, raised: int = 0, **kwargs: Any) -> Scaled:
        """Apply an operation to the path tensor of ``x``, with gradients if the caller enabled them."""
        plain = nullcontext() if self.mixed is None else torch.autocast(self.mixed, enabled=False)
        with torch.set_grad_enabled(self.grad), plain:
            return Scaled(func(path_of(x).tensor, *args, **kwargs), path_of(x).exponent + raised)


class _Unseen(TorchDispatchMode):
    """Reject operations on path tensors that bypass :class:`_Follow`: their results would count as constants."""

    def __init__(self, follow: _Follow) -> None:
        super().__init__()
        self.follow, self.found = follow, None  # type: _Follow, NoPathError | None

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if not self.follow.busy and any(on_path(x) for x in tensors_in([args, kwargs])):
            self.found = NoPathError(f"{func} is within what torch.jit or C++ runs, where paths cannot be followed")
            raise self.found
        return func(*args, **kwargs)


def _weighted(
    run: _Follow,
    func: Any,
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *args: Any,
    **kwargs: Any,
) -> Tensor:
    view = run.views.get(id(weight))
    if view is None and id(weight) not in run.fixed:
        raise NoPathError(f"{ops.name(func)} has a weight that is neither a parameter nor a buffer of the model")
    if view is None:  # a buffer: fixed coefficients
        if bool((weight < 0).any()):
            raise NoPathError(f"{ops.name(func)} with negative fixed coefficients has no meaning on paths")
        out = func(input, weight, bias, *args, **kwargs)
        return give(out, run.path(func, input, weight, None, *args, **kwargs))
    again = id(view) in run.used  # its single exponent keeps only the first result in range
    run.used.add(id(view))
    if not (view.settled or again or run.grad):
        view.settle(path_of(input).tensor)
    path = run.path(func, input, view.tensor, None, *args, raised=view.exponent, **kwargs)
    out = func(input, weight, bias, *args, **kwargs) if run.gated else torch.zeros_like(path.tensor)
    with torch.set_grad_enabled(run.grad):
        return own(out, path if view.settled and not again else run.after(path))


def _batch_norm(run: _Follow, func: Any, input: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    names = ("mean", "var", "weight", "bias", "training", "momentum", "eps")
    given = dict(zip(names, args, strict=False)) | {k.removeprefix("running_"): v for k, v in kwargs.items()}
    out = func(input, *args, **kwargs)
    if run.norm is None:
        return give(out, path_of(input), input.memory)  # type: ignore[attr-defined]
    if given.get("training") or given.get("var") is None:
        raise NoPathError(
            "a BatchNorm that uses the statistics of the batch has no fixed scale; statistics='batch' gives it one"
        )
    scale = torch.rsqrt(given["var"].to(path_of(input).tensor.dtype) + given.get("eps", 1e-5))
    scale = scale if given.get("weight") is None else given["weight"] * scale
    return give(out, run.path(torch.mul, input, run.norm(scale).view(-1, *[1] * (input.dim() - 2))))


def _relu(run: _Follow, func: Any, input: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    path, only = path_of(input), alone(input)
    out = func(input, *args, **kwargs)
    if run.grad and run.gated:  # the backward needs the gates, which the model may overwrite: copy, one byte each
        return give(out, run.path(_pass_open, give(out, path), out > 0))
    if run.gated:
        over = path.tensor if only and out is input else None
        return own(out, Scaled(_pass_active(path.tensor, out, over), path.exponent))
    share([input])
    return give(out, path)


def _sloped(run: _Follow, func: Any, input: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    before = input.clone() if kwargs.get("inplace") else input
    path, out = path_of(input), func(input, *args, **kwargs)
    give(out, path)
    if not run.gated:
        return out
    slope = torch.where(before == 0, 0, out / before)
    return give(out, run.path(torch.mul, out, slope.square()))


def _threshold(run: _Follow, func: Any, input: Tensor, threshold: float, value: float, **kwargs: Any) -> Tensor:
    if value:
        raise NoPathError(f"{ops.name(func)} to a value other than 0 has no meaning on paths")
    return _sloped(run, func, input, threshold, value, **kwargs)


def _max_pool(run: _Follow, func: Any, input: Tensor, *args: Any, **kwargs: Any) -> Any:
    if kwargs.get("return_indices"):
        raise NoPathError(f"{ops.name(func)} with return_indices has no meaning on paths")
    out, choice = ops.MAX_POOL[func](input, *args, **kwargs)
    if run.summed:
        try:
            return give(out, run.path(ops.window_sum(func), input, *args, **kwargs))
        except NotImplementedError as error:
            raise NoPathError(str(error)) from None
    return give(out, run.path(_pick, input, choice) if run.gated else run.path(func, input, *args, **kwargs))


def _linear(run: _Follow, func: Any, input: Tensor, *args: Any, **kwargs: Any) -> Any:
    if func is F.pad and (kwargs.get("value") or any(args[2:])):
        raise NoPathError("pad with a value other than 0 has no meaning on paths")
    if func is F.interpolate and {"bicubic", "lanczos"} & {kwargs.get("mode"), *args[2:3]}:
        raise NoPathError("bicubic interpolation has negative coefficients, which have no meaning on paths")
    viewed = func is Tensor.view and not any(isinstance(x, torch.dtype) for x in (*args, *kwargs.values()))
    if viewed and not input.is_contiguous():
        input.data = input.contiguous()  # the layout was chosen here, and a model may rely on another
    path = run.path(Tensor.reshape if viewed else func, input, *args, **kwargs)
    out = func(input, *args, **kwargs)
    if isinstance(out, Tensor):
        return give(out, path)
    return tuple(give(part, Scaled(p, path.exponent)) for part, p in zip(out, path.tensor, strict=True))


def _by_number(run: _Follow, func: Any, input: Any, other: Any, **kwargs: Any) -> Tensor:
    if isinstance(input, Tensor) and isinstance(other, Tensor):
        raise NoPathError(f"{ops.name(func)} multiplies by a tensor that is no weight of a convolution or linear layer")
    if kwargs or not other >= 0:  # path weights are squares or absolute values: nothing may cancel
        raise NoPathError(f"{ops.name(func)} by {other} has no meaning on paths")
    path = run.path(ops.BY_NUMBER[func], input, other)
    return give(func(input, other), path)


def _add(run: _Follow, func: Any, input: Any, other: Any, *, alpha: float = 1, **kwargs: Any) -> Tensor:
    if alpha != 1:
        raise NoPathError(f"{ops.name(func)} with alpha={alpha} has no meaning on paths")
    paths = [path_of(x) for x in (input, other) if on_path(x)]  # biases and numbers carry no path
    only = not run.grad and len(paths) > 1 and alone(input)
    out = func(input, other, **kwargs)
    if len(paths) == 1:
        share([input, other])
    with torch.set_grad_enabled(run.grad):
        path = paths[0].add_(paths[1]) if only and out is input else paths[0].plus(*paths[1:])
    if path.tensor.shape != out.shape:
        raise NoPathError(f"{ops.name(func)} of a constant that is larger than its input has no meaning on paths")
    return own(out, path) if len(paths) > 1 else give(out, path)


def _subtract(run: _Follow, func: Any, input: Any, other: Any, **kwargs: Any) -> Tensor:
    if not on_path(input):
        raise NoPathError(f"{ops.name(func)} from a constant turns the sign, which has no meaning on paths")
    return _add(run, func, input, other, **kwargs)


def _join(run: _Follow, func: Any, tensors: Iterable[Any], *args: Any, **kwargs: Any) -> Tensor:
    parts = list(tensors)
    if not all(on_path(part) for part in parts):
        raise NoPathError(f"{ops.name(func)} with a constant has no meaning on paths")
    high = max(path_of(part).exponent for part in parts)
    with torch.set_grad_enabled(run.grad):
        path = Scaled(func([path_of(part).at(high) for part in parts], *args, **kwargs), high)
    return give(func(parts, *args, **kwargs), path)


_READING = (_weighted, _batch_norm, _relu, _add)  # their results' paths have memory of their own, or say that not
_RULES: dict[Any, Callable[..., Any]] = {
    **dict.fromkeys(ops.WEIGHTED, _weighted),
    **dict.fromkeys(ops.NORM, _batch_norm),
    **dict.fromkeys(ops.RELU, _relu),
    **dict.fromkeys(ops.SLOPED, _sloped),
    F.threshold: _threshold,
    **dict.fromkeys(ops.MAX_POOL, _max_pool),
    **dict.fromkeys(ops.LINEAR, _linear),
    **dict.fromkeys(ops.BY_NUMBER, _by_number),
    **dict.fromkeys(ops.ADD, _add),
    **dict.fromkeys(ops.SUBTRACT, _subtract),
    **dict.fromkeys(ops.JOIN, _join),
}


def _pass_active(path: Tensor, active: Tensor, over: Tensor | None) -> Tensor:
    """Return ``path`` where the ReLU's output is positive, else 0: the ReLU's own backward, one fused kernel."""
    active = active.to(path.dtype)
    if over is None:
        return torch.ops.aten.threshold_backward(path, active, 0.0)
    return torch.ops.aten.threshold_backward.grad_input(path, active, 0.0, grad_input=over)


def _pass_open(path: Tensor, open_: Tensor) -> Tensor:
    return path * open_


def _pick(path: Tensor, choice: Tensor) -> Tensor:
    picked = path.flatten(2).gather(2, choice.flatten(2)).view_as(choice)
    last = torch.channels_last
    return picked.contiguous(memory_format=last) if choice.is_contiguous(memory_format=last) else picked


def _innermost(error: Exception, model: nn.Module) -> str:
    """Return the name of the innermost module whose forward was running."""
    names = {id(module): name for name, module in model.named_modules()}
    where, step = type(model).__name__, error.__traceback__
    while step is not None:
        owner = step.tb_frame.f_locals.get("self")
        if isinstance(owner, nn.Module) and names.get(id(owner)):
            where = f"{names[id(owner)]} ({type(owner).__name__})"
        step = step.tb_next
    return where
