"""Locate the layer where the values of a network stop being finite."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from transfer.errors import ScoreError


def finite(values: Tensor) -> bool:
    """Return whether all values are finite: by their sum, which is quick, and one by one only if that is not."""
    return bool(torch.isfinite(values.sum())) or bool(torch.isfinite(values).all())


def check_finite(
    output: Any, model: nn.Module, forward: Callable[[], Any], seen: AbstractContextManager[Any] | None = None
) -> None:
    """Reject a non-finite output; the forward is run again to find the first such layer.

    Args:
        output: result of the forward; anything but a tensor passes.
        model: whose layers are inspected.
        forward: runs the forward again.
        seen: context of that run, which selects the BatchNorm statistics.

    Raises:
        ScoreError: the output is not finite.
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
    """Name the module's first own parameter or buffer that is not finite."""
    own = [*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)]
    bad = [name for name, tensor in own if not bool(torch.isfinite(tensor).all())]
    return f", whose {bad[0]} is not finite" if bad else ""
