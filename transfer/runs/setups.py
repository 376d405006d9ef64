"""Build setups from a backbone and a data set in Python, without a recipe."""

from typing import Any

from checkpoints import Backbone
from transfer.data.augment import Augment, MaskAugment
from transfer.distributed import accelerator_for
from transfer.recipe import Data, Precision, Protocol, Prune, Recipe, Stem, Train
from transfer.runs.prepare import Setup, assembled
from transfer.tasks.classification import Classification
from transfer.tasks.segmentation import Segmentation
from transfer.tasks.task import Task


def classification(
    backbone: Backbone,
    dataset: Any,
    *,
    size: int = 32,
    batch: int = 128,
    augment: Augment | None = None,
    stem: Stem = "imagenet",
    per_class: int = 10,
    pruning_batch: int = 64,
    seed: int = 0,
    precision: Precision = "auto",
) -> Setup:
    """Return a classifier on the backbone, with batches and the pruning set of the data set.

    Args:
        backbone: from :func:`checkpoints.load`.
        dataset: from :func:`transfer.data.load`, or a :class:`transfer.data.dataset.Dataset`.
        size: side of the model's input images, in pixels.
        batch: images per training step, over all processes.
        augment: random geometry during training; None = none.
        stem: "imagenet" or "cifar", see :func:`transfer.models.classifier`.
        per_class: images per class in the pruning set.
        pruning_batch: batch size for scoring.
        seed: seed of the head, the pruning set, the image order and the augmentation.
        precision: "auto", "no", "bf16" or "fp16".

    Raises:
        InputError: a setting is out of range, or does not suit the backbone or the data.
    """
    recipe = Recipe(
        name="python", stem=stem, seed=seed,
        data=Data(size=size, augment=augment or Augment()), train=Train(batch=batch, precision=precision),
        prune=Prune(per_class=per_class, batch=pruning_batch),
    )  # fmt: skip
    return _setup(Classification, backbone, dataset, recipe)


def segmentation(
    backbone: Backbone,
    dataset: Any,
    *,
    crop: int = 512,
    output_stride: int = 16,
    batch: int = 16,
    augment: MaskAugment | None = None,
    protocol: Protocol = "whole",
    images: int = 212,
    pruning_batch: int = 4,
    seed: int = 0,
    precision: Precision = "auto",
) -> Setup:
    """Return DeepLabV3+ on the backbone, with batches and the pruning set of the data set.

    Args:
        backbone: from :func:`checkpoints.load`.
        dataset: from :func:`transfer.data.load`, or a :class:`transfer.data.dataset.MaskDataset`.
        crop: side of the training crops, in pixels; a multiple of the output stride.
        output_stride: side of the images over that of the deepest feature map, see :func:`transfer.models.segmenter`.
        batch: images per training step, over all processes.
        augment: random geometry during training; None = the defaults of :class:`transfer.data.augment.MaskAugment`.
        protocol: test on "whole" images or "center" crops.
        images: number of images in the pruning set.
        pruning_batch: batch size for scoring.
        seed: seed of decoder and head, the pruning set, the image order and the augmentation.
        precision: "auto", "no", "bf16" or "fp16".

    Raises:
        InputError: a setting is out of range, or does not suit the backbone or the data.
    """
    recipe = Recipe(
        name="python", output_stride=output_stride, seed=seed, train=Train(batch=batch, precision=precision),
        data=Data(size=crop, mask_augment=augment or MaskAugment(), protocol=protocol),
        prune=Prune(images=images, batch=pruning_batch),
    )  # fmt: skip
    return _setup(Segmentation, backbone, dataset, recipe)


def _setup(kind: type[Task], backbone: Backbone, dataset: Any, recipe: Recipe) -> Setup:
    recipe.check()
    return assembled(kind, recipe, backbone, dataset, accelerator_for(recipe.train))
