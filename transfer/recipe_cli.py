"""Run a recipe or a comparison from the command line: typed flags, one-line errors, exit codes.

Exit codes: 0 done; 1 failed during the run, what was finished is kept; 2 invalid input, found before the run begins
where possible; 130 and 143 stopped by Ctrl-C or SIGTERM, the same command resumes.
"""

import io
import os
import re
import signal
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, NoReturn, TypeVar

import tyro

from checkpoints.errors import InputError, out_of_memory
from transfer import log
from transfer.environment import main_process
from transfer.errors import RunError
from transfer.recipe import Recipe
from transfer.recommended import RECOMMENDED

T = TypeVar("T")


@dataclass(frozen=True)
class Launch:
    """A recipe, and options for running it."""

    recipe: Annotated[Recipe, tyro.conf.arg(name="")]
    out: Path = Path("runs")
    """Folder that holds the run folders."""
    dry_run: bool = False
    """Check recipe, weights and data and print what would run; download nothing, train nothing."""
    verbosity: log.Verbosity = "info"
    """Log level on stderr: quiet, info, or debug (all processes, and each pruning round)."""
    track: str | None = None
    """Also log the metrics of each epoch to tensorboard, wandb, trackio or another tracker that accelerate supports."""


def run_recipe(recipe: Recipe, argv: Sequence[str] | None = None) -> None:
    """Override the recipe from the command line, run it and print the result."""
    launch = parse(Launch, Launch(recipe), argv, sys.modules.get("__main__"))
    with one_line_errors():
        log.show(launch.verbosity)
        from transfer import terminal
        from transfer.runs.prepare import dry_run
        from transfer.runs.run import run

        if launch.dry_run:
            print(terminal.plan(*dry_run(launch.recipe), launch.out))
        else:
            terminal.show_result(run(launch.recipe, out=launch.out, progress=True, track=launch.track))


@dataclass(frozen=True)
class Comparing:
    """A recipe, and what to compare under it."""

    recipe: Annotated[Recipe, tyro.conf.arg(name="")]
    methods: tuple[str, ...] = (RECOMMENDED, "px", "magnitude", "random")
    """Methods to compare, plus your own --prune.method if you set one; prune.options apply only to that one."""
    sparsities: tuple[float, ...] = (0.9, 0.982)
    """Sparsities to compare, plus your own --prune.sparsity if you set one."""
    seeds: tuple[int, ...] = ()
    """Seeds to average over; none = only --seed."""
    out: Path = Path("runs")
    """Folder that holds the run folders."""
    workers: int | None = None
    """Runs at a time, which share the CPU; None = one per core up to 4, but one on a GPU."""
    dry_run: bool = False
    """Check everything and print what would run; download nothing, train nothing."""
    verbosity: log.Verbosity = "info"
    """Log level on stderr: quiet, info, or debug (all processes, and each pruning round)."""


def run_comparison(default: Comparing, argv: Sequence[str] | None = None) -> None:
    """Override the comparison from the command line, run it and print its table."""
    asked = parse(Comparing, default, argv, sys.modules.get("__main__"))
    recipe = asked.recipe
    own, usual = recipe.prune, default.recipe.prune
    methods = _joined(asked.methods, own.method, usual.method)
    sparsities = tuple(sorted(_joined(asked.sparsities, own.sparsity, usual.sparsity)))
    seeds = asked.seeds or (recipe.seed,)
    with one_line_errors():
        log.show(asked.verbosity)
        from transfer import terminal
        from transfer.report import tables
        from transfer.runs.compare import cells, compare
        from transfer.runs.prepare import dry_run

        if asked.dry_run:
            for cell in cells(recipe, methods, sparsities, seeds):
                print(terminal.plan(*dry_run(cell), asked.out), end="\n\n")
            return
        found = compare(
            recipe, methods=methods, sparsities=sparsities, seeds=seeds, out=asked.out, workers=asked.workers,
            progress=True,
        )  # fmt: skip
        tables.show(found.columns, found.lines, title=f"{found.data}\n{recipe.backbone}")
        if main_process():
            for path in sorted(found.folder.glob("*.png")):
                print(f"picture {path}")
            print(f"folder  {found.folder}")
            if found.earlier:
                print(found.earlier)
            if found.advice:
                print(f"\n{found.advice}")


def _joined(named: tuple[T, ...], own: T, usual: T) -> tuple[T, ...]:
    """Return the named values, plus the recipe's own value if the user changed it."""
    return tuple(dict.fromkeys((*named, own))) if own != usual else named


def parse(kind: Any, default: Any, argv: Sequence[str] | None, module: Any = None, prog: str | None = None) -> Any:
    """Parse the command line into ``kind``; ``--help`` begins with the docstring of the script ``module``.

    An invalid flag prints one line on stderr and exits with code 2.
    """
    text = (getattr(module, "__doc__", None) or kind.__doc__ or "").strip()
    if getattr(module, "__spec__", None):
        prog = f"python -m {module.__spec__.name}"
    complaint = io.StringIO()
    try:
        with one_line_errors(), redirect_stderr(complaint):
            return tyro.cli(kind, default=default, args=argv, description=text, prog=prog)
    except SystemExit:
        if not complaint.getvalue():  # --help, or an error that was already printed
            raise
        words = " ".join(re.sub("[─│╭╮╰╯]+", " ", complaint.getvalue()).split())
        what = re.split(r" (?:For full|Argument) helptext", words.removeprefix("Value error "))[0]
        what = re.sub(r"^(.+) \1", r"\1", what)  # a title that is repeated by its text
        _leave(2, f"error: {what}; --help lists the flags")


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Print expected errors as one line on stderr and exit with their code; bugs keep their traceback."""
    warnings.showwarning = _show_warning
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        yield
    except InputError as error:
        _leave(2, f"error: {error}")
    except KeyboardInterrupt:
        _leave(130, "stopped; a run goes on from its last saved step when the same command is given again")
    except BrokenPipeError:  # the reader of stdout, such as head, has closed it
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as error:
        where = f": {error.filename}" if error.filename else ""
        _leave(1, f"error: {error.strerror or error}{where}; what was finished is kept")
    except RunError as error:
        _leave(1, f"error: {error}")
    except (RuntimeError, MemoryError) as error:
        if not out_of_memory(error):
            raise
        what = (str(error).splitlines() or ["the system has no more"])[0]
        _leave(1, f"error: out of memory ({what}); try a smaller data.size, train.batch or prune.batch")


def _leave(code: int, line: str) -> NoReturn:
    _say(line)
    sys.exit(code)


def _show_warning(message: Any, category: Any, *_: Any, **__: Any) -> None:
    if issubclass(category, UserWarning) and main_process():
        _say(f"warning: {message}")


def _say(line: str) -> None:
    """Print one line to stderr, prefixed by the rank on other processes; a single write keeps lines whole."""
    rank = os.environ.get("RANK", "0")
    sys.stderr.write(f"{'' if main_process() else f'[process {rank}] '}{' '.join(line.split())}\n")
    sys.stderr.flush()
