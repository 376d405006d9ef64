"""Prune a pretrained backbone before moving it to a new task, and see what each way of pruning costs.

The embedded ResNet-20, trained on Fashion-MNIST, is moved to handwritten digits: dense, and with 90 % and 98.2 % of its
weights removed at random, by magnitude, and by Path eXclusion. Offline, a few minutes on two cores.

    python -m recipes.quickstart
    python -m recipes.quickstart --seeds 0 1 2
    python -m recipes.quickstart --methods snip px --sparsities 0.95 0.99
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from transfer.data.augment import Augment
from transfer.launch import one_line_errors, parse
from transfer.recipe import Data, Prune, Recipe, Train

RECIPE = Recipe(
    name="quickstart",
    backbone="embedded",
    data=Data(name="digits", size=32, augment=Augment(pad_crop=2)),
    prune=Prune(method="px", sparsity=0.982, rounds=20),
    train=Train(epochs=8, batch=64, lr=0.05, weight_decay=1e-4, schedule="cosine", warmup=1),
)


@dataclass(frozen=True)
class Quickstart:
    """A recipe, and what is compared under it."""

    recipe: Annotated[Recipe, tyro.conf.arg(name="")] = field(default_factory=lambda: RECIPE)
    methods: tuple[str, ...] = ("random", "magnitude", "px")
    """Methods to compare; prune.method joins them."""
    sparsities: tuple[float, ...] = (0.9, 0.982)
    """Sparsities to compare; prune.sparsity joins them."""
    seeds: tuple[int, ...] = ()
    """Seeds to average over; none = the one of --seed."""
    out: Path = Path("runs")
    """Folder that holds the run folders."""
    dry_run: bool = False
    """Check everything and say what would run; write nothing."""


def main(argv: Sequence[str] | None = None) -> None:
    """Run the comparison and show its table."""
    import sys

    asked = parse(Quickstart, Quickstart(), argv, sys.modules[__name__])
    recipe = asked.recipe
    methods = tuple(dict.fromkeys((*asked.methods, recipe.prune.method)))
    sparsities = tuple(sorted({*asked.sparsities, recipe.prune.sparsity}))
    seeds = asked.seeds or (recipe.seed,)
    with one_line_errors():
        from transfer import compare, environment, job
        from transfer.report import tables

        if asked.dry_run:
            for cell in compare.cells(recipe, methods, sparsities, seeds):
                print(tables.plan(job.prepare(cell), asked.out), end="\n\n")
            return
        found = compare.compare(
            recipe, methods=methods, sparsities=sparsities, seeds=seeds, out=asked.out, progress=True
        )
        tables.show(found.columns, found.lines, title=f"{recipe.data.name} from {recipe.backbone}")
        if environment.main_process():
            print(f"plot    {found.folder / 'comparison.png'}\nfolder  {found.folder}")


if __name__ == "__main__":
    main()
