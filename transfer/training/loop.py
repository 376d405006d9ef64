"""finetune() and evaluate(): one loop for one process or many, through accelerate."""

import dataclasses
import json
import math
import time
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR

from checkpoints.errors import InputError
from transfer.errors import TrainingError
from transfer.pruning.masks import Masks
from transfer.recipe import Train
from transfer.report.progress import track
from transfer.tasks import Task
from transfer.tasks.classification import Classification
from transfer.training.optimizers import factor, optimizer
from transfer.training.state import State


class EpochBatches(Protocol):
    """Batches of one process; ``len`` and the order are those of the global batches."""

    def __len__(self) -> int: ...
    def __iter__(self) -> Any: ...
    def set_epoch(self, epoch: int) -> None:
        """Choose the order and augmentation of an epoch."""


@dataclass(frozen=True)
class Loaders:
    """What a model is trained on and tested on: pairs of inputs (N, 3, H, W) and targets, on the model's device."""

    train: EpochBatches
    test: Iterable[tuple[Tensor, Tensor]]


@dataclass
class History:
    """One row of metrics an epoch, and where the best weights were."""

    epochs: list[dict[str, float]] = field(default_factory=list)
    best_epoch: int = 0
    seconds: list[float] = field(default_factory=list)

    @property
    def last(self) -> dict[str, float]:
        """Metrics after the last epoch."""
        return self.epochs[-1]

    @property
    def best(self) -> dict[str, float]:
        """Metrics of the best epoch."""
        return self.epochs[self.best_epoch - 1] if self.best_epoch else self.epochs[-1]


def accelerator_for(train: Train) -> Accelerator:
    """Return an accelerator in the recipe's precision.

    Raises:
        InputError: the device does not have it.
    """
    cuda = torch.cuda.is_available()
    precision = train.precision
    if precision == "auto":
        precision = "bf16" if cuda and torch.cuda.is_bf16_supported() else "no"
    if precision == "fp16" and not cuda:
        raise InputError("train.precision is fp16, which needs a GPU; use no or bf16")
    state = AcceleratorState._shared_state
    if state and state.get("_mixed_precision") != precision:  # accelerate allows one precision a process unless reset
        AcceleratorState._reset_state()
    # without cpu=True, accelerate sees one process under torchrun on a machine without an accelerator
    return Accelerator(mixed_precision=precision, cpu=not torch.accelerator.is_available())


def finetune(
    model: nn.Module,
    masks: Masks | None,
    data: Loaders,
    train: Train,
    *,
    task: Task | None = None,
    accelerator: Accelerator | None = None,
    folder: Path | None = None,
    seed: int = 0,
    after_epoch: Callable[[History, bool], None] | None = None,
    progress: bool = False,
) -> History:
    """Train a model with its pruned weights held at exactly 0; in place.

    Args:
        model: the model; moved to the accelerator's device.
        masks: what stays at 0; None = dense.
        data: training and test batches of this process.
        train: epochs, optimizer and schedule.
        task: loss and metric; None = classification.
        accelerator: None = a new one in the recipe's precision.
        folder: where the state is kept after each epoch; started again, training goes on from there.
        seed: of dropout and the like.
        after_epoch: called on the main process with the history and whether the epoch is the best so far.
        progress: show a progress bar an epoch.

    Returns:
        Training loss, test loss and metrics of each epoch.

    Raises:
        InputError: the folder holds the state of another fine-tuning.
        TrainingError: the loss is not finite; the state of the epoch before is kept.
    """
    task = task or Classification()
    accelerator = accelerator or accelerator_for(train)
    run = _Run(model, masks, data, train, task, accelerator, seed)
    state = State(folder) if folder is not None else None
    try:
        return _train(run, state, after_epoch, progress)
    finally:
        run.close()


def _train(
    run: "_Run", state: State | None, after_epoch: Callable[[History, bool], None] | None, progress: bool
) -> History:
    train, task, accelerator = run.train, run.task, run.accelerator
    history = run.restore(state.load() if state else None)
    for epoch in range(len(history.epochs), train.epochs):
        start = time.perf_counter()
        label = f"epoch {epoch + 1}/{train.epochs}"
        row = {"epoch": epoch + 1, "lr": run.lr, **run.epoch(epoch, label, progress), **run.test(epoch)}
        best = not history.best_epoch or row[task.headline] > history.best[task.headline]
        history.epochs.append(row)
        history.best_epoch = epoch + 1 if best else history.best_epoch
        history.seconds.append(time.perf_counter() - start)
        if accelerator.is_main_process:
            if after_epoch:
                after_epoch(history, best)
            if state:
                state.save(run.snapshot(history))
        accelerator.wait_for_everyone()
    return history


class _Run:
    """The moving parts of one fine-tuning."""

    def __init__(
        self, model: nn.Module, masks: Masks | None, data: Loaders, train: Train, task: Task,
        accelerator: Accelerator, seed: int,
    ) -> None:  # fmt: skip
        self.data, self.train, self.task, self.accelerator, self.seed = data, train, task, accelerator, seed
        self.bare = model.to(accelerator.device)
        if train.channels_last:
            self.bare.to(memory_format=torch.channels_last)
        if masks is not None:
            masks.apply_(self.bare)
        self.steps = len(data.train)
        settings = json.dumps(dataclasses.asdict(train), sort_keys=True)
        self.identity = [settings, str(seed), masks.digest() if masks is not None else "dense"]
        self.optimizer = optimizer(self.bare, train)
        self.scheduler = LambdaLR(self.optimizer, lambda step: factor(train, step, self.steps))
        self.model, self.optimizer = accelerator.prepare(self.bare, self.optimizer)
        self.hold = masks.hold(self.bare, self.optimizer) if masks is not None else None

    @property
    def lr(self) -> float:
        return float(self.scheduler.get_last_lr()[0])

    def epoch(self, epoch: int, label: str, progress: bool) -> dict[str, float]:
        torch.manual_seed(self.seed * 1_000_003 + epoch)  # dropout; the batches have generators of their own
        self.data.train.set_epoch(epoch)
        self.model.train()
        total = torch.zeros(2, dtype=torch.float64, device=_wide(self.accelerator))
        shown = progress and self.accelerator.is_main_process
        for inputs, targets in track(self.data.train, label, shown=shown):
            loss = self.step(inputs, targets)
            total += torch.stack([loss.double() * len(inputs), loss.new_tensor(len(inputs)).double()]).to(total.device)
        total = self.accelerator.reduce(total, "sum")
        return {"train_loss": self.finite(float(total[0] / total[1]), "training", epoch)}

    def step(self, inputs: Tensor, targets: Tensor) -> Tensor:
        self.optimizer.zero_grad(set_to_none=True)
        with self.accelerator.autocast():
            loss = self.task.loss(self.model(inputs), targets)
        self.accelerator.backward(loss)
        if self.train.clip_norm is not None:
            self.accelerator.clip_grad_norm_(self.model.parameters(), self.train.clip_norm)
        self.optimizer.step()
        self.scheduler.step()
        return loss.detach()

    def finite(self, loss: float, what: str, epoch: int) -> float:
        if not math.isfinite(loss):
            raise TrainingError(
                f"the {what} loss of epoch {epoch + 1} is {loss} at learning rate {self.lr:g}; "
                "try a lower train.lr, train.clip_norm or train.precision no; the epoch before is kept"
            )
        return loss

    def test(self, epoch: int) -> dict[str, float]:
        found = evaluate(self.bare, self.data.test, task=self.task, accelerator=self.accelerator)
        loss = self.finite(found.pop("loss"), "test", epoch)
        return {"test_loss": loss, **found}

    def snapshot(self, history: History) -> dict[str, Any]:
        scaler = self.accelerator.scaler
        return {
            "model": self.bare.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scheduler_step": self.scheduler.last_epoch,
            "scaler": scaler.state_dict() if scaler is not None else None,
            "identity": self.identity,
            "epochs": history.epochs,
            "best_epoch": history.best_epoch,
            "seconds": history.seconds,
        }

    def restore(self, saved: dict[str, Any] | None) -> History:
        if saved is None:
            return History()
        if saved["identity"] != self.identity:
            raise InputError(
                "the folder holds the state of another fine-tuning (masks, seed or settings); give another"
            )
        self.bare.load_state_dict(saved["model"])
        self.optimizer.load_state_dict(saved["optimizer"])
        self.scheduler.last_epoch = saved["scheduler_step"]
        self.scheduler._last_lr = [group["lr"] for group in self.optimizer.param_groups]
        if saved["scaler"] is not None and self.accelerator.scaler is not None:
            self.accelerator.scaler.load_state_dict(saved["scaler"])
        return History(saved["epochs"], saved["best_epoch"], saved["seconds"])

    def close(self) -> None:
        """Give the model back as it came: no hooks, no wrapped forward."""
        if self.hold is not None:
            self.hold.remove()
        self.accelerator.unwrap_model(self.model, keep_fp32_wrapper=False)
        vars(self.bare).pop("forward", None)
        self.accelerator.free_memory()


@torch.no_grad()
def evaluate(
    model: nn.Module,
    data: Iterable[tuple[Tensor, Tensor]],
    *,
    task: Task | None = None,
    accelerator: Accelerator | None = None,
) -> dict[str, float]:
    """Return the mean loss and the task's metrics over all batches of all processes; the model is left as it was.

    Raises:
        InputError: the batches yield nothing.
    """
    task = task or Classification()
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    counts: Tensor | None = None
    loss = torch.zeros(2, dtype=torch.float64)
    try:
        for inputs, targets in data:
            if not len(inputs):
                continue  # this process has no part of a last, small batch
            with accelerator.autocast() if accelerator is not None else nullcontext():
                outputs = model(inputs)
            new = task.counts(outputs, targets)
            counts = new if counts is None else counts + new
            share = float(task.loss(outputs.float(), targets)) * len(inputs)
            loss += torch.tensor([share, len(inputs)], dtype=loss.dtype)
    finally:
        for module, training in modes:
            module.training = training
    if counts is None:
        raise InputError("the test batches yield nothing; give at least one image")
    if accelerator is not None and accelerator.num_processes > 1:
        counts = accelerator.reduce(counts, "sum")
        loss = accelerator.reduce(loss.to(_wide(accelerator)), "sum").cpu()
    return {"loss": float(loss[0] / loss[1]), **task.metrics(counts)}


def _wide(accelerator: Accelerator) -> torch.device:
    """Return a device that has float64: the accelerator's, or the CPU beside Apple's."""
    return torch.device("cpu") if accelerator.device.type == "mps" else accelerator.device
