"""Classification: one label per image, cross entropy, accuracy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from checkpoints import Backbone
from checkpoints.errors import InputError
from transfer.data.dataset import Images, MaskDataset
from transfer.data.image_batches import Batches, Loaders, resized
from transfer.data.preprocess import Preprocess
from transfer.data.pruning_set import PruningSet, balanced, pruning_set
from transfer.models import classifier
from transfer.recipe import Recipe
from transfer.tasks.task import Feed, Metric, Shown, Task


@dataclass(frozen=True)
class Classification(Task):
    """Logits (N, K) against class indices (N,)."""

    classes: tuple[str, ...] = ()
    centre_crop: bool = False
    """Test images are files: resized by their shorter side and cut, not stretched to the size."""

    name = "classification"
    headline = Metric("accuracy", "accuracy")
    settings = ("stem", "data.augment", "prune.per_class")
    own_images = ("recipes.digits", "--data.name", "imagefolder:PATH", "--data.size", "224")

    @classmethod
    def of(cls, dataset: Any) -> Classification:
        """Return the task of a data set of K classes.

        Raises:
            InputError: its images have masks.
        """
        if isinstance(dataset, MaskDataset):
            raise InputError(f"{dataset.name} has a mask per image; use segmentation")
        return cls(tuple(dataset.classes), not isinstance(dataset.test, Images))

    def model(self, backbone: Backbone, recipe: Recipe) -> nn.Module:
        """Return the backbone with a new linear head."""
        return classifier(backbone, len(self.classes), stem=recipe.stem, seed=recipe.seed)

    def loaders(self, dataset: Any, recipe: Recipe, feed: Feed) -> Loaders:
        """Return augmented training batches and test batches."""
        shared = {**feed.share(recipe), "size": recipe.data.size}
        train = Batches(
            dataset.train, augment=recipe.data.augment, shuffle=True, drop_last=True, seed=recipe.seed, **shared
        )
        return Loaders(train, Batches(dataset.test, **shared))

    def pruning_set(self, dataset: Any, recipe: Recipe, feed: Feed) -> PruningSet:
        """Return images of each class, balanced."""
        prune = recipe.prune
        return pruning_set(
            dataset.train, dataset.classes,
            per_class=prune.per_class, batch=prune.batch, seed=recipe.seed, size=recipe.data.size, **feed.whole(),
        )  # fmt: skip

    def check(self, dataset: Any, recipe: Recipe) -> None:
        """Refuse more pruning images per class than there are."""
        if recipe.prune.sparsity:
            balanced(dataset.train.labels, dataset.classes, per_class=recipe.prune.per_class, seed=recipe.seed)

    def dummy_targets(self, images: Tensor) -> Tensor:
        """Return the first class for every image."""
        return torch.zeros(len(images), dtype=torch.int64)

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the mean cross entropy."""
        return F.cross_entropy(outputs, targets)

    def counts(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return (right, seen)."""
        right = (outputs.argmax(1) == targets).sum()
        return torch.stack([right, torch.full_like(right, len(targets))])

    def metrics(self, counts: Tensor) -> dict[str, float]:
        """Return the top-1 accuracy."""
        right, seen = counts.tolist()
        return {"accuracy": right / seen}

    def predict(self, model: nn.Module, image: Image.Image, look: Preprocess) -> Tensor:
        """Return the probability of each class, (K,), of an image prepared as the test images were.

        What a data set's loader adds (Fashion-MNIST's black border) is the caller's.
        """
        inputs = look.normalise(resized(image, look, centre_crop=self.centre_crop)[None])
        return model(inputs)[0].softmax(0)

    def show(self, image: Image.Image, predicted: Tensor) -> Shown:
        """Return the most probable class and its probability."""
        best = int(predicted.argmax())
        return Shown(f"{self.classes[best]}\t{float(predicted[best]):.4f}")
