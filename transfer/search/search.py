"""search(): successive halving over methods and allocations; the result is a recipe."""

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from checkpoints.errors import InputError, one_line, out_of_memory
from checkpoints.files import write_json
from transfer import data as datasets
from transfer import tasks
from transfer.errors import RunError
from transfer.recipe import Recipe
from transfer.report import plots
from transfer.runs.cell import NAMED
from transfer.runs.folder import Held, locked
from transfer.runs.prepare import dry_run, prepare
from transfer.search import record
from transfer.search.candidates import candidates
from transfer.search.plan import ALLOCATIONS, METHODS, Plan, plan
from transfer.search.study import Study, Trial
from transfer.search.trial import Epoch, Trainer, ValidationShelf
from transfer.tasks import Metric

Train = Callable[[Trial, int], list[Epoch]]
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Planned:
    """What a search will do."""

    recipe: Recipe
    candidates: list[Recipe]
    plan: Plan
    metric: Metric
    absent: dict[str, str]
    """What would be downloaded, with a line on where it comes from."""


@dataclass(frozen=True)
class Search:
    """A search that has ended: its folder, its trials, the best first, and the best one's recipe."""

    folder: Path
    trials: list[Trial]
    metric: Metric
    best: Recipe


def planned(
    recipe: Recipe, *, budget: int | None = None, methods: Sequence[str] = METHODS,
    allocations: Sequence[str] = ALLOCATIONS,
) -> Planned:  # fmt: skip
    """Check what is asked for and return the plan; download and train nothing.

    Raises:
        InputError: a setting is invalid, or the budget is too small.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise InputError("a launcher started several processes; start a search once, without it")
    found = candidates(recipe, methods, allocations)
    made = plan(len(found), recipe.train.epochs, budget, warmup=recipe.train.warmup)
    _, absent = dry_run(_plain(recipe), ValidationShelf())
    return Planned(recipe, found, made, tasks.find(datasets.task(recipe.data.name)).headline, absent)


def search(asked: Planned, *, out: Path = Path("runs"), progress: bool = False) -> Search:
    """Find the method and allocation that do best on images held out of the training split; the test split is unused.

    Trials, metrics and decisions are in the folder at any moment: the same search again goes on where it stopped.

    Args:
        asked: from :func:`planned`.
        out: folder that holds the search's folder.
        progress: show a progress bar per epoch.

    Raises:
        InputError: another process is searching in the folder, or the recipe cannot run.
        RunError: every trial failed.
    """
    folder, shelf = record.folder_of(asked.recipe, out), ValidationShelf()
    prepare(_plain(asked.recipe), shelf)
    trainer = Trainer(folder / "trials", shelf, progress=progress)
    of = asked.candidates
    study = Study([(each.prune.method, each.prune.allocation) for each in of], asked.plan, asked.metric)

    def save() -> None:
        record.write(folder, asked.recipe, asked.plan, asked.metric, study.order())

    with _alone(folder):
        halve(
            study,
            train=lambda trial, epochs: trainer.train(of[trial.number], epochs),
            save=save,
            ended=lambda trial: trainer.forget(of[trial.number]),
        )
        best = study.order()[0]
        if best.state == "failed":
            raise RunError(f"every trial failed; the first one: {best}: {best.error}")
        write_json(folder / record.BEST, of[best.number].to_dict())
        plots.search([_line(each) for each in study.order()], asked.metric, folder / record.PLOT, title=folder.name)
    return Search(folder, study.order(), asked.metric, of[best.number])


def _plain(recipe: Recipe) -> Recipe:
    """Return the recipe with a method that suits every network, to check and load all that the trials share."""
    plain = replace(recipe.prune, method="random", allocation="global", options=(), statistics=None)
    return replace(recipe, prune=plain)


def halve(study: Study, *, train: Train, save: Callable[[], None], ended: Callable[[Trial], None]) -> None:
    """Train all trials to the first rung, the best of them to the next one, and so on; a failed trial ends alone.

    Args:
        study: the trials.
        train: trains a trial to the end of an epoch; returns the metrics of each epoch.
        save: called whenever a trial has changed.
        ended: called with each trial that does not go on.
    """
    for place, rung in enumerate(study.plan.rungs, start=1):
        todo = study.open
        for number, trial in enumerate(todo, start=1):
            _log.info("rung %d of %d, trial %d of %d: %s", place, len(study.plan.rungs), number, len(todo), trial)
            try:
                study.report(trial, train(trial, rung.epochs))
            except Exception as error:
                if not (isinstance(error, NAMED) or out_of_memory(error)):
                    raise
                study.fail(trial, one_line(str(error)))
                _log.warning("%s failed: %s", trial, trial.error)
                ended(trial)
            save()
        for trial in study.judge():
            ended(trial)
        save()


def _line(trial: Trial) -> tuple[str, str, list[Epoch], bool]:
    return trial.method, trial.allocation, trial.epochs, trial.state == "finished"


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Hold the lock of a search's folder.

    Raises:
        InputError: another process holds it, or the folder cannot be made.
    """
    with ExitStack() as stack:
        try:
            stack.enter_context(locked(folder))
        except Held as error:
            where = f"another process is searching in {folder}"
            raise InputError(f"{where}; wait for it, or choose another --out") from error
        yield
