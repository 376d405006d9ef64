"""Compare ways of pruning from the command line: one recipe under several methods, sparsities and seeds."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, TypeVar

import tyro

from transfer.launch import one_line_errors, parse
from transfer.recipe import Recipe
from transfer.recommended import RECOMMENDED

T = TypeVar("T")


@dataclass(frozen=True)
class Comparing:
    """A recipe, and what is compared under it."""

    recipe: Annotated[Recipe, tyro.conf.arg(name="")]
    methods: tuple[str, ...] = (RECOMMENDED, "px", "magnitude", "random")
    """Methods to compare; a --prune.method of your own joins them, and prune.options are for it alone."""
    sparsities: tuple[float, ...] = (0.9, 0.982)
    """Sparsities to compare; a --prune.sparsity of your own joins them."""
    seeds: tuple[int, ...] = ()
    """Seeds to average over; none = the one of --seed."""
    out: Path = Path("runs")
    """Folder that holds the run folders."""
    workers: int | None = None
    """Runs at a time, which divide the processor; None = one a core up to 4, and one on a GPU."""
    dry_run: bool = False
    """Check everything and say what would run; download nothing, train nothing."""


def main(default: Comparing, argv: Sequence[str] | None = None) -> None:
    """Override the comparison from the command line, run it, print its table."""
    asked = parse(Comparing, default, argv, sys.modules.get("__main__"))
    recipe = asked.recipe
    own, usual = recipe.prune, default.recipe.prune
    methods = _joined(asked.methods, own.method, usual.method)
    sparsities = tuple(sorted(_joined(asked.sparsities, own.sparsity, usual.sparsity)))
    seeds = asked.seeds or (recipe.seed,)
    with one_line_errors():
        from transfer import compare, environment, job
        from transfer.report import tables

        if asked.dry_run:
            for cell in compare.cells(recipe, methods, sparsities, seeds):
                print(tables.plan(*job.rehearse(cell), asked.out), end="\n\n")
            return
        found = compare.compare(
            recipe, methods=methods, sparsities=sparsities, seeds=seeds, out=asked.out, workers=asked.workers,
            progress=True,
        )  # fmt: skip
        tables.show(found.columns, found.lines, title=f"{found.data}\n{recipe.backbone}")
        if environment.main_process():
            for path in sorted(found.folder.glob("*.png")):
                print(f"picture {path}")
            print(f"folder  {found.folder}")
            if found.earlier:
                print(found.earlier)
            if found.advice:
                print(f"\n{found.advice}")


def _joined(named: tuple[T, ...], own: T, usual: T) -> tuple[T, ...]:
    """Return what was named, and the recipe's own where the user has changed it."""
    return tuple(dict.fromkeys((*named, own))) if own != usual else named
