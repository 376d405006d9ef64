"""Backwards that run parts of the forward again, as gradient checkpointing does."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any, TypeVar

from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook

from transfer.pruning.tied import with_twins

Found = TypeVar("Found")


def backward(
    model: nn.Module, weights: Mapping[str, Tensor], seen: Callable[[], AbstractContextManager[Any]],
    run: Callable[[], Found],
) -> Found:  # fmt: skip
    """Return ``run()``, in which a forward that runs again sees these tensors in place of the model's own.

    Args:
        model: is left as it was.
        weights: by parameter or buffer name, those of the forward before.
        seen: the context of that forward.
        run: differentiates what the forward gave.
    """

    def inside() -> Found:
        with _around_modules(seen):
            return run()

    own = {f"model.{name}": w for name, w in with_twins(model, weights).items()}
    return functional_call(_Holder(model), own, (inside,))


class _Holder(nn.Module):
    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, run: Callable[[], Found]) -> Found:
        return run()


@contextmanager
def _around_modules(seen: Callable[[], AbstractContextManager[Any]]) -> Iterator[None]:
    """Enter a context around the forward of each outermost module.

    ``torch.autograd.grad`` takes every TorchFunctionMode off while it runs, so that one around it would not be heeded.
    """
    entered: list[ExitStack] = []

    def enter(*_: Any) -> None:
        entered.append(ExitStack())
        if len(entered) == 1:
            entered[0].enter_context(seen())

    def leave(*_: Any) -> None:
        entered.pop().close()

    handles = [register_module_forward_pre_hook(enter), register_module_forward_hook(leave, always_call=True)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
