"""``transfer figure NAME``: the papers' figures, each from one command."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from checkpoints.errors import InputError, near
from transfer.data.augment import Augment
from transfer.recipe import GMP, IMP, Count, Data, Prune, Recipe, Train
from transfer.recipe_cli import parse

METHODS = ("px", "snip", "synflow", "magnitude", "random")
ROUNDS = 10


@dataclass(frozen=True)
class Network:
    """The network before fine-tuning that a figure is about, and its images."""

    backbone: str = "embedded"
    """A name of `transfer backbones`, timm:<model.tag>, random:<arch> or <file>@<arch>."""
    data: str = "digits"
    """A classification data set."""
    size: Count | None = None
    """Side of the images in pixels; None = the backbone's own."""
    per_class: Count = 10
    """Images per class in the pruning set."""
    seed: int = 0
    """Seed of the new head, the images and the methods."""

    def subject(self, images: int) -> Any:
        """Load it, with so many test images."""
        from transfer.figures.subject import subject_of

        return subject_of(
            self.backbone, self.data, size=self.size, per_class=self.per_class, images=images, seed=self.seed
        )


@dataclass(frozen=True)
class Spectrum:
    """Eigenvalues of the neural tangent kernel before fine-tuning, dense and pruned (figure 5 of PX).

    Over test images and kept weights, in eval mode; each network has the BatchNorm statistics of the pruning set. A
    kernel of more than 1,000 rows (images · outputs) is not computed: Lanczos finds its largest eigenvalues. With RUN,
    of the network that the run pruned, into its folder.
    """

    run: Annotated[Path | None, tyro.conf.Positional] = None
    """Folder of a finished run; its recipe replaces the network, methods, sparsity and rounds below."""
    network: Annotated[Network, tyro.conf.arg(name="")] = Network()
    methods: tuple[str, ...] = METHODS
    """Methods beside the dense network."""
    sparsity: float = 0.9312
    """Fraction of the weights that each method removes."""
    rounds: Count = ROUNDS
    """Rounds of the iterative methods; the papers have 100."""
    images: Count = 10
    """Test images of the kernel."""
    top: Count = 50
    """Eigenvalues of a kernel that is too large to be computed."""
    out: Path | None = None
    """Folder for the files; None = runs/spectrum, or RUN."""


def _spectrum(asked: Spectrum) -> Path:
    if asked.run is None:
        _check(asked.methods, (asked.sparsity,))
    else:
        _check_alone(asked)
    from transfer.figures import spectrum
    from transfer.report import tables

    if asked.run is not None:
        out = asked.out or asked.run
        rows = spectrum.of_run(asked.run, images=asked.images, top=asked.top, out=asked.out)
    else:
        out = asked.out or Path("runs/spectrum")
        rows = spectrum.of_methods(
            asked.network.subject(asked.images), asked.methods,
            sparsity=asked.sparsity, rounds=asked.rounds, top=asked.top, out=out,
        )  # fmt: skip
    tables.show(spectrum.COLUMNS, spectrum.table(rows))
    return out / "spectrum.png"


def _check_alone(asked: Spectrum) -> None:
    """Raise InputError if a flag is set that the recipe of RUN decides."""
    own, plain = ({**vars(each), **vars(each.network)} for each in (asked, Spectrum()))
    for name in (*vars(asked.network), "methods", "sparsity", "rounds"):
        if own[name] != plain[name]:
            flag = f"--{name.replace('_', '-')}"
            raise InputError(f"{flag} is set, but the recipe of {asked.run} decides it; leave {flag} or RUN out")


@dataclass(frozen=True)
class Bounds:
    """Trace of the NTK, trace of the path kernel, and the bounds of PX, against sparsity (PX, eq. 5 to 9).

    Before fine-tuning, over test images and kept weights; each network has the BatchNorm statistics of the pruning set.
    """

    network: Annotated[Network, tyro.conf.arg(name="")] = Network()
    methods: tuple[str, ...] = METHODS
    sparsities: tuple[float, ...] = (0.738, 0.893, 0.956, 0.982)
    """Fractions of the weights that each method removes."""
    rounds: Count = ROUNDS
    """Rounds of the iterative methods; the papers have 100."""
    images: Count = 10
    """Test images."""
    out: Path = Path("runs/bounds")
    """Folder for the files."""


def _bounds(asked: Bounds) -> Path:
    _check(asked.methods, asked.sparsities)
    from transfer.figures import bounds
    from transfer.report import tables

    rows = bounds.of_methods(
        asked.network.subject(asked.images), asked.methods,
        sparsities=asked.sparsities, rounds=asked.rounds, out=asked.out,
    )  # fmt: skip
    tables.show(bounds.COLUMNS, bounds.table(rows), title="decimal logarithms")
    return asked.out / "bounds.png"


@dataclass(frozen=True)
class Units:
    """Living output units of every layer by method (figure 6 of PX).

    A unit is a kernel of a convolution or a row of a linear layer; it is dead when all its weights are pruned.
    """

    network: Annotated[Network, tyro.conf.arg(name="")] = Network()
    methods: tuple[str, ...] = METHODS
    sparsity: float = 0.982
    """Fraction of the weights that each method removes."""
    rounds: Count = ROUNDS
    """Rounds of the iterative methods; the papers have 100."""
    out: Path = Path("runs/units")
    """Folder for the files."""


def _units(asked: Units) -> Path:
    _check(asked.methods, (asked.sparsity,))
    from transfer.figures import units
    from transfer.report import tables

    rows = units.of_methods(
        asked.network.subject(1), asked.methods, sparsity=asked.sparsity, rounds=asked.rounds, out=asked.out
    )
    tables.show(units.COLUMNS, units.table(rows))
    return asked.out / "units.png"


SMALL = Recipe(
    name="rounds",
    data=Data(name="digits", size=32, augment=Augment(pad_crop=2)),
    prune=Prune(sparsity=0.982),
    train=Train(epochs=8, batch=64, lr=0.05, weight_decay=1e-4, schedule="cosine", warmup=1),
)


@dataclass(frozen=True)
class Rounds:
    """The task's metric and pruning time against the number of rounds (table 2 of PX), from ordinary runs.

    Finished runs are not repeated. Methods of one round by default are run with one only; imp, whose rounds are
    trainings, with its own number.
    """

    recipe: Annotated[Recipe, tyro.conf.arg(name="")] = SMALL
    methods: tuple[str, ...] = ("px", "synflow", "snip", "magnitude", "random")
    rounds: tuple[Count, ...] = (1, 2, 5, 10, 100)
    """Numbers of rounds."""
    seeds: tuple[int, ...] = ()
    """Seeds to average over; none = only --seed."""
    runs: Path = Path("runs")
    """Folder that holds the run folders."""
    out: Path = Path("runs/rounds")
    """Folder for the files."""
    workers: Count | None = 1
    """Runs at a time; more than one disturb each other's times."""


def _rounds(asked: Rounds) -> Path:
    from transfer import log

    log.show("info")
    from transfer.figures import rounds
    from transfer.report import tables

    rows, metric = rounds.of_methods(
        asked.recipe, asked.methods, rounds=asked.rounds, seeds=asked.seeds or (asked.recipe.seed,),
        runs=asked.runs, out=asked.out, workers=asked.workers,
    )  # fmt: skip
    tables.show(rounds.columns(rows), rounds.table(rows, metric))
    return asked.out / "rounds.png"


@dataclass(frozen=True)
class Dynamics:
    """Training against the trace of the path kernel, with the fitted curve and R² (Path Kernel paper, figures 1 and 2).

    Fully connected nets of several widths, pruned to several compressions, are trained by full-batch gradient descent
    on the squared error, without biases. Shown after some steps: how far the weights went, and the norm of the outputs.
    """

    data: str = "digits"
    """A classification data set."""
    widths: tuple[Count, ...] = (25, 50, 100, 200)
    """Widths of the six hidden layers."""
    compressions: tuple[float, ...] = (0.5, 1.0, 1.5, 2.0)
    """Powers of ten: 1.0 keeps a tenth of the weights."""
    method: str = "synflow-l2"
    rounds: Count = ROUNDS
    """Rounds of an iterative method; the paper has 100."""
    size: Count = 8
    """Side of the images in pixels."""
    per_class: Count = 10
    """Training images per class, on which the nets are pruned, too."""
    steps: Count = 50
    """Steps of gradient descent."""
    lr: float = 0.01
    """Learning rate."""
    seed: int = 0
    """Seed of the nets and the choice of images."""
    out: Path = Path("runs/dynamics")
    """Folder for the files."""


def _dynamics(asked: Dynamics) -> Path:
    _check((asked.method,), tuple(1 - 10**-power for power in asked.compressions))
    from transfer.figures import dynamics
    from transfer.report import tables

    start = dynamics.Start(
        asked.data, asked.method, asked.rounds, asked.size, asked.per_class, asked.steps, asked.lr, asked.seed
    )
    rows, fits = dynamics.of_widths(start, asked.widths, asked.compressions, asked.out)
    tables.show(dynamics.COLUMNS, dynamics.table(rows))
    print("\n".join(dynamics.lines(rows, fits)))
    return asked.out / "dynamics.png"


def _check(methods: tuple[str, ...], sparsities: tuple[float, ...]) -> None:
    """Raise InputError unless there are methods and sparsities, each known and given once."""
    from transfer.runs.grid import check_lists

    check_lists(methods=methods, sparsities=sparsities)
    for sparsity in sparsities:
        if not 0 < sparsity < 1:
            raise InputError(f"sparsity is {sparsity}; give a fraction removed, above 0 and below 1")
    from transfer.pruning.saliency import about

    for method in methods:
        if method in (IMP, GMP):
            raise InputError(f"{method} prunes while it trains; this figure is of networks before any training")
        about(method)


Figure = tuple[type, Callable[[Any], Path]]
FIGURES: dict[str, Figure] = {
    "spectrum": (Spectrum, _spectrum),
    "bounds": (Bounds, _bounds),
    "units": (Units, _units),
    "rounds": (Rounds, _rounds),
    "dynamics": (Dynamics, _dynamics),
}


def main(words: list[str]) -> None:
    """Make the figure that the first word names; print its table and its files."""
    if not words or words[0].startswith("-"):
        shown = "".join(f"\n  {name:<10} {kind.__doc__.splitlines()[0]}" for name, (kind, _) in FIGURES.items())  # type: ignore[union-attr]
        text = f"usage: transfer figure NAME [flags]\n\nfigures:{shown}\n\ntransfer figure NAME --help lists the flags."
        if words and words[0] in ("-h", "--help"):
            return print(text)
        raise InputError(f"say which figure: transfer figure NAME [flags]; known: {', '.join(FIGURES)}")
    name = words[0]
    if name not in FIGURES:
        raise InputError(f"unknown figure {name!r}; {near(name, list(FIGURES))}")
    kind, make = FIGURES[name]
    picture = make(parse(kind, None, words[1:], prog=f"transfer figure {name}"))
    print(f"picture {picture}\nnumbers {picture.with_suffix('.json')}, {picture.with_suffix('.csv').name}")
    return None
