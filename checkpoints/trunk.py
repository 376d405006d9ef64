"""The trunk of an architecture without weights, and how images are prepared for it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import timm
import torch
from torch import Tensor, nn

from . import architectures as _registered  # noqa: F401  (adds its names to timm's)
from .backbone import preparation
from .errors import InputError, near


@dataclass(frozen=True)
class Trunk:
    """An architecture without its head, on the meta device, and timm's settings of it."""

    arch: str
    model: nn.Module
    settings: dict[str, Any]

    @property
    def tensors(self) -> dict[str, Tensor]:
        """Its parameters and buffers by key: shapes and dtypes, no values."""
        return self.model.state_dict()

    @property
    def heads(self) -> tuple[str, ...]:
        """The names of the classifiers that were removed."""
        named = self.settings.get("classifier") or ()
        return (named,) if isinstance(named, str) else tuple(named)

    @property
    def preparation(self) -> dict[str, Any]:
        """The mean, std, interpolation and input_size that timm states for the architecture."""
        return preparation(self.settings)


def trunk(arch: str) -> Trunk:
    """Build the trunk of a timm model name without a tag.

    Raises:
        InputError: the name is unknown.
    """
    if "." in arch or not timm.is_model(arch):
        raise InputError(f"unknown architecture {arch!r}; {near(arch.partition('.')[0], timm.list_models())}")
    with torch.device("meta"):
        model = timm.create_model(arch, num_classes=0)
    return Trunk(arch, model, model.pretrained_cfg)
