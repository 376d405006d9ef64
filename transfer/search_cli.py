"""The command ``transfer search``."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from checkpoints.errors import InputError
from transfer import find_recipe, log
from transfer.recipe import Recipe
from transfer.recipe_cli import parse
from transfer.search.plan import ALLOCATIONS, METHODS

USAGE = """usage: transfer search RECIPE [flags]

Find the pruning method and the allocation for a backbone and a task: train all of them a little, and the best ones on.
RECIPE is one of {recipes}, a recipe.json, or the folder of a run.

transfer search RECIPE --help lists the flags, those of the recipe included. docs/search.md shows more.
Example: transfer search digits --prune.sparsity 0.982 --budget 75 --dry-run"""


@dataclass(frozen=True)
class Searching:
    """Find the pruning method and the allocation for a recipe by successive halving; the same command resumes it.

    Every method is tried with every allocation, a fifth of the training images decides, and the test images are not
    used. The result is best.json, which `transfer run` takes.
    """

    recipe: Annotated[Recipe, tyro.conf.arg(name="")]
    budget: int | None = None
    """Epochs of training in all; None = a third of what training every trial to its end takes."""
    methods: tuple[str, ...] = METHODS
    """Pruning methods; prune.options apply only to the recipe's own."""
    allocations: tuple[str, ...] = ALLOCATIONS
    """How many weights each layer keeps: global, uniform, erk, or a method's name."""
    out: Path = Path("runs")
    """Folder that holds the search's folder."""
    dry_run: bool = False
    """Print the plan; download nothing, train nothing."""
    verbosity: log.Verbosity = "info"
    """Log level on stderr: quiet, info, or debug."""


def main(words: Sequence[str]) -> None:
    """Run the command."""
    if not words or words[0] in ("-h", "--help"):
        print(USAGE.format(recipes=", ".join(find_recipe.names())))
        sys.exit(0 if words else 2)
    if words[0].startswith("-"):
        known = ", ".join(find_recipe.names())
        raise InputError(f"say which recipe: transfer search RECIPE [flags]; known: {known}")
    asked = parse(Searching, Searching(find_recipe.find(words[0])), words[1:], prog="transfer search")
    log.show(asked.verbosity)
    from transfer.search import search, show

    what = search.planned(
        asked.recipe, budget=asked.budget, methods=asked.methods, allocations=asked.allocations
    )  # fmt: skip
    show.show_plan(what)
    if not asked.dry_run:
        show.show(search.search(what, out=asked.out, progress=True))
