"""Compare ways of pruning from the command line: one recipe under several methods, sparsities and seeds."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from transfer.launch import one_line_errors, parse
from transfer.recipe import Recipe


@dataclass(frozen=True)
class Comparing:
    """A recipe, and what is compared under it."""

    recipe: Annotated[Recipe, tyro.conf.arg(name="")]
    methods: tuple[str, ...] = ("random", "magnitude", "px")
    """Methods to compare; prune.method joins them, and prune.options are for it alone."""
    sparsities: tuple[float, ...] = (0.9, 0.982)
    """Sparsities to compare; prune.sparsity joins them."""
    seeds: tuple[int, ...] = ()
    """Seeds to average over; none = the one of --seed."""
    out: Path = Path("runs")
    """Folder that holds the run folders."""
    dry_run: bool = False
    """Check everything and say what would run; download nothing, train nothing."""


def main(default: Comparing, argv: Sequence[str] | None = None) -> None:
    """Override the comparison from the command line, run it, print its table."""
    asked = parse(Comparing, default, argv, sys.modules.get("__main__"))
    recipe = asked.recipe
    methods = tuple(dict.fromkeys((*asked.methods, recipe.prune.method)))
    sparsities = tuple(sorted({*asked.sparsities, recipe.prune.sparsity}))
    seeds = asked.seeds or (recipe.seed,)
    with one_line_errors():
        from transfer import compare, environment, job
        from transfer.report import tables

        if asked.dry_run:
            for cell in compare.cells(recipe, methods, sparsities, seeds):
                print(tables.plan(*job.rehearse(cell), asked.out), end="\n\n")
            return
        found = compare.compare(
            recipe, methods=methods, sparsities=sparsities, seeds=seeds, out=asked.out, progress=True
        )
        tables.show(found.columns, found.lines, title=f"{found.data}\n{recipe.backbone}")
        if environment.main_process():
            for path in sorted(found.folder.glob("*.png")):
                print(f"picture {path}")
            print(f"folder  {found.folder}")
