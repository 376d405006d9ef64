"""Speed of our training loop beside a plain loop and one of timm's parts, and the cost of holding masks.

    python scripts/bench_training.py                 # some minutes on 2 cores
    python scripts/bench_training.py --only epoch

All loops of a comparison train the same network on the same images with the same SGD, in the same memory format, and
take turns in one run.

``step``: a step of ``--arch`` on batches that are ready: the time of ``2 * --steps`` steps less that of ``--steps``, so
that what a loop does once does not count. ``plain`` is the loop of a textbook, ``timm`` the same with timm's
ClassificationTask, optimizer factory and average meter, ``ours`` is ``finetune`` with dense weights and ``masked`` with
98.2 % of them held at 0. ``ratio`` is the speed relative to ``plain`` (goal: 1.0 or more), a median over the turns.
``hold_ms`` is what holding masks adds to a step, timed alone, and ``hold_share`` the same as a fraction of a plain step
(goal: below 0.01). ``compiled``, with ``--compile``, is ``plain`` with the network compiled as by ``train.compile``;
compiling takes a minute or two and is not counted.

``epoch``: an epoch of ResNet-20 on 32 px images, augmented (pad 4, crop, flip): ``torchvision`` is a DataLoader with
torchvision's transforms and 2 workers with the plain loop, ``ours`` is ``Batches`` with ``finetune``; ``ratio`` is the
speed relative to ``torchvision`` (goal: 1.5 or more).

Prints one line of JSON per loop: milliseconds per step (median over the turns), images_per_s and ratio.
"""

import argparse
import statistics
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import _bench
import torch
import torch.nn.functional as F
from bench_data import MEAN, PAD, SIDE, STD, PilImages
from timm.optim import create_optimizer_v2
from timm.task import ClassificationTask
from timm.utils import AverageMeter
from torch import Tensor, nn
from torch.utils.data import DataLoader

from transfer.compiled import compiled
from transfer.data.augment import Augment
from transfer.data.image_batches import Batches, Loaders
from transfer.pruning import Masks
from transfer.pruning.prunable import prunable
from transfer.recipe import Train
from transfer.training import accelerator_for, finetune

LR, MOMENTUM, DECAY = 0.01, 0.9, 1e-4
Batch = tuple[Tensor, Tensor]


@dataclass
class Ready:
    """Batches that are there, as ``finetune`` takes them."""

    batches: Sequence[Batch]

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[Batch]:
        return iter(self.batches)

    def set_epoch(self, epoch: int, start: int = 0) -> None:
        """Do nothing: every epoch is the same."""


def plain(model: nn.Module, batches: Iterable[Batch]) -> None:
    """Train for one walk over the batches as a textbook does."""
    optimizer = torch.optim.SGD(model.parameters(), lr=LR, momentum=MOMENTUM, weight_decay=DECAY)
    model.train()
    for inputs, targets in batches:
        optimizer.zero_grad()
        loss = F.cross_entropy(model(inputs), targets)
        loss.backward()
        optimizer.step()


def with_timm(model: nn.Module, batches: Iterable[Batch]) -> None:
    """Train for one walk with timm's task, optimizer and meter."""
    optimizer = create_optimizer_v2(model, opt="momentum", lr=LR, momentum=MOMENTUM, weight_decay=DECAY)
    task, meter = ClassificationTask(model, nn.CrossEntropyLoss(), verbose=False), AverageMeter()
    task.train()
    for inputs, targets in batches:
        found = task(inputs, targets)
        optimizer.zero_grad()
        found["loss"].backward()
        optimizer.step()
        meter.update(float(found["loss"].detach()), len(inputs))


def ours(model: nn.Module, masks: Masks | None, train: Batches | Ready) -> None:
    """Train for one walk with our loop, without a test."""
    settings = Train(
        epochs=1, lr=LR, momentum=MOMENTUM, weight_decay=DECAY, precision="no", channels_last=True, save_minutes=1e6
    )
    loaders = Loaders(train, [])
    accelerator = accelerator_for(settings)
    finetune(model, masks, loaders, settings, accelerator=accelerator, until=len(train) - 1)


def step(options: argparse.Namespace) -> None:
    """Compare the loops on batches that are ready."""
    device = _bench.DEVICE
    source = torch.Generator().manual_seed(0)
    shape = (options.batch, 3, options.size, options.size)
    images = torch.randn(shape, generator=source).to(device, memory_format=torch.channels_last)
    targets = (torch.arange(options.batch) % 10).to(device)

    def batches(count: int) -> list[Batch]:
        return [(images, targets)] * count

    def model() -> nn.Module:
        return _bench.model(options.arch).to(device, memory_format=torch.channels_last)

    masks = Masks({name: torch.rand(w.shape, generator=source) > 0.982 for name, w in prunable(model()).items()})
    loops: dict[str, Callable[[int], None]] = {
        "plain": lambda count: plain(model(), batches(count)),
        "timm": lambda count: with_timm(model(), batches(count)),
        "ours": lambda count: ours(model(), None, Ready(batches(count + 1))),  # `until` stops before the last
        "masked": lambda count: ours(model(), masks, Ready(batches(count + 1))),
    }

    if options.compile:
        lasting = compiled(model())
        loops["compiled"] = lambda count: plain(lasting, batches(count))

    def each(loop: Callable[[int], None]) -> float:
        few, many = (_bench.seconds_of(partial(loop, count), device) for count in (options.steps, 2 * options.steps))
        return (many - few) / options.steps

    found = _bench.in_turns({name: partial(each, loop) for name, loop in loops.items()}, options.turns)
    hold = statistics.median(held(model(), masks, device, options.turns))
    shown = {"arch": options.arch, "size": options.size, "device": device}
    plain_s = statistics.median(found["plain"])
    for name, seconds in found.items():
        extra = {"hold_ms": 1000 * hold, "hold_share": hold / plain_s} if name == "masked" else {}
        ratio = statistics.median(plain / own for plain, own in zip(found["plain"], seconds, strict=True))
        _tell("step", name, statistics.median(seconds), options.batch, ratio, turns=options.turns, **shown, **extra)


def held(model: nn.Module, masks: Masks, device: str, turns: int) -> list[float]:
    """Return the seconds of what holding masks adds to a step: pruned gradients and weights set to 0."""
    hold = masks.hold(model, torch.optim.SGD(model.parameters()))
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)

    def zero() -> None:
        hold.zero_gradients()
        hold.zero_weights()

    return [_bench.seconds_of(zero, device) for _ in range(turns + 1)][1:]


def epoch(options: argparse.Namespace) -> None:
    """Compare an epoch end to end."""
    device, batch = _bench.DEVICE, 128
    images = _bench.noise(options.images, SIDE)
    loader = DataLoader(PilImages(images), batch, shuffle=True, drop_last=True, num_workers=2, persistent_workers=True)
    next(iter(loader))  # starts the workers
    train = Batches(
        images, size=SIDE, batch=batch, mean=MEAN, std=STD, augment=Augment(pad_crop=PAD, flip=True), shuffle=True,
        drop_last=True, device=device, channels_last=True,
    )  # fmt: skip

    def model() -> nn.Module:
        return _bench.model("resnet20").to(device, memory_format=torch.channels_last)

    def walked() -> Iterator[Batch]:
        for inputs, targets in loader:
            yield inputs.to(device, memory_format=torch.channels_last), targets.to(device)

    calls: dict[str, Callable[[], None]] = {
        "torchvision": lambda: plain(model(), walked()),
        "ours": lambda: ours(model(), None, train),
    }
    medians = _bench.take_turns(calls, options.turns, device)
    steps = {"torchvision": len(loader), "ours": len(train) - 1}
    each = {name: seconds / steps[name] for name, seconds in medians.items()}
    for name, seconds in each.items():
        ratio = each["torchvision"] / seconds
        _tell("epoch", name, seconds, batch, ratio, arch="resnet20", size=SIDE, device=device)


def _tell(what: str, loop: str, seconds: float, batch: int, ratio: float, **more: object) -> None:
    speed = {"ms_per_step": 1000 * seconds, "images_per_s": batch / seconds, "ratio": ratio, "batch": batch}
    machine = {"threads": torch.get_num_threads(), "load": _bench.load(), **_bench.versions()}
    _bench.show(".4g", name=what, loop=loop, **speed, **more, **machine)


def main() -> None:
    """Measure what was asked for."""
    parser = _bench.options(__doc__)
    parser.add_argument("--only", choices=["step", "epoch"])
    parser.add_argument("--arch", default="resnet50")
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--steps", type=int, default=3, help="steps per turn")
    parser.add_argument("--images", type=int, default=5_000, help="images of the epoch")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--compile", action="store_true", help="measure a compiled network, too")
    options = parser.parse_args()
    for name, measure in (("step", step), ("epoch", epoch)):
        if options.only in (None, name):
            measure(options)


if __name__ == "__main__":
    main()
