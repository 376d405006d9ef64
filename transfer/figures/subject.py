"""What a figure is about: a pretrained network with a new head, the pruning set, and test images."""

import copy
import time
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import checkpoints
from checkpoints.errors import InputError
from checkpoints.files import read_json
from transfer import data as datasets
from transfer.data.dataset import Dataset
from transfer.data.pruning_set import pruning_set
from transfer.environment import versions
from transfer.models import classifier
from transfer.pruning import CollapseWarning, Masks, default_rounds, prune
from transfer.pruning.calibration import recalibrate
from transfer.recipe import Recipe
from transfer.runs.prepare import Setup, prepare
from transfer.runs.start import begin_, masks_of

DENSE = "dense"


@dataclass(frozen=True)
class Subject:
    """A network before fine-tuning.

    Attributes:
        model: the pretrained trunk with a new head, in eval mode; not modified.
        seen: the pruning set.
        images: test images, (n, 3, S, S), which pruning does not see.
        about: the settings, of JSON types.
        recipe: of the run that it is of; None = it is of no run.
    """

    model: nn.Module
    seen: Any
    images: Tensor
    about: dict[str, Any]
    recipe: Recipe | None = None

    def masks(self, method: str, sparsity: float, rounds: int | None = None) -> tuple[Masks, float]:
        """Return the masks of a method and the seconds they took; ``rounds`` does not apply to one-shot methods."""
        own, start = default_rounds(method), time.perf_counter()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", CollapseWarning)  # what is empty is what the figures show
            masks = prune(
                copy.deepcopy(self.model), self.seen, method=method, sparsity=sparsity,
                rounds=own if own == 1 else rounds, seed=self.about["seed"], progress=True,
            )  # fmt: skip
        return masks, time.perf_counter() - start

    def under(self, masks: Masks | None) -> nn.Module:
        """Return the network as its fine-tuning begins; masks None = unpruned.

        Its BatchNorm has the statistics of the pruning set in that network: fine-tuning uses those of its batches, and
        those stored belong to the unpruned network. A run with train.freeze_norm uses the stored ones, unless it has
        prune.recalibrate.
        """
        model, recipe = copy.deepcopy(self.model), self.recipe or Recipe("")
        if masks is not None:
            begin_(model, masks, recipe)
        if not recipe.train.freeze_norm or (masks is not None and recipe.prune.recalibrate):
            recalibrate(model, self.seen)
        return model


def subject_of(
    backbone: str, data: str, *, size: int | None = None, per_class: int = 10, images: int = 20, seed: int = 0
) -> Subject:
    """Return a backbone with a new head for a data set, and balanced images of both splits.

    Args:
        backbone: as in a recipe.
        data: a classification data set.
        size: side of the images in pixels; None = the backbone's own.
        per_class: images per class in the pruning set.
        images: test images, rounded up to a multiple of the classes before they are cut to this number.
        seed: of the head and the choice of images.

    Raises:
        InputError: a name or a number cannot be used.
    """
    if images < 1:
        raise InputError(f"images is {images}; give 1 test image or more")
    if datasets.task(data) != "classification":
        raise InputError(f"data is {data}, which has no class per image; give a classification data set such as digits")
    loaded, dataset = checkpoints.load(backbone, seed=seed), datasets.load(data)
    side = size or loaded.input_size[-1]
    look = {"mean": loaded.mean, "std": loaded.std, "interpolation": loaded.interpolation, "size": side}
    device = _device()
    shared: dict[str, Any] = {**look, "seed": seed, "device": device}
    seen = pruning_set(dataset.train, dataset.classes, per_class=per_class, batch=64, **shared)
    model = classifier(loaded, len(dataset.classes), seed=seed).to(device).eval()
    about = {
        "backbone": backbone, "data": data, "size": side, "images": images, "seed": seed,
        "pruning_images": len(seen.indices), "pruning_set": seen.digest, **_machine(),
    }  # fmt: skip
    return Subject(model, seen, _test_images(dataset, images, shared), about)


def subject_of_run(folder: Path, images: int) -> tuple[Subject, Masks]:
    """Return the network of a finished run as it was before fine-tuning, and the masks of the run.

    The images are test images as in :func:`subject_of`, for other tasks the first of the run's pruning set.

    Raises:
        InputError: the run is not finished, pruned nothing or began from weights that are not kept, or its data or
            backbone cannot be used.
    """
    read_json(folder / "result.json")
    asked = Recipe.from_dict(read_json(folder / "recipe.json"))
    masks, setup = masks_of(folder, asked), prepare(asked)
    recipe, seen = setup.recipe, setup.pruning_set
    shown = _images_of(setup, images)
    about = {
        "backbone": recipe.backbone, "data": recipe.data.name, "size": recipe.data.size, "images": len(shown),
        "seed": recipe.seed, "method": recipe.prune.method, "sparsity": masks.sparsity,
        "pruning_images": len(seen.indices), "pruning_set": seen.digest, **_machine(),
    }  # fmt: skip
    masks.match(setup.model)
    on_device = Masks({name: mask.to(shown.device) for name, mask in masks.items()})
    return Subject(setup.model.eval(), seen, shown, about, recipe), on_device


def _images_of(setup: Setup, images: int) -> Tensor:
    dataset, backbone = setup.dataset, setup.backbone
    if isinstance(dataset, Dataset) and dataset.classes:
        look = {"mean": backbone.mean, "std": backbone.std, "interpolation": backbone.interpolation}
        shared = {**look, "size": setup.recipe.data.size, "seed": setup.recipe.seed}
        return _test_images(dataset, images, {**shared, "device": setup.accelerator.device})
    found: list[Tensor] = []
    for inputs, _ in setup.pruning_set:
        found.append(inputs)
        if sum(map(len, found)) >= images:
            break
    return torch.cat(found)[:images]


def _test_images(dataset: Dataset, images: int, look: dict[str, Any]) -> Tensor:
    each = -(-images // len(dataset.classes))
    held = pruning_set(dataset.test, dataset.classes, per_class=each, batch=images, **look)
    found: Tensor = next(iter(held))[0]
    return found


def _device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def _machine() -> dict[str, Any]:
    found = versions()
    return {"device": _device().type, "versions": {name: found[name] for name in ("px-transfer", "torch", "timm")}}
