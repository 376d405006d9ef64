"""Parameters that share memory, as after ``b.weight = nn.Parameter(a.weight.data)``: one weight, two names."""

from collections.abc import Callable, Hashable, Iterable, Mapping

import torch
from torch import Tensor, nn

from checkpoints.errors import InputError


def place(tensor: Tensor) -> Hashable:
    """Return a key that is equal for tensors over exactly the same entries of the same memory, and only for those."""
    try:
        address = tensor.data_ptr()
    except (RuntimeError, ValueError):  # uninitialised, or a subclass without its own memory
        address = 0
    if not address:
        return id(tensor)
    return tensor.device, tensor.dtype, address, tuple(tensor.shape), tensor.stride()


def twins(model: nn.Module) -> dict[str, str]:
    """Map the name of each further parameter over the same memory to the name of the first."""
    first: dict[Hashable, str] = {}
    names = {name: first.setdefault(place(p), name) for name, p in model.named_parameters()}
    return {name: leader for name, leader in names.items() if name != leader}


def with_twins(model: nn.Module, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return replacement tensors by parameter name, extended to the parameters that share memory."""
    return {**tensors, **{name: tensors[first] for name, first in twins(model).items() if first in tensors}}


def moved(model: nn.Module, move: Callable[[nn.Module], object]) -> None:
    """Move a model to another device or memory format, keeping shared memory, which torch's ``to`` separates."""
    tied = twins(model)
    move(model)
    parameters = dict(model.named_parameters())
    for name, first in tied.items():
        parameters[name].data = parameters[first].data


def refuse_overlaps(model: nn.Module, pruned: Iterable[str]) -> None:
    """Reject a prunable weight that shares part of another parameter's memory, or all of it in another layout.

    Raises:
        InputError: there is such an overlap; names both parameters.
    """
    pruned = set(pruned)
    memories: dict[Hashable, dict[Hashable, tuple[str, Tensor]]] = {}
    for name, p in model.named_parameters():
        if not isinstance(key := place(p), int):
            memory = p.untyped_storage().data_ptr(), p.dtype
            memories.setdefault(memory, {}).setdefault(key, (name, p))
    for views in memories.values():
        names = [name for name, _ in views.values()]
        if len(names) == 1 or not pruned.intersection(names):
            continue
        entries = max(view.untyped_storage().nbytes() // view.element_size() for _, view in views.values())
        owner = torch.full((entries,), -1, dtype=torch.int32)
        for number, (name, view) in enumerate(views.values()):
            own = owner.as_strided(view.shape, view.stride(), view.storage_offset())
            other = names[int(own.max())] if int(own.max()) >= 0 else name
            if other != name and pruned & {name, other}:
                raise InputError(
                    f"{other} and {name} are different views of one memory, so that a mask of one prunes the other; "
                    f"give {name} a memory of its own (torch.nn.Parameter(weight.detach().clone())), or exclude both"
                )
            own.fill_(number)
