"""How long cells will take, from a training step and a scoring measured on images of noise."""

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

import torch

from transfer.errors import ScoreError
from transfer.pruning import saliency, score
from transfer.recipe import GMP, IMP, KEEP, Recipe
from transfer.runs.prepare import Setup
from transfer.training.optim import optimizer

ON_CPU = 16  # images of the measured step at most: there the time grows with their number
TURNS, LONG = 5, 2.0  # times at most; none begins after so many seconds
TEST = 1 / 3  # a test passes an image forward once; a step also passes backward, about twice as long


@dataclass(frozen=True)
class Costs:
    """Seconds per image, in training and in one round of scoring."""

    train: float
    score: float


def measured(setup: Setup) -> Costs:
    """Time a training step and a scoring of the setup's recipe, each after one that warms up; changes the model."""
    recipe, cpu = setup.recipe, setup.accelerator.device.type == "cpu"
    batch = min(recipe.train.batch, ON_CPU) if cpu else recipe.train.batch
    size = recipe.data.size
    images = torch.rand(batch, 3, size, size, generator=torch.Generator().manual_seed(0))
    batches = [(images.to(setup.accelerator.device), setup.task.dummy_targets(images).to(setup.accelerator.device))]
    if recipe.train.channels_last:
        setup.model.to(memory_format=torch.channels_last)
    step = optimizer(setup.model, recipe.train).step
    setup.model.train()

    def train() -> None:
        with setup.accelerator.autocast():
            loss = setup.task.loss(setup.model(batches[0][0]), batches[0][1])
        loss.backward()
        step()

    guide = saliency.guide(recipe.prune.method, recipe.prune.allocation)

    def rate() -> None:
        with suppress(ScoreError):  # noise may be unusable where real images are not
            score(guide, setup.model, batches, loss=setup.task.loss, exclude=recipe.prune.exclude)

    return Costs(_second(train, setup) / batch, _second(rate, setup) / batch if scored(recipe) else 0.0)


def scored(recipe: Recipe) -> bool:
    """Return whether a run scores weights before it trains; imp and gmp go by magnitude, keep takes what is zero."""
    prune = recipe.prune
    return not prune.dense and prune.method not in (IMP, GMP, KEEP)


def seconds(recipe: Recipe, costs: Costs, *, train: int, test: int, classes: int, per_class: bool) -> float:
    """Return the seconds that a resolved recipe's run takes on ``train`` training and ``test`` test images.

    Args:
        recipe: the recipe.
        costs: what an image costs.
        train: training images.
        test: test images.
        classes: classes of the data set.
        per_class: whether the pruning set has ``prune.per_class`` images per class, or else ``prune.images``.
    """
    prune = recipe.prune
    training = (recipe.train.epochs * train + max(recipe.train.epochs, 1) * test * TEST) * costs.train
    rounds = prune.rounds or 1
    if prune.method == IMP:
        return training * (rounds + 1)
    if not scored(recipe):
        return training
    pruning_set = min(train, prune.per_class * classes if per_class else prune.images)
    return training + rounds * pruning_set * costs.score


def _second(do: Callable[[], None], setup: Setup) -> float:
    """Return the shortest of up to TURNS times: other work on the machine only makes one longer."""
    do()
    taken: list[float] = []
    while len(taken) < TURNS and sum(taken) < LONG:
        _wait(setup)
        begin = time.perf_counter()
        do()
        _wait(setup)
        taken.append(time.perf_counter() - begin)
    return min(taken)


def _wait(setup: Setup) -> None:
    if setup.accelerator.device.type != "cpu":
        torch.accelerator.synchronize()
