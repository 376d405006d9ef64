"""The pruning step of a run: create the masks, or load those of an earlier start."""

import logging
import time
from dataclasses import dataclass
from typing import Any

from transfer.distributed import from_main
from transfer.pruning import Masks, prune
from transfer.pruning.calibration import recalibrate
from transfer.pruning.prunable import prunable
from transfer.recipe import KEEP
from transfer.runs.folder import RunFolder, read_json
from transfer.runs.prepare import Setup
from transfer.training import History
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
    rounds: int | None = None
    """Rounds until the masks were final, if scores decided when; otherwise as in the recipe."""


def prune_model(setup: Setup, folder: RunFolder, progress: bool) -> tuple[Pruning, History]:
    """Prune the model in place.

    Returns:
        The pruning, and the training that imp has already done.
    """
    asked, history, rounds = setup.recipe.prune, History(), None
    if asked.dense:
        return Pruning(), history
    start, path, timing = time.perf_counter(), folder.file("masks.safetensors"), folder.file("timing.json")
    main = setup.accelerator.is_main_process
    images = setup.pruning_set if asked.method not in ("imp", KEEP) or asked.recalibrate else None
    if asked.method == "imp":
        masks, history = imp(
            setup.model, setup.loaders, setup.recipe.train,
            sparsity=asked.sparsity, rounds=asked.rounds or 1, schedule=asked.schedule, pattern=asked.pattern,
            exclude=asked.exclude, task=setup.task, accelerator=setup.accelerator, folder=folder.file("imp"),
            seed=setup.recipe.seed, progress=progress, **asked.method_options(),
        )  # fmt: skip
    else:
        found = from_main(lambda: Masks.load(path) if path.exists() else None, setup.accelerator)
        if found is not None:
            _log.info("masks of an earlier start are in %s", path)
        elif asked.method == KEEP:
            found = Masks({name: w != 0 for name, w in prunable(setup.model, asked.exclude).items()})
        masks, rounds = (found, None) if found else _rounds(setup, images, folder, progress)
        masks.apply_(setup.model)
    if asked.recalibrate and images is not None:
        recalibrate(setup.model, images)
    if main and not path.exists():
        folder.write_json("timing.json", {"prune_s": time.perf_counter() - start, "rounds": rounds, "epochs_s": []})
        masks.save(path)
        for part in folder.path.glob(f"{_ROUND}*"):
            part.unlink()
    seen = None if images is None else {"images": len(images.indices), "digest": images.digest}
    known = main and timing.exists()
    before: dict[str, Any] = read_json(timing) if known else {"prune_s": time.perf_counter() - start, "rounds": rounds}
    return Pruning(masks, seen, before["prune_s"], before.get("rounds")), history


def _rounds(setup: Setup, images: Any, folder: RunFolder, progress: bool) -> tuple[Masks, int | None]:
    """Prune round by round, resuming after the last round that an earlier start finished.

    With stop_overlap, the last round is run again: what it would have ended with is compared in the next.

    Returns:
        The masks, and the number of rounds if stop_overlap could end them early.
    """
    asked, main = setup.recipe.prune, setup.accelerator.is_main_process
    again = int(asked.stop_overlap is not None)
    begin = from_main(lambda: _finished_round(folder, again), setup.accelerator)
    done = begin[0] if begin else 0
    if begin is not None:
        _log.info("resumed after pruning round %d of %s", begin[0], asked.rounds)

    def keep(round_: int, masks: Masks) -> None:
        nonlocal done
        done = round_
        if main:
            masks.save(folder.file(f"{_ROUND}{round_}.safetensors"))
            folder.file(f"{_ROUND}{round_ - 1 - again}.safetensors").unlink(missing_ok=True)

    masks = prune(
        setup.model, images,
        method=asked.method, sparsity=asked.sparsity, allocation=asked.allocation, rounds=asked.rounds,
        schedule=asked.schedule, pattern=asked.pattern, stop_overlap=asked.stop_overlap, loss=setup.task.loss,
        exclude=asked.exclude, seed=setup.recipe.seed, accelerator=setup.accelerator, statistics=asked.statistics,
        progress=progress and main, begin=begin, after_round=keep, **asked.method_options(),
    )  # fmt: skip
    return masks, done + 1 if again else None


def _finished_round(folder: RunFolder, back: int) -> tuple[int, Masks] | None:
    """Return the number and the masks of the last finished round, or of as many ``back``; None if there is none."""
    done = {int(p.stem.removeprefix(_ROUND)): p for p in folder.path.glob(f"{_ROUND}*.safetensors")}
    last = max(done, default=0) - back
    return (last, Masks.load(done[last])) if last in done else None
