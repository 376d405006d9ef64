"""Segmentation: one label per pixel, cross entropy over the labelled pixels, mIoU from one confusion matrix."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn
from torchvision.transforms.v2.functional import pil_to_tensor

from checkpoints import Backbone
from checkpoints.errors import InputError
from transfer.data.dataset import IGNORE, Dataset, Palette
from transfer.data.image_batches import Loaders
from transfer.data.image_io import decode, read_mask
from transfer.data.mask_batches import MaskBatches, check_crop
from transfer.data.preprocess import Preprocess
from transfer.data.pruning_set import MaskPruningSet, mask_pruning_set
from transfer.models import segmenter
from transfer.recipe import Recipe
from transfer.tasks import mask_pictures
from transfer.tasks.task import Feed, Metric, Shown, Task


@dataclass(frozen=True)
class Segmentation(Task):
    """Logits (N, K, H, W) against class indices (N, H, W) of any integer dtype; 255 is ignored.

    Raises:
        InputError: there are no classes, or more than 255.
        ValueError: a colour is not red, green and blue from 0 to 255.
    """

    classes: tuple[str, ...]
    palette: Palette = ()

    name = "segmentation"
    headline = Metric("miou", "mIoU")
    settings = ("output_stride", "data.mask_augment", "data.protocol", "prune.images", "train.lr_trunk")
    suffixes = (".png", "-overlay.png")
    pictured = 5
    own_images = ("recipes.voc2012", "--data.name", "voc-folder:PATH")

    def __post_init__(self) -> None:
        if not 1 <= len(self.classes) <= IGNORE:
            raise InputError(f"a segmentation has {len(self.classes)} classes; give 1 to {IGNORE}")
        if any(len(colour) != 3 or not all(0 <= part <= 255 for part in colour) for colour in self.palette):
            raise ValueError("a colour of the palette is not red, green and blue from 0 to 255")

    @classmethod
    def of(cls, dataset: Any) -> Segmentation:
        """Return the task of a data set of K classes.

        Raises:
            InputError: its images have no masks.
        """
        if isinstance(dataset, Dataset):
            raise InputError(f"{dataset.name} has no masks; use classification")
        return cls(tuple(dataset.classes), dataset.palette)

    def model(self, backbone: Backbone, recipe: Recipe) -> nn.Module:
        """Return DeepLabV3+ on the backbone."""
        model = segmenter(backbone, len(self.classes), output_stride=recipe.output_stride, seed=recipe.seed)
        check_crop(recipe.data.size, recipe.output_stride)
        return model

    def loaders(self, dataset: Any, recipe: Recipe, feed: Feed) -> Loaders:
        """Return random crops for training; whole images or centre crops for the test."""
        shared = {**feed.share(recipe), "crop": recipe.data.size, "stride": recipe.output_stride}
        augment = recipe.data.mask_augment
        train = MaskBatches(dataset.train, augment=augment, shuffle=True, drop_last=True, seed=recipe.seed, **shared)
        return Loaders(train, MaskBatches(dataset.test, protocol=recipe.data.protocol, **shared))

    def pruning_set(self, dataset: Any, recipe: Recipe, feed: Feed) -> MaskPruningSet:
        """Return randomly chosen images: an image with a mask has no class to balance."""
        return mask_pruning_set(
            dataset.train, count=recipe.prune.images, batch=recipe.prune.batch, seed=recipe.seed,
            crop=recipe.data.size, stride=recipe.output_stride, **feed.whole(),
        )  # fmt: skip

    def dummy_targets(self, images: Tensor) -> Tensor:
        """Return the first class for every pixel."""
        return torch.zeros(len(images), *images.shape[2:], dtype=torch.int64)

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the mean cross entropy over the labelled pixels; 0 if there are none.

        Raises:
            InputError: the masks differ in size from the logits, or a label is not a class.
        """
        labels = self._labels(outputs, targets)
        total = F.cross_entropy(outputs, labels, ignore_index=IGNORE, reduction="sum")
        return total / (labels != IGNORE).sum().clamp(min=1)

    def weight(self, targets: Tensor) -> Tensor:
        """Return the number of labelled pixels."""
        return (targets != IGNORE).sum()

    def counts(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the confusion matrix (K, K) in pixels: truth in rows, predictions in columns.

        Raises:
            InputError: the masks differ in size from the logits, or a label is not a class.
        """
        labels, size = self._labels(outputs, targets), len(self.classes)
        predicted = outputs.max(1).indices  # takes half the time of argmax on a CPU
        pairs = (labels * size + predicted).flatten()  # those of ignored pixels lie beyond the matrix
        return torch.bincount(pairs, minlength=(IGNORE + 1) * size)[: size * size].view(size, size)

    def metrics(self, counts: Tensor) -> dict[str, float]:
        """Return miou, pixel_accuracy and class_accuracy.

        mIoU averages over the classes in the truth or the predictions, class accuracy over those in the truth.

        Raises:
            InputError: no pixel has a label.
        """
        right, truth, predicted = _margins(counts)
        if not truth.sum():
            raise InputError(f"no pixel of the targets has a label other than {IGNORE}; look at the masks")
        union, known = truth + predicted - right, truth > 0
        return {
            "miou": float((right / union)[union > 0].mean()),
            "pixel_accuracy": float(right.sum() / truth.sum()),
            "class_accuracy": float((right / truth)[known].mean()),
        }

    def table(self, counts: Tensor) -> list[dict[str, Any]]:
        """Return one row per class: class, iou, truth and predicted pixels.

        ``iou`` is None for a class in neither the truth nor the predictions, which mIoU leaves out. Predicted pixels
        count only where the truth has a label.
        """
        margins = zip(self.classes, *(part.tolist() for part in _margins(counts)), strict=True)
        return [
            {"class": name, "iou": right / union if (union := truth + found - right) else None,
             "truth": int(truth), "predicted": int(found)}
            for name, right, truth, found in margins
        ]  # fmt: skip

    def absent(self, counts: Tensor) -> list[str]:
        """Return the classes in neither the truth nor the predictions."""
        return [row["class"] for row in self.table(counts) if row["iou"] is None]

    def facts(self, dataset: Any, recipe: Recipe) -> dict[str, Any]:
        """Return splits, protocol and output stride: each changes mIoU by many points."""
        how = {"protocol": recipe.data.protocol, "output_stride": recipe.output_stride}
        return {**super().facts(dataset, recipe), **how}

    @classmethod
    def data_line(cls, result: Mapping[str, Any]) -> str:
        """Describe a result's data and test protocol in one line."""
        whole = result["protocol"] == "whole"
        return (
            f"{result['dataset']}, trained on {result['train_split']} in crops of {result['image_size']} px, tested on "
            f"{result['split']}, {'whole images' if whole else 'centre crops of {} px'.format(result['image_size'])}, "
            f"output stride {result['output_stride']}"
        )

    def protocol(self, recipe: Recipe) -> str:
        """Return whether whole images or centre crops are tested."""
        return "whole images" if recipe.data.protocol == "whole" else "centre crops"

    def predict(self, model: nn.Module, image: Image.Image, look: Preprocess) -> Tensor:
        """Return the class of each pixel, uint8 (H, W), at the image's own size."""
        pixels, stride = pil_to_tensor(image), model.encoder.output_stride  # type: ignore[union-attr]
        height, width = pixels.shape[1:]
        inputs = look.normalise(pixels[None])
        padded = inputs.new_zeros(1, 3, -height % stride + height, -width % stride + width)
        padded[:, :, :height, :width] = inputs
        return model(padded)[0, :, :height, :width].argmax(0).to(torch.uint8)

    def show(self, image: Image.Image, predicted: Tensor) -> Shown:
        """Return a palette PNG whose values are the classes, and an overlay of the colours on the image."""
        labels = predicted.cpu().numpy()
        over = mask_pictures.overlay(np.asarray(image), labels, self.palette)
        return Shown(files=(mask_pictures.palette_png(labels, self.palette), mask_pictures.png(over)))

    def pictures(self, dataset: Any, predictors: Mapping[str, Callable[[Image.Image], Tensor]], path: Path) -> None:
        """Draw test images, their ground truth and the prediction of each model."""
        rows = []
        for file, mask in zip(dataset.test.images[: self.pictured], dataset.test.masks[: self.pictured], strict=True):
            image, truth = decode(file, file), read_mask(mask, len(self.classes))
            rows.append([np.asarray(image), truth.numpy(), *(see(image).numpy() for see in predictors.values())])
        mask_pictures.side_by_side(rows, path, self.palette, ["image", "truth", *predictors], self.classes)

    def _labels(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the validated targets as int64, because a narrower type may not represent 255."""
        size, shape = len(self.classes), tuple(targets.shape)
        if tuple(outputs.shape) != (*shape[:1], size, *shape[1:]):
            raise InputError(f"logits of {tuple(outputs.shape)} do not belong to {size} classes and masks of {shape}")
        if targets.is_floating_point():
            raise InputError(f"masks have dtype {targets.dtype}; give class indices of an integer type")
        labels = targets.long()
        wrong = ((labels < 0) | (labels >= size)) & (labels != IGNORE)
        if wrong.any():
            label = int(labels[wrong][0])
            raise InputError(
                f"a mask has the label {label}; give 0 to {size - 1} ({size} classes), or {IGNORE} for none"
            )
        return labels


def _margins(counts: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the correct, true and predicted pixels per class, as float64: exact up to 2**53."""
    exact = counts.cpu().double()
    return exact.diagonal(), exact.sum(1), exact.sum(0)
