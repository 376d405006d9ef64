"""What three processes do for test_three_processes.py: ``main`` writes found.json.

Each process keeps its files in a folder of its own, as on machines without a shared disk.
"""

import json
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

from accelerate import Accelerator
from accelerate.utils import gather_object

import transfer
from checkpoints import InputError
from tests.training.small import Small, equal, left_behind, small_loaders, small_masks, train_small
from transfer.pruning import Masks
from transfer.pruning import rounds as pruning
from transfer.pruning.prunable import prunable
from transfer.recipe import Data, Prune, Recipe, Train
from transfer.training import accelerator_for, imp, stopping
from transfer.training.gmp import gradual

TRAIN = Train(epochs=2, batch=12, lr=0.05, nesterov=True, schedule="cosine", precision="no")
RECIPE = Recipe(
    "apart", backbone="random:resnet20", data=Data(size=8), prune=Prune(rounds=3, per_class=2),
    train=replace(TRAIN, epochs=1, batch=300),
)  # fmt: skip
IMP: dict[str, Any] = {"sparsity": 0.5, "rounds": 2, "rewind": 1}


def interrupted(work: Callable[[], object]) -> bool:
    """Do it; say whether it ended by a signal."""
    try:
        work()
    except (SystemExit, KeyboardInterrupt):
        return True
    return False


def on_rank_1(step: int, accelerator: Accelerator) -> Callable[[int], None]:
    """Signal this process alone before a step."""

    def at_step(now: int) -> None:
        if now == step and accelerator.process_index == 1:
            signal.raise_signal(signal.SIGTERM)

    return at_step


def at_call(number: int, function: Callable[..., Any]) -> Callable[..., Any]:
    """Return the function, which is interrupted when it is called for the ``number``-th time."""
    calls = []

    def call(*args: Any, **options: Any) -> Any:
        calls.append(1)
        if len(calls) == number:
            raise KeyboardInterrupt
        return function(*args, **options)

    return call


def trained(folder: Path, accelerator: Accelerator, **options: Any) -> bool:
    """Say whether a training stopped after each of two steps is one that was not, to the bit."""
    train_small(TRAIN, folder / "whole", **options)
    for step in (1, 3):
        assert interrupted(lambda step=step: train_small(  # type: ignore[misc]
            TRAIN, folder / "stopped", at_step=on_rank_1(step, accelerator), **options
        ))  # fmt: skip
    train_small(TRAIN, folder / "stopped", **options)
    return not accelerator.is_main_process or equal(left_behind(folder / "whole"), left_behind(folder / "stopped"))


def tightened(folder: Path, accelerator: Accelerator) -> bool:
    """Say the same of a training with gmp, whose rounds come after steps 1, 2, 3 and 4."""
    full = Masks.full(prunable(Small()))
    plan = gradual(Small(), Prune(method="gmp", sparsity=0.8, rounds=4, schedule="cubic"), 6, accelerator)
    return trained(folder, accelerator, masks=full, tightening=plan)


def pruned_by_training(folder: Path, accelerator: Accelerator) -> bool:
    """Say whether imp stopped in its second round makes the masks of one that was not."""

    def masks(name: str) -> str:
        data = small_loaders(accelerator=accelerator, batch=12)
        found, _ = imp.imp(Small(), data, TRAIN, accelerator=accelerator, folder=folder / name, **IMP)
        return found.digest()

    whole = masks("imp")
    with mock.patch.object(imp, "finetune", at_call(3, imp.finetune)):  # the start, round 1, round 2
        assert interrupted(lambda: masks("imp-stopped"))
    return masks("imp-stopped") == whole


def run(out: Path) -> dict[str, Any]:
    """Return the result of the small run."""
    return transfer.run(RECIPE, out=out).metrics


def ran(folder: Path) -> list[bool]:
    """Say whether a run stopped in its second round and after its masks has the result of one that was not, twice."""
    whole = run(folder / "run")
    with mock.patch.object(pruning, "score", at_call(2, pruning.score)):
        assert interrupted(lambda: run(folder / "run-stopped"))
    with mock.patch.object(transfer.runs.run, "finetune", at_call(1, print)):
        assert interrupted(lambda: run(folder / "run-stopped"))
    return [run(folder / "run-stopped") == whole, run(folder / "run-stopped") == whole]


def refused(folder: Path, accelerator: Accelerator) -> str:
    """Return what each process says when the main one alone finds something amiss."""
    if accelerator.is_main_process:
        (found,) = (folder / "run").iterdir()
        (found / "recipe.json").write_text("{}")
    try:
        run(folder / "run")
    except InputError as error:
        return str(error)
    return ""


def main(folder: Path) -> None:
    """Do everything and write down what each process found."""
    accelerator = accelerator_for(TRAIN)
    own = folder / f"rank-{accelerator.process_index}"
    stopping.MOST = 1  # ask at every step
    found = {
        "trained": trained(own, accelerator, dropout=0.5, masks=small_masks()),
        "gmp": tightened(own / "gmp", accelerator), "imp": pruned_by_training(own, accelerator), "ran": ran(own),
        "files": len(list(own.glob("**/*.*"))), "refused": refused(own, accelerator),
    }  # fmt: skip
    every = gather_object([found])
    if accelerator.is_main_process:
        (folder / "found.json").write_text(json.dumps(every))
