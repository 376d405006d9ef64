"""What every source of weights returns: the trunk as data, how its images are prepared, and its card."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor


PREPARATION = ("mean", "std", "interpolation", "input_size")


def preparation(stated: Mapping[str, Any]) -> dict[str, Any]:
    """Pick how images are prepared out of what TOML, JSON or timm states; lists become tuples."""
    picked = {name: stated[name] for name in PREPARATION if name in stated}
    return {name: tuple(value) if isinstance(value, list) else value for name, value in picked.items()}


@dataclass(frozen=True)
class Card:
    """Where weights come from and on what terms.

    ``sha256`` is that of the whole file that was read; None when no file was read.
    """

    name: str
    licence: str | None = None
    paper: str | None = None
    url: str | None = None
    sha256: str | None = None
    non_commercial: bool = False
    notes: str = ""


@dataclass(frozen=True, eq=False)
class Backbone:
    """A pretrained trunk as plain data.

    arch           a timm model name: ``timm.create_model(arch, num_classes=0)`` takes ``state_dict`` strictly
    state_dict     the trunk only, in timm's keys and dtypes, on the CPU; the old head is dropped
    mean, std      per channel, for images in [0, 1]
    interpolation  how training images were resized, as timm and torchvision name it
    input_size     (channels, height, width) of the images that the weights were made for
    """

    arch: str
    state_dict: Mapping[str, Tensor]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    interpolation: str
    input_size: tuple[int, int, int]
    card: Card

    def digest(self) -> str:
        """Return the SHA-256 over the sorted (key, dtype, shape, bytes) of the weights, as 64 hex digits."""
        return digest(self.state_dict)


def digest(state_dict: Mapping[str, Tensor]) -> str:
    """Return the SHA-256 over the sorted (key, dtype, shape, bytes) of tensors by name, as 64 hex digits."""
    import torch

    total = hashlib.sha256()
    for key in sorted(state_dict):
        tensor = state_dict[key].detach().cpu().contiguous()
        total.update(f"{key}|{tensor.dtype}|{tuple(tensor.shape)}|".encode())
        total.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return total.hexdigest()
