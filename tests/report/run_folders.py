"""Run folders in the format that runs write, without a run: small masks, weights and tables by hand."""

from __future__ import annotations

import csv
import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from checkpoints import weights_file
from transfer.data.augment import Augment
from transfer.pruning import Masks
from transfer.recipe import Data, Prune, Recipe, Train

Shapes = Mapping[str, tuple[int, ...]]
SHAPES = {"stem": (8, 3, 3, 3), "block.conv1": (16, 8, 3, 3), "block.conv2": (16, 16, 3, 3), "head.fc": (10, 16)}
DATA = {
    "classes": [str(number) for number in range(10)],
    "train": {"split": "train", "images": 1437, "digest": "a" * 64},
    "test": {"split": "test", "images": 360, "digest": "b" * 64},
}
RECIPE = Recipe(
    name="digits", data=Data(name="digits", size=32, augment=Augment(pad_crop=2)),
    train=Train(epochs=2, batch=64, lr=0.05, schedule="cosine"),
)  # fmt: skip


def write_run(
    out: Path, method: str = "px", sparsity: float = 0.9, seed: int = 0, value: float = 0.9, *,
    recipe: Recipe = RECIPE, result: Mapping[str, Any] | None = None, data: Mapping[str, Any] = DATA,
    name: str = "", shapes: Shapes = SHAPES, **prune: Any,
) -> Path:  # fmt: skip
    """Write a finished run and return its folder; ``prune`` are settings, ``result`` replaces entries of the result."""
    asked = Prune(method=method, sparsity=sparsity, **prune)
    recipe = dataclasses.replace(recipe, prune=asked, seed=seed).resolved()
    way = "-".join(f"{key}{text}" for key, text in prune.items())
    folder = out / (name or f"{recipe.name}-{recipe.backbone}-{method}{way}-{sparsity:g}-s{seed}-{value:.6f}")
    folder.mkdir(parents=True)
    weights, masks = _weights(sparsity, seed, shapes)
    masks.save(folder / "masks.safetensors")
    weights_file.write(folder / "model.safetensors", weights, {})
    layers = _layers(masks)
    _json(folder / "recipe.json", recipe.to_dict())
    _json(folder / "origin.json", {"backbone": "c" * 64, "data": data, "methods": {}})
    _json(folder / "timing.json", {"prune_s": 1.5 if sparsity else 0.0, "epochs_s": [4.0, 3.5]})
    _table(folder / "layers.csv", layers)
    epochs = [_epoch(number, value - 0.1 / number**2, result or {}) for number in (1, 2)]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in epochs))
    _json(folder / "result.json", _result(recipe, masks, layers, value) | dict(result or {}))
    return folder


def _weights(sparsity: float, seed: int, shapes: Shapes) -> tuple[dict[str, torch.Tensor], Masks]:
    generator = torch.Generator().manual_seed(seed)
    weights = {f"{name}.weight": torch.randn(shape, generator=generator) for name, shape in shapes.items()}
    scores = torch.cat([w.abs().flatten() for w in weights.values()])
    least = scores.sort().values[int(sparsity * len(scores))] if sparsity else -1.0
    masks = Masks({name: w.abs() >= least for name, w in weights.items()})
    pruned = {name: w.masked_fill(~masks[name], 0.0) for name, w in weights.items()}
    return pruned | {"head.fc.bias": torch.zeros(10)}, masks


def _layers(masks: Masks) -> list[dict[str, Any]]:
    rows = []
    for row, mask in zip(masks.layers(), masks.values(), strict=True):
        used = [bool(unit.any()) for unit in mask]
        work = {"multiply_adds": 100 * row["total"], "multiply_adds_kept": 100 * row["kept"]}
        rows.append(row | {"units": len(used), "dead_units": used.count(False), "disconnected": None, **work})
    return rows


def _epoch(number: int, value: float, result: Mapping[str, Any]) -> dict[str, Any]:
    headline = result.get("headline", "accuracy")
    return {"epoch": number, "lr": 0.01, "train_loss": 1.0 / number, "test_loss": 0.9 / number, headline: value}


def _result(recipe: Recipe, masks: Masks, layers: list[dict[str, Any]], value: float) -> dict[str, Any]:
    prune = recipe.prune
    return {
        "recipe": recipe.name, "backbone": recipe.backbone, "arch": "resnet20", "backbone_digest": "c" * 64,
        "licence": "Apache-2.0", "card": {}, "dataset": recipe.data.name, "task": "classification",
        "train_split": "train", "split": "test", "image_size": recipe.data.size, "method": prune.method,
        "sparsity_asked": prune.sparsity, "rounds": prune.rounds, "statistics": prune.statistics, "seed": recipe.seed,
        "epochs": recipe.train.epochs, "device": "cpu", "processes": 1, "precision": "no",
        "versions": {"px-transfer": "0.1.0", "torch": "2.14.1"}, "sparsity": masks.sparsity, "kept": masks.kept,
        "total": masks.total, "dead_units": sum(row["dead_units"] for row in layers),
        "empty_layers": [name.removesuffix(".weight") for name in masks.collapsed()],
        "multiply_adds": {"dense": 100 * masks.total, "kept": 100 * masks.kept}, "test_loss": 0.45, "accuracy": value,
        "headline": "accuracy", "best_accuracy": value, "best_epoch": 2, "weights_digest": "d" * 64,
    }  # fmt: skip


def _json(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n")


def _table(path: Path, rows: list[dict[str, Any]]) -> None:
    with path.open("w", newline="") as file:
        table = csv.DictWriter(file, fieldnames=list(rows[0]), lineterminator="\n")
        table.writeheader()
        table.writerows(rows)
