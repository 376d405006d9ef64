"""What to do: frozen dataclasses that hold one run, checked before any work, written to and read from JSON.

Torch is not imported here, so that ``--help`` is quick.
"""

import dataclasses
import json
import types
import typing
from dataclasses import dataclass, field
from typing import Any, Literal

from checkpoints.errors import InputError
from transfer.data.augment import Augment, MaskAugment
from transfer.recommended import RECOMMENDED

_RENAMED = {"maps": "mask_augment"}  # settings of the data in recipe.json of version 0.1.0
KEEP = "keep"  # the method that removes nothing and holds the zeros that a pruned backbone's file has
TRUNK = "encoder."  # what the names of a segmentation model's pretrained parameters begin with


@dataclass(frozen=True)
class Data:
    """The downstream task's images."""

    name: str = "digits"
    """digits, fashion-mnist, cifar10, cifar100, tiny-imagenet or imagefolder:<path>; with a label for each pixel
    voc-sample, voc2012, voc2012-aug or voc-folder:<path>."""
    size: int = 32
    """Side of the images that the model sees, in pixels; of the training crops with label maps."""
    augment: Augment = field(default_factory=Augment)
    """Random geometry during training."""
    mask_augment: MaskAugment = field(default_factory=MaskAugment)
    """Random geometry during training with label maps."""
    protocol: Literal["whole", "center"] = "whole"
    """How label maps are tested: whole images at their own size, or the papers' centre crops."""
    workers: int = 4
    """Processes that decode files; images in memory need none."""


@dataclass(frozen=True)
class Prune:
    """Pruning before fine-tuning."""

    method: str = RECOMMENDED
    """A name of `transfer methods`; imp: train, prune, rewind, several times over; or keep: hold the zeros of a
    backbone that was pruned before (sparsity does not count)."""
    sparsity: float = 0.9
    """Fraction of the weights removed, in [0, 1); 0 trains the dense model."""
    rounds: int | None = None
    """Rounds of scoring; None = what the method's paper uses."""
    schedule: str = "exponential"
    """How density falls over the rounds: exponential or linear."""
    allocation: str = "global"
    """Weights a layer keeps: global (one threshold), uniform, erk, or as many as another method keeps."""
    options: tuple[str, ...] = ()
    """The method's own options, as name=value; `transfer methods` lists them."""
    statistics: Literal["batch", "warmup", "running"] | None = None
    """Which BatchNorm the scores see: of the pruning batches through the masked network (batch) or the unpruned one
    (warmup), or the stored one (running); None = the method's default, and running with train.freeze_norm."""
    recalibrate: bool = False
    """Estimate BatchNorm statistics anew, on the pruning set, after pruning."""
    per_class: int = 10
    """Images of each class in the pruning set (label maps have no class of an image: see images)."""
    images: int = 212
    """Images in the pruning set of a segmentation task."""
    batch: int = 64
    """Images a mini-batch of the pruning set."""
    exclude: tuple[str, ...] = ()
    """Globs over module names that are not pruned, such as fc."""

    @property
    def dense(self) -> bool:
        """Whether no weight is held at 0."""
        return self.sparsity == 0 and self.method != KEEP

    def method_options(self) -> dict[str, Any]:
        """Return ``options`` as keyword arguments: numbers, true and false are read as such, the rest is text.

        Raises:
            InputError: an entry is not name=value, or a name comes twice.
        """
        found: dict[str, Any] = {}
        for entry in self.options:
            name, equals, value = entry.partition("=")
            if not equals or not name.isidentifier() or name in found:
                raise InputError(f"prune.options has {entry!r}; give each option once, as name=value")
            try:
                found[name] = json.loads(value)
            except json.JSONDecodeError:
                found[name] = value
        return found


@dataclass(frozen=True)
class Train:
    """Fine-tuning of the sparse model."""

    epochs: int = 10
    """Passes over the training images."""
    batch: int = 128
    """Images a step, over all processes."""
    optimizer: Literal["sgd", "adam", "adamw"] = "sgd"
    """Which optimizer."""
    lr: float = 0.1
    """Highest learning rate."""
    lr_trunk: float | None = None
    """Learning rate of the backbone (parameters under encoder.); None = lr."""
    momentum: float = 0.9
    """Of sgd."""
    nesterov: bool = False
    """Nesterov's momentum, with sgd."""
    weight_decay: float = 1e-4
    """On every parameter, as in the papers."""
    schedule: Literal["milestones", "cosine", "poly"] = "milestones"
    """How the learning rate falls; poly = (1 - done)^0.9, as DeepLab."""
    milestones: tuple[int, ...] = ()
    """Epochs at whose start the learning rate is multiplied by gamma."""
    gamma: float = 0.1
    """Factor at each milestone."""
    warmup: int = 0
    """Epochs of linear warm-up."""
    clip_norm: float | None = None
    """Largest norm of the gradient of the kept weights; None = no clipping."""
    precision: Literal["auto", "no", "bf16", "fp16"] = "auto"
    """Mixed precision; auto = bf16 on GPUs that have it, else none."""
    channels_last: bool = True
    """Memory layout; faster convolutions on most devices."""
    freeze_norm: bool = False
    """Keep the running statistics of BatchNorm and train with them; its scale and shift still train."""
    sync_norm: bool = False
    """Statistics of BatchNorm over the images of all processes; CUDA only."""
    save_minutes: float = 10.0
    """Minutes between saves within an epoch; each epoch's end is saved too. 0 = every step."""


@dataclass(frozen=True)
class Recipe:
    """One run: a backbone, a task, a pruning and a fine-tuning."""

    name: str
    """Begins the run folder's name."""
    backbone: str = "embedded"
    """A name of `transfer backbones`, timm:<model.tag>, open_clip:<model>/<tag>, random:<arch> or <file>@<arch>."""
    stem: Literal["imagenet", "cifar"] = "imagenet"
    """imagenet keeps the backbone's stem; cifar replaces 7×7 and max-pool by a new 3×3 convolution."""
    output_stride: int = 16
    """Of a segmentation model, image side over side of the deepest map: 16 or 8; 4 for trunks of small images."""
    data: Data = field(default_factory=Data)
    prune: Prune = field(default_factory=Prune)
    train: Train = field(default_factory=Train)
    seed: int = 0
    """Of the head, the pruning set, the order of the images and the augmentation."""

    def resolved(self) -> "Recipe":
        """Return the recipe as it is run: rounds and statistics filled in; nothing of pruning left without it."""
        if self.prune.method == KEEP:
            kept = dataclasses.replace(self.prune, sparsity=0.0, rounds=1, schedule=Prune().schedule)
            return dataclasses.replace(self, prune=kept)
        if self.prune.dense:
            return dataclasses.replace(self, prune=Prune(method="dense", sparsity=0.0, rounds=1))
        from transfer.pruning import default_rounds, rewinding, saliency

        prune = self.prune
        rounds, statistics = prune.rounds, prune.statistics
        if rounds is None:
            guide = saliency.guide(prune.method, prune.allocation)
            rounds = rewinding.default_rounds(prune.sparsity) if prune.method == "imp" else default_rounds(guide)
        if statistics is None:
            usual = saliency.statistics(prune.method, prune.allocation)
            statistics = "running" if usual and self.train.freeze_norm else usual
        return dataclasses.replace(self, prune=dataclasses.replace(prune, rounds=rounds, statistics=statistics))

    def check(self) -> None:
        """Refuse what can be seen to be wrong without loading anything.

        Raises:
            InputError: one line that says what, got, allowed.
        """
        _read(Recipe, dataclasses.asdict(self), self.name)
        prune, train = self.prune, self.train
        if not 0 <= prune.sparsity < 1:
            raise InputError(f"prune.sparsity is {prune.sparsity}; it is the fraction removed, in [0, 1): 0.9 for 90 %")
        if prune.method == KEEP:
            self._check_keep()
        elif prune.sparsity > 0:
            from transfer.pruning import allocation, rewinding, saliency, schedule
            from transfer.pruning.saliency import check_options, find

            options = prune.method_options()
            if prune.method == "imp":
                rewinding.check(options, prune.allocation, self.train.epochs)
            else:
                check_options(prune.method, find(prune.method), options)
            allocation.check(prune.allocation)
            if prune.statistics and not saliency.statistics(prune.method, prune.allocation):
                raise InputError(
                    f"prune.statistics is {prune.statistics}, but {prune.method} looks at no BatchNorm; leave it out"
                )
            schedule.check(None, prune.sparsity, 1 if prune.rounds is None else prune.rounds, prune.schedule)
        least = {
            "data.size": 1,
            "data.workers": 0,
            "prune.per_class": 1,
            "prune.images": 1,
            "prune.batch": 1,
            "train.epochs": 0,
        }
        least |= {
            "train.batch": 1,
            "train.lr": 0,
            "train.momentum": 0,
            "train.weight_decay": 0,
            "train.gamma": 0,
            "train.save_minutes": 0,
        }
        least |= {"train.warmup": 0, "seed": 0}
        for path, low in least.items():
            value = self.at(path)
            if not (low <= value < 2**63):
                raise InputError(f"{path} is {value}; give {low} or more, below 2**63")
        if self.seed >= 2**32:
            raise InputError(f"seed is {self.seed}; give a number below 2**32")
        if train.nesterov and (train.momentum == 0 or train.optimizer != "sgd"):
            raise InputError("train.nesterov needs train.optimizer sgd and train.momentum above 0; or leave it out")
        self._check_schedule()
        if train.lr_trunk is not None and not 0 <= train.lr_trunk < float("inf"):
            raise InputError(f"train.lr_trunk is {train.lr_trunk}; give 0 or more, or leave it out")
        if train.clip_norm is not None and not train.clip_norm > 0:
            raise InputError(f"train.clip_norm is {train.clip_norm}; give a positive norm, or leave it out")

    def _check_keep(self) -> None:
        plain = Prune()
        for name in ("allocation", "options", "statistics"):
            if getattr(self.prune, name) != getattr(plain, name):
                raise InputError(f"prune.{name} is set, but does nothing with prune.method {KEEP}; leave it out")

    def _check_schedule(self) -> None:
        """Refuse a learning rate that does not fall as the settings say."""
        train, plain = self.train, Train()
        steps = train.milestones
        if any(step < 1 for step in steps) or list(steps) != sorted(set(steps)):
            raise InputError(f"train.milestones are {steps}; give epochs from 1 on, in rising order")
        for name, changed in (("milestones", bool(steps)), ("gamma", train.gamma != plain.gamma)):
            if changed and train.schedule != "milestones":
                raise InputError(
                    f"train.{name} is set, but does nothing under train.schedule {train.schedule}; leave it out, or "
                    "give train.schedule milestones"
                )
        if train.gamma != plain.gamma and not steps:
            raise InputError(
                f"train.gamma is {train.gamma}, but there are no train.milestones; give them, or leave it out"
            )
        if train.epochs and train.warmup > train.epochs:
            raise InputError(f"train.warmup is {train.warmup} epochs of {train.epochs}; give {train.epochs} or fewer")

    def at(self, path: str) -> Any:
        """Return a setting by its path, such as "data.augment"."""
        value: Any = self
        for part in path.split("."):
            value = getattr(value, part)
        return value

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON types."""
        return typing.cast(dict[str, Any], json.loads(json.dumps(dataclasses.asdict(self))))

    def decisive(self) -> dict[str, Any]:
        """Return what decides the result: all but how many workers decode and how often the run is saved."""
        content = self.to_dict()
        del content["data"]["workers"], content["train"]["save_minutes"]
        return content

    @classmethod
    def from_dict(cls, content: Any) -> "Recipe":
        """Read what :meth:`to_dict` gave, also before a setting had its present name.

        Raises:
            InputError: a key is unknown or a value has the wrong type; names it.
        """
        if isinstance(content, dict) and isinstance(content.get("data"), dict):
            data = {_RENAMED.get(key, key): value for key, value in content["data"].items()}
            content = {**content, "data": data}
        return typing.cast("Recipe", _read(cls, content, "recipe"))


def _read(kind: Any, value: Any, where: str) -> Any:
    if dataclasses.is_dataclass(kind):
        return _read_dataclass(typing.cast(type, kind), value, where)
    origin, parts = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        return None if value is None else _read(next(p for p in parts if p is not type(None)), value, where)
    if origin is tuple and isinstance(value, (list, tuple)):
        kinds = [parts[0]] * len(value) if parts[-1] is Ellipsis else parts
        if len(kinds) != len(value):
            raise InputError(f"{where} is {value!r}; it should hold {len(kinds)} values")
        return tuple(_read(kind, item, where) for kind, item in zip(kinds, value, strict=True))
    if origin is Literal and value in parts:
        return value
    if kind is float and (type(value) is float or (type(value) is int and abs(value) < 2**63)):
        return float(value)
    if kind in (int, str, bool) and type(value) is kind:
        return value
    raise InputError(f"{where} is {value!r}; it should be {getattr(kind, '__name__', kind)}")


def _read_dataclass(kind: type, value: Any, where: str) -> Any:
    if not isinstance(value, dict):
        raise InputError(f"{where} is {value!r}; it should be an object")
    hints = typing.get_type_hints(kind)
    unknown = sorted(set(value) - set(hints))
    if unknown:
        raise InputError(f"{where} has unknown entries {', '.join(unknown)}; known: {', '.join(hints)}")
    try:
        return kind(**{key: _read(hints[key], item, f"{where}.{key}") for key, item in value.items()})
    except TypeError as error:
        raise InputError(f"{where} is not complete: {error}") from error
