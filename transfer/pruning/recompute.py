"""Backward passes that re-run parts of the forward, as in gradient checkpointing."""

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
    """Return ``run()``, during which a re-run forward sees ``weights`` in place of the model's own.

    Args:
        model: not modified.
        weights: those of the original forward, by parameter or buffer name.
        seen: context of the original forward.
        run: differentiates the result of the original forward.
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

    ``torch.autograd.grad`` disables all TorchFunctionModes while it runs, so one entered around it has no effect.
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
