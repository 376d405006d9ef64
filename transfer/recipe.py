"""The settings of one run: frozen dataclasses, checked before any work, written to and read from JSON.

Each field's annotation states its type and its range; pydantic enforces them in :meth:`Recipe.check` and
:meth:`Recipe.from_dict`. Neither torch nor pydantic is imported with this module, so that ``--help`` is quick.
"""

import dataclasses
import functools
import json
import typing
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Literal

from annotated_types import Ge, Gt, Interval

from checkpoints.errors import InputError, near
from transfer.data.augment import Augment, MaskAugment
from transfer.recommended import RECOMMENDED

Natural = Annotated[int, Interval(ge=0, lt=2**63)]
Count = Annotated[int, Interval(ge=1, lt=2**63)]
Amount = Annotated[float, Ge(0)]
Precision = Literal["auto", "no", "bf16", "fp16"]
Protocol = Literal["whole", "center"]
Stem = Literal["imagenet", "cifar"]
Ablation = Literal["shuffle", "reinit"]

_RENAMED = {"maps": "mask_augment"}  # names in recipe.json of version 0.1.0, under "data"
KEEP = "keep"  # the pruning method that removes nothing more and keeps a pruned backbone's zeros at zero
IMP, GMP = "imp", "gmp"  # the pruning methods that train: before the fine-tuning, and while it goes on
EXPONENTIAL = "exponential"  # the usual schedule of the density
TRUNK = "encoder."  # prefix of the names of a segmentation model's pretrained parameters


@dataclass(frozen=True)
class Data:
    """The dataset of the downstream task."""

    name: str = "digits"
    """For classification: digits, mnist, fashion-mnist, cifar10, cifar100, tiny-imagenet or imagefolder:<path>;
    for segmentation: voc-sample, voc2012, voc2012-aug or voc-folder:<path>."""
    size: Count = 32
    """Side of the square images given to the model, in pixels; for segmentation, side of the training crops."""
    augment: Augment = field(default_factory=Augment)
    """Random augmentation of training images (classification)."""
    mask_augment: MaskAugment = field(default_factory=MaskAugment)
    """Random augmentation of training images and their masks (segmentation)."""
    protocol: Protocol = "whole"
    """How segmentation is tested: on whole images at their own size, or on centre crops as in the papers."""
    workers: Natural = 4
    """Processes that decode image files; unused for datasets held in memory."""


@dataclass(frozen=True)
class Prune:
    """Pruning before fine-tuning."""

    method: str = RECOMMENDED
    """A method listed by `transfer methods`; or imp: train, prune and rewind, repeatedly; or gmp: prune by magnitude
    while fine-tuning; or keep: fine-tune a backbone that is already pruned and keep its zeros (sparsity is ignored)."""
    sparsity: Annotated[float, Interval(ge=0, lt=1)] = 0.9
    """Fraction of the weights to remove, in [0, 1): 0.9 for 90 %; 0 trains the dense model."""
    rounds: Count | None = None
    """Number of scoring rounds; None = as in the method's paper."""
    schedule: str | None = None
    """How density falls over the rounds: exponential, linear or cubic; None = exponential, with gmp cubic."""
    allocation: str = "global"
    """How many weights each layer keeps: global (one threshold), uniform, erk, or as another method, given by name."""
    pattern: str = "none"
    """Where kept weights may be: N:M keeps at most N of M consecutive input channels, such as 2:4, and needs a sparsity
    of at least 1 - N/M; RxC keeps or removes blocks of R outputs x C inputs, such as 4x4; none = anywhere."""
    options: tuple[str, ...] = ()
    """Options of the method, as name=value; `transfer methods` lists them."""
    statistics: Literal["batch", "warmup", "running"] | None = None
    """BatchNorm statistics used for scoring: batch (of the pruning batches, in the masked network),
    warmup (of the pruning batches, in the unpruned network) or running (as stored);
    None = the method's default; with train.freeze_norm, running."""
    recalibrate: bool = False
    """Re-estimate the BatchNorm statistics on the pruning set after pruning."""
    ablate: Ablation | None = None
    """What to undo of a pruning, to see what it is worth: shuffle keeps as many weights of each layer, at random
    places; reinit keeps the places and draws the weights anew; None = nothing."""
    per_class: Count = 10
    """Images per class in the pruning set (classification)."""
    images: Count = 212
    """Images in the pruning set (segmentation)."""
    batch: Count = 64
    """Batch size for scoring."""
    exclude: tuple[str, ...] = ()
    """Modules that are not pruned: names or glob patterns, such as fc."""

    @property
    def dense(self) -> bool:
        """Whether nothing is pruned: the dense model is trained."""
        return self.sparsity == 0 and self.method != KEEP

    def method_options(self) -> dict[str, Any]:
        """Return ``options`` as keyword arguments; values that are JSON (numbers, true, false) are parsed, others text.

        Raises:
            InputError: an entry is not name=value, or a name appears twice.
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

    epochs: Natural = 10
    """Passes over the training set."""
    batch: Count = 128
    """Batch size per step, summed over all processes."""
    optimizer: Literal["sgd", "adam", "adamw"] = "sgd"
    """Optimizer."""
    lr: Amount = 0.1
    """Peak learning rate."""
    lr_trunk: Amount | None = None
    """Learning rate of a segmentation model's backbone (parameters under encoder.); None = lr."""
    momentum: Amount = 0.9
    """Momentum of sgd."""
    nesterov: bool = False
    """Use Nesterov momentum with sgd."""
    weight_decay: Amount = 1e-4
    """Weight decay, applied to every parameter as in the papers."""
    schedule: Literal["milestones", "cosine", "poly"] = "milestones"
    """How the learning rate falls; poly = (1 - progress)^0.9, as in DeepLab."""
    milestones: tuple[Count, ...] = ()
    """Epochs at the start of which the learning rate is multiplied by gamma."""
    gamma: Amount = 0.1
    """Factor of the learning rate at each milestone."""
    warmup: Natural = 0
    """Epochs of linear learning-rate warm-up."""
    clip_norm: Annotated[float, Gt(0)] | None = None
    """Largest gradient norm, over the weights that are kept; None = no clipping."""
    precision: Precision = "auto"
    """Mixed precision; auto = bf16 on GPUs that support it, otherwise no."""
    channels_last: bool = True
    """Use the channels-last memory layout, which speeds up convolutions on most devices."""
    compile: bool = False
    """Compile the network with torch.compile for training; the first steps take minutes. Meant for GPUs."""
    freeze_norm: bool = False
    """Train with the stored BatchNorm statistics and leave them unchanged; scale and shift are still trained."""
    sync_norm: bool = False
    """Compute BatchNorm statistics over the images of all processes; CUDA only."""
    save_minutes: Amount = 10.0
    """Minutes between checkpoints within an epoch, besides one at the end of each epoch; 0 = after every step."""


@dataclass(frozen=True)
class Recipe:
    """One run: the backbone, the data, how to prune and how to fine-tune.

    Nothing is validated on construction; see :meth:`check`.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = {"strict": True, "extra": "forbid", "allow_inf_nan": False}

    name: str
    """Name of the recipe; the run folder's name starts with it."""
    backbone: str = "embedded"
    """A name of `transfer backbones`, timm:<model.tag>, open_clip:<model>/<tag>, random:<arch> or <file>@<arch>."""
    stem: Stem = "imagenet"
    """imagenet keeps the backbone's stem; cifar replaces its 7×7 convolution and max-pool by a new 3×3 convolution."""
    output_stride: Count = 16
    """Stride of a segmentation model's deepest feature map: 16 or 8, or 4 for backbones made for small images."""
    data: Data = field(default_factory=Data)
    prune: Prune = field(default_factory=Prune)
    train: Train = field(default_factory=Train)
    seed: Annotated[int, Interval(ge=0, lt=2**32)] = 0
    """Seed of the new head, the choice of the pruning set, the order of the images and the augmentation."""

    def resolved(self) -> "Recipe":
        """Return the recipe as it is run: None replaced by the method's defaults, unused pruning settings reset."""
        if self.prune.method == KEEP:
            kept = dataclasses.replace(self.prune, sparsity=0.0, rounds=1, schedule=EXPONENTIAL)
            return dataclasses.replace(self, prune=kept)
        if self.prune.dense:
            return dataclasses.replace(self, prune=Prune(method="dense", sparsity=0.0, rounds=1, schedule=EXPONENTIAL))
        from transfer.pruning import default_rounds, gradual, rewinding, saliency

        prune = self.prune
        rounds, statistics = prune.rounds, prune.statistics
        schedule = prune.schedule or (gradual.SCHEDULE if prune.method == GMP else EXPONENTIAL)
        if rounds is None and prune.method == IMP:
            rounds = rewinding.default_rounds(prune.sparsity)
        elif rounds is None and prune.method == GMP:
            rounds = gradual.ROUNDS
        elif rounds is None:
            rounds = default_rounds(saliency.guide(prune.method, prune.allocation))
        if statistics is None:
            usual = saliency.statistics(prune.method, prune.allocation)
            statistics = "running" if usual and self.train.freeze_norm else usual
        known = dataclasses.replace(prune, rounds=rounds, schedule=schedule, statistics=statistics)
        return dataclasses.replace(self, prune=known)

    def check(self) -> None:
        """Refuse invalid settings, as far as they can be found without loading data or weights.

        Raises:
            InputError: a setting is invalid; one line that names it, its value and what is allowed.
        """
        Recipe.from_dict(dataclasses.asdict(self))  # checks types and ranges
        prune, train = self.prune, self.train
        if prune.method == KEEP:
            self._check_keep()
        elif prune.sparsity > 0:
            from transfer.pruning import allocation, gradual, patterns, rewinding, saliency, schedule
            from transfer.pruning.saliency import check_options, find

            options = prune.method_options()
            if prune.method == IMP:
                rewinding.check(options, prune.allocation, train.epochs)
            elif prune.method == GMP:
                gradual.check(options, prune.allocation, train.epochs, prune.recalibrate)
            else:
                check_options(prune.method, find(prune.method), options)
            allocation.check(prune.allocation)
            if prune.statistics and not saliency.statistics(prune.method, prune.allocation):
                raise InputError(
                    f"prune.statistics is {prune.statistics}, but {prune.method} looks at no BatchNorm; leave it out"
                )
            rounds = 1 if prune.rounds is None else prune.rounds
            schedule.check(None, prune.sparsity, rounds, prune.schedule or EXPONENTIAL)
            patterns.check(prune.pattern, prune.sparsity)
            self._check_ablation()
        if train.nesterov and (train.momentum == 0 or train.optimizer != "sgd"):
            raise InputError("train.nesterov needs train.optimizer sgd and train.momentum above 0; or leave it out")
        self._check_schedule()

    def _check_keep(self) -> None:
        plain = Prune()
        for name in ("allocation", "pattern", "options", "statistics", "ablate"):
            if getattr(self.prune, name) != getattr(plain, name):
                raise InputError(f"prune.{name} is set, but does nothing with prune.method {KEEP}; leave it out")

    def _check_ablation(self) -> None:
        prune = self.prune
        if prune.ablate and prune.method in (IMP, GMP):
            raise InputError(f"prune.ablate is set, but {prune.method} makes its masks while it trains; leave it out")
        if prune.ablate == "shuffle" and prune.pattern != Prune().pattern:
            raise InputError(
                f"prune.ablate is shuffle, which breaks the pattern {prune.pattern}; leave one of them out"
            )

    def _check_schedule(self) -> None:
        """Refuse learning-rate settings that contradict each other or have no effect."""
        train, plain = self.train, Train()
        steps = train.milestones
        if list(steps) != sorted(set(steps)):
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
        """Return the setting at a path such as "data.augment"."""
        value: Any = self
        for part in path.split("."):
            value = getattr(value, part)
        return value

    def to_dict(self) -> dict[str, Any]:
        """Return the recipe as plain JSON types."""
        return typing.cast(dict[str, Any], json.loads(json.dumps(dataclasses.asdict(self))))

    def decisive(self) -> dict[str, Any]:
        """Return the settings that affect results (hashed into the folder name): not workers and save_minutes.

        What earlier versions did not have is among them only if asked for, so that other runs keep their names.
        """
        content = self.to_dict()
        del content["data"]["workers"], content["train"]["save_minutes"]
        usual = Recipe(self.name)
        for path in ("prune.pattern", "prune.ablate", "train.compile", "data.augment.jitter", "data.augment.grayscale"):
            if self.at(path) == usual.at(path):
                *parts, name = path.split(".")
                del functools.reduce(dict.__getitem__, parts, content)[name]
        return content

    @classmethod
    def from_dict(cls, content: Any) -> "Recipe":
        """Build a recipe from what :meth:`to_dict` returned, in this version or an earlier one.

        Raises:
            InputError: a setting is unknown, missing, of the wrong type or out of range; one line that names it.
        """
        from pydantic import ValidationError

        if isinstance(content, dict) and isinstance(content.get("data"), dict):
            data = {_RENAMED.get(key, key): value for key, value in content["data"].items()}
            content = {**content, "data": data}
        try:  # as JSON, of which strict types take a list for a tuple; what JSON lacks becomes an object, to be refused
            text = json.dumps(content, default=lambda value: {repr(value): None})
            return typing.cast(Recipe, _adapter().validate_json(text))
        except ValidationError as error:
            raise InputError(_describe(error.errors()[0])) from error
        except (TypeError, ValueError, RecursionError) as error:  # of json.dumps, such as for a number of 5,000 digits
            raise InputError(f"recipe cannot be written as JSON: {error}") from error


@functools.cache
def _adapter() -> Any:
    """Return what reads recipes; making it takes a hundred times as long as a recipe."""
    from pydantic import TypeAdapter

    return TypeAdapter(Recipe)


def _describe(error: Any) -> str:
    """Return one line for one of pydantic's errors: the setting's path, its value and what is allowed."""
    loc, got, allowed = error["loc"], f"is {error['input']!r:.200}", error["msg"].removeprefix("Value error, ")
    if error["type"] == "missing":
        got, allowed = "is missing", "give it"
    elif error["type"] == "unexpected_keyword_argument":
        *loc, name = loc
        known = dataclasses.fields(functools.reduce(getattr, loc, Recipe("")))
        got, allowed = f"has no setting {name!r:.200}", near(name, [each.name for each in known])
    path = ".".join(map(str, loc)) or "recipe"
    return f"{path} {got}; {allowed.replace('Input should', 'it should')}"
