"""The command ``transfer sweep``."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from checkpoints.errors import InputError
from transfer import find_recipe, log
from transfer.recipe import Recipe
from transfer.recipe_cli import parse
from transfer.runs.grid import Grid

USAGE = """usage: transfer sweep RECIPE [flags]
       transfer sweep --grid NAME|FILE [flags]
       transfer sweep --grid list

Run a recipe under every combination of lists: --methods, --sparsities, --backbones, --statistics, --allocations,
--seeds. RECIPE is one of {recipes}, a recipe.json, or the folder of a run.

transfer sweep RECIPE --help lists the flags, those of the recipe included. docs/experiments.md shows more.
Example: transfer sweep digits --methods ntk-trace px magnitude --sparsities 0.9 0.982 --seeds 0 1 2 --dry-run"""


@dataclass(frozen=True)
class Sweeping:
    """Run a recipe under every combination of lists, each as an ordinary run. The same command resumes it.

    An empty list stands for the recipe's own value. Every backbone also gets its dense model. A cell that fails does
    not stop the others.
    """

    recipe: Annotated[Recipe, tyro.conf.arg(name="")]
    methods: tuple[str, ...] = ()
    """Pruning methods; prune.options apply only to the recipe's own."""
    sparsities: tuple[float, ...] = ()
    """Sparsities, each in [0, 1)."""
    backbones: tuple[str, ...] = ()
    """Backbones, each as for --backbone."""
    statistics: tuple[Literal["batch", "warmup", "running"], ...] = ()
    """BatchNorm statistics for scoring; methods that run no network ignore them."""
    allocations: tuple[str, ...] = ()
    """How many weights each layer keeps: global, uniform, erk, or a method's name."""
    seeds: tuple[int, ...] = ()
    """Seeds."""
    grid: str | None = None
    """A grid that ships with the package, or a .toml file; lists given here replace its own. list = show the names."""
    out: Path = Path("runs")
    """Folder that holds the run folders and the sweep's."""
    label: str | None = None
    """Name of the sweep's folder, after <recipe>-sweep-; None = a hash of the recipe and the lists."""
    engine: Literal["local", "ray"] = "local"
    """Where cells run: in processes of this machine, or on a Ray cluster."""
    workers: int | None = None
    """Cells at a time; None = one per core up to 4, but one on a GPU; on Ray, as many as the cluster has room for."""
    address: str = "auto"
    """Of the Ray cluster: auto, host:port, ray://host:port, or local for one of this machine alone."""
    gpus_per_cell: float = 0.0
    """GPUs of a cell on Ray: a fraction, or a whole number; several train together, on one node."""
    cpus_per_cell: int = 1
    """CPUs of a cell on Ray, which are also its threads."""
    dry_run: bool = False
    """Print the cells, what would be downloaded and about how long it takes; download nothing, train nothing."""
    commands: bool = False
    """Print one shell command per unfinished cell, for a job array; run nothing."""
    verbosity: log.Verbosity = "info"
    """Log level on stderr: quiet, info, or debug."""


def main(words: Sequence[str]) -> None:
    """Run the command; exit with code 1 if a cell failed."""
    if not words or words[0] in ("-h", "--help"):
        print(USAGE.format(recipes=", ".join(find_recipe.names())))
        sys.exit(0 if words else 2)
    default = _default(words)
    if default is None:
        return
    asked = parse(Sweeping, default, words[words[0][:1] != "-" :], prog="transfer sweep")
    _refuse_idle(asked)
    log.show(asked.verbosity)
    if asked.dry_run:
        _plan(asked)
    elif asked.commands:
        _commands(asked)
    else:
        _sweep(asked)


def _refuse_idle(asked: Sweeping) -> None:
    """Raise InputError for a flag that another one leaves without effect."""
    local, plain = asked.engine == "local", Sweeping(asked.recipe)
    for name, other, idle in (
        ("dry_run", "--commands", asked.commands),
        ("engine", "--commands", asked.commands),
        ("workers", "--commands", asked.commands),
        ("address", "--engine local", local),
        ("gpus_per_cell", "--engine local", local),
        ("cpus_per_cell", "--engine local", local),
    ):
        if idle and getattr(asked, name) != getattr(plain, name):
            raise InputError(f"--{name.replace('_', '-')} does nothing with {other}; leave one of them out")


def _default(words: Sequence[str]) -> Sweeping | None:
    """Return what the first word and --grid ask for; None if the grids were only listed."""
    recipe = None if words[0].startswith("-") else words[0]
    name = _flag(words, "--grid")
    if name == "list":
        _list()
        return None
    if name is None:
        if recipe is None:
            known = ", ".join(find_recipe.names())
            raise InputError(f"say which recipe: transfer sweep RECIPE [flags], or --grid NAME; known: {known}")
        return Sweeping(find_recipe.find_to_vary(recipe))
    from transfer.sweeps import grid_file

    found = grid_file.load(name, recipe)
    return Sweeping(found.recipe, **vars(found.grid))


def _flag(words: Sequence[str], flag: str) -> str | None:
    """Return the value of a flag; None if it is not there."""
    for word, following in zip(words, [*words[1:], None], strict=True):
        if word.startswith(f"{flag}="):
            return word.partition("=")[2]
        if word == flag and following is not None:
            return following
    return None


def _list() -> None:
    from transfer.report import tables
    from transfer.sweeps import grid_file

    tables.show(("grid", "what"), [(name, grid_file.load(name).about) for name in grid_file.names()])


def _grid(asked: Sweeping) -> Grid:
    return Grid(
        asked.methods, asked.sparsities, asked.backbones, asked.statistics, asked.allocations, asked.seeds
    )  # fmt: skip


def _plan(asked: Sweeping) -> None:
    from transfer.report import tables
    from transfer.sweeps.plan import COLUMNS, plan

    rows, lines = plan(asked.recipe, _grid(asked), asked.out)
    tables.show(COLUMNS, rows)
    print("\n".join(lines))


def _commands(asked: Sweeping) -> None:
    from transfer.sweeps.commands import commands

    for line in commands(asked.recipe, _grid(asked), out=asked.out, label=asked.label):
        print(line)


def _sweep(asked: Sweeping) -> None:
    from transfer.sweeps.show import show
    from transfer.sweeps.sweep import sweep

    found = sweep(asked.recipe, _grid(asked), out=asked.out, label=asked.label, engine=_engine(asked))
    show(found)
    if found.failed:
        sys.exit(1)


def _engine(asked: Sweeping) -> Any:
    if asked.engine == "ray":
        from transfer.sweeps.ray_engine import connected

        return connected(
            address=asked.address, workers=asked.workers, gpus=asked.gpus_per_cell, cpus=asked.cpus_per_cell
        )
    from transfer.sweeps.sweep import local

    return local(asked.workers, progress=True)
