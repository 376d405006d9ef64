"""The code of docs/export.md works as it stands, in the folder of a finished run."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch

import transfer
from tests.export.finished import finished
from transfer.recipe import Data, Prune, Recipe, Train
from transfer.runs import predictor
from transfer.runs.export_run import export_run

PAGE = Path(__file__).parents[2] / "docs" / "export.md"
TIMM, TORCHVISION, SMP, PRUNED, ONNX, FACTS, PT2, INSIDE, COMPACT = re.findall(
    r"```python\n(.*?)```", PAGE.read_text(), re.S
)


def told(*code: str, **names: Any) -> dict[str, Any]:
    exec(compile("".join(code), str(PAGE), "exec"), names)
    return names


def same(found: Any, model: torch.nn.Module, images: torch.Tensor) -> None:
    with torch.no_grad():
        torch.testing.assert_close(torch.as_tensor(found).detach(), model(images), rtol=1e-4, atol=1e-4)


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    made = finished(tmp_path / "run", "resnet18", size=64, classes=10)
    monkeypatch.chdir(made)
    return made


def test_weights_in_timm_and_torchvision(run: Path) -> None:
    export_run(run, "sparse")
    model, images = predictor.load(run).model, torch.randn(2, 3, 64, 64)
    for code in (TIMM, TORCHVISION):
        same(told(code)["model"].eval()(images), model, images)


@pytest.mark.slow
def test_weights_in_smp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = finished(tmp_path / "run", "resnet18", size=64, classes=11, task="segmentation")
    monkeypatch.chdir(made)
    export_run(made, "sparse")
    images = torch.randn(2, 3, 64, 64)
    same(told(SMP)["model"].eval()(images), predictor.load(made).model, images)


@pytest.mark.slow
def test_a_pruned_backbone_in_torchvision(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from transfer.runs.backbone import prune_backbone

    monkeypatch.chdir(tmp_path)
    pruning = Prune(method="magnitude", sparsity=0.9, rounds=1)
    prune_backbone("random:resnet18", Data(name="digits", size=32), pruning, out=Path("pruned.safetensors"))
    found = told(PRUNED)
    assert found["missing"] == ["fc.weight", "fc.bias"]
    assert not found["unexpected"]
    assert (found["model"].layer4[1].conv2.weight == 0).float().mean() > 0.5


@pytest.mark.slow
@pytest.mark.parametrize("smaller", [False, pytest.param(True, marks=pytest.mark.large)])
def test_networks_in_onnxruntime_and_torch(run: Path, smaller: bool) -> None:
    pytest.importorskip("onnxruntime")
    model, images = predictor.load(run).model, torch.randn(2, 3, 64, 64)
    program = "compact" if smaller else "pt2"
    for form, file, codes in (("onnx", "model.onnx", (ONNX, FACTS)), (program, "model.pt2", (PT2, INSIDE))):
        export_run(run, form, out=run / file, smaller=smaller)
        found = told(*codes, images=images)
        same(found["output"], model, images)
        assert found["mean"] == [0.5, 0.4, 0.3]


@pytest.mark.slow
def test_a_run_becomes_a_file_that_needs_torch_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pruning = Prune(method="magnitude", sparsity=0.95, rounds=1)
    train = Train(epochs=0, precision="no")
    made = transfer.run(Recipe("page", data=Data(size=32), prune=pruning, train=train), out=tmp_path)
    told(COMPACT, RUN=made.folder, OUT=tmp_path / "model.pt2")
    assert "total" in capsys.readouterr().out
    images = torch.rand(3, 3, 32, 32)
    same(torch.export.load(tmp_path / "model.pt2").module()(images), predictor.load(made.folder).model, images)
