"""``transfer probe``: linear heads on the frozen backbone of a run."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from transfer.recipe import Count
from transfer.recipe_cli import parse


@dataclass(frozen=True)
class Ask:
    """Test whether the backbone of a finished run still serves tasks that pruning did not see.

    Ridge and logistic heads are fitted on frozen features of the dense pretrained backbone, of the pruned one, and of
    the pruned and fine-tuned one: regularisation by cross-validation on the training split, accuracy on the test split.
    """

    run: Annotated[Path, tyro.conf.Positional]
    """Folder of a finished classification run that pruned; its backbone and its data are needed again."""
    data: tuple[str, ...] = ()
    """Classification data sets, such as fashion-mnist or imagefolder:PATH."""
    images: Count = 2000
    """Images of each split at most, with an equal share for each class."""
    out: Path | None = None
    """Folder for probe.json and probe.csv; None = the run's."""


def main(words: list[str]) -> None:
    """Probe a run, print the table and where it was written."""
    asked = parse(Ask, None, words, prog="transfer probe")
    from transfer.report import tables
    from transfer.runs.probe import COLUMNS, NAME, probe

    found = probe(asked.run, asked.data, images=asked.images, out=asked.out, progress=True)
    tables.show(COLUMNS, found.table())
    print(f"numbers {found.folder / NAME}.json, {NAME}.csv")
