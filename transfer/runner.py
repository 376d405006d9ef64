"""run(): one recipe from the backbone to the finished run folder."""

import copy
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

import checkpoints
from checkpoints import Backbone
from checkpoints.backbone import digest
from checkpoints.errors import InputError
from transfer import data as datasets
from transfer.data.batches import Batches
from transfer.data.dataset import Dataset
from transfer.data.pruning_set import PruningSet, balanced, pruning_set
from transfer.environment import environment, versions
from transfer.errors import ScoreError
from transfer.models import classifier
from transfer.pruning import Masks, prune, schedule, score
from transfer.pruning.prunable import prunable
from transfer.recipe import Recipe
from transfer.report import plots
from transfer.run_folder import RunFolder, read_json
from transfer.training.loop import History, Loaders, accelerator_for, evaluate, finetune
from transfer.training.state import State
from transfer.training.weights import load_weights, save_weights


@dataclass(frozen=True)
class Result:
    """A finished run: its folder and the content of its ``result.json``."""

    folder: Path
    metrics: dict[str, Any]


@dataclass(frozen=True)
class Job:
    """A recipe with everything it needs loaded and checked, before anything is written."""

    recipe: Recipe
    backbone: Backbone
    dataset: Dataset
    model: nn.Module
    accelerator: Any

    @property
    def loaders(self) -> Loaders:
        """Training and test batches of this process."""
        recipe, accelerator = self.recipe, self.accelerator
        shared: dict[str, Any] = {
            **self.look, "batch": recipe.train.batch, "channels_last": recipe.train.channels_last,
            "rank": accelerator.process_index, "world": accelerator.num_processes, "workers": recipe.data.workers,
        }  # fmt: skip
        train = Batches(
            self.dataset.train,
            augment=recipe.data.augment,
            shuffle=True,
            drop_last=True,
            seed=recipe.seed,
            **shared,
        )
        return Loaders(train, Batches(self.dataset.test, **shared))

    @property
    def pruning_set(self) -> PruningSet:
        """The fixed, balanced images that pruning sees."""
        prune = self.recipe.prune
        return pruning_set(
            self.dataset.train, self.dataset.classes,
            per_class=prune.per_class, batch=prune.batch, seed=self.recipe.seed, **self.look,
        )  # fmt: skip

    @property
    def look(self) -> dict[str, Any]:
        """How images are prepared: the recipe's size, the backbone's normalisation."""
        backbone = self.backbone
        return {
            "size": self.recipe.data.size, "mean": backbone.mean, "std": backbone.std,
            "interpolation": backbone.interpolation, "device": self.accelerator.device,
        }  # fmt: skip


def prepare(recipe: Recipe) -> Job:
    """Check a recipe and load what it names; nothing is written.

    Raises:
        InputError: whatever can be known to fail.
    """
    recipe.check()
    recipe = recipe.resolved()
    accelerator = accelerator_for(recipe.train)
    if recipe.train.batch % accelerator.num_processes:
        raise InputError(
            f"train.batch is {recipe.train.batch}; give a multiple of the {accelerator.num_processes} processes"
        )
    backbone = checkpoints.load(recipe.backbone, seed=recipe.seed)
    dataset = datasets.load(recipe.data.name)
    model = classifier(backbone, len(dataset.classes), stem=recipe.stem, seed=recipe.seed)
    if recipe.prune.sparsity:
        total = sum(w.numel() for w in prunable(model, recipe.prune.exclude).values())
        schedule.check(total, recipe.prune.sparsity, recipe.prune.rounds or 1, recipe.prune.schedule)
        balanced(dataset.train.labels, dataset.classes, per_class=recipe.prune.per_class, seed=recipe.seed)
    job = Job(recipe, backbone, dataset, model.to(accelerator.device), accelerator)
    _rehearse(job)
    return job


def run(recipe: Recipe, *, out: str | Path = "runs", progress: bool = False) -> Result:
    """Prune and fine-tune as the recipe says; return the result and keep it under ``out``.

    The same recipe again goes on at the last finished epoch, or returns the result at once.

    Raises:
        InputError: before anything is written, for what can be known then.
        TrainingError, ScoreError: during the run; what was finished is kept.
    """
    job = prepare(recipe)
    folder = RunFolder(Path(out), job.recipe, job.backbone.digest())
    if not job.accelerator.is_main_process:
        job.accelerator.wait_for_everyone()  # the main process has made the folder by then
        return _work(job, folder, progress)
    with folder.opened():
        job.accelerator.wait_for_everyone()
        return _work(job, folder, progress)


def _work(job: Job, folder: RunFolder, progress: bool) -> Result:
    finished = folder.file("result.json")
    if finished.exists():
        return Result(folder.path, read_json(finished))
    job.accelerator.wait_for_everyone()
    main = job.accelerator.is_main_process
    if main:
        folder.write_json("environment.json", environment(job.accelerator))
    masks, facts, seconds = _pruned(job, folder, progress and main)
    history = finetune(
        job.model, masks, job.loaders, job.recipe.train,
        accelerator=job.accelerator, folder=folder.path, seed=job.recipe.seed, progress=progress,
        after_epoch=lambda history, best: _keep(job, folder, history, best, seconds),
    )  # fmt: skip
    if not history.epochs:  # epochs = 0: the pruned model as it is
        found = evaluate(job.model, job.loaders.test, accelerator=job.accelerator)
        history.epochs.append({"epoch": 0, **{k if k != "loss" else "test_loss": v for k, v in found.items()}})
        if main:
            _keep(job, folder, history, True, seconds)
    metrics = {**_described(job), **facts, **_scores(history), "weights_digest": digest(job.model.state_dict())}
    if main:
        _finish(job, folder, masks, history, metrics)
    job.accelerator.wait_for_everyone()
    return Result(folder.path, metrics)


def _pruned(job: Job, folder: RunFolder, progress: bool) -> tuple[Masks | None, dict[str, Any], float]:
    """Return the masks, made now or by an earlier start of this run, and what the result says of them."""
    prune_ = job.recipe.prune
    if not prune_.sparsity:
        total = sum(w.numel() for w in prunable(job.model).values())
        return None, {"sparsity": 0.0, "kept": total, "total": total, "pruning_set": None}, 0.0
    start, path = time.perf_counter(), folder.file("masks.safetensors")
    images, timing = job.pruning_set, folder.file("timing.json")
    if path.exists():
        masks = Masks.load(path)
        masks.apply_(job.model)
    else:
        masks = prune(
            job.model, images,
            method=prune_.method, sparsity=prune_.sparsity, rounds=prune_.rounds, schedule=prune_.schedule,
            exclude=prune_.exclude, seed=job.recipe.seed, accelerator=job.accelerator, progress=progress,
        )  # fmt: skip
        if job.accelerator.is_main_process:
            folder.write_json("timing.json", {"prune_s": time.perf_counter() - start, "epochs_s": []})
            masks.save(path)
    facts = {
        "sparsity": masks.sparsity, "kept": masks.kept, "total": masks.total, "masks_digest": masks.digest(),
        "empty_layers": [name.removesuffix(".weight") for name in masks.collapsed()],
        "pruning_set": {"images": len(images.indices), "per_class": prune_.per_class, "digest": images.digest},
    }  # fmt: skip
    seconds = read_json(timing)["prune_s"] if timing.exists() else time.perf_counter() - start
    return masks, facts, seconds


def _keep(job: Job, folder: RunFolder, history: History, best: bool, seconds: float) -> None:
    folder.write_lines("metrics.jsonl", history.epochs)
    folder.write_json("timing.json", {"prune_s": seconds, "epochs_s": history.seconds})
    if best:
        save_weights(job.model, folder.file("best.safetensors"))


def _finish(job: Job, folder: RunFolder, masks: Masks | None, history: History, metrics: dict[str, Any]) -> None:
    save_weights(job.model, folder.file("model.safetensors"))
    layers = (masks or Masks.full(prunable(job.model))).layers()
    folder.write_table("layers.csv", layers)
    plots.accuracy(history.epochs, folder.file("plots/accuracy.png"), title=folder.path.name)
    plots.density(layers, folder.file("plots/density.png"), title=folder.path.name)
    folder.write_json("result.json", metrics)
    State(folder.path).clear()


def _described(job: Job) -> dict[str, Any]:
    recipe, backbone = job.recipe, job.backbone
    return {
        "recipe": recipe.name,
        "backbone": recipe.backbone,
        "arch": backbone.arch,
        "backbone_digest": backbone.digest(),
        "licence": backbone.card.licence,
        "dataset": recipe.data.name,
        "split": job.dataset.test_split,
        "image_size": recipe.data.size,
        "method": recipe.prune.method,
        "sparsity_asked": recipe.prune.sparsity,
        "rounds": recipe.prune.rounds,
        "seed": recipe.seed,
        "epochs": recipe.train.epochs,
        "device": job.accelerator.device.type,
        "processes": job.accelerator.num_processes,
        "precision": str(job.accelerator.mixed_precision),
        "versions": versions(),
    }


def _scores(history: History) -> dict[str, Any]:
    last, best = history.last, history.best
    return {
        "accuracy": last["accuracy"],
        "test_loss": last["test_loss"],
        "best_accuracy": best["accuracy"],
        "best_epoch": best["epoch"],
    }


def _rehearse(job: Job) -> None:
    """Score two images of noise, so that a size or a method that the model cannot take is known before any work."""
    recipe, size = job.recipe, job.recipe.data.size
    images = torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(0)).to(job.accelerator.device)
    targets = torch.zeros(2, dtype=torch.int64, device=job.accelerator.device)
    try:
        evaluate(job.model, [(images, targets)])
        with torch.random.fork_rng(), torch.no_grad():  # one image a process may be too few for BatchNorm
            copy.deepcopy(job.model).train()(images[: recipe.train.batch // job.accelerator.num_processes])
        if recipe.prune.sparsity:
            score(recipe.prune.method, job.model, [(images, targets)], exclude=recipe.prune.exclude)
    except ScoreError:
        pass  # the real images decide
    except InputError:
        raise
    except (RuntimeError, AssertionError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(
            f"{job.backbone.arch} cannot take images of {size} px in batches of {recipe.train.batch} ({reason}); "
            "set data.size or train.batch"
        ) from error


def load_run(folder: Path, *, which: str = "last") -> tuple[Job, nn.Module]:
    """Return the job of a finished run and its model with the trained weights: "last" or "best".

    Raises:
        InputError: no finished run is there, or the weights are damaged.
    """
    recipe = Recipe.from_dict(read_json(folder / "recipe.json"))
    job = prepare(recipe)
    load_weights(job.model, folder / ("model.safetensors" if which == "last" else "best.safetensors"))
    return job, job.model
