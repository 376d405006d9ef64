"""The path tensor that each of the model's tensors carries, and whether its memory may be overwritten."""

from collections.abc import Iterable, Iterator
from typing import Any
from weakref import ref

from torch import Tensor

from checkpoints.errors import InputError
from transfer.pruning.scaled import Scaled


class NoPathError(InputError):
    """The network has an operation that is not defined on paths."""


class Memory:
    """Memory of a path tensor: which of the model's tensors hold it; it may be overwritten together with the last."""

    def __init__(self, *, owned: bool) -> None:
        self.owned = owned  # only by the holders; once it is not, it never is again
        self.holders: list[ref[Tensor]] = []

    def only_of(self, x: Tensor) -> bool:
        """Return whether nothing but ``x`` holds it."""
        return self.owned and all(holder() is None or holder() is x for holder in self.holders)


def give(out: Tensor, path: Scaled, memory: Memory | None = None) -> Tensor:
    """Attach a path to a tensor.

    Args:
        out: of the model.
        path: its path tensor.
        memory: the path's; None: something else may hold it, so that it is never overwritten.
    """
    memory = memory or Memory(owned=False)
    memory.holders.append(ref(out))
    out.path, out.of_version, out.memory = path, out._version, memory  # type: ignore[attr-defined]
    return out


def own(out: Tensor, path: Scaled) -> Tensor:
    """Attach a path whose memory nothing else holds."""
    return give(out, path, Memory(owned=True))


def alone(x: Tensor) -> bool:
    """Return whether the path of ``x`` may be overwritten when ``x`` is."""
    return x.memory.only_of(x)  # type: ignore[attr-defined]


def share(tensors: Iterable[Any]) -> None:
    """Never overwrite the paths of these tensors: something else may hold them from here on."""
    for x in tensors:
        if on_path(x):
            x.memory.owned = False


def path_of(x: Tensor) -> Scaled:
    """Return the path of a tensor.

    Raises:
        NoPathError: the tensor was overwritten since the path was attached.
    """
    if x._version != x.of_version:  # type: ignore[attr-defined]
        raise NoPathError("a tensor is used again after it was overwritten in place through another view of it")
    return x.path  # type: ignore[attr-defined]


def on_path(x: Any) -> bool:
    """Return whether this is a tensor with a path: one that depends on the input."""
    return isinstance(x, Tensor) and hasattr(x, "path")


def tensors_in(values: Any) -> Iterator[Tensor]:
    """Yield the tensors in nested lists, tuples and dicts."""
    for value in values.values() if isinstance(values, dict) else values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, (tuple, list, dict)):
            yield from tensors_in(value)
