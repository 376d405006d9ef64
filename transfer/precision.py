"""Float32 that is float32: TensorFloat-32, which GPUs use for convolutions unless told otherwise, off for a while."""

import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from accelerate import Accelerator

_Switch = tuple[Callable[[], Any], Callable[[Any], None], Any]  # how it is read, how it is set, to what


@contextmanager
def full_float32() -> Iterator[None]:
    """Compute float32 convolutions and matrix products in float32 (24 bits; TF32 keeps 11), on GPUs too.

    Afterwards everything is as it was. Safe to nest.
    """
    with _quiet():
        switches = _switches()
        before = [(read, write, read()) for read, write, _ in switches]
        _set(switches)
    try:
        yield
    finally:
        with _quiet():
            _set(before)


def precision_of(accelerator: "Accelerator | None") -> AbstractContextManager[None]:
    """Return :func:`full_float32` where an accelerator has no mixed precision, else what changes nothing."""
    return full_float32() if accelerator is not None and accelerator.mixed_precision == "no" else nullcontext()


def _switches() -> list[_Switch]:
    """Return what turns TF32 off, older switches first: setting them changes the newer ones (torch 2.9 and later).

    Torch refuses to read an older switch that contradicts the newer ones; such a one is left alone.
    """
    backends: Any = torch.backends
    older: list[_Switch] = [
        (*_attribute(backends.cudnn, "allow_tf32"), False),
        (torch.get_float32_matmul_precision, torch.set_float32_matmul_precision, "highest"),
    ]
    newer = [backends.cudnn.conv, backends.cudnn.rnn, backends.cuda.matmul] if hasattr(backends.cudnn, "conv") else []
    return [*filter(_readable, older), *((*_attribute(owner, "fp32_precision"), "ieee") for owner in newer)]


def _attribute(owner: Any, name: str) -> tuple[Callable[[], Any], Callable[[Any], None]]:
    return partial(getattr, owner, name), partial(setattr, owner, name)


def _readable(switch: _Switch) -> bool:
    try:
        switch[0]()
    except RuntimeError:
        return False
    return True


def _set(switches: list[_Switch]) -> None:
    for _, write, value in switches:
        write(value)


@contextmanager
def _quiet() -> Iterator[None]:
    """Some versions of torch call the older switches deprecated."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
