"""evaluate(): loss and metrics over all batches of all processes."""

from collections.abc import Iterable
from contextlib import nullcontext

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from torch import Tensor, nn

from checkpoints.errors import InputError
from transfer.precision import precision_of
from transfer.tasks import Task
from transfer.tasks.classification import Classification


def evaluate(
    model: nn.Module,
    data: Iterable[tuple[Tensor, Tensor]],
    *,
    task: Task | None = None,
    accelerator: Accelerator | None = None,
) -> dict[str, float]:
    """Return the mean loss and the task's metrics over all batches of all processes; restore training and eval modes.

    Raises:
        InputError: there is no batch.
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
    """Return the mean loss and the task's counts, on the CPU, over all batches of all processes.

    The loss is weighted by :meth:`transfer.tasks.Task.weight`, so it does not depend on the batch size. Training and
    eval modes are restored.

    Raises:
        InputError: there is no batch.
    """
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    counts: Tensor | None = None
    loss = torch.zeros(2, dtype=torch.float64)
    autocast = accelerator.autocast if accelerator is not None else nullcontext
    try:
        with precision_of(accelerator):
            for inputs, targets in data:
                if not len(inputs):
                    continue  # a small last batch leaves nothing for this process
                with autocast():
                    outputs = model(inputs)
                new = task.counts(outputs, targets)
                counts = new if counts is None else counts + new
                weight = int(task.weight(targets))
                loss += torch.tensor([float(task.loss(outputs.float(), targets)) * weight, weight], dtype=loss.dtype)
    finally:
        for module, training in modes:
            module.training = training
    parts = [(loss, None if counts is None else counts.cpu())]
    if accelerator is not None and accelerator.num_processes > 1:
        parts = gather_object(parts)  # a process without images has no counts
    seen = [part for _, part in parts if part is not None]
    if not seen:
        raise InputError("the test batches yield nothing; give at least one image")
    loss = torch.stack([part for part, _ in parts]).sum(0)
    return float(loss[0] / loss[1].clamp(min=1)), torch.stack(seen).sum(0)
