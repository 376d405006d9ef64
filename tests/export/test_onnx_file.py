import json
from pathlib import Path

import pytest
import timm
import torch
from torch import nn

import checkpoints
from tests.export.networks import NETWORKS, conv, drawn, gap, prune
from transfer.export import onnx_file
from transfer.export.program import program
from transfer.models import segmenter

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxscript")
pytest.importorskip("onnxruntime")


class Read(nn.Module):
    """A file in onnxruntime, as a network."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._run = onnx_file.runner(path)

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        return self._run(x)


def written(model: nn.Module, path: Path, size: int, smaller: bool = False) -> Read:
    made = program(model, torch.zeros(2, 3, size, size), smaller=smaller)
    onnx_file.save(made.exported, path, {"mean": [0.5, 0.4, 0.3], "task": "classification"})
    return Read(path)


@pytest.mark.large
@pytest.mark.slow
def test_any_batch_and_size_and_the_facts_as_metadata(tmp_path: Path) -> None:
    model = prune(nn.Sequential(conv(3, 8), nn.MaxPool2d(2), conv(8, 4), nn.AdaptiveAvgPool2d(1)), 0.5, 0).float()
    read = written(model, tmp_path / "model.onnx", 16)
    assert gap(model, read, (1, 3, 16, 16), (3, 3, 21, 18)) < 1e-5
    proto = onnx.load(tmp_path / "model.onnx")
    facts = {prop.key: prop.value for prop in proto.metadata_props}
    assert facts["task"] == "classification"
    assert json.loads(facts["mean"]) == [0.5, 0.4, 0.3]
    sizes = proto.graph.input[0].type.tensor_type.shape.dim
    assert [size.dim_param or size.dim_value for size in sizes] == ["batch", 3, "height", "width"]
    assert proto.graph.input[0].name == "image"
    assert [each.name for each in proto.graph.output] == ["output"]


@pytest.mark.large
@pytest.mark.slow
@pytest.mark.parametrize("smaller", [False, True])
@pytest.mark.parametrize("name", ["residual", "grouped", "depthwise"])
def test_masked_and_compact(tmp_path: Path, name: str, smaller: bool) -> None:
    model = prune(NETWORKS[name](), 0.85, 0, whole=0.1).float()
    read = written(model, tmp_path / "model.onnx", 16, smaller)
    assert gap(model, read, (1, 3, 16, 16), (3, 3, 21, 18)) < 1e-5


@pytest.mark.large
@pytest.mark.slow
def test_several_outputs_keep_their_order(tmp_path: Path) -> None:
    model = prune(NETWORKS["dense"](), 0.5, 0).float()
    read = written(model, tmp_path / "model.onnx", 16)
    shapes = [each.shape for each in read(drawn(model, (2, 3, 20, 24)))]
    assert shapes == [each.shape for each in model(drawn(model, (2, 3, 20, 24)))]


@pytest.mark.large
@pytest.mark.slow
@pytest.mark.parametrize(
    ("arch", "sparsity", "smaller"), [("resnet50", 0.95, True), ("efficientnet_lite0", 0.7, False)]
)
def test_published_classifiers(tmp_path: Path, arch: str, sparsity: float, smaller: bool) -> None:
    model = prune(timm.create_model(arch, num_classes=10), sparsity, 0, whole=0.1).float()
    read = written(model, tmp_path / "model.onnx", 64, smaller)
    assert gap(model, read, (1, 3, 64, 64), (3, 3, 96, 128)) < 1e-4


@pytest.mark.large
@pytest.mark.slow
@pytest.mark.parametrize("smaller", [False, True])
def test_deeplab(tmp_path: Path, smaller: bool) -> None:
    model = prune(segmenter(checkpoints.load("random:resnet18"), 5), 0.8, 0, whole=0.1).float()
    read = written(model, tmp_path / "model.onnx", 64, smaller)
    assert gap(model, read, (1, 3, 64, 64), (3, 3, 96, 128)) < 1e-4
