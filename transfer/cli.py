"""The ``transfer`` command."""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from checkpoints.errors import InputError, near
from transfer import find_recipe, plugins
from transfer.find_recipe import names as _recipes
from transfer.recipe import KEEP, Data, Prune
from transfer.recipe_cli import one_line_errors, parse, run_recipe

HELP = """usage: transfer COMMAND [OPTIONS]

Prune a pretrained vision backbone before fine-tuning it.

commands:
  run RECIPE [flags]         run a recipe, by name (as python -m recipes.RECIPE does), recipe.json or run folder
  sweep RECIPE [flags]       run a recipe under lists of methods, sparsities, backbones, seeds ...
  search RECIPE [flags]      find the method and the allocation for a recipe by short trainings
  prune [flags]              prune a backbone and write it to a file that timm and torchvision load
  evaluate RUN [flags]       test the model of a run folder again
  predict RUN IMAGE...       predict new images or folders: class and probability, or mask and overlay PNGs
  export RUN --to FORM       write the model of a run as a sparse file, a compact network, ONNX or a torch program
  bench RUN [flags]          measure the model of a run in each form: dense, masked, compact, sparse
  report FOLDER... [flags]   a page, a CSV and a LaTeX table of finished runs, and the smallest file near dense
  figure NAME [flags]        make a figure of the papers: numbers and picture
  probe RUN --data NAME...   linear heads on the frozen backbone of a run, for tasks that pruning did not see
  methods                    show the pruning methods and their options
  backbones list             show the pretrained backbones and whether they are on this machine
  backbones fetch NAME       download one
  backbones verify NAME      check the file of one
  doctor                     show what this machine has and check that it works

Before a command, --import MODULE imports a module of yours that registers a task, a data set or a pruning method.
Each command has --help. Recipes: {recipes}.
Example: transfer run digits --prune.method px --prune.sparsity 0.982"""


@dataclass(frozen=True)
class PruneBackbone:
    """Prune a pretrained backbone on real images and write it to a file.

    Scoring uses a classification head, which is neither pruned nor written. The file holds plain weights with exact
    zeros under timm's keys, which for ResNets are also torchvision's, and its metadata records how it was made. Load it
    with timm.create_model(arch, num_classes=0, checkpoint_path=FILE), or here as FILE.
    """

    backbone: str
    """A name of `transfer backbones`, timm:<model.tag>, open_clip:<model>/<tag>, random:<arch> or <file>@<arch>."""
    out: Path
    """The .safetensors file to write; must not exist."""
    data: Data = field(default_factory=Data)
    prune: Prune = field(default_factory=Prune)
    seed: int = 0
    """Seed of the head and the pruning set."""


@dataclass(frozen=True)
class Evaluate:
    """Test the model of a finished run again and print its metrics as JSON."""

    run: Annotated[Path, tyro.conf.Positional]
    """The run's folder."""
    best: bool = False
    """Use the weights of the best epoch instead of the last."""


@dataclass(frozen=True)
class ListMethods:
    """Show the pruning methods: default rounds and BatchNorm statistics, what each method needs, and its options."""


@dataclass(frozen=True)
class Doctor:
    """Show what this machine has, and check that scoring, masks, a training step, saving and loading work on it."""


@dataclass(frozen=True)
class Predict:
    """Predict new images with a finished run: a class per image, or a mask as palette PNG and overlay.

    Prints one line per image: its path, then class and probability, or the files that were written. Neither the data
    set nor the backbone's file is needed.
    """

    run: Annotated[Path, tyro.conf.Positional]
    """The run's folder."""
    images: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """Image files, and folders of images."""
    out: Path = Path("predictions")
    """Folder for the masks of a segmentation model."""
    best: bool = False
    """Use the weights of the best epoch instead of the last."""


@dataclass(frozen=True)
class Export:
    """Write the model of a finished run in another form: sparse, compact, onnx or pt2.

    Prints the file, its size beside the dense file's, and how far its outputs lie from the model's; for a compact
    network also what each layer saves. docs/export.md shows how to load each form.
    """

    run: Annotated[Path, tyro.conf.Positional]
    """The run's folder."""
    to: str
    """sparse: the weights without their zeros. compact: a smaller network, as a torch program. onnx: for onnxruntime.
    pt2: a torch program."""
    out: Path | None = None
    """The file to write; must not exist. None = in the run's folder."""
    best: bool = False
    """Use the weights of the best epoch instead of the last."""
    compact: bool = False
    """Make the onnx file of the compact network."""
    fixed_size: bool = False
    """Take images of the run's size only; faster to make, and for networks that cannot be followed otherwise."""


@dataclass(frozen=True)
class Bench:
    """Measure how fast the model of a finished run is on this machine, dense, masked, compact and sparse.

    The forms take turns on images of noise of the run's size; times are medians. Sparse needs numba:
    pip install 'px-transfer[sparse]'. Uses a GPU too if there is one.
    """

    run: Annotated[Path, tyro.conf.Positional]
    """The run's folder."""
    batch_sizes: tuple[int, ...] = (1, 8)
    """Images in a batch."""
    threads: int = 1
    """Threads of the processor."""
    best: bool = False
    """Use the weights of the best epoch instead of the last."""
    json: bool = False
    """Print one line of JSON per form instead of tables."""


@dataclass(frozen=True)
class Report:
    """Write what finished runs show: report.html (one page, readable offline), report.csv and report.tex (booktabs).

    Runs that differ in task, data, protocol, settings or versions are shown apart and never averaged. Ends with the
    smallest file near the dense model, and which differences are within noise. docs/report.md explains the page.
    """

    folders: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """Run folders, folders that hold some (runs), the folders of comparisons and sweeps, and zips that --pack wrote."""
    out: Path = Path("report")
    """Folder to write to; a report that is there is replaced."""
    within: float = 1.0
    """How much worse than dense the recommended model may be, in percentage points or the metric's own unit."""
    pack: Path | None = None
    """Also write a zip of what a report reads of these runs, without weights: to keep, send, or report on again."""


@dataclass(frozen=True)
class Backbones:
    """List, download or check pretrained backbones."""

    action: Annotated[str, tyro.conf.Positional] = "list"
    """list, fetch or verify."""
    name: Annotated[str, tyro.conf.Positional] = ""
    """Name of the backbone to fetch or verify."""


def main(argv: Sequence[str] | None = None) -> None:
    """Run the ``transfer`` command."""
    words = list(sys.argv[1:] if argv is None else argv)
    if not words or words[0] in ("-h", "--help"):
        print(HELP.format(recipes=", ".join(_recipes())))
        sys.exit(0 if words else 2)
    commands: dict[str, Callable[[list[str]], None]] = {
        "run": _run, "sweep": _sweep, "search": _search, "prune": _prune, "evaluate": _evaluate, "predict": _predict,
        "export": _export, "bench": _bench, "report": _report, "figure": _figure, "probe": _probe,
        "methods": _methods, "backbones": _backbones, "doctor": _doctor,
    }  # fmt: skip
    with one_line_errors():
        words = _import(words)
        if words[0] not in commands:
            raise InputError(f"unknown command {words[0]!r}; {near(words[0], list(commands))}")
        commands[words[0]](words[1:])


def _import(words: list[str]) -> list[str]:
    """Import the modules named by leading ``--import MODULE``; return the command that follows."""
    while words and words[0] == "--import":
        if len(words) < 3:
            raise InputError("say which module to import, and a command: transfer --import MODULE COMMAND ...")
        plugins.load(words[1])
        words = words[2:]
    return words


def _run(words: list[str]) -> None:
    if words and words[0] in ("-h", "--help"):
        print(
            f"usage: transfer run RECIPE [flags]\n\nRecipes: {', '.join(_recipes())}.\n\n"
            "transfer run RECIPE --help shows what a recipe does and its flags; python -m recipes.RECIPE is the same."
        )
        return
    if words and find_recipe.is_file(words[0]):
        run_recipe(find_recipe.find(words[0]), words[1:])
        return
    if not words or words[0].startswith("-"):
        raise InputError(f"say which recipe: transfer run RECIPE [flags]; known: {', '.join(_recipes())}")
    name = find_recipe.module(words[0])
    import runpy

    sys.argv = [f"transfer run {name}", *words[1:]]
    sys.modules.pop(f"recipes.{name}", None)  # a module of the user's own may have imported it; runpy would warn
    runpy.run_module(f"recipes.{name}", run_name="__main__", alter_sys=True)


def _sweep(words: list[str]) -> None:
    from transfer import sweep_cli

    sweep_cli.main(words)


def _search(words: list[str]) -> None:
    from transfer import search_cli

    search_cli.main(words)


def _prune(words: list[str]) -> None:
    asked = parse(PruneBackbone, None, words, prog="transfer prune")
    from transfer.runs.backbone import prune_backbone

    made = prune_backbone(asked.backbone, asked.data, asked.prune, seed=asked.seed, out=asked.out)
    print(f"{made.masks}\n{made.path}")


def _evaluate(words: list[str]) -> None:
    asked = parse(Evaluate, None, words, prog="transfer evaluate")
    import json

    from transfer.environment import main_process
    from transfer.runs.finished import evaluate_run

    found = evaluate_run(asked.run, which="best" if asked.best else "last")
    if main_process():
        print(json.dumps(found, sort_keys=True))


def _predict(words: list[str]) -> None:
    asked = parse(Predict, None, words, prog="transfer predict")
    from transfer.runs.predictor import predict

    which = "best" if asked.best else "last"
    for line in predict(asked.run, asked.images, out=asked.out, which=which, progress=True):
        print(line)


def _export(words: list[str]) -> None:
    asked = parse(Export, None, words, prog="transfer export")
    from transfer.export import forms

    forms.find(asked.to)
    from transfer import terminal
    from transfer.runs.export_run import export_run

    made = export_run(
        asked.run, asked.to,
        out=asked.out, which="best" if asked.best else "last", smaller=asked.compact, fixed=asked.fixed_size,
    )  # fmt: skip
    if made.savings:
        terminal.show_savings(made.savings)
    print(made)


def _bench(words: list[str]) -> None:
    asked = parse(Bench, None, words, prog="transfer bench")
    import json

    from transfer.report import tables
    from transfer.runs.bench_run import COLUMNS, bench_run

    which = "best" if asked.best else "last"
    for bench in bench_run(asked.run, batch_sizes=asked.batch_sizes, threads=asked.threads, which=which):
        if asked.json:
            print("\n".join(json.dumps(line) for line in bench.lines()), flush=True)
        else:
            tables.show(COLUMNS, bench.table(), title=bench.title)
            print(bench.advice(), flush=True)


def _report(words: list[str]) -> None:
    asked = parse(Report, None, words, prog="transfer report")
    from transfer import log, terminal
    from transfer.runs.report_runs import report

    log.show("info")
    terminal.show_report(report(asked.folders, out=asked.out, within=asked.within, pack=asked.pack, progress=True))


def _figure(words: list[str]) -> None:
    from transfer import figure_cli

    figure_cli.main(words)


def _probe(words: list[str]) -> None:
    from transfer import probe_cli

    probe_cli.main(words)


def _methods(words: list[str]) -> None:
    parse(ListMethods, ListMethods(), words, prog="transfer methods")
    from transfer.pruning import gradual, rewinding, saliency
    from transfer.report import tables

    rows = []
    for name in saliency.methods():
        known, given = saliency.about(name), saliency.options(saliency.find(name))
        needs = ("labels" if known.labels else "") or ("a sum over paths" if known.paths else "any network")
        rows.append((name, str(known.rounds), known.statistics or "-", needs, _as_flags(given)))
    rows.append((KEEP, "-", "-", "a backbone that was pruned", ""))
    rows.append(("imp", "20 % each", "-", "training", _as_flags(saliency.options(rewinding.rewinding))))
    rows.append(("gmp", str(gradual.ROUNDS), "-", "training", _as_flags(saliency.options(gradual.window))))
    tables.show(("method", "rounds", "statistics", "needs", "options (--prune.options name=value)"), rows)


def _as_flags(options: dict[str, object]) -> str:
    return " ".join(f"{name}={str(value).lower()}" for name, value in options.items())


def _backbones(words: list[str]) -> None:
    asked = parse(Backbones, Backbones(), words, prog="transfer backbones")
    if asked.action not in ("list", "fetch", "verify"):
        raise InputError(f"unknown action {asked.action!r}; {near(asked.action, ['list', 'fetch', 'verify'])}")
    import checkpoints

    if asked.action == "list":
        _list_backbones()
    elif not asked.name:
        raise InputError(
            f"say which backbone: transfer backbones {asked.action} NAME; {', '.join(checkpoints.names())}"
        )
    elif asked.action == "fetch":
        print(checkpoints.obtain(asked.name))
    else:
        found = checkpoints.verify(asked.name)
        print(f"{found.path}\nsha256 {found.sha256}, checked against {found.against}")


def _list_backbones() -> None:
    import checkpoints
    from transfer.report import tables

    rows = []
    for name in checkpoints.names():
        entry = checkpoints.describe(name)
        rows.append((name, entry.arch, entry.licence or "unknown", _here(name)))
    tables.show(("name", "architecture", "licence", "here"), rows)
    print("also " + ", ".join(checkpoints.FORMS))


def _doctor(words: list[str]) -> None:
    parse(Doctor, Doctor(), words, prog="transfer doctor")
    from transfer.doctor import doctor

    if not doctor():
        sys.exit(1)


def _here(name: str) -> str:
    import checkpoints

    try:
        checkpoints.verify(name)
    except checkpoints.NotReady:
        return "no"
    except InputError:
        return "damaged"
    return "yes"
