"""The cells of accuracy_grid.py: pairs of a backbone and a task, ways to prune, and the measurement of one cell."""

import dataclasses
import functools
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

import checkpoints
from checkpoints import Backbone
from checkpoints.errors import InputError
from transfer import data as datasets
from transfer.data.augment import Augment
from transfer.data.dataset import Dataset, Split
from transfer.data.image_batches import Batches
from transfer.data.pruning_set import balanced, pruning_set
from transfer.distributed import accelerator_for
from transfer.models import classifier
from transfer.pruning import CollapseWarning, Masks, default_rounds, prune
from transfer.pruning.allocation import check as check_allocation
from transfer.pruning.prunable import prunable
from transfer.pruning.saliency import about, guide
from transfer.pruning.statistics import STATISTICS
from transfer.recipe import Prune, Train
from transfer.training import Loaders, finetune


@dataclass(frozen=True)
class Pair:
    """A backbone and the task it is transferred to."""

    backbone: str
    data: str
    size: int
    images: int | None
    """Number of training images, balanced over the classes; None = all."""
    test_images: int | None
    """Likewise for the test split."""
    augment: Augment
    train: Train
    sparsities: tuple[float, ...]


SGD = Train(batch=64, momentum=0.9, schedule="cosine", warmup=1, weight_decay=1e-4)
PAIRS = {
    "digits": Pair(
        "embedded", "digits", 32, None, None, Augment(pad_crop=2),
        dataclasses.replace(SGD, epochs=8, lr=0.05), (0.982,),
    ),
    "lite0": Pair(
        "imagenet-lite0", "fashion-mnist", 48, 2000, 2000, Augment(flip=True),
        dataclasses.replace(SGD, epochs=5, lr=0.03), (0.982,),
    ),
    "scratch": Pair(
        "random:resnet20", "fashion-mnist", 16, 4000, 4000, Augment(pad_crop=2, flip=True),
        dataclasses.replace(SGD, epochs=6, lr=0.1, weight_decay=5e-4, nesterov=True), (0.982,),
    ),
}  # fmt: skip

IDENTITY = (
    "pair", "backbone", "data", "size", "train_images", "test_images", "epochs", "batch", "lr", "weight_decay",
    "augment", "sparsity", "method", "statistics", "rounds", "allocation", "options", "per_class", "pruning_batch",
    "seed",
)  # fmt: skip
Row = dict[str, str]
EXTRA: dict[str, Any] = {}
"""Globals of the script given by --register; ``correct=1`` in a way calls its function ``correct``."""


@dataclass(frozen=True)
class Way:
    """A way to prune; ``str`` returns the text that :func:`way` reads."""

    method: str
    statistics: str = ""
    """BatchNorm statistics while scoring; "" for a method that uses no BatchNorm."""
    rounds: int | None = None
    """None = as in the method's paper."""
    allocation: str = "global"
    options: tuple[str, ...] = ()
    """The method's options, as name=value, sorted by name."""
    per_class: int = 10
    batch: int = 64
    correct: int = 0

    def __str__(self) -> str:
        parts = [self.method, *filter(None, [self.statistics, str(self.rounds or "")])]
        share = "" if self.allocation == "global" else f"+{self.allocation}"
        images = {"per_class": (self.per_class, 10), "batch": (self.batch, 64), "correct": (self.correct, 0)}
        own = [*self.options, *(f"{name}={value}" for name, (value, usual) in images.items() if value != usual)]
        return ":".join(parts) + share + "".join(f",{entry}" for entry in own)

    def columns(self) -> dict[str, Any]:
        """Return the columns of the CSV that describe it."""
        if self.method == "dense":
            return {"method": "dense", "way": "dense"}
        rounds = self.rounds or default_rounds(guide(self.method, self.allocation))
        return {
            "method": self.method, "statistics": self.statistics, "rounds": rounds, "allocation": self.allocation,
            "options": " ".join((*self.options, *["correct=1"] * self.correct)),
            "per_class": self.per_class, "pruning_batch": self.batch, "way": str(self),
        }  # fmt: skip


def way(text: str) -> Way:
    """Parse a way in the form documented in accuracy_grid.py.

    Raises:
        InputError: the text is malformed, or its method or allocation is unknown.
    """
    head, *entries = text.strip().split(",")
    head, _, share = head.partition("+")
    method, *middle = head.split(":")
    if method == "dense":
        if text.strip() != "dense":
            raise InputError(f"way {text!r}: dense takes nothing more")
        return Way("dense")
    about(method)
    check_allocation(share or "global")
    found: dict[str, Any] = {}
    for part in middle:
        name = "rounds" if part.isdigit() and int(part) else "statistics" if part in STATISTICS else ""
        if not name or name in found:
            raise InputError(f"way {text!r}: {part!r} is none of {', '.join(STATISTICS)} or the rounds, each once")
        found[name] = int(part) if name == "rounds" else part
    options = []
    for entry in entries:
        name, _, value = entry.partition("=")
        if name in ("per_class", "batch", "correct"):
            if not value.isdigit() or not int(value):
                raise InputError(f"way {text!r}: {name} is {value!r}; give 1 or more images")
            found[name] = int(value)
        else:
            options.append(entry)
    Prune(options=tuple(options)).method_options()
    if found.get("rounds") == default_rounds(guide(method, share or "global")):
        del found["rounds"]  # equal ways have equal names
    found["statistics"] = _statistics(method, found.get("statistics"))
    return Way(method, allocation=share or "global", options=tuple(sorted(options)), **found)


def _statistics(method: str, asked: str | None) -> str:
    """Return the requested statistics or the default, always by name, so that rows survive a change of defaults."""
    usual = about(method).statistics
    if asked and not usual:
        raise InputError(f"way {method}:{asked}: {method} looks at no BatchNorm; leave {asked} out")
    return asked or usual or ""


@dataclass(frozen=True)
class Cell:
    """One row of a CSV."""

    name: str
    pair: Pair
    way: Way
    sparsity: float
    seed: int

    def identity(self) -> Row:
        """Return the columns that identify a cell, as text."""
        return {key: str(value) for key, value in {**dict.fromkeys(IDENTITY, ""), **self._facts()}.items()}

    def _facts(self) -> dict[str, Any]:
        of_way = {key: value for key, value in self.way.columns().items() if key != "way"}
        return {**settings(self.name, self.pair), "sparsity": f"{self.sparsity:g}", "seed": self.seed, **of_way}


def settings(name: str, pair: Pair) -> Row:
    """Return the columns that all cells of a pair share."""
    train, augment = pair.train, pair.augment
    kinds = {"pad_crop": augment.pad_crop, "flip": augment.flip, "resized_crop": augment.resized_crop}
    return {
        "pair": name, "backbone": pair.backbone, "data": pair.data, "size": str(pair.size),
        "train_images": str(pair.images or "all"), "test_images": str(pair.test_images or "all"),
        "epochs": str(train.epochs), "batch": str(train.batch), "lr": f"{train.lr:g}",
        "weight_decay": f"{train.weight_decay:g}",
        "augment": " ".join(f"{kind}={value}" for kind, value in kinds.items() if value),
    }  # fmt: skip


def cells(pairs: Mapping[str, Pair], ways: Sequence[Way], seeds: Sequence[int]) -> list[Cell]:
    """Return all cells, ordered by seed; dense has one cell per seed whatever the sparsities."""
    found = [
        Cell(name, pair, how, 0.0 if how.method == "dense" else sparsity, seed)
        for seed in seeds
        for name, pair in pairs.items()
        for sparsity in pair.sparsities
        for how in ways
    ]
    return list(dict.fromkeys(found))


def measure(cell: Cell) -> dict[str, Any]:
    """Prune, fine-tune and test; return the measured columns.

    Raises:
        InputError, RunError: the way is invalid for the pair, or its training diverged.
    """
    pair, how, seed = cell.pair, cell.way, cell.seed
    backbone = _backbone(pair.backbone, seed if pair.backbone.startswith("random:") else 0)
    data = _dataset(pair.data)
    train, test = _split(pair.data, "train", pair.images), _split(pair.data, "test", pair.test_images)
    accelerator = accelerator_for(pair.train)
    device = accelerator.device
    look: dict[str, Any] = {
        "size": pair.size, "mean": backbone.mean, "std": backbone.std, "interpolation": backbone.interpolation,
        "device": device,
    }  # fmt: skip
    model, cpu = classifier(backbone, len(data.classes), seed=seed).to(device), time.process_time()
    kept, masks, start = sum(w.numel() for w in prunable(model).values()), None, time.perf_counter()
    if how.method != "dense":
        seen = pruning_set(train, data.classes, per_class=how.per_class, batch=how.batch, seed=seed, **look)
        asked: dict[str, Any] = Prune(options=how.options).method_options()
        if how.statistics:
            asked["statistics"] = how.statistics
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", CollapseWarning)  # the row counts the empty layers
            masks = prune(
                model, seen, method=how.method, sparsity=cell.sparsity, allocation=how.allocation, rounds=how.rounds,
                seed=seed, **asked,
            )  # fmt: skip
        kept = masks.kept
        if how.correct:
            if "correct" not in EXTRA:
                raise InputError("correct=1 needs --register with a script that has a function correct")
            EXTRA["correct"](model, classifier(backbone, len(data.classes), seed=seed), masks, seen)
    pruned = time.perf_counter()
    batch: dict[str, Any] = {"batch": pair.train.batch, "channels_last": pair.train.channels_last}
    loaders = Loaders(
        train=Batches(train, augment=pair.augment, shuffle=True, drop_last=True, seed=seed, **batch, **look),
        test=LastEpoch(Batches(test, **batch, **look), pair.train.epochs),
    )
    last = finetune(model, masks, loaders, pair.train, accelerator=accelerator, seed=seed).last
    return {
        "kept": kept, "accuracy": last["accuracy"], "test_loss": last["test_loss"],
        "prune_seconds": pruned - start, "train_seconds": time.perf_counter() - pruned,
        "cpu_seconds": time.process_time() - cpu, "device": device.type, **_about(masks),
    }  # fmt: skip


def _about(masks: Masks | None) -> dict[str, Any]:
    return {} if masks is None else {"empty_layers": len(masks.collapsed()), "masks": masks.digest()[:12]}


@dataclass
class LastEpoch:
    """Test batches, cut to the first one in all epochs but the last, whose accuracy alone is recorded."""

    batches: Batches
    epochs: int
    walks: int = field(default=0, init=False)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        self.walks += 1
        for batch in self.batches:
            yield batch
            if self.walks < self.epochs:
                return


@functools.cache
def _backbone(name: str, seed: int) -> Backbone:
    return checkpoints.load(name, seed=seed)


@functools.cache
def _dataset(name: str) -> Dataset:
    dataset = datasets.load(name)
    if not isinstance(dataset, Dataset):
        raise InputError(f"{name} has masks; give a classification data set")
    return dataset


@functools.cache
def _split(name: str, part: str, images: int | None) -> Split:
    """Return a split, or a subset balanced over its classes, which is the same for every seed."""
    data = _dataset(name)
    split: Split = getattr(data, part)
    if images is None:
        return split
    each, rest = divmod(images, len(data.classes))
    if rest or not each:
        raise InputError(f"{images} {part} images of {name}; give a multiple of its {len(data.classes)} classes")
    return split.subset(balanced(split.labels, data.classes, per_class=each, seed=0))
