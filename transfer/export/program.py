"""A finished model as a program of ``torch.export``, masked or compact, for as many sizes of images as it allows."""

from __future__ import annotations

import io
import json
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from timm.layers import AvgPool2dSame, Conv2dSame
from torch import Tensor, nn

from checkpoints.files import write_whole
from transfer.export.compact import compact
from transfer.export.sides import SizeCheck, size_check
from transfer.export.trace import NotTraced, exported_program

ABOUT = "model.json"
"""Name of the facts inside a ``.pt2`` file."""
_PADS_BY_SIZE = (AvgPool2dSame, Conv2dSame)


@dataclass(frozen=True)
class Program:
    """A traced network.

    Attributes:
        network: what was traced: the model, or the compact network made of it.
        exported: of ``torch.export``; takes any number of images.
        sizes: which sides it takes; None if torch does not say.
    """

    network: nn.Module
    exported: Any
    sizes: SizeCheck | None


def program(model: nn.Module, example: Tensor, *, smaller: bool = False, fixed: bool = False) -> Program:
    """Trace a model for all sides of images that torch can follow, else for the example's.

    Networks that pad by the size of the image, such as TensorFlow's EfficientNets, would take minutes; they are traced
    for one size at once.

    Args:
        model: not modified.
        example: images (N, C, …), N ≥ 1.
        smaller: trace the compact network.
        fixed: allow the example's sides only.

    Raises:
        InputError: the model cannot be traced, or ``compact`` refuses it; names the module.
    """
    if fixed or any(isinstance(module, _PADS_BY_SIZE) for module in model.modules()):
        return _traced(model, example, smaller, resizable=False)
    try:
        return _traced(model, example, smaller, resizable=True)
    except NotTraced:
        return _traced(model, example, smaller, resizable=False)


def _traced(model: nn.Module, example: Tensor, smaller: bool, *, resizable: bool) -> Program:
    network = compact(model, example, resizable=resizable) if smaller else model
    exported = exported_program(network, example, resizable=resizable)
    return Program(network, exported, size_check(exported, example))


def save(exported: Any, path: Path, facts: Mapping[str, Any]) -> None:
    """Write a program with the facts inside; ``torch.export.load`` needs PyTorch alone."""
    content = io.BytesIO()
    with quiet():
        torch.export.save(exported, content, extra_files={ABOUT: json.dumps(facts)})
    write_whole(path, content.getvalue())


@contextmanager
def quiet() -> Iterator[None]:
    """Keep what exporters warn their own developers of from the user."""
    with warnings.catch_warnings():
        for kind in (DeprecationWarning, PendingDeprecationWarning, FutureWarning):
            warnings.simplefilter("ignore", kind)
        yield
