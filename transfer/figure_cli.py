"""``transfer figure NAME``: the papers' figures, each from one command."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from checkpoints.errors import InputError, near
from transfer.recipe import Count
from transfer.recipe_cli import parse

METHODS = ("px", "px-gated", "snip", "synflow", "ntk-sap", "magnitude", "random")


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
    rounds: Count | None = 20
    """Rounds of the iterative methods; the papers have 100."""
    images: Count = 20
    """Test images of the kernel."""
    top: Count = 50
    """Eigenvalues of a kernel that is too large to be computed."""
    out: Path | None = None
    """Folder for the files; None = runs/spectrum, or RUN."""


def _spectrum(asked: Spectrum) -> Path:
    if asked.run is None:
        _check(asked.methods, (asked.sparsity,))
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


def _check(methods: tuple[str, ...], sparsities: tuple[float, ...]) -> None:
    """Raise InputError unless there are methods and sparsities, each known and given once."""
    for name, values in (("methods", methods), ("sparsities", sparsities)):
        if not values or len(set(values)) != len(values):
            raise InputError(f"{name} are {list(values)}; give one or more, each once")
    for sparsity in sparsities:
        if not 0 < sparsity < 1:
            raise InputError(f"sparsity is {sparsity}; give a fraction removed, above 0 and below 1")
    from transfer.pruning.saliency import about

    for method in methods:
        about(method)


Figure = tuple[type, Callable[[Any], Path]]
FIGURES: dict[str, Figure] = {
    "spectrum": (Spectrum, _spectrum),
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
