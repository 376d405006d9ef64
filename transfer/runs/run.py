"""run(): one recipe from the backbone to the finished run folder."""

import time
import warnings
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from torch import nn

from checkpoints.backbone import digest
from checkpoints.errors import InputError
from transfer.data import identity
from transfer.distributed import from_main
from transfer.environment import environment, versions
from transfer.precision import precision_of
from transfer.pruning import Masks, effective_sparsity, prune, report
from transfer.pruning.calibration import recalibrate
from transfer.pruning.prunable import prunable
from transfer.recipe import KEEP, Recipe
from transfer.report import plots
from transfer.runs import predictor as trained
from transfer.runs.folder import RunFolder, read_json
from transfer.runs.prepare import Job, prepare
from transfer.runs.shelf import Shelf
from transfer.training import History, finetune
from transfer.training.checkpoint import State, load_weights, save_weights
from transfer.training.evaluation import counted
from transfer.training.imp import imp

_ROUND = "masks-round-"  # the masks of a pruning that was stopped after so many rounds


@dataclass(frozen=True)
class Result:
    """A finished run: its folder and the content of its ``result.json``."""

    folder: Path
    metrics: dict[str, Any]
    finished: datetime | None = field(default=None, compare=False)
    """When an earlier start finished it; None: this one did."""


def run(recipe: Recipe, *, out: str | Path = "runs", progress: bool = False, shelf: Shelf | None = None) -> Result:
    """Prune and fine-tune as the recipe says; return the result and keep it under ``out``.

    The same recipe again goes on where it was stopped, or returns the result at once. A ``shelf`` that several runs
    share keeps what they have in common.

    Raises:
        InputError: before anything is written, for what can be known then.
        TrainingError, ScoreError: during the run; what was finished is kept.
    """
    job = prepare(recipe, shelf)
    folder = RunFolder(Path(out), job.recipe, job.origin())
    with ExitStack() as stack, precision_of(job.accelerator):
        from_main(lambda: stack.enter_context(folder.opened()) and None, job.accelerator)
        return _work(job, folder, progress)


def _work(job: Job, folder: RunFolder, progress: bool) -> Result:
    finished = from_main(lambda: _finished(folder), job.accelerator)
    if finished is not None:
        return finished
    main = job.accelerator.is_main_process
    if main:
        folder.write_json("environment.json", environment(job.accelerator))
    masks, before, seen, seconds = _pruned(job, folder, progress)
    layers = report(job.model, masks or Masks.full(prunable(job.model)), job.noise()[0])
    history = finetune(
        job.model, masks, job.loaders, job.recipe.train,
        task=job.task, accelerator=job.accelerator, folder=folder.path, seed=job.recipe.seed, progress=progress,
        history=before, after_epoch=lambda history, best: _keep(job, folder, history, best, seconds),
    )  # fmt: skip
    if not history.epochs:  # epochs = 0: the pruned model as it is
        loss, history.counts = counted(job.model, job.loaders.test, task=job.task, accelerator=job.accelerator)
        history.epochs.append({"epoch": 0, "test_loss": loss, **job.task.metrics(history.counts)})
        if main:
            _keep(job, folder, history, True, seconds)
    metrics = {
        **_described(job), **_pruning(job, masks, layers, seen), **_scores(job, history),
        "weights_digest": digest(job.model.state_dict()),
    }  # fmt: skip
    assert history.counts is not None  # the last epoch's test
    classes = job.task.table(history.counts)
    if classes:
        metrics["absent_classes"] = [row["class"] for row in classes if row["iou"] is None]
    if main:
        _finish(job, folder, layers, classes, history, metrics)
    job.accelerator.wait_for_everyone()
    return Result(folder.path, metrics)


def _finished(folder: RunFolder) -> Result | None:
    """Return the result that an earlier start of this run came to."""
    when = folder.finished()
    if when is None:
        return None
    _clear(folder)
    return Result(folder.path, read_json(folder.file("result.json")), when)


def _pruned(job: Job, folder: RunFolder, progress: bool) -> tuple[Masks | None, History, dict[str, Any] | None, float]:
    """Return the masks, the epochs that went before, what the result says of the pruning set, and seconds.

    The masks are made now or were by an earlier start of this run.
    """
    recipe, prune_ = job.recipe, job.recipe.prune
    if prune_.dense:
        return None, History(), None, 0.0
    start, path, timing = time.perf_counter(), folder.file("masks.safetensors"), folder.file("timing.json")
    before, main = History(), job.accelerator.is_main_process
    images = job.pruning_set if prune_.method not in ("imp", KEEP) or prune_.recalibrate else None
    if prune_.method == "imp":
        masks, before = imp(
            job.model, job.loaders, recipe.train,
            sparsity=prune_.sparsity, rounds=prune_.rounds or 1, schedule=prune_.schedule, exclude=prune_.exclude,
            task=job.task, accelerator=job.accelerator, folder=folder.file("imp"), seed=recipe.seed,
            progress=progress, **prune_.method_options(),
        )  # fmt: skip
    else:
        found = from_main(lambda: Masks.load(path) if path.exists() else None, job.accelerator)
        if found is None and prune_.method == KEEP:
            found = Masks({name: w != 0 for name, w in prunable(job.model, prune_.exclude).items()})
        masks = found or _rounds(job, images, folder, progress)
        masks.apply_(job.model)
    if prune_.recalibrate and images is not None:
        recalibrate(job.model, images)
    if main and not path.exists():
        folder.write_json("timing.json", {"prune_s": time.perf_counter() - start, "epochs_s": []})
        masks.save(path)
        for part in folder.path.glob(f"{_ROUND}*"):
            part.unlink()
    seen = None if images is None else {"images": len(images.indices), "digest": images.digest}
    told = main and timing.exists()
    return masks, before, seen, read_json(timing)["prune_s"] if told else time.perf_counter() - start


def _rounds(job: Job, images: Any, folder: RunFolder, progress: bool) -> Masks:
    """Prune, round by round, from the last round that an earlier start of this run finished."""
    prune_, main = job.recipe.prune, job.accelerator.is_main_process
    begin = from_main(lambda: _last_round(folder), job.accelerator)

    def keep(round_: int, masks: Masks) -> None:
        if main:
            masks.save(folder.file(f"{_ROUND}{round_}.safetensors"))
            folder.file(f"{_ROUND}{round_ - 1}.safetensors").unlink(missing_ok=True)

    return prune(
        job.model, images,
        method=prune_.method, sparsity=prune_.sparsity, allocation=prune_.allocation, rounds=prune_.rounds,
        schedule=prune_.schedule, loss=job.task.loss, exclude=prune_.exclude, seed=job.recipe.seed,
        accelerator=job.accelerator, statistics=prune_.statistics, progress=progress and main, begin=begin,
        after_round=keep,
        **prune_.method_options(),
    )  # fmt: skip


def _last_round(folder: RunFolder) -> tuple[int, Masks] | None:
    """Return the last round that is done, and its masks."""
    done = {int(p.stem.removeprefix(_ROUND)): p for p in folder.path.glob(f"{_ROUND}*.safetensors")}
    last = max(done, default=0)
    return (last, Masks.load(done[last])) if last else None


def _pruning(
    job: Job, masks: Masks | None, layers: list[dict[str, Any]], seen: dict[str, Any] | None
) -> dict[str, Any]:
    """Return what the result says of the pruning."""
    if masks is None:
        total = sum(row["total"] for row in layers)
        return {"sparsity": 0.0, "kept": total, "total": total, "pruning_set": None}
    prune_ = job.recipe.prune
    return {
        "sparsity": masks.sparsity, "effective_sparsity": effective_sparsity(layers),
        "kept": masks.kept, "total": masks.total, "masks_digest": masks.digest(),
        "empty_layers": [name.removesuffix(".weight") for name in masks.collapsed()],
        "dead_units": sum(row["dead_units"] for row in layers), "recalibrated": prune_.recalibrate,
        "allocation": prune_.allocation, "options": prune_.method_options(), "pruning_set": seen,
    }  # fmt: skip


def _keep(job: Job, folder: RunFolder, history: History, best: bool, seconds: float) -> None:
    folder.write_lines("metrics.jsonl", history.epochs)
    folder.write_json("timing.json", {"prune_s": seconds, "epochs_s": history.seconds})
    if best:
        save_weights(job.model, folder.file("best.safetensors"))


def _finish(
    job: Job, folder: RunFolder, layers: list[dict[str, Any]], classes: list[dict[str, Any]], history: History,
    metrics: dict[str, Any],
) -> None:  # fmt: skip
    save_weights(job.model, folder.file("model.safetensors"))
    folder.write_json(trained.NAME, trained.describe(job))
    if classes:
        folder.write_table("classes.csv", classes)
    folder.write_table("layers.csv", layers)
    plots.metric(history.epochs, job.task.headline, folder.file("plots") / f"{job.task.headline}.png", folder.path.name)
    plots.density(layers, folder.file("plots/density.png"), title=folder.path.name)
    folder.write_json("result.json", metrics)
    _clear(folder)


def _clear(folder: RunFolder) -> None:
    """Remove what only a run that is not finished needs."""
    State(folder.path).clear()
    for part in folder.file("imp").glob("*"):
        State(part).clear()
        (part / "model.safetensors").unlink(missing_ok=True)


def _described(job: Job) -> dict[str, Any]:
    recipe, backbone = job.recipe, job.backbone
    return {
        "recipe": recipe.name,
        "backbone": recipe.backbone,
        "arch": backbone.arch,
        "backbone_digest": backbone.digest(),
        "licence": backbone.card.licence,
        "dataset": recipe.data.name,
        **job.facts(),
        "image_size": recipe.data.size,
        "method": recipe.prune.method,
        "sparsity_asked": recipe.prune.sparsity,
        "rounds": recipe.prune.rounds,
        "statistics": recipe.prune.statistics,
        "seed": recipe.seed,
        "epochs": recipe.train.epochs,
        "device": job.accelerator.device.type,
        "processes": job.accelerator.num_processes,
        "precision": str(job.accelerator.mixed_precision),
        "versions": versions(),
    }


def _scores(job: Job, history: History) -> dict[str, Any]:
    headline, last, best = job.task.headline, history.last, history.best
    measured = {key: value for key, value in last.items() if key not in ("epoch", "lr", "train_loss")}
    return {**measured, "headline": headline, f"best_{headline}": best[headline], "best_epoch": best["epoch"]}


def _check_data(folder: Path, job: Job) -> None:
    """Refuse other classes than the run's, warn of other test images."""
    classes = read_json(folder / trained.NAME).get("classes", [])
    other = identity.class_difference(classes, job.dataset.classes)
    if other:
        raise InputError(
            f"{job.recipe.data.name} has other classes than the run in {folder} was trained on ({other}); give it the "
            "data of the run, or run the recipe again"
        )
    if (folder / "origin.json").exists():
        was, now = read_json(folder / "origin.json")["data"], identity.fingerprint(job.dataset)
        changed = identity.difference({**now, "test": was["test"]}, now)
        if changed:
            warnings.warn(f"the images are not those that the run was tested on: {changed}", stacklevel=3)


def load_run(folder: Path, *, which: str = "last") -> tuple[Job, nn.Module]:
    """Return the job of a finished run and its model with the trained weights: "last" or "best".

    Test images that are not those of the run are a warning.

    Raises:
        InputError: no finished run is there, the weights are damaged, or the data set now has other classes.
    """
    recipe = Recipe.from_dict(read_json(folder / "recipe.json"))
    job = prepare(recipe)
    _check_data(folder, job)
    load_weights(job.model, folder / ("model.safetensors" if which == "last" else "best.safetensors"))
    return job, job.model
