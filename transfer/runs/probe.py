"""Linear probes of a run's backbone: does what was pruned for one task still serve another?"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from checkpoints.errors import InputError
from checkpoints.files import check_folder, read_json, write_json, write_whole
from transfer import data as datasets
from transfer.analysis.heads import HEADS, features
from transfer.data.dataset import Dataset, Split
from transfer.data.image_batches import Batches
from transfer.data.sampler import generator
from transfer.environment import versions
from transfer.log import track
from transfer.pruning import Masks
from transfer.pruning.calibration import recalibrate
from transfer.recipe import Recipe
from transfer.report.tables import csv_text
from transfer.runs.finished import load_run
from transfer.runs.prepare import Setup
from transfer.runs.start import begin_, masks_of

NAME = "probe"
TASK = "classification"
FEWEST = 2  # images per class that cross-validation needs
COLUMNS = ("data", "images", "backbone", *HEADS)


@dataclass(frozen=True)
class Probe:
    """The table of a probe: one row per data set and backbone, with the accuracy of each head (fractions).

    Attributes:
        folder: where probe.json and probe.csv are.
        rows: data, seen (whether pruning saw the data set), train, test, backbone, and per head its accuracy and the
            regularisation that was chosen.
    """

    folder: Path
    rows: list[dict[str, Any]]

    def table(self) -> list[tuple[str, ...]]:
        """Return the rows as text under COLUMNS."""
        return [
            (
                row["data"] + (" (seen)" if row["seen"] else ""),
                f"{row['train']:,} + {row['test']:,}",
                row["backbone"],
                *(f"{row[head]:.2%}" for head in HEADS),
            )
            for row in self.rows
        ]


def probe(
    run: Path, names: Sequence[str], *, images: int = 2000, out: Path | None = None, progress: bool = False
) -> Probe:
    """Fit linear heads on frozen features of a run's backbone, dense, pruned and fine-tuned, for other data sets.

    Args:
        run: folder of a finished classification run that pruned; its backbone and its data are needed again.
        names: data sets, such as fashion-mnist or imagefolder:PATH.
        images: at most so many of each split, as many of each class as there are, up to an equal share.
        out: folder for the files; None = the run's.
        progress: show a progress bar.

    Raises:
        InputError: the run or a data set cannot be used; found before any features are computed.
    """
    recipe = _check_run(run)
    masks = masks_of(run, recipe)
    _check_names(names, images, out)
    loaded = {name: _load(name, images) for name in names}
    setup, tuned = load_run(run)
    backbones = list(_backbones(setup, tuned, masks))
    todo = [(name, kind, model) for name in names for kind, model in backbones]
    rows = []
    for name, kind, model in track(todo, "probe", shown=progress):
        about = {"data": name, "seen": name == recipe.data.name, "backbone": kind}
        rows.append(about | _measured(setup, loaded[name], model, images))
    settings = {
        "run": run.name, "backbone": recipe.backbone, "pruned_for": recipe.data.name, "method": recipe.prune.method,
        "sparsity": masks.sparsity, "size": recipe.data.size, "images": images, "seed": recipe.seed,
        "versions": {name: versions()[name] for name in ("px-transfer", "torch", "timm")},
    }  # fmt: skip
    folder = out or run
    write_json(folder / f"{NAME}.json", {"settings": settings, "rows": rows})
    write_whole(folder / f"{NAME}.csv", csv_text(rows))
    return Probe(folder, rows)


def _check_run(run: Path) -> Recipe:
    read_json(run / "result.json")
    recipe = Recipe.from_dict(read_json(run / "recipe.json"))
    task = datasets.task(recipe.data.name)
    if task != TASK:
        raise InputError(
            f"the run in {run} is a {task} of {recipe.data.name}; probes are for runs of {TASK}, whose trunk ends in "
            "pooled features"
        )
    return recipe


def _check_names(names: Sequence[str], images: int, out: Path | None) -> None:
    if not names or len(set(names)) != len(names):
        raise InputError(f"data is {list(names)}; give one data set or more, each once, such as fashion-mnist")
    for name in names:
        if datasets.task(name) != TASK:
            raise InputError(f"data {name!r} is for {datasets.task(name)}; a linear head needs one class per image")
    if images < 1:
        raise InputError(f"images is {images}; give 1 or more")
    if out is not None:
        check_folder(out)


def _load(name: str, images: int) -> Dataset:
    dataset: Dataset = datasets.load(name)
    counts = torch.bincount(dataset.train.labels, minlength=len(dataset.classes))
    counts = counts.clamp(max=images // len(dataset.classes))
    few = (counts < FEWEST).nonzero()[:, 0].tolist()
    if few:
        raise InputError(
            f"{name} has {int(counts[few[0]])} training images of class {dataset.classes[few[0]]!r} under --images "
            f"{images}; cross-validation needs {FEWEST} of each of the {len(dataset.classes)} classes"
        )
    return dataset


def _backbones(setup: Setup, tuned: nn.Module, masks: Masks) -> Iterator[tuple[str, nn.Module]]:
    """Yield the networks by name; the run's own starting point is between the pruned and the fine-tuned one."""
    device = setup.accelerator.device

    def fresh() -> nn.Module:
        return setup.task.model(setup.backbone, setup.recipe).to(device)

    yield "dense", fresh()
    pruned = fresh()
    begin_(pruned, masks, setup.recipe)
    yield "pruned", pruned
    renewed = fresh()
    begin_(renewed, masks, setup.recipe)
    if recalibrate(renewed, setup.pruning_set):
        yield "pruned, own BatchNorm", renewed
    yield "pruned and fine-tuned", tuned


def _measured(setup: Setup, dataset: Dataset, model: nn.Module, images: int) -> dict[str, Any]:
    classes, seed = len(dataset.classes), setup.recipe.seed
    train, test = (_some(part, classes, images, seed) for part in (dataset.train, dataset.test))
    sides = [features(model, _batches(setup, part)) for part in (train, test)]
    heads = {name: fit(*sides) for name, fit in HEADS.items()}
    accuracy = {name: head.accuracy for name, head in heads.items()}
    strength = {f"{name}_strength": head.strength for name, head in heads.items()}
    return {"train": len(train), "test": len(test), **accuracy, **strength}


def _some(split: Split, classes: int, images: int, seed: int) -> Split:
    """Return the split, or a balanced part of it from the seed if it has more images."""
    if len(split) <= images:
        return split
    mixed = torch.randperm(len(split), generator=generator("probe", seed))
    labels = split.labels[mixed]
    parts = [mixed[labels == label][: max(1, images // classes)] for label in range(classes)]
    return split.subset(torch.cat(parts).sort().values)


def _batches(setup: Setup, split: Split) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the images as the run's own test images are prepared."""
    backbone = setup.backbone
    return iter(
        Batches(
            split, size=setup.recipe.data.size, batch=setup.recipe.train.batch, mean=backbone.mean, std=backbone.std,
            interpolation=backbone.interpolation, device=setup.accelerator.device, workers=setup.recipe.data.workers,
        )
    )  # fmt: skip
