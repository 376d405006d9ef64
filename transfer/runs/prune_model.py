"""The pruning step of a run: create the masks, or load those of an earlier start."""

import logging
import time
from dataclasses import dataclass, replace
from typing import Any

import torch

from checkpoints.files import read_json
from transfer.distributed import from_main
from transfer.pruning import Masks, prune
from transfer.pruning.ablation import shuffled
from transfer.pruning.calibration import recalibrate
from transfer.pruning.prunable import prunable
from transfer.recipe import EXPONENTIAL, GMP, IMP, KEEP
from transfer.runs.folder import RunFolder
from transfer.runs.prepare import Setup
from transfer.runs.start import begin_
from transfer.training import History
from transfer.training.gmp import Gradual, gradual
from transfer.training.imp import imp

_ROUND = "masks-round-"  # masks of an unfinished pruning; the number of finished rounds follows
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Pruning:
    """The pruning of a run, as its files record it."""

    masks: Masks | None = None
    """None = dense."""
    seen: dict[str, Any] | None = None
    """The pruning set: its number of images and digest."""
    seconds: float = 0.0
    tightening: Gradual | None = None
    """What makes the masks tighter while the model trains (gmp); None = they are final."""

    def ended(self, history: History, folder: RunFolder, *, main: bool) -> "Pruning":
        """Return the pruning after a training; write the masks that only the training has made."""
        if self.tightening is None or history.masks is None:
            return self
        masks = Masks({name: mask.cpu() for name, mask in history.masks.items()})
        if main:
            masks.save(folder.file("masks.safetensors"))
        return replace(self, masks=masks)


def prune_model(setup: Setup, folder: RunFolder, progress: bool) -> tuple[Pruning, History]:
    """Prune the model in place, or return what prunes it while it trains.

    Returns:
        The pruning, and the training that imp has already done.
    """
    asked, history = setup.recipe.prune, History()
    if asked.dense:
        return Pruning(), history
    if asked.method == GMP:
        steps = setup.recipe.train.epochs * len(setup.loaders.train)
        tightening = gradual(setup.model, asked, steps, setup.accelerator)
        return Pruning(Masks.full(prunable(setup.model, asked.exclude)), tightening=tightening), history
    start, path, timing = time.perf_counter(), folder.file("masks.safetensors"), folder.file("timing.json")
    main = setup.accelerator.is_main_process
    images = setup.pruning_set if asked.method not in (IMP, KEEP) or asked.recalibrate else None
    if asked.method == IMP:
        masks, history = imp(
            setup.model, setup.loaders, setup.recipe.train,
            sparsity=asked.sparsity, rounds=asked.rounds or 1, schedule=asked.schedule or EXPONENTIAL,
            pattern=asked.pattern, exclude=asked.exclude, task=setup.task, accelerator=setup.accelerator,
            folder=folder.file("imp"), seed=setup.recipe.seed, progress=progress, **asked.method_options(),
        )  # fmt: skip
    else:
        found = from_main(lambda: Masks.load(path) if path.exists() else None, setup.accelerator)
        if found is not None:
            _log.info("masks of an earlier start are in %s", path)
        elif asked.method == KEEP:
            found = Masks({name: w != 0 for name, w in prunable(setup.model, asked.exclude).items()})
        masks = found or _rounds(setup, images, folder, progress)
        begin_(setup.model, masks, setup.recipe)
    if asked.recalibrate and images is not None:
        recalibrate(setup.model, images)
    if main and not path.exists():
        folder.write_json("timing.json", {"prune_s": time.perf_counter() - start, "epochs_s": []})
        masks.save(path)
        for part in folder.path.glob(f"{_ROUND}*"):
            part.unlink()
    seen = None if images is None else {"images": len(images.indices), "digest": images.digest}
    known = main and timing.exists()
    seconds = read_json(timing)["prune_s"] if known else time.perf_counter() - start
    return Pruning(masks, seen, seconds), history


def _rounds(setup: Setup, images: Any, folder: RunFolder, progress: bool) -> Masks:
    """Prune round by round, resuming after the last round that an earlier start finished; shuffle if that is asked."""
    asked, main = setup.recipe.prune, setup.accelerator.is_main_process
    begin = from_main(lambda: _last_round(folder), setup.accelerator)
    if begin is not None:
        _log.info("resumed after pruning round %d of %s", begin[0], asked.rounds)

    def keep(round_: int, masks: Masks) -> None:
        if main:
            masks.save(folder.file(f"{_ROUND}{round_}.safetensors"))
            folder.file(f"{_ROUND}{round_ - 1}.safetensors").unlink(missing_ok=True)

    weights = prunable(setup.model, asked.exclude)
    before = {name: w.detach().clone() for name, w in weights.items()} if asked.ablate == "shuffle" else {}
    masks = prune(
        setup.model, images,
        method=asked.method, sparsity=asked.sparsity, allocation=asked.allocation, rounds=asked.rounds,
        schedule=asked.schedule or EXPONENTIAL, pattern=asked.pattern, loss=setup.task.loss, exclude=asked.exclude,
        seed=setup.recipe.seed, accelerator=setup.accelerator, statistics=asked.statistics, progress=progress and main,
        begin=begin, after_round=keep, **asked.method_options(),
    )  # fmt: skip
    if not before:
        return masks
    with torch.no_grad():
        for name, weight in weights.items():
            weight.copy_(before[name])
    return shuffled(masks, setup.recipe.seed)


def _last_round(folder: RunFolder) -> tuple[int, Masks] | None:
    """Return the number and the masks of the last finished round; None if there is none."""
    done = {int(p.stem.removeprefix(_ROUND)): p for p in folder.path.glob(f"{_ROUND}*.safetensors")}
    last = max(done, default=0)
    return (last, Masks.load(done[last])) if last else None
