"""torch.compile for training: the same kernels in every start, and a check that they can be made here."""

from functools import cache
from typing import cast

import torch
from torch import Tensor, nn

from checkpoints.errors import InputError, reason


def compiled(model: nn.Module) -> nn.Module:
    """Return the model with a compiled forward and backward pass; it shares its weights.

    Every batch size has kernels of its own. With kernels for any size, which batch uses them would depend on the sizes
    that the process has seen, and a resumed training would differ from an undisturbed one in its last bits. What the
    process compiled before is forgotten: torch compiles a network's code a few times only and then leaves it as it is.
    """
    torch.compiler.reset()
    return cast(nn.Module, torch.compile(model, dynamic=False))


@cache
def check_compiler(device: str) -> None:
    """Compile one operation.

    Raises:
        InputError: it fails, for example for want of a C++ compiler.
    """
    try:
        torch.compile(_twice)(torch.ones(2, device=device))
    except Exception as error:  # dynamo's, inductor's or the compiler's own
        raise InputError(
            f"train.compile does not work here ({reason(error)}); install what torch.compile needs (a C++ compiler, "
            "on GPUs Triton), or leave it out"
        ) from error


def _twice(x: Tensor) -> Tensor:
    return 2 * x
