"""The plan and the result of a search on the terminal."""

from transfer.report import tables
from transfer.search import record
from transfer.search.search import Planned, Search
from transfer.search.study import Trial
from transfer.tasks import Metric


def show_plan(asked: Planned) -> None:
    """Print what a search will train, and what that is of training every trial to its end."""
    plan, epochs = asked.plan, asked.recipe.train.epochs
    rows = [(str(rung.trials), f"to epoch {rung.epochs}", str(spent)) for rung, spent in plan.steps()]
    tables.show(("trials", "trained", "epochs in all"), rows)
    whole = len(asked.candidates) * epochs
    print(f"{plan.cost} epochs, {plan.cost / whole:.0%} of the {whole} that train every trial to the end")
    print(f"trials are compared by their {asked.metric.label} on images held out of the training split")
    for line in asked.absent.values():
        print(f"absent: {line}")


def show(found: Search) -> None:
    """Print the trials of a search, the best first, and where its files are."""
    rows = [_row(each, found.metric) for each in found.trials]
    tables.show(("method", "allocation", "rung", f"validation {found.metric.label}", "epochs", "state"), rows)
    for trial in found.trials:
        if trial.error:
            print(f"failed  {trial}: {trial.error}")
    print(f"best    {found.trials[0]}, {record.spent(found.trials)} epochs spent")
    print(f"picture {found.folder / record.PLOT}")
    print(f"recipe  {found.folder / record.BEST}")
    print(f"\ntrain it on all training images and test it: transfer run {found.folder / record.BEST}")


def _row(trial: Trial, metric: Metric) -> tuple[str, ...]:
    value = metric.text(trial.epochs[-1][metric.name]) if trial.epochs else "-"
    return trial.method, trial.allocation, str(trial.rung), value, str(len(trial.epochs)), trial.state
