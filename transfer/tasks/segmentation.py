"""Segmentation: cross entropy over the labelled pixels, and mIoU from one confusion matrix."""

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from checkpoints.errors import InputError
from transfer.data.dataset import IGNORE


@dataclass(frozen=True)
class Segmentation:
    """Logits (N, K, H, W) against maps of class indices (N, H, W) of any integer dtype; 255 is ignored.

    Raises:
        InputError: no class or more than 255.
    """

    classes: tuple[str, ...]

    name = "segmentation"
    headline = "miou"

    def __post_init__(self) -> None:
        if not 1 <= len(self.classes) <= IGNORE:
            raise InputError(f"a segmentation has {len(self.classes)} classes; give 1 to {IGNORE}")

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the mean cross entropy over the labelled pixels; 0 where there are none.

        Raises:
            InputError: maps of another size, or a label that is no class.
        """
        labels = self._labels(outputs, targets)
        total = F.cross_entropy(outputs, labels, ignore_index=IGNORE, reduction="sum")
        return total / (labels != IGNORE).sum().clamp(min=1)

    def counts(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the confusion matrix (K, K) in pixels: truth in rows, predictions in columns.

        Raises:
            InputError: maps of another size, or a label that is no class.
        """
        labels, size = self._labels(outputs, targets), len(self.classes)
        predicted = outputs.max(1).indices  # half the time of argmax on a CPU
        pairs = (labels * size + predicted).flatten()  # those of ignored pixels lie behind the matrix
        return torch.bincount(pairs, minlength=(IGNORE + 1) * size)[: size * size].view(size, size)

    def metrics(self, counts: Tensor) -> dict[str, float]:
        """Return miou, pixel_accuracy and class_accuracy.

        mIoU is the mean over the classes that are in the truth or in the predictions, class accuracy the mean over
        those in the truth.

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
        """Return a row a class: class, iou, truth and predicted pixels.

        ``iou`` is None for a class in neither the truth nor the predictions, which mIoU leaves out. Predicted pixels
        are counted where the truth has a label.
        """
        margins = zip(self.classes, *(part.tolist() for part in _margins(counts)), strict=True)
        return [
            {"class": name, "iou": right / union if (union := truth + found - right) else None,
             "truth": int(truth), "predicted": int(found)}
            for name, right, truth, found in margins
        ]  # fmt: skip

    def _labels(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the targets as int64, checked: in a narrower type 255 may be another number."""
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
    """Return pixels a class that are right, of the truth and predicted, as float64: exact up to 2**53."""
    exact = counts.cpu().double()
    return exact.diagonal(), exact.sum(1), exact.sum(0)
