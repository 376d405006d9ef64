"""Hold masks during training: pruned weights stay exactly 0 under any optimizer."""

from typing import Any

import torch
from torch import Tensor, nn

from transfer.pruning.masks import Masks
from transfer.pruning.tied import place


class Hold:
    """Masks gradients when they are complete and weights after every optimizer step, until :meth:`remove`.

    Both are needed: with gradients alone, momentum or weight decay from before moves pruned weights; with weights
    alone, the gradients of pruned weights count in the clipping norm. A frozen weight has no gradient to mask; one that
    is thawed later is held by its values alone until it is held again. A parameter over the memory of a masked one is
    masked with it. Safe to make again after a resume. Under accelerate give the wrapped optimizer or the bare one, and
    the model before it is wrapped or compiled, or after. What fails leaves no hook.
    """

    def __init__(self, masks: Masks, model: nn.Module, optimizer: torch.optim.Optimizer):
        model = _unwrapped(model, masks)
        bare = getattr(optimizer, "optimizer", optimizer)
        self._pruned: list[tuple[nn.Parameter, Tensor]] = [
            (p, ~masks[name].to(p.device)) for name, p in masks.match(model).items()
        ]
        of_memory = {place(p): pruned for p, pruned in self._pruned}
        own = {id(p) for p, _ in self._pruned}
        others = [p for p in model.parameters() if id(p) not in own]
        self._pruned += [(p, of_memory[place(p)]) for p in others if place(p) in of_memory]
        self._handles: list[Any] = []
        try:
            self._handles.append(bare.register_step_post_hook(lambda *_: self._zero_weights()))
            for parameter, pruned in self._pruned:
                if parameter.requires_grad:
                    self._handles.append(parameter.register_post_accumulate_grad_hook(_masked(pruned)))
            self._zero_weights()
        except BaseException:
            self.remove()
            raise

    @torch.no_grad()
    def _zero_weights(self) -> None:
        for parameter, pruned in self._pruned:
            parameter.masked_fill_(pruned, 0.0)

    def remove(self) -> None:
        """Stop holding: take every hook away."""
        for handle in self._handles:
            handle.remove()
        self._handles.clear()


def _masked(pruned: Tensor) -> Any:
    def hook(parameter: Tensor) -> None:
        if parameter.grad is not None:
            parameter.grad.masked_fill_(pruned, 0.0)

    return hook


def _unwrapped(model: nn.Module, masks: Masks) -> nn.Module:
    """Return the model that has the masks' names, within DistributedDataParallel and ``torch.compile``."""
    while not _has(model, masks):
        inner = getattr(model, "_orig_mod", getattr(model, "module", None))
        if not isinstance(inner, nn.Module):
            break
        model = inner
    return model


def _has(model: nn.Module, masks: Masks) -> bool:
    names = dict(model.named_parameters())
    return all(name in names for name in masks)
