"""A model of a few thousand weights, data of 8 px, and what a whole training leaves behind."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from transfer.data.dataset import Images, Split
from transfer.data.image_batches import Batches
from transfer.pruning import Masks, prune
from transfer.recipe import Train
from transfer.tasks.classification import Classification
from transfer.training import History, Loaders, accelerator_for, finetune
from transfer.training.checkpoint import State
from transfer.training.loop import Tightening

LOOK = {"size": 8, "mean": (0.5,) * 3, "std": (0.25,) * 3}


class Small(nn.Module):
    """Two convolutions with BatchNorm as ``encoder``, dropout, a linear ``head``."""

    def __init__(self, dropout: float = 0.0) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(1)
            self.encoder = nn.Sequential(
                nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(),
                nn.Conv2d(8, 16, 3, stride=2, padding=1), nn.BatchNorm2d(16), nn.ReLU(),
                nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(dropout),
            )  # fmt: skip
            self.head = nn.Linear(16, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        """(N, 3, H, W) → logits (N, 3)."""
        logits: Tensor = self.head(self.encoder(inputs))
        return logits


def images(count: int = 32, seed: int = 0) -> Images:
    source = torch.Generator().manual_seed(seed)
    return Images(torch.randint(0, 256, (count, 3, 8, 8), generator=source, dtype=torch.uint8), torch.arange(count) % 3)


def small_loaders(train: Split | None = None, accelerator: Accelerator | None = None, **options: Any) -> Loaders:
    """Four steps an epoch and two test batches; this process's part of them."""
    shared = {**LOOK, "batch": 8}
    if accelerator is not None:
        shared |= {"rank": accelerator.process_index, "world": accelerator.num_processes}
    test = Batches(images(16, seed=1), **shared)
    return Loaders(Batches(train or images(), shuffle=True, **{**shared, **options}), test)


def small_masks(sparsity: float = 0.7) -> Masks:
    return prune(Small(), [], method="magnitude", sparsity=sparsity)


class Calls(Classification):
    """Cross entropy that calls a function before each training step, from 1."""

    def __init__(self, at_step: Callable[[int], None]) -> None:
        object.__setattr__(self, "at_step", at_step)
        object.__setattr__(self, "steps", [0])

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the mean cross entropy."""
        if outputs.requires_grad:
            self.steps[0] += 1
            self.at_step(self.steps[0])
        return super().loss(outputs, targets)


def train_small(
    train: Train, folder: Path, *, dropout: float = 0.0, masks: Masks | None = None,
    data: Loaders | None = None, at_step: Callable[[int], None] | None = None, tightening: Tightening | None = None,
) -> tuple[History, Small]:  # fmt: skip
    """Fine-tune a new small model with the state in ``folder``."""
    model, accelerator = Small(dropout), accelerator_for(train)
    task = Calls(at_step) if at_step else Classification()
    data = data or small_loaders(accelerator=accelerator)
    shared = {"task": task, "folder": folder, "accelerator": accelerator, "tightening": tightening}
    return finetune(model, masks, data, train, **shared), model  # type: ignore[arg-type]


def left_behind(folder: Path) -> dict[str, Any]:
    """Return the state in ``folder`` without its times: weights, optimizer, metrics, place."""
    saved = State(folder).load()
    assert saved is not None
    return {key: value for key, value in saved.items() if key not in {"seconds", "elapsed"}}


def equal(a: Any, b: Any) -> bool:
    """Say whether nested dicts, lists and tensors are equal to the bit."""
    if isinstance(a, Tensor):
        return isinstance(b, Tensor) and a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, dict):
        return isinstance(b, dict) and a.keys() == b.keys() and all(equal(a[key], b[key]) for key in a)
    if isinstance(a, (list, tuple)):
        return type(a) is type(b) and len(a) == len(b) and all(map(equal, a, b))
    return bool(a == b)
