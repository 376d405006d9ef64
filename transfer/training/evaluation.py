"""evaluate(): loss and metrics over all batches of all processes."""

from collections.abc import Iterable
from contextlib import nullcontext

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from checkpoints.errors import InputError
from transfer.tasks import Task
from transfer.tasks.classification import Classification


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
    loss, counts = counted(model, data, task=task, accelerator=accelerator)
    return {"loss": loss, **task.metrics(counts)}


@torch.no_grad()
def counted(
    model: nn.Module,
    data: Iterable[tuple[Tensor, Tensor]],
    *,
    task: Task,
    accelerator: Accelerator | None = None,
) -> tuple[float, Tensor]:
    """Return the mean loss and the task's counts over all batches of all processes; the model is left as it was.

    Raises:
        InputError: the batches yield nothing.
    """
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
        loss = accelerator.reduce(loss.to(accelerator.device), "sum").cpu()
    return float(loss[0] / loss[1]), counts
