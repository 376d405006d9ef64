"""A program of ``torch.export`` as an ONNX file."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from checkpoints.files import write_whole
from transfer.errors import RunError
from transfer.export.forms import texts
from transfer.export.program import quiet

INPUT = "image"
OUTPUT = "output"
_SIDES = {4: ("batch", "channels", "height", "width")}


def save(exported: Any, path: Path, facts: Mapping[str, Any]) -> None:
    """Write a program as ONNX, the facts as its metadata."""
    import onnx

    count = len(exported.graph_signature.user_outputs)
    outputs = [OUTPUT] if count == 1 else [f"{OUTPUT}_{i}" for i in range(count)]
    with quiet():
        made = torch.onnx.export(exported, (), dynamo=True, verbose=False, input_names=[INPUT], output_names=outputs)
    assert made is not None
    model = made.model_proto
    _name_sizes(model)
    onnx.helper.set_model_props(model, texts(facts))
    write_whole(path, model.SerializeToString())


def runner(path: Path) -> Callable[[Tensor], list[Tensor]]:
    """Return what runs the file in onnxruntime; it raises RunError where the file's own sizes do not fit together."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])

    def run(images: Tensor) -> list[Tensor]:
        try:
            return [torch.from_numpy(each) for each in session.run(None, {INPUT: images.numpy()})]
        except Exception as error:  # onnxruntime has one class per status, derived from nothing else
            reason = str(error).strip().splitlines()[-1][-150:]
            raise RunError(
                f"onnxruntime fails on images {tuple(images.shape)} ({reason}); nothing was written"
            ) from error

    return run


def _name_sizes(model: Any) -> None:
    """Call the free sizes of the input batch, height and width, where torch numbers them."""
    sizes = model.graph.input[0].type.tensor_type.shape.dim
    names = {
        size.dim_param: name for size, name in zip(sizes, _SIDES.get(len(sizes), ()), strict=False) if size.dim_param
    }
    for value in (*model.graph.input, *model.graph.output, *model.graph.value_info):
        for size in value.type.tensor_type.shape.dim:
            if size.dim_param:
                size.dim_param = re.sub(r"\w+", lambda found: names.get(found[0], found[0]), size.dim_param)
