"""prune_backbone(): prune a pretrained backbone and write it to a file."""

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path

import checkpoints
from checkpoints.errors import InputError
from transfer import data as datasets
from transfer.models.classifier import heads
from transfer.pruning import Masks, patterns, prune
from transfer.pruning.calibration import recalibrate
from transfer.recipe import EXPONENTIAL, GMP, IMP, KEEP, Data, Prune, Recipe
from transfer.runs.prepare import prepare


@dataclass(frozen=True)
class PrunedBackbone:
    """The file that was written, and the masks of its weights."""

    path: Path
    masks: Masks


def prune_backbone(backbone: str, data: Data, pruning: Prune, *, seed: int = 0, out: Path) -> PrunedBackbone:
    """Prune a backbone on real images of a task and write it with exact zeros, under timm's parameter names.

    Scoring uses the task's head, which is neither pruned nor written.

    Raises:
        InputError: ``out`` exists or a setting is invalid, detected before any work where possible.
    """
    if out.suffix != ".safetensors":
        raise InputError(f"out is {out}; give a name that ends in .safetensors")
    if out.exists():
        raise InputError(f"{out} exists; remove it or choose another name")
    if not pruning.sparsity or pruning.method == KEEP:
        raise InputError(
            "prune.sparsity is 0 or prune.method keep, so nothing would be removed; give a method and a fraction"
        )
    if pruning.method in (IMP, GMP):
        raise InputError(
            f"prune.method is {pruning.method}, which trains the model of a task; use a recipe: transfer run RECIPE"
        )
    if pruning.ablate:
        raise InputError(f"prune.ablate is {pruning.ablate}, which tests masks and is for runs only; leave it out")
    if datasets.task(data.name) != "classification":
        raise InputError(
            f"data.name is {data.name}, whose task is {datasets.task(data.name)}; a backbone is pruned with a data set "
            "of labelled images"
        )
    patterns.check(pruning.pattern, pruning.sparsity)
    anywhere = dataclasses.replace(pruning, pattern=patterns.NONE)  # the head, which is not pruned, need not suit it
    setup = prepare(Recipe(name="prune", backbone=backbone, data=data, prune=anywhere, seed=seed))
    head = tuple(heads(setup.model, setup.backbone.arch))
    asked = dataclasses.replace(setup.recipe.prune, pattern=pruning.pattern)
    masks = prune(
        setup.model, setup.pruning_set,
        method=asked.method, sparsity=asked.sparsity, rounds=asked.rounds, schedule=asked.schedule or EXPONENTIAL,
        pattern=asked.pattern, exclude=(*asked.exclude, *head), seed=seed, accelerator=setup.accelerator, progress=True,
        allocation=asked.allocation, statistics=asked.statistics, **asked.method_options(),
    )  # fmt: skip
    if asked.recalibrate:
        recalibrate(setup.model, setup.pruning_set)
    kept = {key: value.cpu() for key, value in setup.model.state_dict().items() if key.rpartition(".")[0] not in head}
    pruned = dataclasses.replace(setup.backbone, state_dict=kept)
    how = {
        "pruned_from": backbone, "pruning": json.dumps(dataclasses.asdict(asked)), "seed": str(seed),
        "data": json.dumps(dataclasses.asdict(data)), "masks": masks.digest(),
    }  # fmt: skip
    return PrunedBackbone(checkpoints.save(pruned, out, **how), masks)
