"""finetune(): the training loop for one process or many, through accelerate; resuming is bit-exact."""

import logging
import math
import time
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Protocol

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from checkpoints.errors import InputError
from transfer.compiled import compiled
from transfer.data.image_batches import Loaders
from transfer.distributed import accelerator_for, check, settle
from transfer.errors import RunError, TrainingError
from transfer.log import duration, track
from transfer.precision import precision_of
from transfer.pruning.masks import Masks
from transfer.pruning.tied import moved
from transfer.recipe import Train
from transfer.seeds import seed_of
from transfer.tasks import Task
from transfer.tasks.classification import Classification
from transfer.training import batchnorm
from transfer.training.checkpoint import all_finite, tensors_in
from transfer.training.evaluation import counted
from transfer.training.history import History
from transfer.training.optim import factor, optimizer
from transfer.training.resume import Resumption, identity
from transfer.training.stopping import Pulse, Signals, stopped

AfterEpoch = Callable[[History, bool], None]
_log = logging.getLogger(__name__)


class Tightening(Protocol):
    """What makes the masks tighter while the model trains; ``repr`` tells its settings, which a resume must share."""

    def after(self, step: int, model: nn.Module, masks: Masks) -> Masks | None:
        """Return the masks that hold from after this optimizer step on; None = as before."""

    def final(self, step: int) -> bool:
        """Return whether the masks stay as they are after this optimizer step."""


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
    tightening: Tightening | None = None,
    history: History | None = None,
    until: int | None = None,
    after_epoch: AfterEpoch | None = None,
    progress: bool = False,
) -> History:
    """Train a model in place, with its pruned weights held at exactly 0.

    SIGTERM and Ctrl-C finish the step and save the state before the program exits; a second signal exits at once.

    Args:
        model: the model; moved to the accelerator's device.
        masks: which weights are kept; None = dense.
        data: training and test batches of this process.
        train: epochs, optimizer, schedule, and the minutes between saves.
        task: loss and metric; None = classification.
        accelerator: None = a new one with the precision of ``train``.
        folder: where the main process saves the state and a later call resumes from it; None = not saved.
        seed: seed of dropout and other random layers.
        tightening: makes the masks tighter during training; :attr:`History.masks` are those it ends with, and no epoch
            before they are final counts as the best.
        history: training already done; continues from its last step, with a fresh optimizer.
        until: optimizer step after which to stop, without a test within an epoch; None = the end.
        after_epoch: called on the main process with the history and whether the epoch is the best so far.
        progress: show a progress bar per epoch.

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
        kind = task or Classification()
        run = _Training(model, masks, data, train, kind, accelerator, seed, tightening, folder, signals)
        try:
            run.resume(history or History())
            last = train.epochs * run.steps if until is None else until
            while run.trained or run.step < last:
                for inputs, targets in run.batches(last, progress):
                    run.train_on(inputs, targets)
                    run.save_or_stop()
                if not run.trained:  # `until` lies within the epoch
                    break
                best = run.end_epoch()
                if after_epoch and accelerator.is_main_process:
                    after_epoch(run.history, best)
                run.save()
                run.save_or_stop(at_once=True)
            run.finish()
        except RuntimeError as error:
            if str(error).startswith("DataLoader worker"):  # raised anywhere, by torch's signal handler
                raise RunError(f"a process that decodes images died ({error}); {run.saved.last()}") from error
            raise
        finally:
            run.close()
    if signals.received:  # received while the last state was written
        raise stopped(signals.received)
    return run.history


class _Training:
    """State and steps of one fine-tuning."""

    def __init__(
        self, model: nn.Module, masks: Masks | None, data: Loaders, train: Train, task: Task,
        accelerator: Accelerator, seed: int, tightening: Tightening | None, folder: Path | None, signals: Signals,
    ) -> None:  # fmt: skip
        self.data, self.train, self.task, self.accelerator, self.seed = data, train, task, accelerator, seed
        self.tightening = tightening
        self.pulse = Pulse(accelerator, signals, train.save_minutes)
        self.steps = len(data.train)
        if not self.steps:
            raise InputError("the training batches yield nothing; give at least one image")
        self.history = History()
        self.log = torch.zeros(2, self.steps, device=accelerator.device)  # per step: loss, number of images
        self.bare = model
        moved(model, lambda model: model.to(accelerator.device))
        if train.channels_last:
            moved(model, lambda model: model.to(memory_format=torch.channels_last))
        if masks is not None:
            masks.apply_(self.bare)
        facts = identity(self.bare, masks, data, train, accelerator, seed)
        if tightening is not None:
            facts["tightening"] = repr(tightening)
        self.saved = Resumption(folder, accelerator, facts)
        self.optimizer = optimizer(self.bare, train)
        self.rates = [group["lr"] for group in self.optimizer.param_groups]
        self.replaced = batchnorm.synchronise(self.bare) if train.sync_norm and accelerator.num_processes > 1 else []
        self.model, self.optimizer = accelerator.prepare(self.bare, self.optimizer)
        self.outputs = compiled(self.model) if train.compile else self.model
        self.settled = False
        self.masks, self.hold = masks, masks.hold(self.bare, self.optimizer) if masks is not None else None
        self.scaler_before = accelerator.scaler.state_dict() if accelerator.scaler is not None else None
        self.start = time.perf_counter()

    @property
    def step(self) -> int:
        """The number of optimizer steps taken."""
        return len(self.history.epochs) * self.steps + self.history.done

    @property
    def trained(self) -> bool:
        """Whether all steps of the epoch are done and its test is next."""
        return self.history.done == self.steps

    def resume(self, history: History) -> None:
        """Restore the saved state if there is one, else continue after ``history``."""
        self.history = self.saved.restore(self.bare, self.optimizer) or history
        if self.history.log is not None:
            self.log.copy_(self.history.log)
        if self.history.masks is not None:
            self._tighten(Masks(self.history.masks))

    def batches(self, last: int, progress: bool) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the epoch's remaining batches up to optimizer step ``last``, with the model in training mode."""
        history, epoch = self.history, len(self.history.epochs)
        self.start = time.perf_counter() - history.elapsed
        end = min(self.steps, last - epoch * self.steps)
        if end <= history.done:  # stopped between the last step and the test
            return
        self.data.train.set_epoch(epoch, history.done)
        self.model.train()
        if self.train.freeze_norm:
            batchnorm.freeze(self.bare)
        self.pulse.restart()
        shown = progress and self.accelerator.is_main_process
        batches = islice(self.data.train, end - history.done)
        label = f"epoch {epoch + 1}/{self.train.epochs}"
        yield from track(batches, label, shown=shown, total=end - history.done)
        if history.done < end:
            raise InputError(
                f"the training batches end after {history.done} of {self.steps}; their length must be true"
            )

    def train_on(self, inputs: Tensor, targets: Tensor) -> None:
        """Take one optimizer step."""
        if not self.settled:
            settle(self.model, inputs)
            self.settled = True
        # seeded by the position in the training, so that dropout draws the same in a resumed step
        place = (self.seed, len(self.history.epochs), self.history.done, self.accelerator.process_index)
        torch.manual_seed(seed_of(*place))
        for group, rate in zip(self.optimizer.param_groups, self.rates, strict=True):
            group["lr"] = rate * factor(self.train, self.step, self.steps)
        self.optimizer.zero_grad(set_to_none=True)
        with self.accelerator.autocast():
            loss = self.task.loss(self.outputs(inputs), targets) * self._share(targets)
        self.accelerator.backward(loss)
        if self.train.clip_norm is not None:
            self.accelerator.clip_grad_norm_(self.model.parameters(), self.train.clip_norm)
        self.optimizer.step()
        self.log[0, self.history.done], self.log[1, self.history.done] = loss.detach(), len(inputs)
        self.history.done += 1
        if self.tightening is not None and self.masks is not None:
            tighter = self.tightening.after(self.step, self.bare, self.masks)
            if tighter is not None:
                self._tighten(tighter)
        self.history.elapsed = time.perf_counter() - self.start

    def _tighten(self, masks: Masks) -> None:
        """Hold other masks from now on."""
        if self.hold is not None:
            self.hold.remove()
        self.masks, self.hold, self.history.masks = masks, masks.hold(self.bare, self.optimizer), dict(masks)

    def end_epoch(self) -> bool:
        """Test and add the epoch to the history; return whether it is the best so far."""
        trained_s, epoch = self.history.elapsed, len(self.history.epochs)
        start = time.perf_counter() - trained_s
        losses, images = self._checked(self._gathered_log())
        tested = self._test(epoch)
        row = {"epoch": epoch + 1, "lr": self._lr(0), "train_loss": float(losses @ images / images.sum()), **tested}
        counts = self.tightening is None or self.tightening.final(self.step)
        best = self.history.add(row, self.task.headline, time.perf_counter() - start, counts=counts)
        self.log.zero_()
        self._tell(row, float(images.sum()) / max(trained_s, 1e-9))
        return best

    def _tell(self, row: dict[str, float], speed: float) -> None:
        headline, seconds = self.task.headline, self.history.seconds
        left = (self.train.epochs - len(self.history.epochs)) * sum(seconds) / len(seconds)
        _log.info(
            "epoch %d/%d: train loss %.4g, test loss %.4g, %s %s, lr %.3g, %.0f images/s, %s left",
            row["epoch"], self.train.epochs, row["train_loss"], row["test_loss"], headline.label,
            headline.text(row[headline.name]), row["lr"], speed, duration(left),
        )  # fmt: skip

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
            self.save_or_stop()

    def _share(self, targets: Tensor) -> Tensor | float:
        """Return the factor that turns the mean over processes into the mean over the global batch's targets."""
        if self.accelerator.num_processes == 1:
            return 1.0
        if not len(targets):
            raise InputError(
                f"a batch has fewer images than the {self.accelerator.num_processes} processes; "
                "use fewer processes, or more images"
            )
        own = self.task.weight(targets)
        every = self.accelerator.reduce(own, "sum")
        return own.float() * self.accelerator.num_processes / every.clamp(min=1).float()

    def save_or_stop(self, *, at_once: bool = False) -> None:
        """Save if it is time; on a signal save and stop, all processes at the same step.

        ``at_once`` synchronises the processes now instead of at their next scheduled step.
        """
        if at_once:
            self.pulse.restart()
        number, late = self.pulse.beat()
        if number or late:
            self.save()
        if number:
            _log.info("stopped by signal %d; %s", number, self.saved.last())
            raise stopped(number)

    def save(self) -> None:
        """Save the state on the main process.

        Raises:
            TrainingError: a loss, weight or optimizer value is not finite; nothing is saved.
        """
        batchnorm.share_buffers(self.bare, self.accelerator)
        log = self._gathered_log()
        self._checked(log)
        self.saved.save(self.bare, self.optimizer, self.history, log, self.step)
        self.pulse.saved()
        self.accelerator.wait_for_everyone()

    def finish(self) -> None:
        """Save an unfinished epoch."""
        if self.history.done:
            self.save()
            self.history.log = self.log

    def _gathered_log(self) -> Tensor:
        """Return the losses and image counts of the epoch's steps, float64 (processes, 2, steps)."""
        return self.accelerator.gather(self.log[None]).cpu().double()

    def _checked(self, log: Tensor) -> tuple[Tensor, Tensor]:
        """Return the loss and the number of images of each global batch so far.

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
            f"{what}, learning rate {self._lr(max(step, 0)):g}; {self.saved.last()}; "
            "try a lower train.lr, train.clip_norm or train.precision no"
        )

    def _lr(self, step: int) -> float:
        return self.train.lr * factor(self.train, len(self.history.epochs) * self.steps + step, self.steps)

    def close(self) -> None:
        """Restore the model (no hooks, no wrapped forward, its own BatchNorm layers) and the scaler."""
        if self.hold is not None:
            self.hold.remove()
        self.accelerator.unwrap_model(self.model, keep_fp32_wrapper=False)
        vars(self.bare).pop("forward", None)
        batchnorm.restore(self.replaced)
        if self.scaler_before is not None:
            self.accelerator.scaler.load_state_dict(self.scaler_before)
        self.accelerator.free_memory()
