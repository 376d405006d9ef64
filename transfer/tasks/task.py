"""What a task is: everything that differs between classification, segmentation and one of your own."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from PIL import Image
from torch import Tensor, nn

from checkpoints import Backbone
from transfer.data.image_batches import Loaders
from transfer.data.preprocess import Preprocess
from transfer.recipe import Recipe

if TYPE_CHECKING:
    from typing_extensions import Self


@dataclass(frozen=True)
class Metric:
    """A metric of the whole test split: its key in results, its name in sentences and plots, and its direction."""

    name: str
    label: str
    larger_is_better: bool = True
    percent: bool = True
    """A fraction in [0, 1], shown as a percentage."""

    def better(self, new: float, old: float) -> bool:
        """Return whether ``new`` is strictly better than ``old``."""
        return new > old if self.larger_is_better else new < old

    def text(self, value: float, std: float | None = None) -> str:
        """Return the value, with its standard deviation if given, for tables and sentences."""
        if self.percent:
            return f"{value:.2%}" + (f" ± {100 * std:.2f}" if std is not None else "")
        return f"{value:.4g}" + (f" ± {std:.2g}" if std is not None else "")

    @property
    def axis(self) -> str:
        """Label of a plot's axis."""
        return f"test {self.label} (%)" if self.percent else f"test {self.label}"

    def plotted(self, value: float) -> float:
        """Return the value in the axis' unit."""
        return 100 * value if self.percent else value


@dataclass(frozen=True)
class Feed:
    """How batches reach the model: the backbone's normalisation, the device, and this process's share."""

    mean: Sequence[float]
    std: Sequence[float]
    interpolation: str
    device: torch.device
    rank: int = 0
    world: int = 1

    def whole(self) -> dict[str, Any]:
        """Return keyword arguments of a pruning set, of which every process holds all."""
        return {"mean": self.mean, "std": self.std, "interpolation": self.interpolation, "device": self.device}

    def share(self, recipe: Recipe) -> dict[str, Any]:
        """Return keyword arguments of the training and test batches, of which every process has its part."""
        return {
            **self.whole(), "rank": self.rank, "world": self.world, "batch": recipe.train.batch,
            "channels_last": recipe.train.channels_last, "workers": recipe.data.workers,
        }  # fmt: skip


@dataclass(frozen=True)
class Shown:
    """A prediction as people read it: words for the line of its image, and the content of a file per suffix."""

    text: str = ""
    files: tuple[bytes, ...] = ()


class Task(ABC):
    """A task: model, data, loss, metrics, predictions. Subclasses are frozen dataclasses whose fields are JSON.

    The fields are what a prediction needs to know of the training data, such as the class names. They are written to
    ``model.json`` of a run and read back from it.

    ``counts`` add over batches and processes, so that a metric of the whole split is the same for any batches.
    """

    name: ClassVar[str]
    """What the table of tasks, data sets and results call it."""
    headline: ClassVar[Metric]
    """Decides which epoch is the best."""
    settings: ClassVar[tuple[str, ...]]
    """The recipe's settings that this task reads and others may not, such as "data.augment"."""
    suffixes: ClassVar[tuple[str, ...]] = ()
    """Of the files that a prediction writes for each image; none: a prediction is a line."""
    pictured: ClassVar[int] = 0
    """Test images in a comparison's picture (:meth:`pictures`)."""
    own_images: ClassVar[tuple[str, ...]] = ()
    """Words of a command that trains on the reader's own images: a recipe's module and its flags."""

    @classmethod
    @abstractmethod
    def of(cls, dataset: Any) -> Self:
        """Return the task of a data set, or of the :class:`transfer.data.Outlook` of one that is not there yet."""

    @classmethod
    def read(cls, about: Mapping[str, Any]) -> Self:
        """Return the task from its fields in ``model.json``.

        Raises:
            KeyError, TypeError, ValueError: a field is missing or unusable.
        """
        return cls(**{field.name: _tuples(about[field.name]) for field in fields(cls)})  # type: ignore[arg-type]

    def about(self) -> dict[str, Any]:
        """Return the fields as JSON types."""
        return asdict(self)  # type: ignore[call-overload]

    @abstractmethod
    def model(self, backbone: Backbone, recipe: Recipe) -> nn.Module:
        """Return the backbone with a new head for this task.

        Raises:
            InputError: the backbone or the recipe does not allow it.
        """

    @abstractmethod
    def loaders(self, dataset: Any, recipe: Recipe, feed: Feed) -> Loaders:
        """Return this process's training and test batches."""

    @abstractmethod
    def pruning_set(self, dataset: Any, recipe: Recipe, feed: Feed) -> Any:
        """Return the fixed images that pruning sees, such as a :class:`transfer.data.pruning_set.PruningSet`."""

    def check(self, dataset: Any, recipe: Recipe) -> None:  # noqa: B027  (most tasks have nothing to refuse)
        """Refuse what the recipe asks of the data and they do not have; nothing is decoded.

        Raises:
            InputError: too few images of a class, for example.
        """

    @abstractmethod
    def dummy_targets(self, images: Tensor) -> Tensor:
        """Return valid targets, on the CPU, for a few images of noise (n, 3, S, S)."""

    @abstractmethod
    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the mean loss of a batch, a scalar."""

    def weight(self, targets: Tensor) -> Tensor:
        """Return what a batch's loss counts in the mean over several, an int64 scalar: by default its images."""
        return targets.new_tensor(len(targets), dtype=torch.int64)

    @abstractmethod
    def counts(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return what the metrics are computed from: sums over the batch, int64 or float64, of one shape."""

    @abstractmethod
    def metrics(self, counts: Tensor) -> dict[str, float]:
        """Return the metrics of the summed counts, the headline among them."""

    def table(self, counts: Tensor) -> list[dict[str, Any]]:
        """Return the rows of ``classes.csv``, one per class; none where there is nothing to tell."""
        return []

    def absent(self, counts: Tensor) -> list[str]:
        """Return the classes that the headline leaves out."""
        return []

    def facts(self, dataset: Any, recipe: Recipe) -> dict[str, Any]:
        """Return what the result says of the data beside their name: what a metric depends on."""
        return {"task": self.name, "train_split": dataset.train_split, "split": dataset.test_split}

    @classmethod
    def data_line(cls, result: Mapping[str, Any]) -> str:
        """Return the data of a result in one line."""
        return (
            f"{result['dataset']}, trained on {result['train_split']}, tested on {result['split']}, "
            f"{result['image_size']} px"
        )

    def protocol(self, recipe: Recipe) -> str:
        """Return how the test images are prepared, where the recipe has a choice."""
        return ""

    @abstractmethod
    def predict(self, model: nn.Module, image: Image.Image, look: Preprocess) -> Tensor:
        """Return the prediction for one RGB image, prepared as the test images were; the model is in eval mode."""

    @abstractmethod
    def show(self, image: Image.Image, predicted: Tensor) -> Shown:
        """Return a prediction as words and files."""

    def pictures(
        self, dataset: Any, predictors: Mapping[str, Callable[[Image.Image], Tensor]], path: Path
    ) -> None:  # fmt: skip
        """Draw what several models make of the first ``pictured`` test images into the PNG ``path``."""
        raise NotImplementedError


def _tuples(value: Any) -> Any:
    """Turn JSON's lists into tuples."""
    return tuple(map(_tuples, value)) if isinstance(value, list) else value
