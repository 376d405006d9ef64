"""export_run(): write the model of a finished run in another form, and check that the file gives the same outputs."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from checkpoints.errors import InputError, out_of_memory, reason
from checkpoints.files import read_json
from transfer.errors import RunError
from transfer.export import forms
from transfer.export.difference import CLOSE, gap
from transfer.export.forms import Form, Run
from transfer.export.program import Program, program
from transfer.export.table import savings
from transfer.runs import predictor
from transfer.runs.predictor import Predictor

_ORIGIN = ("backbone", "licence", "card", "dataset", "method", "sparsity")
_INPUT = "float32 (N, 3, H, W): RGB in [0, 1], minus mean, over std, per channel"


@dataclass(frozen=True)
class Exported:
    """A file that was written.

    Attributes:
        path: the file.
        size: in bytes.
        dense: bytes of the run's own file of weights, in which zeros take as much room as other values.
        gap: largest difference of outputs from those of the run's model, over the largest output.
        sides: which sides of images the file takes, in words; empty if it does not say.
        savings: of a compact network, the rows of :func:`transfer.export.table.savings`.
    """

    path: Path
    size: int
    dense: int
    gap: float
    sides: str
    savings: tuple[dict[str, Any], ...] = ()

    def __str__(self) -> str:
        """Return all of it in one line."""
        sides = f"; takes {self.sides}" if self.sides else ""
        return (
            f"{self.path}\t{self.size:,} bytes, {self.size / self.dense:.1%} of the dense file's {self.dense:,}; "
            f"outputs on random images off by {self.gap:.0e} of the largest at most{sides}"
        )


def export_run(
    run: Path, to: str, *, out: Path | None = None, which: str = "last", smaller: bool = False, fixed: bool = False
) -> Exported:
    """Write the model of a finished run in one of the :data:`transfer.export.forms.FORMS`.

    The file is read back and run beside the model before it gets its name. Where it cannot be made for other sizes than
    the run's, or its outputs differ there, it is made for the run's size only.

    Args:
        run: the run's folder.
        to: the form.
        out: the file to write; must not exist. None: the form's own name, in the run's folder.
        which: weights of the "last" or the "best" epoch.
        smaller: make an ONNX file of the compact network.
        fixed: allow images of the run's size only.

    Raises:
        InputError: before anything is written: the run is not finished, the form is unknown or needs what is not
            installed, ``out`` exists or ends otherwise, or a module cannot be followed.
        RunError: the file cannot be written, read or run in this form, or its outputs differ from the model's.
    """
    form = forms.find(to)
    smaller = _smaller(form, to, smaller, fixed)
    path = _target(run, form, out, which, smaller)
    found = predictor.load(run, which=which)
    with _checked(path) as aside:
        try:
            made, worst = _write(found, to, run, aside, smaller, fixed)
        except RunError:
            if fixed or not form.traced:
                raise
            made, worst = _write(found, to, run, aside, smaller, fixed=True)
    rows = savings(found.model, made.network, (3, *_example(found).shape[2:])) if made is not None and smaller else []
    dense = (run / predictor.WEIGHTS[which]).stat().st_size
    return Exported(path, path.stat().st_size, dense, worst, _sides(made), tuple(rows))


def _write(
    found: Predictor, to: str, run: Path, path: Path, smaller: bool, fixed: bool
) -> tuple[Program | None, float]:
    """Write the file, read it and run it; return the program, if there is one, and the largest difference.

    Raises:
        RunError: an exporter or a runtime fails, or the outputs differ, as those of an ONNX file do at sizes that its
            exporter did not think of.
    """
    form, example = forms.find(to), _example(found)
    made = program(found.model, example, smaller=smaller, fixed=fixed) if form.traced else None
    with _one_error(to):
        form.write(made or found.model, path, _facts(run, _sides(made)))
        return made, _gap(found.model, form.read(path, found.model), _images(example, made))


@contextmanager
def _one_error(to: str) -> Iterator[None]:
    """Turn the errors of exporters and runtimes, whose classes are many, into one that names the form."""
    try:
        yield
    except (InputError, RunError, OSError):
        raise
    except Exception as error:
        if out_of_memory(error):
            raise
        raise RunError(
            f"the model cannot be written as {to} ({_first(error)}); nothing was written; another form may do"
        ) from error


def _first(error: BaseException) -> str:
    """Return the class of the error that began a chain of them, and what it says."""
    while error.__cause__ is not None:
        error = error.__cause__
    return f"{type(error).__name__}: {reason(error)}"


def _example(found: Predictor) -> Tensor:
    return torch.zeros(2, 3, found.look.size, found.look.size)


def _sides(made: Program | None) -> str:
    return made.sizes.words() if made is not None and made.sizes is not None else ""


def _facts(run: Path, sides: str) -> dict[str, Any]:
    """Return what a user of the file has to know: how images are prepared, the classes, the licence."""
    result = read_json(run / "result.json")
    origin = {name: result[name] for name in _ORIGIN if name in result}
    return origin | read_json(run / predictor.NAME) | {"input": _INPUT} | ({"sides": sides} if sides else {})


def _smaller(form: Form, to: str, asked: bool, fixed: bool) -> bool:
    if not form.traced and (asked or fixed):
        raise InputError(f"--to {to} writes weights, not a network; --compact and --fixed-size are for the other forms")
    if asked and form.smaller is False:
        raise InputError(f"--to {to} writes the network as it is; the smaller one is --to compact")
    return asked if form.smaller is None else form.smaller


def _target(run: Path, form: Form, out: Path | None, which: str, smaller: bool) -> Path:
    """Return the file to write, after a look at what can be known at once."""
    if (run / "recipe.json").exists() and not (run / "result.json").exists():
        raise InputError(f"the run in {run} is not finished; give the command that began it again")
    name = f"compact{Path(form.file).suffix}" if smaller else form.file
    path = out or run / (name if which == "last" else f"{which}-{name}")
    if path.suffix != Path(form.file).suffix:
        raise InputError(f"out is {path}; give a name that ends in {Path(form.file).suffix}")
    if path.exists():
        raise InputError(f"{path} exists; remove it or choose another --out")
    return path


@contextmanager
def _checked(path: Path) -> Iterator[Path]:
    """Yield a file in a folder beside ``path``; move it to ``path`` at the end, remove it after an error."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as folder:
            yield (aside := Path(folder) / path.name)
            os.replace(aside, path)
    except OSError as error:
        raise InputError(f"cannot write {path} ({error.strerror or error}); choose another --out") from error


def _images(example: Tensor, made: Program | None) -> list[Tensor]:
    """Return random images of the example's size and of some others that the program takes."""
    others = [] if made is None or made.sizes is None else made.sizes.others()
    generator = torch.Generator().manual_seed(0)
    shapes = [(3, 3, *example.shape[2:]), *((1, 3, *sides) for sides in others)]
    return [torch.randn(shape, generator=generator) for shape in shapes]


@torch.no_grad()
def _gap(model: nn.Module, read: Run, images: list[Tensor]) -> float:
    """Return the largest difference of outputs over the largest output.

    Raises:
        RunError: it is larger than the tolerance.
    """
    worst = max(gap(model(each), read(each)) for each in images)
    if worst > CLOSE:
        raise RunError(f"the file's outputs differ from the model's by {worst:.1e} of the largest; nothing was written")
    return worst
