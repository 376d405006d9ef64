"""Where in a network numbers stop being finite."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from transfer.errors import ScoreError


def check_finite(
    output: Any, model: nn.Module, forward: Callable[[], Any], seen: AbstractContextManager[Any] | None = None
) -> None:
    """Refuse a forward whose output is not finite: run it again and say in which layer that begins.

    Args:
        output: what the forward gave; anything but a tensor passes.
        model: whose layers are watched.
        forward: runs it again.
        seen: the context of that run, which chooses the statistics of BatchNorm.

    Raises:
        ScoreError: it is not finite.
    """
    if not isinstance(output, Tensor) or bool(torch.isfinite(output).all()):
        return
    first: list[str] = []
    names = {id(module): name for name, module in model.named_modules()}

    def look(module: nn.Module, _: Any, output: Any) -> None:
        if not first and isinstance(output, Tensor) and not bool(torch.isfinite(output).all()):
            first.append(f"layer {names[id(module)] or '(the model)'} ({type(module).__name__}{_blame(module)})")

    handles = [module.register_forward_hook(look) for module in model.modules()]
    try:
        with torch.no_grad(), seen or nullcontext():
            forward()
    finally:
        for handle in handles:
            handle.remove()
    where = first[0] if first else "the output"
    raise ScoreError(
        f"the model's output on the pruning images is nan or infinite; it begins in {where}; check the weights that "
        "were loaded and the images' normalisation"
    )


def _blame(module: nn.Module) -> str:
    """Name the first tensor of the module's own that is not finite."""
    own = [*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)]
    bad = [name for name, tensor in own if not bool(torch.isfinite(tensor).all())]
    return f", whose {bad[0]} is not finite" if bad else ""
