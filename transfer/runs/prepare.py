"""prepare(): load and check all that a recipe needs before anything is written; dry_run(): without downloads."""

import copy
import warnings
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn

import checkpoints
from checkpoints import Backbone
from checkpoints.errors import InputError, out_of_memory
from transfer import data as datasets
from transfer import tasks
from transfer.data.identity import fingerprint
from transfer.data.image_batches import Loaders
from transfer.distributed import accelerator_for, from_main
from transfer.errors import ScoreError
from transfer.pruning import methods, patterns, saliency, schedule, score
from transfer.pruning.prunable import prunable, zeros
from transfer.pruning.received import check_received
from transfer.pruning.rewinding import check_rewind
from transfer.recipe import EXPONENTIAL, IMP, KEEP, Recipe
from transfer.runs.folder import Origin
from transfer.runs.shelf import Shelf
from transfer.tasks import Feed, Task
from transfer.training.evaluation import evaluate
from transfer.training.optim import optimizer


@dataclass(frozen=True)
class Setup:
    """A recipe with its backbone, data set, task, model and accelerator."""

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
        """The fixed images that pruning uses."""
        return self.task.pruning_set(self.dataset, self.recipe, self._feed)

    @property
    def noise(self) -> tuple[Tensor, Tensor]:
        """Two random images and targets for them, on the device."""
        size, device = self.recipe.data.size, self.accelerator.device
        images = torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(0))
        return images.to(device), self.task.dummy_targets(images).to(device)

    @cached_property
    def origin(self) -> Origin:
        """The inputs besides the recipe that affect results: backbone, data, user-registered methods."""
        data = from_main(lambda: fingerprint(self.dataset), self.accelerator)  # processes may see different disks
        return origin(self.recipe, self.backbone.digest(), data)

    @property
    def _feed(self) -> Feed:
        backbone, here = self.backbone, self.accelerator
        look = (backbone.mean, backbone.std, backbone.interpolation)
        return Feed(*look, here.device, here.process_index, here.num_processes)


def origin(recipe: Recipe, backbone: str, data: Mapping[str, Any]) -> Origin:
    """Return the inputs besides the recipe, of a backbone's digest and a data set's fingerprint."""
    named = {recipe.prune.method, recipe.prune.allocation} & set(methods())
    sources = {name: saliency.source(name) for name in named}
    return Origin(backbone, data, {name: source for name, source in sources.items() if source})


def prepare(recipe: Recipe, shelf: Shelf | None = None) -> Setup:
    """Check a recipe and load what it names and the ``shelf`` does not hold; write nothing of the run.

    Raises:
        InputError: the run would fail, as far as that can be known; detected before downloads where possible.
    """
    shelf = shelf or Shelf()
    setup, absent = dry_run(recipe, shelf)
    if "backbone" in absent:
        backbone = shelf.backbone(setup.recipe.backbone, setup.recipe.seed)
        setup = assembled(type(setup.task), setup.recipe, backbone, setup.dataset, setup.accelerator)
        _check_zeros(setup)
    if "data" in absent:
        setup = _with_data(setup, shelf.data(setup.recipe.data.name))
        _check_data(setup)
    return setup


def dry_run(recipe: Recipe, shelf: Shelf | None = None) -> tuple[Setup, dict[str, str]]:
    """Check a recipe against the files on this machine; download nothing.

    What the ``shelf`` holds is not loaded again, and a recipe that it records as tried is not tried again.

    Returns:
        The setup, and a dict of missing inputs, each with a line on where a run gets it: "backbone", for which the
        setup has random weights, and "data", for which it has only a :class:`transfer.data.Outlook`.

    Raises:
        InputError: the run would fail, as far as that can be known, or a file is missing that no run can obtain.
    """
    check(recipe)
    recipe = recipe.resolved()
    accelerator = accelerator_for(recipe.train)
    if recipe.train.batch % accelerator.num_processes:
        raise InputError(
            f"train.batch is {recipe.train.batch}; give a multiple of the {accelerator.num_processes} processes"
        )
    absent, shelf, task = {}, shelf or Shelf(), tasks.find(datasets.task(recipe.data.name))
    trial, outlook, setup = shelf.first(recipe), datasets.outlook(recipe.data.name), None
    with checkpoints.only_looking():
        try:
            backbone = shelf.backbone(recipe.backbone, recipe.seed)
        except checkpoints.NotReady as error:
            backbone, absent["backbone"] = checkpoints.stand_in(recipe.backbone, recipe.seed), str(error)
        if outlook is not None and trial:  # before the data: decoding them may take minutes
            setup = assembled(task, recipe, backbone, outlook, accelerator)
            _try(setup)
        try:
            dataset = shelf.data(recipe.data.name)
        except checkpoints.NotReady as error:
            dataset, absent["data"] = outlook, str(error)
    setup = _with_data(setup, dataset) if setup else assembled(task, recipe, backbone, dataset, accelerator)
    _check_rounds(setup)
    if "backbone" not in absent:
        _check_zeros(setup)
    if trial and outlook is None:
        _try(setup)
    if "data" not in absent:
        _check_data(setup)
    return setup, absent


def check(recipe: Recipe) -> None:
    """Validate a recipe without loading anything.

    Raises:
        InputError: a setting is invalid; one line with its value and what is allowed.
    """
    recipe.check()
    tasks.check(recipe)


def assembled(kind: type[Task], recipe: Recipe, backbone: Backbone, dataset: Any, accelerator: Accelerator) -> Setup:
    """Return a setup of loaded parts with a new model on the device.

    Raises:
        InputError: the backbone or the recipe does not suit the task.
    """
    task = kind.of(dataset)
    model = task.model(backbone, recipe).to(accelerator.device)
    return Setup(recipe, backbone, dataset, task, model, accelerator)


def _with_data(setup: Setup, dataset: Any) -> Setup:
    """Replace the outlook of a setup by its data set; keep the model if the number of classes is the same."""
    if len(dataset.classes) != len(setup.dataset.classes):
        return assembled(type(setup.task), setup.recipe, setup.backbone, dataset, setup.accelerator)
    return replace(setup, dataset=dataset, task=type(setup.task).of(dataset))


def _check_data(setup: Setup) -> None:
    """Raise InputError if the data set does not meet the requirements of the recipe."""
    recipe, prune = setup.recipe, setup.recipe.prune
    if prune.method == IMP:
        check_rewind(prune.method_options(), recipe.train.epochs, len(setup.loaders.train))
    setup.task.check(setup.dataset, recipe)


def _check_rounds(setup: Setup) -> None:
    """Raise InputError if the sparsity leaves no weight, or the pattern does not suit it or a layer."""
    prune = setup.recipe.prune
    if prune.sparsity:
        weights = prunable(setup.model, prune.exclude)
        total = sum(w.numel() for w in weights.values())
        schedule.check(total, prune.sparsity, prune.rounds or 1, prune.schedule or EXPONENTIAL)
        patterns.bind(prune.pattern, setup.model, weights, sparsity=prune.sparsity, exclude=prune.exclude)


def _check_zeros(setup: Setup) -> None:
    """Raise InputError if ``keep`` finds no zeros; warn if a dense training would fill those of a pruned backbone."""
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
    """Run the model and score on two random images, so that an unsupported size or method fails before any work."""
    _check_rounds(setup)
    prune, batch = setup.recipe.prune, _least_batch(setup)
    images, targets = setup.noise
    try:
        evaluate(setup.model, [(images, targets)], task=setup.task)
        optimizer(setup.model, setup.recipe.train)
        with torch.random.fork_rng(devices=[]), torch.no_grad():  # BatchNorm may fail on one image per process
            copy.deepcopy(setup.model).train()(images[:batch])
        if not prune.dense:
            check_received(setup.model, prunable(setup.model, prune.exclude), [(images, targets)])
            for method in {prune.method, prune.allocation} & set(methods()):
                own = prune.method_options() if method == prune.method else {}
                with suppress(ScoreError):  # noise may be unusable where real images are not
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
    """Return the size of the smallest training batch that a BatchNorm sees; a split smaller than a batch is one batch.

    Raises:
        InputError: a process would get no image.
    """
    batch, processes = setup.recipe.train.batch, setup.accelerator.num_processes
    images = batch if isinstance(setup.dataset, datasets.Outlook) else len(setup.dataset.train)
    if images < processes:
        raise InputError(
            f"{setup.recipe.data.name} has {images} training images for {processes} processes; use fewer processes"
        )
    least = min(batch, images)
    return least if setup.recipe.train.sync_norm else least // processes
