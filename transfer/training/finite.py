"""Whether numbers are finite: no nan, no infinity."""

from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor


def tensors_in(value: Any) -> Iterator[Tensor]:
    """Yield every tensor in nested dicts and lists."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from tensors_in(item)


def all_finite(tensors: Iterable[Tensor]) -> bool:
    """Say whether no tensor holds nan or infinity."""
    flags: dict[torch.device, list[Tensor]] = {}  # one wait for each device, not one for each tensor
    for tensor in tensors:
        flags.setdefault(tensor.device, []).append(tensor.isfinite().all())
    return all(bool(torch.stack(found).all()) for found in flags.values())
