"""Run a model in its own precision and uncompiled, with torch's errors as one line."""

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from checkpoints.errors import InputError
from transfer.errors import RunError

_wanted = ContextVar("_wanted", default=False)


@contextmanager
def plain() -> Iterator[None]:
    """Disable autocast and ``torch.compile``, even where the model's forward enables them.

    Raises:
        InputError: the model, batches, loss and method do not fit together; translated from torch's own error.
    """
    eager = torch.compiler.set_stance("force_eager") if "torch._dynamo" in sys.modules else nullcontext()
    with eager, no_autocast():
        try:
            yield
        except RunError:
            raise
        except RuntimeError as error:
            told = next((text for pattern, text in _TOLD if re.search(pattern, str(error))), None)
            if told is None:
                raise
            raise InputError(f"{told} (torch: {error})") from error


@contextmanager
def bfloat16(device: str, *, enabled: bool) -> Iterator[None]:
    """Autocast to bfloat16 if ``enabled``, also within :func:`no_autocast`."""
    before = _wanted.set(enabled)
    try:
        with torch.autocast(device, torch.bfloat16, enabled=enabled):
            yield
    finally:
        _wanted.reset(before)


class no_autocast(TorchFunctionMode):
    """Disable autocast for every operation, whether it was enabled outside or inside the context."""

    def __init__(self) -> None:
        super().__init__()
        other = torch.accelerator.current_accelerator()
        self.devices = ["cpu"] if other is None else ["cpu", other.type]

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        for device in self.devices:
            if torch.is_autocast_enabled(device) and not _wanted.get():
                with torch.autocast(device, enabled=False):
                    return self.__torch_function__(func, types, args, kwargs)
        return func(*args, **(kwargs or {}))


_TOLD = (  # patterns of torch's errors, and our messages
    (
        r"checkpoint is incompatible with \.grad",
        "the model checkpoints activations with use_reentrant=True, which gives no gradients by chosen weights; pass "
        "use_reentrant=False to torch.utils.checkpoint, or turn checkpointing off to score",
    ),
    (
        r"derivative for .* is not implemented|double backward|differentiate twice",
        "the method takes second derivatives, which an operation of the model does not have; choose one that takes "
        "first ones, such as snip, fisher or ntk-trace",
    ),
    (
        r"does not require grad and does not have a grad_fn",
        "the outputs or the loss have no gradient by the weights; score a model whose forward does not run under "
        "torch.no_grad() or detach, or choose magnitude",
    ),
    (
        r"grad can be implicitly created only for scalar outputs|Mismatch in shape: grad_output",
        "the loss gives several numbers; give one that returns the mean over the samples (reduction='mean')",
    ),
    (
        r"[Tt]ype.* should be the same|same dtype|expected scalar type|on the same device",
        "the inputs and the weights differ in type or device; convert one to the other's, such as inputs.float()",
    ),
    (
        r"to have \d+ channels, but got|shapes cannot be multiplied",
        "the inputs do not have the shape that the model takes; check the images' channels and size",
    ),
)
