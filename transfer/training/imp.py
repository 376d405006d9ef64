"""Iterative magnitude pruning: train, remove the smallest weights, rewind, repeat (Frankle 2019, Chen 2021)."""

import copy
import logging
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from torch import nn

from transfer.data.image_batches import Loaders
from transfer.distributed import from_main
from transfer.pruning import patterns
from transfer.pruning import schedule as schedules
from transfer.pruning.masks import Masks
from transfer.pruning.prunable import prunable
from transfer.pruning.received import check_received
from transfer.pruning.reduction import Processes
from transfer.pruning.rewinding import check_rewind, rewinding
from transfer.pruning.smallest import smallest_dropped
from transfer.recipe import Train
from transfer.tasks import Task
from transfer.training.checkpoint import State, read_weights, save_weights
from transfer.training.history import History
from transfer.training.loop import finetune

_log = logging.getLogger(__name__)


def imp(
    model: nn.Module,
    data: Loaders,
    train: Train,
    *,
    sparsity: float,
    rounds: int,
    schedule: str = "exponential",
    pattern: str = patterns.NONE,
    exclude: Iterable[str] = (),
    task: Task | None = None,
    accelerator: Accelerator,
    folder: Path,
    seed: int = 0,
    progress: bool = False,
    **options: Any,
) -> tuple[Masks, History]:
    """Prune by training in ``rounds`` rounds; return the masks and the history up to the step rewound to.

    The model is left pruned, at the rewound weights; the caller trains it once more from that step. Every round has a
    fresh optimizer. Weights of finished rounds are kept in ``folder``, so that an interrupted run resumes in its round.

    Args:
        model: the dense model, changed in place.
        data: training and test batches of this process.
        train: settings of each training.
        sparsity: final fraction of removed weights, in (0, 1).
        rounds: number of trainings before the last one.
        schedule: see :func:`transfer.pruning.schedule.sparsity_after`.
        pattern: of the kept weights, see :mod:`transfer.pruning.patterns`.
        exclude: globs over module names that are not pruned.
        task: None = classification.
        accelerator: the processes.
        folder: for this pruning alone; read and written by the main process.
        seed: seed of dropout and other random layers.
        progress: show a progress bar per epoch.
        **options: see :func:`rewinding`.

    Raises:
        InputError: before training: the step to rewind to lies beyond the training, a weight is computed in the
            forward, or the pattern does not suit the model.
    """
    plan = rewinding(**options)
    check_rewind(options, train.epochs, len(data.train))
    weights = prunable(model, exclude)
    constraint = patterns.bind(pattern, model, weights, sparsity=sparsity, exclude=exclude)
    check_received(model, weights, None)
    main = accelerator.is_main_process
    shared: dict[str, Any] = {"task": task, "accelerator": accelerator, "seed": seed, "progress": progress}
    history = History()
    if plan["rewind"]:
        history = finetune(model, None, data, train, folder=folder / "start", until=plan["rewind"], **shared)
        history.best_epoch = 0  # the dense model does not count as the best
    start = {name: value.cpu().clone() for name, value in model.state_dict().items()}
    masks = Masks.full(prunable(model, exclude))
    for round_ in range(1, rounds + 1):
        here = folder / f"round-{round_}"
        found = from_main(partial(_masks_of, here), accelerator)
        if found is None:
            _log.info("imp: training %d of %d, %.2f %% pruned", round_, rounds, 100 * masks.sparsity)
            finetune(model, masks, data, train, folder=here, history=copy.deepcopy(history), **shared)
            keep = schedules.kept(masks.total, schedules.sparsity_after(round_, rounds, sparsity, schedule))
            masks = smallest_dropped(
                model, masks, keep, allocation="global", constraint=constraint, processes=Processes(accelerator)
            )
            if main:
                if plan["rewind_to"] != "weights":
                    save_weights(model, here / "model.safetensors")
                masks.save(here / "masks.safetensors")  # written last: marks the round as finished
                State(here).clear()
        else:
            masks = found
        if plan["rewind_to"] != "weights":
            start = from_main(partial(read_weights, here / "model.safetensors"), accelerator)
        model.load_state_dict(start)
        masks.apply_(model)
    return masks, history


def _masks_of(folder: Path) -> Masks | None:
    """Return the masks of a finished round; None if it is unfinished."""
    path = folder / "masks.safetensors"
    return Masks.load(path) if path.exists() else None
