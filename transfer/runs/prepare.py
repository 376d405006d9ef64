"""prepare(): a recipe with everything it needs, loaded and checked before anything is written; dry_run(): offline."""

import copy
import warnings
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn

import checkpoints
from checkpoints import Backbone
from checkpoints.errors import InputError
from transfer import data as datasets
from transfer import tasks
from transfer.data.identity import fingerprint
from transfer.data.image_batches import Loaders
from transfer.distributed import accelerator_for, from_main
from transfer.errors import ScoreError, out_of_memory
from transfer.pruning import methods, saliency, schedule, score
from transfer.pruning.prunable import prunable, zeros
from transfer.pruning.received import check_received
from transfer.pruning.rewinding import check_rewind
from transfer.recipe import KEEP, Recipe
from transfer.runs.folder import Origin
from transfer.runs.shelf import Shelf
from transfer.tasks import Feed, Task
from transfer.training.evaluation import evaluate
from transfer.training.optim import optimizer


@dataclass(frozen=True)
class Setup:
    """A recipe with everything it needs."""

    recipe: Recipe
    backbone: Backbone
    dataset: Any
    task: Task
    model: nn.Module
    accelerator: Accelerator

    @property
    def loaders(self) -> Loaders:
        """Training and test batches of this process."""
        return self.task.loaders(self.dataset, self.recipe, self._feed)

    @property
    def pruning_set(self) -> Any:
        """The fixed images that pruning sees."""
        return self.task.pruning_set(self.dataset, self.recipe, self._feed)

    @property
    def noise(self) -> tuple[Tensor, Tensor]:
        """Two images of noise and targets for them, on the device."""
        size, device = self.recipe.data.size, self.accelerator.device
        images = torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(0))
        return images.to(device), self.task.dummy_targets(images).to(device)

    def origin(self) -> Origin:
        """Return what affects the result beside the recipe: backbone, data, registered methods of the user's own."""
        prune = self.recipe.prune
        sources = {name: saliency.source(name) for name in {prune.method, prune.allocation} & set(methods())}
        data = from_main(lambda: fingerprint(self.dataset), self.accelerator)  # another process may see another disk
        return Origin(self.backbone.digest(), data, {name: source for name, source in sources.items() if source})

    @property
    def _feed(self) -> Feed:
        backbone, here = self.backbone, self.accelerator
        look = (backbone.mean, backbone.std, backbone.interpolation)
        return Feed(*look, here.device, here.process_index, here.num_processes)


def prepare(recipe: Recipe, shelf: Shelf | None = None) -> Setup:
    """Check a recipe and load what it names and the ``shelf`` does not have; nothing of the run is written.

    Raises:
        InputError: whatever can be known to fail; before any download what can be known without it.
    """
    shelf = shelf or Shelf()
    setup, absent = dry_run(recipe, shelf)
    if "backbone" in absent:
        backbone = shelf.backbone(setup.recipe.backbone, setup.recipe.seed)
        setup = assembled(setup.recipe, backbone, setup.dataset, setup.accelerator)
        _check_zeros(setup)
    if "data" in absent:
        setup = _with_data(setup, shelf.data(setup.recipe.data.name))
        _check_data(setup)
    return setup


def dry_run(recipe: Recipe, shelf: Shelf | None = None) -> tuple[Setup, dict[str, str]]:
    """Check a recipe with what is on this machine; nothing is downloaded.

    What the ``shelf`` has is not loaded again, and a recipe that it saw tried is not tried again.

    Returns:
        The setup, and what is absent, each with a line that says where a run gets it: "backbone", which random
        weights stand in for, and "data", of which the setup has the :class:`transfer.data.Outlook` only.

    Raises:
        InputError: what can be known to fail, and a file that no run can get.
    """
    check(recipe)
    recipe = recipe.resolved()
    accelerator = accelerator_for(recipe.train)
    if recipe.train.batch % accelerator.num_processes:
        raise InputError(
            f"train.batch is {recipe.train.batch}; give a multiple of the {accelerator.num_processes} processes"
        )
    absent, shelf = {}, shelf or Shelf()
    trial, outlook, setup = shelf.first(recipe), datasets.outlook(recipe.data.name), None
    with checkpoints.only_looking():
        try:
            backbone = shelf.backbone(recipe.backbone, recipe.seed)
        except checkpoints.NotReady as error:
            backbone, absent["backbone"] = checkpoints.stand_in(recipe.backbone, recipe.seed), str(error)
        if outlook is not None and trial:  # first what can be known without the data: decoding it may take minutes
            setup = assembled(recipe, backbone, outlook, accelerator)
            _try(setup)
        try:
            dataset = shelf.data(recipe.data.name)
        except checkpoints.NotReady as error:
            dataset, absent["data"] = outlook, str(error)
    setup = _with_data(setup, dataset) if setup else assembled(recipe, backbone, dataset, accelerator)
    _check_rounds(setup)
    if "backbone" not in absent:
        _check_zeros(setup)
    if trial and outlook is None:
        _try(setup)
    if "data" not in absent:
        _check_data(setup)
    return setup, absent


def check(recipe: Recipe) -> None:
    """Refuse what can be seen to be wrong without loading anything.

    Raises:
        InputError: one line that says what, got, allowed.
    """
    recipe.check()
    tasks.check(recipe)


def assembled(recipe: Recipe, backbone: Backbone, dataset: Any, accelerator: Accelerator) -> Setup:
    """Return a setup of parts that are there, with a new model on the device.

    Raises:
        InputError: the backbone or the recipe does not suit the task.
    """
    task = tasks.find(datasets.task(recipe.data.name)).of(dataset)
    model = task.model(backbone, recipe).to(accelerator.device)
    return Setup(recipe, backbone, dataset, task, model, accelerator)


def _with_data(setup: Setup, dataset: Any) -> Setup:
    """Return the setup with the data themselves in place of their outlook; the model stays if it has their classes."""
    if len(dataset.classes) != len(setup.dataset.classes):
        return assembled(setup.recipe, setup.backbone, dataset, setup.accelerator)
    return replace(setup, dataset=dataset, task=type(setup.task).of(dataset))


def _check_data(setup: Setup) -> None:
    """Refuse what the recipe asks of the data and they do not have."""
    recipe, prune = setup.recipe, setup.recipe.prune
    if prune.method == "imp":
        check_rewind(prune.method_options(), recipe.train.epochs, len(setup.loaders.train))
    setup.task.check(setup.dataset, recipe)


def _check_rounds(setup: Setup) -> None:
    """Refuse a sparsity that leaves no weight, and one that the rounds do not come to."""
    prune = setup.recipe.prune
    if prune.sparsity:
        total = sum(w.numel() for w in prunable(setup.model, prune.exclude).values())
        schedule.check(total, prune.sparsity, prune.rounds or 1, prune.schedule)


def _check_zeros(setup: Setup) -> None:
    """Refuse to keep the zeros of a backbone without any; warn when those of a pruned one would fill up."""
    prune, name = setup.recipe.prune, setup.recipe.backbone
    none, total = zeros(prunable(setup.model, prune.exclude))
    if prune.method == KEEP and not none:
        raise InputError(
            f"prune.method is {KEEP}, but no weight of {name} is 0; give a backbone that was pruned, or another method"
        )
    if prune.dense and none > total // 100:
        warnings.warn(
            f"{none:,} of {total:,} weights of {name} are 0 and will be trained like the others; "
            f"--prune.method {KEEP} holds them at 0",
            stacklevel=3,
        )


def _try(setup: Setup) -> None:
    """Score two images of noise, so that a size or a method that the model cannot take is known before any work."""
    _check_rounds(setup)
    prune, batch = setup.recipe.prune, _least_batch(setup)
    images, targets = setup.noise
    try:
        evaluate(setup.model, [(images, targets)], task=setup.task)
        optimizer(setup.model, setup.recipe.train)
        with torch.random.fork_rng(devices=[]), torch.no_grad():  # one image a process may be too few for BatchNorm
            copy.deepcopy(setup.model).train()(images[:batch])
        if not prune.dense:
            check_received(setup.model, prunable(setup.model, prune.exclude), [(images, targets)])
            for method in {prune.method, prune.allocation} & set(methods()):
                own = prune.method_options() if method == prune.method else {}
                with suppress(ScoreError):  # the real images decide
                    score(
                        method, setup.model, [(images, targets)],
                        exclude=prune.exclude, loss=setup.task.loss, statistics=prune.statistics, **own,
                    )  # fmt: skip
    except InputError:
        raise
    except (RuntimeError, AssertionError, ValueError) as error:
        if out_of_memory(error):
            raise
        reason = str(error).splitlines()[0]
        raise InputError(
            f"{setup.backbone.arch} cannot take images of {setup.recipe.data.size} px in batches of {batch} a process "
            f"({reason}); set data.size or train.batch"
        ) from error


def _least_batch(setup: Setup) -> int:
    """Return the images of the smallest training batch that a BatchNorm sees; a split smaller than a batch is one.

    Raises:
        InputError: a process would have none.
    """
    batch, processes = setup.recipe.train.batch, setup.accelerator.num_processes
    images = batch if isinstance(setup.dataset, datasets.Outlook) else len(setup.dataset.train)
    if images < processes:
        raise InputError(
            f"{setup.recipe.data.name} has {images} training images for {processes} processes; use fewer processes"
        )
    least = min(batch, images)
    return least if setup.recipe.train.sync_norm else least // processes
