"""Folders of finished runs, made without training."""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import nn

from transfer.runs import predictor

LOOK = {"mean": [0.5, 0.4, 0.3], "std": [0.2, 0.25, 0.3], "interpolation": "bilinear"}


def finished(
    folder: Path, arch: str, *, size: int, sparsity: float = 0.8, classes: int = 5, task: str = "classification"
) -> Path:
    """Write the folder of a run: random weights, of which a fraction is zero; "last" and "best" ones differ."""
    folder.mkdir(parents=True)
    (folder / "model.json").write_text(json.dumps(_about(arch, size, classes, task)))
    (folder / "recipe.json").write_text("{}")
    for seed, name in enumerate(predictor.WEIGHTS.values()):
        save_file(_weights(folder, sparsity, seed), folder / name)
    (folder / "result.json").write_text('{"backbone": "made", "licence": "Apache-2.0"}')
    return folder


def _about(arch: str, size: int, count: int, task: str) -> dict[str, Any]:
    classes = [f"class {i}" for i in range(count)]
    own = {"centre_crop": False} if task == "classification" else {"palette": [[i, i, i] for i in range(256)]}
    return {
        "task": task, "arch": arch, "stem": "imagenet", "output_stride": 16, "image_size": size, "classes": classes,
        **LOOK, **own,
    }  # fmt: skip


def _weights(folder: Path, sparsity: float, seed: int) -> dict[str, torch.Tensor]:
    model = _model(folder)
    g = torch.Generator().manual_seed(seed)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean = torch.randn(module.num_features, generator=g) / 4
            module.weight.data = 0.5 + torch.rand(module.num_features, generator=g)
        elif isinstance(module, nn.Conv2d):
            kept = torch.rand(module.weight.shape, generator=g) >= sparsity
            module.weight.data = torch.randn(module.weight.shape, generator=g).masked_fill(~kept, 0.0)
            module.weight.data *= (2 / kept.flatten(1).sum(1).clamp(min=1)).sqrt().view(-1, 1, 1, 1)
    return {key: value.contiguous() for key, value in model.state_dict().items()}


def _model(folder: Path) -> nn.Module:
    import checkpoints
    from transfer import tasks
    from transfer.recipe import Recipe

    about = json.loads((folder / "model.json").read_text())
    task = tasks.find(about["task"]).read(about)
    return task.model(checkpoints.load(f"random:{about['arch']}"), Recipe("made", output_stride=about["output_stride"]))
