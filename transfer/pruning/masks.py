"""Pruning masks: a mapping from parameter name to a bool tensor of kept weights, and its operations."""

import hashlib
import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from checkpoints.errors import InputError
from checkpoints.files import write_whole
from checkpoints.weights_file import serialized
from transfer.pruning.hold import Hold, unwrapped


class Masks(Mapping[str, Tensor]):
    """Immutable mapping from parameter name to a bool mask of the parameter's shape; True = kept."""

    def __init__(self, masks: Mapping[str, Tensor]):
        for name, mask in masks.items():
            if mask.dtype != torch.bool:
                raise InputError(f"mask of {name} has dtype {mask.dtype}; masks are bool, True = kept")
        self._masks = dict(masks)

    @classmethod
    def full(cls, weights: Mapping[str, Tensor]) -> "Masks":
        """Return masks that keep every weight."""
        return cls({name: torch.ones_like(w, dtype=torch.bool) for name, w in weights.items()})

    def __getitem__(self, name: str) -> Tensor:
        return self._masks[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._masks)

    def __len__(self) -> int:
        return len(self._masks)

    def __repr__(self) -> str:
        return f"Masks({self.kept:,} of {self.total:,} weights kept, sparsity {self.sparsity:.4%})"

    @property
    def total(self) -> int:
        """Number of prunable weights."""
        return sum(mask.numel() for mask in self.values())

    @property
    def kept(self) -> int:
        """Number of kept weights."""
        return sum(int(mask.count_nonzero()) for mask in self.values())

    @property
    def density(self) -> float:
        """Kept fraction, in [0, 1]."""
        return self.kept / self.total

    @property
    def sparsity(self) -> float:
        """Removed fraction, in [0, 1]."""
        return 1 - self.density

    def digest(self) -> str:
        """Return a SHA-256 over names, shapes and bits; equal masks have equal digests on every machine."""
        sha = hashlib.sha256()
        for name, mask in sorted(self.items()):
            sha.update(f"{name}{tuple(mask.shape)}".encode())
            sha.update(_packed(mask).tobytes())
        return sha.hexdigest()

    def layers(self) -> list[dict[str, Any]]:
        """Return one row per layer: name, total, kept, density; :func:`transfer.pruning.report` adds more."""
        return [_layer(name, mask) for name, mask in self.items()]

    def collapsed(self) -> list[str]:
        """Return the names of the layers with no kept weight."""
        return [name for name, mask in self.items() if not bool(mask.any())]

    def apply_(self, model: nn.Module) -> None:
        """Set the model's pruned weights to exactly 0.0, in place.

        Raises:
            InputError: a mask matches no parameter of the model by name and shape.
        """
        parameters = self.match(model)
        with torch.no_grad():
            for name, mask in self.items():
                parameters[name].masked_fill_(~mask.to(parameters[name].device), 0.0)

    def match(self, model: nn.Module) -> dict[str, nn.Parameter]:
        """Return the model's parameters by mask name.

        Raises:
            InputError: a mask matches no parameter of the model by name and shape.
        """
        parameters = dict(model.named_parameters())
        for name, mask in self.items():
            if name not in parameters:
                raise InputError(f"mask {name} has no parameter in {type(model).__name__}; were they made for it?")
            if parameters[name].shape != mask.shape:
                got, want = tuple(mask.shape), tuple(parameters[name].shape)
                raise InputError(f"mask {name} has shape {got}; the model's parameter has {want}")
        return {name: parameters[name] for name in self}

    def hold(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> "Hold":
        """Keep pruned weights at zero while the optimizer trains the model, bare or wrapped; see :class:`Hold`.

        Raises:
            InputError: as :meth:`match`.
        """
        bare = unwrapped(model, self)
        return Hold(self, self.match(bare), bare, optimizer)

    def save(self, path: str | Path, metadata: Mapping[str, str] | None = None) -> None:
        """Write the masks to a safetensors file atomically, one bit per weight."""
        shapes = json.dumps({name: list(mask.shape) for name, mask in self.items()})
        packed = {name: torch.from_numpy(_packed(mask)) for name, mask in self.items()}
        note = {**(metadata or {}), "format": "px-transfer masks 1", "shapes": shapes}
        write_whole(Path(path), serialized(packed, note))

    @classmethod
    def load(cls, path: str | Path) -> "Masks":
        """Read masks written by :meth:`save`.

        Raises:
            InputError: the file is absent, damaged or not a mask file.
        """
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(str(path), framework="np") as file:
                shapes = json.loads((file.metadata() or {})["shapes"])
                masks = {name: _unpacked(file.get_tensor(name), shape) for name, shape in shapes.items()}
                if not masks:
                    raise ValueError("it names no masks")
                return cls(masks)
        except FileNotFoundError as error:
            raise InputError(f"no mask file at {path}") from error
        except (
            SafetensorError,
            KeyError,
            ValueError,
            TypeError,
            AttributeError,
            OSError,
            OverflowError,
            RuntimeError,  # includes RecursionError, from deeply nested JSON
        ) as error:
            raise InputError(f"{path} is not a whole mask file of this project ({error}); make it again") from error


def _layer(name: str, mask: Tensor) -> dict[str, Any]:
    kept, total = int(mask.count_nonzero()), mask.numel()
    return {"layer": name.removesuffix(".weight"), "total": total, "kept": kept, "density": kept / total}


def _packed(mask: Tensor) -> np.ndarray:
    return np.packbits(mask.reshape(-1).cpu().numpy())


def _unpacked(bits: np.ndarray, shape: list[int]) -> Tensor:
    whole = bool(shape) and all(type(side) is int and side > 0 for side in shape)
    count = math.prod(shape) if whole else 0
    if not whole or bits.dtype != np.uint8 or bits.size != (count + 7) // 8:
        raise ValueError(f"{bits.size} bytes of {bits.dtype} for shape {shape}")
    return torch.from_numpy(np.unpackbits(bits, count=count).astype(bool)).view(shape)


def kept(weights: Mapping[str, Tensor], masks: Mapping[str, Tensor] | None) -> dict[str, Tensor]:
    """Return a bool mask for every prunable weight, True = kept; a weight without a mask is kept entirely.

    Raises:
        InputError: a mask matches no prunable weight, or has another shape or dtype.
    """
    masks = masks or {}
    for name, mask in masks.items():
        if name not in weights:
            raise InputError(
                f"mask {name} is of no prunable weight of the model that is not excluded; were the masks made for it?"
            )
        if mask.dtype != torch.bool or mask.shape != weights[name].shape:
            raise InputError(
                f"mask {name} is {mask.dtype} of shape {tuple(mask.shape)}; give bool, True = kept, of the "
                f"weight's shape {tuple(weights[name].shape)}"
            )
    return {
        name: masks[name].to(w.device) if name in masks else torch.ones_like(w, dtype=torch.bool)
        for name, w in weights.items()
    }
