"""What two processes do for test_two_processes.py: ``main`` writes found.json."""

import json
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from tests.training.small import Small, equal, images, left_behind, small_loaders, train_small
from transfer.errors import TrainingError
from transfer.recipe import Train
from transfer.tasks import Task
from transfer.tasks.classification import Classification
from transfer.tasks.segmentation import Segmentation
from transfer.training import Loaders, accelerator_for, finetune, stopping

FROZEN = Train(epochs=3, batch=8, lr=0.05, nesterov=True, freeze_norm=True, precision="no", clip_norm=1.0)
MOVING = replace(FROZEN, epochs=2, freeze_norm=False, schedule="cosine")


class Maps:
    """Eight steps of images with masks; half of the pixels of the second half of a batch have no label."""

    def __init__(self, accelerator: Accelerator) -> None:
        self.rank, self.world = accelerator.process_index, accelerator.num_processes

    def __len__(self) -> int:
        return 8

    def set_epoch(self, epoch: int, start: int = 0) -> None:
        """One order for every epoch."""

    def __iter__(self) -> Any:
        for step in range(8):
            source = torch.Generator().manual_seed(step)
            inputs = torch.randn(4, 3, 8, 8, generator=source)
            targets = torch.randint(0, 3, (4, 8, 8), generator=source)
            targets[2:, :, 4:] = 255
            mine = slice(self.rank * 4 // self.world, (self.rank + 1) * 4 // self.world)
            yield inputs[mine], targets[mine]


class Noting:
    """A task that notes the sum of each training loss over the targets that count, and their number."""

    def __init__(self, task: Task) -> None:
        self.task, self.name, self.headline = task, task.name, task.headline
        self.counts, self.metrics, self.weight = task.counts, task.metrics, task.weight
        self.seen: list[tuple[float, int]] = []

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the task's loss."""
        loss = self.task.loss(outputs, targets)
        if outputs.requires_grad:
            count = int((targets != 255).sum())
            self.seen.append((float(loss.detach()) * count, count))
        return loss


def losses_of(task: Task, model: nn.Module, data: Loaders, train: Train, accelerator: Accelerator) -> list[float]:
    """Train; return the mean loss of each global batch, then the training loss of each epoch in the history."""
    noting = Noting(task)
    history = finetune(model, None, data, train, task=noting, accelerator=accelerator)
    sums, counts = accelerator.reduce(torch.tensor(noting.seen, dtype=torch.float64), "sum").unbind(1)
    means: list[float] = (sums / counts).tolist()
    return [*means, *(row["train_loss"] for row in history.epochs)]


def frozen_losses(accelerator: Accelerator) -> dict[str, Any]:
    """Fine-tune with frozen statistics: images in batches of 8 and a last one of 7, and masks."""
    model, data = Small(), small_loaders(images(31), accelerator=accelerator)
    labels = losses_of(Classification(), model, data, FROZEN, accelerator)
    convolution = nn.Conv2d(3, 3, 3, padding=1)
    with torch.no_grad():
        convolution.weight.copy_(torch.linspace(-1, 1, 81).view(3, 3, 3, 3))
        convolution.bias.zero_()
    maps = Maps(accelerator)
    train = replace(FROZEN, epochs=2)
    dense = losses_of(Segmentation(("a", "b", "c")), convolution, Loaders(maps, list(maps)), train, accelerator)
    return {"labels": labels, "maps": dense, "weights": model.head.weight.detach().flatten().tolist()}


def same_everywhere(accelerator: Accelerator, model: nn.Module) -> bool:
    """Say whether all processes hold the same bits."""
    mine = torch.cat([value.detach().double().flatten() for value in model.state_dict().values()])
    return bool((accelerator.gather(mine[None]) == mine).all())


def on_rank_1(step: int, accelerator: Accelerator) -> Callable[[int], None]:
    """Signal this process alone before a step."""

    def at_step(now: int) -> None:
        if now == step and accelerator.process_index == 1:
            signal.raise_signal(signal.SIGTERM)

    return at_step


class NanOnRank1(Classification):
    """A loss that is not a number on one process, at the third step."""

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the mean cross entropy, once times nan."""
        loss = super().loss(outputs, targets)
        if outputs.requires_grad:
            left[0] -= 1
        return loss * float("nan") if left[0] == 0 and left[1] == 1 else loss


left = [3, 0]


def main(folder: Path) -> None:
    """Do everything and write down what was found."""
    accelerator = accelerator_for(FROZEN)
    found: dict[str, Any] = {"processes": accelerator.num_processes, **frozen_losses(accelerator)}
    stopping.MOST = 1  # ask at every step

    _, model = train_small(MOVING, folder / "whole", dropout=0.5)
    found["same"] = same_everywhere(accelerator, model)
    codes = []
    for stop in (3, 2):
        try:
            train_small(MOVING, folder / "stopped", dropout=0.5, at_step=on_rank_1(stop, accelerator))
        except SystemExit as error:
            codes.append(error.code)
        accelerator.wait_for_everyone()
        codes.append(left_behind(folder / "stopped")["scheduler_step"])
        accelerator.wait_for_everyone()
    train_small(MOVING, folder / "stopped", dropout=0.5)
    found["stops"] = accelerator.gather(torch.tensor([codes])).tolist()
    found["resumed"] = equal(left_behind(folder / "stopped"), left_behind(folder / "whole"))

    left[1] = accelerator.process_index
    data = small_loaders(accelerator=accelerator)
    try:
        finetune(Small(), None, data, MOVING, task=NanOnRank1(), folder=folder / "nan", accelerator=accelerator)
        ended = False
    except TrainingError as error:
        ended = "is nan at step 3" in str(error)
    found["ended"] = accelerator.gather(torch.tensor([ended])).tolist()

    left[0] = -1
    train_small(replace(MOVING, epochs=1), folder / "saved")
    accelerator.wait_for_everyone()
    if accelerator.is_main_process:
        (folder / "found.json").write_text(json.dumps(found))
