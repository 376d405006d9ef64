"""The forms that a finished model can be written in: one table."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from checkpoints.errors import InputError, near

if TYPE_CHECKING:  # the table is read before torch is loaded
    from torch import nn

Run = Callable[[Any], Any]
"""From images (N, C, …) to what the model returns, or a list of it."""


@dataclass(frozen=True)
class Form:
    """How a model is written, and read back.

    Attributes:
        about: what the file is, in a few words.
        file: its default name.
        write: from the model or the program, a path and the facts.
        read: from the path and the model to what runs the file.
        traced: ``write`` takes a program of ``torch.export``, else the model.
        smaller: whether the program is of the compact network; None: as asked.
        extra: the optional dependencies of this package that it needs.
        modules: what they bring.
    """

    about: str
    file: str
    write: Callable[[Any, Path, Mapping[str, Any]], None]
    read: Callable[[Path, nn.Module], Run]
    traced: bool = True
    smaller: bool | None = None
    extra: str = ""
    modules: tuple[str, ...] = ()


def _write_sparse(model: nn.Module, path: Path, facts: Mapping[str, Any]) -> None:
    """Write weights; their metadata are such that ``checkpoints.load`` takes the file."""
    from checkpoints.backbone import PREPARATION
    from checkpoints.sparse.write import save_sparse

    bare = {"name": facts.get("backbone", path.name), "licence": facts.get("licence")}  # of a run without its card
    card = facts.get("card", bare)
    prepared = {name: json.dumps(facts[name]) for name in PREPARATION if name in facts}
    save_sparse(model.state_dict(), path, metadata=texts(facts) | prepared | {"card": json.dumps(card)})


def _read_sparse(path: Path, model: nn.Module) -> Run:
    from copy import deepcopy

    from checkpoints.sparse.read import load_sparse

    read = deepcopy(model)
    read.load_state_dict(load_sparse(path))
    return read


def _write_program(program: Any, path: Path, facts: Mapping[str, Any]) -> None:
    from transfer.export.program import save

    save(program.exported, path, facts)


def _read_program(path: Path, model: nn.Module) -> Run:
    import torch

    return torch.export.load(path).module()


def _write_onnx(program: Any, path: Path, facts: Mapping[str, Any]) -> None:
    from transfer.export import onnx_file

    onnx_file.save(program.exported, path, facts)


def _read_onnx(path: Path, model: nn.Module) -> Run:
    from transfer.export import onnx_file

    return onnx_file.runner(path)


def texts(facts: Mapping[str, Any]) -> dict[str, str]:
    """Return facts as strings: strings as they are, anything else as JSON."""
    return {key: value if isinstance(value, str) else json.dumps(value) for key, value in facts.items()}


FORMS = {
    "sparse": Form("its weights without the zeros", "sparse.safetensors", _write_sparse, _read_sparse, traced=False),
    "compact": Form("a smaller network for torch", "compact.pt2", _write_program, _read_program, smaller=True),
    "onnx": Form(
        "a network for onnxruntime and others", "model.onnx", _write_onnx, _read_onnx,
        extra="onnx", modules=("onnx", "onnxscript", "onnxruntime"),
    ),
    "pt2": Form("a network for torch", "model.pt2", _write_program, _read_program, smaller=False),
}  # fmt: skip


def find(name: str) -> Form:
    """Return a form by its name.

    Raises:
        InputError: there is none, or what it needs is not installed.
    """
    if name not in FORMS:
        raise InputError(f"unknown form {name!r}; {near(name, list(FORMS))}")
    form = FORMS[name]
    absent = [module for module in form.modules if find_spec(module) is None]
    if absent:
        raise InputError(
            f"the form {name} needs {', '.join(absent)}, not installed; pip install 'px-transfer[{form.extra}]', or "
            f"pip install -e '.[{form.extra}]' in a clone"
        )
    return form
