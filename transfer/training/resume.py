"""Save what a training needs to resume, and restore it."""

import dataclasses
import hashlib
import logging
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from torch import Tensor, nn
from torch.optim import Optimizer

from checkpoints.errors import InputError
from transfer.data.image_batches import Loaders
from transfer.distributed import from_main
from transfer.pruning.masks import Masks
from transfer.recipe import Train
from transfer.training.checkpoint import State
from transfer.training.history import History

_log = logging.getLogger(__name__)


def identity(
    model: nn.Module, masks: Masks | None, data: Loaders, train: Train, accelerator: Accelerator, seed: int
) -> dict[str, str]:
    """Return the facts that a saved state must share with the training that resumes from it."""
    settings = {f"train.{key}": value for key, value in dataclasses.asdict(train).items()}
    del settings["train.save_minutes"]
    if not train.compile:  # states of earlier versions do not have it
        del settings["train.compile"]
    shapes = repr([(name, tuple(value.shape)) for name, value in model.state_dict().items()])
    facts = {
        **settings,
        "processes": accelerator.num_processes,
        "precision": accelerator.mixed_precision,
        "seed": seed,
        "masks": masks.digest()[:12] if masks is not None else "dense",
        "steps an epoch": len(data.train),
        "training images": getattr(data.train, "split_digest", "unknown")[:12],
        "model": hashlib.blake2b(shapes.encode(), digest_size=6).hexdigest(),
    }
    return {key: str(value) for key, value in facts.items()}


class Resumption:
    """The saved state of one training, written and read by the main process; ``folder`` None = not saved."""

    def __init__(self, folder: Path | None, accelerator: Accelerator, identity: dict[str, str]) -> None:
        self._state = State(folder) if folder is not None else None
        self._accelerator, self._identity = accelerator, identity
        self._kept = ""

    def save(self, model: nn.Module, optimizer: Optimizer, history: History, log: Tensor, step: int) -> None:
        """Write the state.

        Args:
            model: the unwrapped model.
            optimizer: as prepared by accelerate.
            history: finished epochs and the position in the current one.
            log: log of the epoch's steps on all processes, (processes, 2, steps per epoch).
            step: number of optimizer steps taken.
        """
        if self._state is None:
            return
        if self._accelerator.is_main_process:
            scaler = self._accelerator.scaler
            self._state.save({
                "identity": self._identity,
                "model": model.state_dict(),
                "optimizer": optimizer.state_dict(),
                "scheduler_step": step,
                "scaler": scaler.state_dict() if scaler is not None else None,
                **vars(history),
                "log": log.float(),
            })  # fmt: skip
            level = logging.INFO if history.done else logging.DEBUG  # an epoch's end has a line of its own
            _log.log(level, "saved %s in %s", history.place, self._state.path)
        self._kept = history.place

    def restore(self, model: nn.Module, optimizer: Optimizer) -> History | None:
        """Restore the saved state; return its history, None if nothing was saved.

        Raises:
            InputError: the state belongs to another training.
            RunError: the state is damaged.
        """
        saved = from_main(self._state.load, self._accelerator) if self._state is not None else None
        if saved is None:
            return None
        assert self._state is not None
        self._refuse_other(saved["identity"], self._state.path)
        model.load_state_dict(saved["model"])
        optimizer.load_state_dict(saved["optimizer"])
        if saved["scaler"] is not None and self._accelerator.scaler is not None:
            self._accelerator.scaler.load_state_dict(saved["scaler"])
        known = [field.name for field in dataclasses.fields(History)]
        history = History(**{name: saved[name] for name in known if name in saved})  # earlier versions had no masks
        history.log = saved["log"][self._accelerator.process_index]
        self._kept = history.place
        _log.info("resumed at %s from %s", history.place, self._state.path)
        return history

    def _refuse_other(self, was: dict[str, Any], path: Path) -> None:
        now = self._identity
        other = [f"{key} {was.get(key)}, now {now.get(key)}" for key in {**was, **now} if was.get(key) != now.get(key)]
        if other:
            raise InputError(
                f"{path} holds another fine-tuning ({'; '.join(other)}); go on as it began, or use another folder"
            )

    def last(self) -> str:
        """Describe the saved state for messages."""
        return f"the state of {self._kept} is kept" if self._kept else "no state was saved before"
