"""Context managers that disable TF32, which GPUs use for float32 convolutions by default."""

import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from accelerate import Accelerator

_Switch = tuple[Callable[[], Any], Callable[[Any], None], Any]  # getter, setter, value


@contextmanager
def full_float32() -> Iterator[None]:
    """Disable TF32: compute float32 convolutions and matrix products in float32 (24 bits; TF32 keeps 11).

    Restores all settings afterwards. Safe to nest.
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
    """Return :func:`full_float32` if an accelerator has no mixed precision, else a null context."""
    return full_float32() if accelerator is not None and accelerator.mixed_precision == "no" else nullcontext()


def _switches() -> list[_Switch]:
    """Return the settings that disable TF32, legacy ones first: they change the newer ones (torch 2.9 and later).

    Torch refuses to read a legacy setting that contradicts the newer ones; such a one is left alone.
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
    """Suppress the deprecation warnings of some torch versions for legacy settings."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
