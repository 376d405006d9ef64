"""finetune(): one loop for one process or many, through accelerate; stopped anywhere, it goes on to the same bits."""

import dataclasses
import hashlib
import math
import time
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from checkpoints.errors import InputError
from transfer.data.dataset import IGNORE
from transfer.data.image_batches import Loaders
from transfer.distributed import accelerator_for, check, from_main, settle
from transfer.errors import RunError, TrainingError
from transfer.precision import precision_of
from transfer.pruning.masks import Masks
from transfer.pruning.tied import moved
from transfer.recipe import Train
from transfer.report.progress import track
from transfer.tasks import Task
from transfer.tasks.classification import Classification
from transfer.training import batchnorm
from transfer.training.checkpoint import State, all_finite, tensors_in
from transfer.training.evaluation import counted
from transfer.training.history import History
from transfer.training.optim import factor, optimizer
from transfer.training.stopping import Pulse, Signals, stopped

AfterEpoch = Callable[[History, bool], None]


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
    history: History | None = None,
    until: int | None = None,
    after_epoch: AfterEpoch | None = None,
    progress: bool = False,
) -> History:
    """Train a model with its pruned weights held at exactly 0; in place.

    SIGTERM and Ctrl-C end the step and save the state before they end the program; a second one stops at once.

    Args:
        model: the model; moved to the accelerator's device.
        masks: what stays at 0; None = dense.
        data: training and test batches of this process.
        train: epochs, optimizer, schedule, and the minutes between saves.
        task: loss and metric; None = classification.
        accelerator: None = a new one in the recipe's precision.
        folder: where the main process keeps the state; started again, training goes on from there.
        seed: of dropout and the like.
        history: what the model has behind it; training goes on from that step, with a fresh optimizer.
        until: the optimizer step after which to stop, without a test within an epoch; None = the end.
        after_epoch: called on the main process with the history and whether the epoch is the best so far.
        progress: show a progress bar an epoch.

    Returns:
        Training loss, test loss and metrics of each epoch.

    Raises:
        InputError: the folder holds the state of another fine-tuning, or the settings do not suit the model or data.
        RunError: the saved state is damaged, or a decoding worker died.
        TrainingError: a loss or a weight is not finite; the last good state is kept.
        SystemExit, KeyboardInterrupt: stopped by a signal; the state is kept.
    """
    accelerator = accelerator or accelerator_for(train)
    check(accelerator)
    with Signals() as signals, precision_of(accelerator):
        run = _Run(model, masks, data, train, task or Classification(), accelerator, seed, folder, signals)
        try:
            _train(run, history or History(), until, after_epoch, progress)
        except RuntimeError as error:
            if str(error).startswith("DataLoader worker"):  # torch raises it anywhere, from a signal handler
                raise RunError(f"a process that decodes images died ({error}); {run.last_state()}") from error
            raise
        finally:
            run.close()
    if signals.received:  # it came when the last state was written
        raise stopped(signals.received)
    return run.history


def _train(run: "_Run", history: History, until: int | None, after_epoch: AfterEpoch | None, progress: bool) -> None:
    run.restore(history)
    while run.steps_to(run.train.epochs * run.steps if until is None else until, progress):
        best = run.end_epoch()
        if after_epoch and run.accelerator.is_main_process:
            after_epoch(run.history, best)
        run.keep()
        run.pulse.restart()
        run.tick()
    if run.history.done:
        run.keep()
        run.history.log = run.log


class _Run:
    """The moving parts of one fine-tuning."""

    def __init__(
        self, model: nn.Module, masks: Masks | None, data: Loaders, train: Train, task: Task,
        accelerator: Accelerator, seed: int, folder: Path | None, signals: Signals,
    ) -> None:  # fmt: skip
        self.data, self.train, self.task, self.accelerator, self.seed = data, train, task, accelerator, seed
        self.state = State(folder) if folder is not None else None
        self.pulse = Pulse(accelerator, signals, train.save_minutes)
        self.steps = len(data.train)
        if not self.steps:
            raise InputError("the training batches yield nothing; give at least one image")
        self.history, self.kept = History(), ""
        self.log = torch.zeros(2, self.steps, device=accelerator.device)  # of the epoch's steps: loss, number of images
        self.bare = model
        moved(model, lambda model: model.to(accelerator.device))
        if train.channels_last:
            moved(model, lambda model: model.to(memory_format=torch.channels_last))
        if masks is not None:
            masks.apply_(self.bare)
        self.identity = self._identity(masks)
        self.optimizer = optimizer(self.bare, train)
        self.rates = [group["lr"] for group in self.optimizer.param_groups]
        self.replaced = batchnorm.synchronise(self.bare) if train.sync_norm and accelerator.num_processes > 1 else []
        self.model, self.optimizer = accelerator.prepare(self.bare, self.optimizer)
        self.settled = False
        self.hold = masks.hold(self.bare, self.optimizer) if masks is not None else None
        self.scaler_before = accelerator.scaler.state_dict() if accelerator.scaler is not None else None

    @property
    def step(self) -> int:
        """The optimizer steps that the model has behind it."""
        return len(self.history.epochs) * self.steps + self.history.done

    def steps_to(self, last: int, progress: bool) -> bool:
        """Train to the end of the epoch, or to step ``last`` if that is before; return whether the epoch is trained."""
        left = min(self.steps - self.history.done, last - self.step)
        if left > 0:
            epoch = len(self.history.epochs)
            self.data.train.set_epoch(epoch, self.history.done)
            shown = progress and self.accelerator.is_main_process
            batches = track(self.data.train, f"epoch {epoch + 1}/{self.train.epochs}", shown=shown)
            self._steps(batches, left)
        return self.history.done == self.steps

    def end_epoch(self) -> bool:
        """Test, add the epoch to the history; return whether it is the best so far."""
        start, epoch = time.perf_counter() - self.history.elapsed, len(self.history.epochs)
        losses, images = self._checked(self._log())
        tested = self._test(epoch)
        row = {"epoch": epoch + 1, "lr": self._lr(0), "train_loss": float(losses @ images / images.sum()), **tested}
        best = self.history.add(row, self.task.headline, time.perf_counter() - start)
        self.log.zero_()
        return best

    def _steps(self, batches: Iterable[tuple[Tensor, Tensor]], count: int) -> None:
        start, history = time.perf_counter() - self.history.elapsed, self.history
        end = history.done + count
        self.model.train()
        if self.train.freeze_norm:
            batchnorm.freeze(self.bare)
        self.pulse.restart()
        for inputs, targets in islice(batches, count):
            if not self.settled:
                settle(self.model, inputs)
                self.settled = True
            self._reseed()
            self.log[0, history.done] = self._step(inputs, targets)
            self.log[1, history.done] = len(inputs)
            history.done, history.elapsed = history.done + 1, time.perf_counter() - start
            self.tick()
        if history.done < end:
            raise InputError(
                f"the training batches end after {history.done} of {self.steps}; their length must be true"
            )

    def _step(self, inputs: Tensor, targets: Tensor) -> Tensor:
        for group, rate in zip(self.optimizer.param_groups, self.rates, strict=True):
            group["lr"] = rate * factor(self.train, self.step, self.steps)
        self.optimizer.zero_grad(set_to_none=True)
        with self.accelerator.autocast():
            loss = self.task.loss(self.model(inputs), targets) * self._share(targets)
        self.accelerator.backward(loss)
        if self.train.clip_norm is not None:
            self.accelerator.clip_grad_norm_(self.model.parameters(), self.train.clip_norm)
        self.optimizer.step()
        return loss.detach()

    def _share(self, targets: Tensor) -> Tensor | float:
        """Return the factor with which the mean over processes is the mean over the global batch's targets."""
        if self.accelerator.num_processes == 1:
            return 1.0
        if not len(targets):
            raise InputError(
                f"a batch has fewer images than the {self.accelerator.num_processes} processes; "
                "use fewer processes, or more images"
            )
        own = (targets != IGNORE).sum() if targets.dim() > 1 else targets.new_tensor(len(targets))
        every = self.accelerator.reduce(own, "sum")
        return own.float() * self.accelerator.num_processes / every.clamp(min=1).float()

    def _reseed(self) -> None:
        """Seed dropout and the like by the place in the training, so that a resumed step draws what it would have."""
        place = (self.seed, len(self.history.epochs), self.history.done, self.accelerator.process_index)
        digest = hashlib.blake2b(repr(place).encode(), digest_size=7).digest()
        torch.manual_seed(int.from_bytes(digest, "big"))

    def _test(self, epoch: int) -> dict[str, float]:
        batchnorm.share_buffers(self.bare, self.accelerator)
        self.pulse.restart()
        watched = self._watched(self.data.test)
        loss, counts = counted(self.bare, watched, task=self.task, accelerator=self.accelerator)
        if not math.isfinite(loss):
            raise self._broken(f"the test loss of epoch {epoch + 1} is {loss}", self.steps - 1)
        self.history.counts = counts
        return {"test_loss": loss, **self.task.metrics(counts)}

    def _watched(self, batches: Iterable[tuple[Tensor, Tensor]]) -> Iterator[tuple[Tensor, Tensor]]:
        for batch in batches:
            yield batch
            self.tick()

    def tick(self) -> None:
        """Save when it is time; save and stop when a signal asks for it, all processes at the same step."""
        number, late = self.pulse.beat()
        if number or late:
            self.keep()
        if number:
            raise stopped(number)

    def keep(self) -> None:
        """Save the state on the main process, unless something in it is not finite."""
        batchnorm.share_buffers(self.bare, self.accelerator)
        log = self._log()
        self._checked(log)
        if self.state is not None:
            if self.accelerator.is_main_process:
                self.state.save(self._snapshot(log))
            self.kept = self._place()
        self.pulse.saved()
        self.accelerator.wait_for_everyone()

    def _log(self) -> Tensor:
        """Return the losses and image counts of the epoch's steps, float64 (processes, 2, steps)."""
        return self.accelerator.gather(self.log[None]).cpu().double()

    def _checked(self, log: Tensor) -> tuple[Tensor, Tensor]:
        """Return the loss of each global batch so far and its number of images.

        Raises:
            TrainingError: a loss, weight or optimizer value is not finite.
        """
        losses, images = log[:, 0, : self.history.done].mean(0), log[:, 1, : self.history.done].sum(0)
        broken = (~losses.isfinite()).nonzero()
        epoch = len(self.history.epochs) + 1
        if len(broken):
            step = int(broken[0])
            raise self._broken(f"the training loss of epoch {epoch} is {float(losses[step])} at step {step + 1}", step)
        tensors = [*self.bare.state_dict().values(), *tensors_in(self.optimizer.state_dict()["state"])]
        if not all_finite(tensors):
            done = self.history.done
            raise self._broken(f"the weights are not finite after step {done} of epoch {epoch}", done - 1)
        return losses, images

    def _broken(self, what: str, step: int) -> TrainingError:
        return TrainingError(
            f"{what}, learning rate {self._lr(max(step, 0)):g}; {self.last_state()}; "
            "try a lower train.lr, train.clip_norm or train.precision no"
        )

    def last_state(self) -> str:
        """Say which state is kept."""
        return f"the state of {self.kept} is kept" if self.kept else "no state was saved before"

    def _place(self) -> str:
        epoch = len(self.history.epochs)
        return f"epoch {epoch + 1}, step {self.history.done}" if self.history.done else f"the end of epoch {epoch}"

    def _lr(self, step: int) -> float:
        return self.train.lr * factor(self.train, len(self.history.epochs) * self.steps + step, self.steps)

    def _identity(self, masks: Masks | None) -> dict[str, str]:
        settings = {f"train.{key}": value for key, value in dataclasses.asdict(self.train).items()}
        del settings["train.save_minutes"]
        shapes = repr([(name, tuple(value.shape)) for name, value in self.bare.state_dict().items()])
        facts = {
            **settings,
            "processes": self.accelerator.num_processes,
            "precision": self.accelerator.mixed_precision,
            "seed": self.seed,
            "masks": masks.digest()[:12] if masks is not None else "dense",
            "steps an epoch": self.steps,
            "training images": getattr(self.data.train, "split_digest", "unknown")[:12],
            "model": hashlib.blake2b(shapes.encode(), digest_size=6).hexdigest(),
        }
        return {key: str(value) for key, value in facts.items()}

    def _snapshot(self, log: Tensor) -> dict[str, Any]:
        scaler = self.accelerator.scaler
        return {
            "identity": self.identity,
            "model": self.bare.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scheduler_step": self.step,
            "scaler": scaler.state_dict() if scaler is not None else None,
            **vars(self.history),
            "log": log.float(),
        }

    def restore(self, history: History) -> None:
        """Go on from the saved state, if there is one, else after ``history``."""
        saved = from_main(self.state.load, self.accelerator) if self.state is not None else None
        if saved is None:
            self.history = history
        else:
            self._take(saved)
        if self.history.log is not None:
            self.log.copy_(self.history.log)

    def _take(self, saved: dict[str, Any]) -> None:
        was, now = saved["identity"], self.identity
        other = [f"{key} {was.get(key)}, now {now.get(key)}" for key in {**was, **now} if was.get(key) != now.get(key)]
        if other:
            assert self.state is not None
            raise InputError(
                f"{self.state.path} holds another fine-tuning ({'; '.join(other)}); go on as it began, "
                "or use another folder"
            )
        self.bare.load_state_dict(saved["model"])
        self.optimizer.load_state_dict(saved["optimizer"])
        if saved["scaler"] is not None and self.accelerator.scaler is not None:
            self.accelerator.scaler.load_state_dict(saved["scaler"])
        self.history = History(**{field.name: saved[field.name] for field in dataclasses.fields(History)})
        self.history.log = saved["log"][self.accelerator.process_index]
        self.kept = self._place()

    def close(self) -> None:
        """Give the model back as it came: no hooks, no wrapped forward, its own BatchNorm layers; the scaler too."""
        if self.hold is not None:
            self.hold.remove()
        self.accelerator.unwrap_model(self.model, keep_fp32_wrapper=False)
        vars(self.bare).pop("forward", None)
        batchnorm.restore(self.replaced)
        if self.scaler_before is not None:
            self.accelerator.scaler.load_state_dict(self.scaler_before)
        self.accelerator.free_memory()
