"""prepare(): a recipe with everything that it needs loaded and checked, before anything is written; rehearse(): without
downloads.
"""

import copy
import warnings
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

import checkpoints
from checkpoints import Backbone
from checkpoints.errors import InputError
from transfer import data as datasets
from transfer.data.dataset import Dataset, MaskDataset
from transfer.data.identity import fingerprint
from transfer.data.image_batches import Batches, Loaders
from transfer.data.mask_batches import MaskBatches, check_crop
from transfer.data.pruning_set import MaskPruningSet, PruningSet, balanced, mask_pruning_set, pruning_set
from transfer.distributed import accelerator_for, from_main
from transfer.errors import ScoreError, out_of_memory
from transfer.models import classifier, segmenter
from transfer.pruning import methods, saliency, schedule, score
from transfer.pruning.prunable import prunable, zeros
from transfer.pruning.received import check_received
from transfer.pruning.rewinding import check_rewind
from transfer.recipe import KEEP, Recipe
from transfer.runs.folder import Origin
from transfer.runs.shelf import Shelf
from transfer.tasks import Task
from transfer.tasks.classification import Classification
from transfer.tasks.segmentation import Segmentation
from transfer.training.evaluation import evaluate
from transfer.training.optim import optimizer


@dataclass(frozen=True)
class Job:
    """A recipe with everything it needs; one subclass a task."""

    recipe: Recipe
    backbone: Backbone
    dataset: Any
    model: nn.Module
    accelerator: Any

    @property
    def task(self) -> Task:
        """Loss and metrics."""
        raise NotImplementedError

    @property
    def loaders(self) -> Loaders:
        """Training and test batches of this process."""
        raise NotImplementedError

    @property
    def pruning_set(self) -> PruningSet | MaskPruningSet:
        """The fixed images that pruning sees."""
        raise NotImplementedError

    def origin(self) -> Origin:
        """Return what decides the result beside the recipe: backbone, data, methods of the user's own."""
        prune = self.recipe.prune
        sources = {name: saliency.source(name) for name in {prune.method, prune.allocation} & set(methods())}
        data = from_main(lambda: fingerprint(self.dataset), self.accelerator)  # another process may see another disk
        return Origin(self.backbone.digest(), data, {name: source for name, source in sources.items() if source})

    def facts(self) -> dict[str, Any]:
        """What the result says of the data."""
        raise NotImplementedError

    def noise(self) -> tuple[Tensor, Tensor]:
        """Two images of noise and their targets, on the device."""
        size, device = self.recipe.data.size, self.accelerator.device
        images = torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(0))
        return images.to(device), torch.zeros(2, dtype=torch.int64, device=device)

    def _look(self) -> dict[str, Any]:
        backbone = self.backbone
        return {
            "mean": backbone.mean, "std": backbone.std, "interpolation": backbone.interpolation,
            "device": self.accelerator.device,
        }  # fmt: skip

    def _share(self) -> dict[str, Any]:
        recipe, accelerator = self.recipe, self.accelerator
        return {
            **self._look(), "batch": recipe.train.batch, "channels_last": recipe.train.channels_last,
            "rank": accelerator.process_index, "world": accelerator.num_processes, "workers": recipe.data.workers,
        }  # fmt: skip


@dataclass(frozen=True)
class ClassificationJob(Job):
    """One label an image."""

    dataset: Dataset

    @property
    def task(self) -> Task:
        """Cross entropy and accuracy."""
        return Classification()

    @property
    def loaders(self) -> Loaders:
        """Training and test batches of this process."""
        recipe, shared = self.recipe, {**self._share(), "size": self.recipe.data.size}
        train = Batches(
            self.dataset.train, augment=recipe.data.augment, shuffle=True, drop_last=True, seed=recipe.seed, **shared
        )
        return Loaders(train, Batches(self.dataset.test, **shared))

    @property
    def pruning_set(self) -> PruningSet:
        """Images of each class, balanced."""
        prune = self.recipe.prune
        return pruning_set(
            self.dataset.train, self.dataset.classes,
            per_class=prune.per_class, batch=prune.batch, seed=self.recipe.seed, size=self.recipe.data.size,
            **self._look(),
        )  # fmt: skip

    def facts(self) -> dict[str, Any]:
        """What the result says of the data."""
        return {"task": "classification", "train_split": "train", "split": self.dataset.test_split}


@dataclass(frozen=True)
class SegmentationJob(Job):
    """One label a pixel."""

    dataset: MaskDataset

    @property
    def task(self) -> Task:
        """Cross entropy over the labelled pixels, and mIoU."""
        return Segmentation(self.dataset.classes)

    @property
    def loaders(self) -> Loaders:
        """Random crops for training; whole images, or centre crops, for the test."""
        recipe, shared = self.recipe, {**self._share(), **self._cut()}
        train = MaskBatches(
            self.dataset.train,
            augment=recipe.data.mask_augment,
            shuffle=True,
            drop_last=True,
            seed=recipe.seed,
            **shared,
        )
        return Loaders(train, MaskBatches(self.dataset.test, protocol=recipe.data.protocol, **shared))

    @property
    def pruning_set(self) -> MaskPruningSet:
        """Images chosen at random: one of a map has no class to balance."""
        prune = self.recipe.prune
        return mask_pruning_set(
            self.dataset.train, count=prune.images, batch=prune.batch, seed=self.recipe.seed, **self._cut(),
            **self._look(),
        )  # fmt: skip

    def facts(self) -> dict[str, Any]:
        """What the result says of the data: split and protocol move mIoU by many points."""
        data = self.dataset
        return {
            "task": "segmentation", "train_split": data.train_split, "split": data.test_split,
            "protocol": self.recipe.data.protocol, "output_stride": self.recipe.output_stride,
        }  # fmt: skip

    def noise(self) -> tuple[Tensor, Tensor]:
        """Two images of noise and their maps, on the device."""
        images, _ = super().noise()
        return images, torch.zeros(2, *images.shape[2:], dtype=torch.int64, device=images.device)

    def _cut(self) -> dict[str, Any]:
        return {"crop": self.recipe.data.size, "stride": self.recipe.output_stride}


def prepare(recipe: Recipe, shelf: Shelf | None = None) -> Job:
    """Check a recipe and load what it names and the ``shelf`` does not have; of the run nothing is written.

    Raises:
        InputError: whatever can be known to fail; before any download what can be known without it.
    """
    shelf = shelf or Shelf()
    job, absent = rehearse(recipe, shelf)
    if absent:
        recipe = job.recipe
        backbone = shelf.backbone(recipe.backbone, recipe.seed) if "backbone" in absent else job.backbone
        dataset = shelf.data(recipe.data.name) if "data" in absent else job.dataset
        job = _assembled(recipe, backbone, dataset, job.accelerator)
        _check_data(job)
        if "backbone" in absent:
            _check_zeros(job)
    return job


def rehearse(recipe: Recipe, shelf: Shelf | None = None) -> tuple[Job, dict[str, str]]:
    """Check a recipe with what is on this machine; nothing is downloaded.

    What the ``shelf`` has is not loaded again, and a recipe that it saw tried is not tried again.

    Returns the job and what is absent, each with a line that says where a run gets it: "backbone", which random
    weights stand in for, and "data", of which the job has the :class:`Outlook` only.

    Raises:
        InputError: what can be known to fail, and a file that no run can get.
    """
    recipe.check()
    recipe = recipe.resolved()
    accelerator = accelerator_for(recipe.train)
    if recipe.train.batch % accelerator.num_processes:
        raise InputError(
            f"train.batch is {recipe.train.batch}; give a multiple of the {accelerator.num_processes} processes"
        )
    absent, shelf = {}, shelf or Shelf()
    trial = shelf.first(recipe)
    with checkpoints.only_looking():
        try:
            backbone = shelf.backbone(recipe.backbone, recipe.seed)
        except checkpoints.NotReady as error:
            backbone, absent["backbone"] = checkpoints.stand_in(recipe.backbone, recipe.seed), str(error)
        dataset: Any = datasets.outlook(recipe.data.name)
        if dataset is not None and trial:  # first what can be known without the data: decoding it may take minutes
            _try(_assembled(recipe, backbone, dataset, accelerator))
        try:
            dataset = shelf.data(recipe.data.name)
        except checkpoints.NotReady as error:
            absent["data"] = str(error)
    job = _assembled(recipe, backbone, dataset, accelerator)
    _check_rounds(job)
    if "backbone" not in absent:
        _check_zeros(job)
    if trial and not datasets.outlook(recipe.data.name):
        _try(job)
    if "data" not in absent:
        _check_data(job)
    return job, absent


def _check_data(job: Job) -> None:
    """Refuse what the recipe asks of the data and they do not have."""
    recipe, prune, data = job.recipe, job.recipe.prune, job.dataset
    if prune.method == "imp":
        check_rewind(prune.method_options(), recipe.train.epochs, len(job.loaders.train))
    if prune.sparsity and isinstance(data, Dataset):
        balanced(data.train.labels, data.classes, per_class=prune.per_class, seed=recipe.seed)


def _assembled(recipe: Recipe, backbone: Backbone, dataset: Any, accelerator: Any) -> Job:
    classes, maps = len(dataset.classes), datasets.task(recipe.data.name) == "segmentation"
    if maps:
        model = segmenter(backbone, classes, output_stride=recipe.output_stride, seed=recipe.seed)
        check_crop(recipe.data.size, recipe.output_stride)
    else:
        model = classifier(backbone, classes, stem=recipe.stem, seed=recipe.seed)
    kind = SegmentationJob if maps else ClassificationJob
    return kind(recipe, backbone, dataset, model.to(accelerator.device), accelerator)


def _check_rounds(job: Job) -> None:
    """Refuse a sparsity that leaves no weight, and one that the rounds do not come to."""
    prune = job.recipe.prune
    if prune.sparsity:
        total = sum(w.numel() for w in prunable(job.model, prune.exclude).values())
        schedule.check(total, prune.sparsity, prune.rounds or 1, prune.schedule)


def _check_zeros(job: Job) -> None:
    """Refuse to keep the zeros of a backbone without any; warn when those of a pruned one would fill up."""
    prune = job.recipe.prune
    none, total = zeros(prunable(job.model, prune.exclude))
    if prune.method == KEEP and not none:
        raise InputError(
            f"prune.method is {KEEP}, but no weight of {job.recipe.backbone} is 0; give a backbone that was pruned, or "
            "another method"
        )
    if prune.dense and none > total // 100:
        warnings.warn(
            f"{none:,} of {total:,} weights of {job.recipe.backbone} are 0 and will be trained like the others; "
            f"--prune.method {KEEP} holds them at 0",
            stacklevel=3,
        )


def _try(job: Job) -> None:
    """Score two images of noise, so that a size or a method that the model cannot take is known before any work."""
    _check_rounds(job)
    prune, batch = job.recipe.prune, _least_batch(job)
    images, targets = job.noise()
    try:
        evaluate(job.model, [(images, targets)], task=job.task)
        optimizer(job.model, job.recipe.train)
        with torch.random.fork_rng(devices=[]), torch.no_grad():  # one image a process may be too few for BatchNorm
            copy.deepcopy(job.model).train()(images[:batch])
        if not prune.dense:
            check_received(job.model, prunable(job.model, prune.exclude), [(images, targets)])
            for method in {prune.method, prune.allocation} & set(methods()):
                own = prune.method_options() if method == prune.method else {}
                with suppress(ScoreError):  # the real images decide
                    score(
                        method, job.model, [(images, targets)],
                        exclude=prune.exclude, loss=job.task.loss, statistics=prune.statistics, **own,
                    )  # fmt: skip
    except InputError:
        raise
    except (RuntimeError, AssertionError, ValueError) as error:
        if out_of_memory(error):
            raise
        reason = str(error).splitlines()[0]
        raise InputError(
            f"{job.backbone.arch} cannot take images of {job.recipe.data.size} px in batches of {batch} a process "
            f"({reason}); set data.size or train.batch"
        ) from error


def _least_batch(job: Job) -> int:
    """Return the images of the smallest training batch that a BatchNorm sees; a split smaller than a batch is one.

    Raises:
        InputError: a process would have none.
    """
    batch, processes = job.recipe.train.batch, job.accelerator.num_processes
    images = batch if isinstance(job.dataset, datasets.Outlook) else len(job.dataset.train)
    if images < processes:
        raise InputError(
            f"{job.recipe.data.name} has {images} training images for {processes} processes; use fewer processes"
        )
    least = min(batch, images)
    return least if job.recipe.train.sync_norm else least // processes
