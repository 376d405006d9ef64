"""On a CUDA device: masks are the CPU's; a run in every precision holds its masks, and goes on when it was stopped."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

import checkpoints
from transfer.models import classifier
from transfer.pruning import Masks, methods, prune
from transfer.recipe import Data, Prune, Recipe, Train
from transfer.runs import run as runner

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
    pytest.mark.filterwarnings("ignore::transfer.pruning.CollapseWarning"),
]
RECIPE = Recipe(
    name="gpu",
    data=Data(name="digits", size=32),
    prune=Prune(method="px", sparsity=0.9, rounds=3),
    train=Train(epochs=2, batch=64, lr=0.05),
)


def pruned(method: str, device: str) -> Masks:
    model = classifier(checkpoints.load("embedded"), 10).to(device)
    images = torch.randn(16, 3, 32, 32, generator=torch.Generator().manual_seed(0)).to(device)
    batches = [(images[:8], torch.arange(8).to(device)), (images[8:], torch.arange(8).to(device))]
    return prune(model, batches, method=method, sparsity=0.5, rounds=1)


@pytest.mark.parametrize("method", methods())
def test_masks_are_those_of_the_cpu(method: str) -> None:
    there, here = pruned(method, "cuda"), pruned(method, "cpu")
    assert there.kept == here.kept
    equal = sum(int((there[name].cpu() == mask).sum()) for name, mask in here.items())
    assert equal >= 0.999 * here.total  # rounding decides between neighbours only


def test_weights_of_the_pattern_2_of_4_are_taken_by_the_sparse_kernels() -> None:
    model = nn.Sequential(nn.Linear(128, 64, bias=False), nn.Conv2d(64, 64, 3, bias=False)).cuda().half()
    masks = prune(model, [], method="magnitude", sparsity=0.5, pattern="2:4")
    assert masks.kept * 2 == masks.total
    linear, conv = (p.detach() for p in model.parameters())
    for matrix in (linear, conv.permute(0, 2, 3, 1).reshape(64, -1)):
        inputs = torch.randn(matrix.shape[1], 64, device="cuda", dtype=torch.float16)
        found = torch.sparse.to_sparse_semi_structured(matrix) @ inputs
        torch.testing.assert_close(found, matrix @ inputs, rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize("precision", ["no", "bf16", "fp16"])
def test_a_run_holds_its_masks_and_learns(precision: str, tmp_path: Path) -> None:
    recipe = replace(RECIPE, train=replace(RECIPE.train, precision=precision))  # type: ignore[arg-type]
    result = runner.run(recipe, out=tmp_path)
    assert result.metrics["device"] == "cuda"
    assert result.metrics["precision"] == precision
    assert result.metrics["accuracy"] > 0.5
    weights, masks = load_file(result.folder / "model.safetensors"), Masks.load(result.folder / "masks.safetensors")
    assert all(not weights[name][~mask].any() for name, mask in masks.items())
    assert all(bool(torch.isfinite(value).all()) for value in weights.values() if value.is_floating_point())


@pytest.mark.parametrize("precision", ["no", "fp16"])
def test_a_run_that_was_stopped_goes_on(precision: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = replace(RECIPE, train=replace(RECIPE.train, precision=precision))  # type: ignore[arg-type]
    whole = runner.run(recipe, out=tmp_path / "whole")
    keep: Callable[..., None] = runner._keep
    with monkeypatch.context() as patch:
        patch.setattr(runner, "_keep", lambda *given: (keep(*given), _stop())[0])
        with pytest.raises(KeyboardInterrupt):
            runner.run(recipe, out=tmp_path / "stopped")
    again = runner.run(recipe, out=tmp_path / "stopped")
    assert again.metrics["masks_digest"] == whole.metrics["masks_digest"]
    assert again.metrics["accuracy"] == pytest.approx(whole.metrics["accuracy"], abs=0.03)


def _stop() -> None:
    raise KeyboardInterrupt


def test_channels_last_changes_no_score() -> None:
    model = classifier(checkpoints.load("embedded"), 10).cuda()
    other: nn.Module = classifier(checkpoints.load("embedded"), 10).cuda().to(memory_format=torch.channels_last)
    images = [torch.rand(8, 3, 32, 32, device="cuda")]
    first, second = (prune(m, images, method="px", sparsity=0.5, rounds=1) for m in (model, other))
    equal = sum(int((first[name] == mask).sum()) for name, mask in second.items())
    assert equal >= 0.999 * second.total
