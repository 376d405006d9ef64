"""Compare pruning methods by what they keep of the neural tangent kernel (NTK), and by the overlap of their masks.

    python scripts/compare_methods.py                                    # offline; half an hour or more on 2 cores
    python scripts/compare_methods.py --rounds 5 --methods snip px       # half a minute
    python scripts/compare_methods.py --data fashion-mnist --allocation snip+px px+erk --out runs/compare-fashion

Each method prunes the embedded ResNet-20 with a new random head, as the pipeline does before fine-tuning; nothing is
trained. Measured on each masked network: the trace and the largest eigenvalues of the fixed-weight NTK on test images
and the root mean square of its outputs on them, as fractions of the unpruned network's (with the stored BatchNorm
statistics, and with each network's own statistics on the pruning set); empty layers, dead units and disconnected
weights; and for each pair of methods the overlap of their masks (Jaccard) and that expected of independent masks with
the same layer densities.

Writes into OUT: compare_methods.json (after every method), compare_methods.md, kept-trace.png, overlap.png, and masks/.
"""

import argparse
import copy
import sys
import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import checkpoints
from checkpoints.errors import InputError
from checkpoints.files import write_json, write_whole
from transfer import data as datasets
from transfer.analysis.ntk import ntk, spectrum, trace
from transfer.analysis.overlap import expected_overlap, overlap
from transfer.data.dataset import Dataset
from transfer.data.pruning_set import PruningSet, pruning_set
from transfer.environment import versions
from transfer.errors import ScoreError
from transfer.models import classifier
from transfer.pruning import CollapseWarning, Masks, default_rounds, effective_sparsity, methods, prune, report
from transfer.pruning.allocation import check as check_allocation
from transfer.pruning.calibration import recalibrate
from transfer.pruning.saliency import about, statistics
from transfer.pruning.schedule import check as check_schedule
from transfer.pruning.statistics import check as check_statistics
from transfer.report import plots, tables

COLUMNS = (
    "method", "sparsity", "rounds", "trace", "top eigenvalues", "largest", "outputs", "trace, own statistics",
    "outputs, own statistics", "empty layers", "dead units",
    "effective sparsity", "seconds",
)  # fmt: skip


SHARES = ("trace_kept", "top_kept", "largest_kept", "outputs_kept", "own_trace_kept", "own_outputs_kept")


@dataclass(frozen=True)
class Cell:
    """One way to prune, at one sparsity."""

    method: str
    statistics: str | None
    allocation: str
    sparsity: float
    rounds: int

    @property
    def name(self) -> str:
        """The method, with its statistics unless they are the default, and its allocation unless global."""
        seen = "" if self.statistics is None else f":{self.statistics}"
        return f"{self.method}{seen}" + ("" if self.allocation == "global" else f"+{self.allocation}")


def main() -> None:
    """Parse the options, compare, write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--methods", nargs="*", default=methods(), metavar="METHOD[:STATISTICS]",
        help="such as px:running; default: all that `transfer methods` lists",
    )  # fmt: skip
    parser.add_argument("--allocation", nargs="*", default=[], metavar="METHOD+ALLOCATION", help="such as snip+px")
    parser.add_argument("--sparsities", nargs="+", type=float, default=[0.9, 0.98], help="fractions removed")
    parser.add_argument("--rounds", type=int, help="rounds of iterative methods; default: as in their papers")
    parser.add_argument("--data", default="digits", help="a classification data set (default digits, 32 px)")
    parser.add_argument("--per-class", type=int, default=10, help="images per class in the pruning set (default 10)")
    parser.add_argument("--images", type=int, default=20, help="test images for the kernel (default 20)")
    parser.add_argument("--top", type=int, default=10, help="number of eigenvalues (default 10)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the head, the images and the methods")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--out", type=Path, default=Path("runs/compare-methods"))
    args = parser.parse_args()
    try:
        todo = cells(args.methods, args.allocation, args.sparsities, args.rounds)
        compare(todo, args)
    except (InputError, ScoreError) as error:
        parser.exit(2, f"{error}\n")


def cells(
    names: Sequence[str], allocation: Sequence[str], sparsities: Sequence[float], rounds: int | None
) -> list[Cell]:
    """Return every method and every METHOD+ALLOCATION at every sparsity; ``rounds`` does not apply to one-shot methods.

    Raises:
        InputError: nothing to compare, or a name that is repeated or unknown.
    """
    pairs = [(*_seen(name), "global") for name in names] + [_pair(text) for text in allocation]
    for what, values in (("ways to prune", pairs), ("sparsities", list(sparsities))):
        if not values or len(set(values)) != len(values):
            raise InputError(f"{what} are {values}; give one or more, each once")
    found = []
    for sparsity in sparsities:
        for method, seen, share in pairs:
            if seen and not statistics(method, share):
                raise InputError(f"{method}:{seen}: {method} looks at no BatchNorm; leave {seen} out")
            check_allocation(share)
            own = default_rounds(share if share in methods() else method)
            count = own if own == 1 or rounds is None else rounds
            check_schedule(None, sparsity, count, "exponential")
            found.append(Cell(method, seen, share, sparsity, count))
    return found


def _seen(text: str) -> tuple[str, str | None]:
    method, colon, seen = text.partition(":")
    about(method)
    check_statistics(seen if colon else None)
    return method, seen or None


def _pair(text: str) -> tuple[str, str | None, str]:
    way, plus, share = text.partition("+")
    if not plus:
        raise InputError(f"--allocation has {text!r}; give METHOD+ALLOCATION, such as snip+px or px:running+erk")
    return *_seen(way), share


def compare(todo: Sequence[Cell], args: argparse.Namespace) -> None:
    """Prune a copy of the model for each cell, measure it, and write the results.

    Raises:
        InputError: a data set, a count or a device cannot be used.
        ScoreError: a method gave no usable score; earlier results are in the JSON file.
    """
    model, seen, images = prepare(args)
    dense = spectrum(ntk(model, images), args.top)
    fresh = copy.deepcopy(model)
    recalibrate(fresh, seen)
    if not dense[0]:
        raise InputError("the kernel of the unpruned model is 0; are its weights trained?")
    settings = _settings(seen, images, args)
    rows: list[dict[str, Any]] = []
    masks: dict[str, dict[str, Masks]] = {}
    for number, cell in enumerate(todo, start=1):
        row, found = measure(model, fresh, seen, images, cell, dense, seed=args.seed)
        rows.append(row)
        masks.setdefault(f"{cell.sparsity:g}", {})[cell.name] = found
        found.save(args.out / "masks" / f"{cell.name}-{cell.sparsity:g}.safetensors")
        overlaps = {sparsity: matrices(of) for sparsity, of in masks.items()}
        content = {"settings": settings, "dense": _kernel(dense), "rows": rows, "overlaps": overlaps}
        write_json(args.out / "compare_methods.json", content)
        where = f"[{number}/{len(todo)}] {cell.name} at {cell.sparsity:.2%}"
        print(f"{where}: {row['trace_kept']:.3%} of the trace, {row['seconds']:.1f} s", file=sys.stderr, flush=True)
    write_whole(args.out / "compare_methods.md", page(settings, rows, overlaps))
    draw_trace(content, args.out / "kept-trace.png")
    draw_overlaps(content, args.out / "overlap.png")
    print(args.out)


def draw_trace(content: Mapping[str, Any], path: Path) -> None:
    """Draw the trace that each method keeps, from compare_methods.json."""
    about = content["settings"]
    title = f"NTK trace kept, {about['backbone']} on {about['data']}, {about['kernel_images']} test images"
    plots.kept_trace(content["rows"], path, title=title)


def draw_overlaps(content: Mapping[str, Any], path: Path) -> None:
    """Draw the overlaps of the masks, from compare_methods.json."""
    plots.overlaps(content["overlaps"], path, title="overlap of masks (below), expected if independent (above)")


def prepare(args: argparse.Namespace) -> tuple[nn.Module, PruningSet, Tensor]:
    """Return the model in eval mode, the pruning set, and test images for the kernel.

    Raises:
        InputError: the data set has masks, or too few images.
    """
    backbone, dataset = checkpoints.load("embedded"), datasets.load(args.data)
    if not isinstance(dataset, Dataset):
        raise InputError(f"--data is {args.data}, which has masks; give a classification data set such as digits")
    if args.images < 1:
        raise InputError(f"--images is {args.images}; give 1 test image or more")
    look = {"mean": backbone.mean, "std": backbone.std, "interpolation": backbone.interpolation}
    shared: dict[str, Any] = {**look, "size": backbone.input_size[-1], "seed": args.seed, "device": args.device}
    seen = pruning_set(dataset.train, dataset.classes, per_class=args.per_class, batch=64, **shared)
    each = -(-args.images // len(dataset.classes))
    held = pruning_set(dataset.test, dataset.classes, per_class=each, batch=args.images, **shared)
    model = classifier(backbone, len(dataset.classes), seed=args.seed).to(args.device).eval()
    return model, seen, next(iter(held))[0]


def measure(
    model: nn.Module, fresh: nn.Module, seen: PruningSet, images: Tensor, cell: Cell, dense: tuple[float, Tensor], *,
    seed: int,
) -> tuple[dict[str, Any], Masks]:  # fmt: skip
    """Prune a copy of the model; return its row of measurements and the masks.

    ``fresh`` is the model with BatchNorm statistics of the pruning set, the reference for :func:`own_statistics`.
    """
    pruned = copy.deepcopy(model)
    start = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CollapseWarning)  # the row lists the empty layers
        masks = prune(
            pruned, seen, method=cell.method, sparsity=cell.sparsity, allocation=cell.allocation, rounds=cell.rounds,
            seed=seed, statistics=cell.statistics, progress=True,
        )  # fmt: skip
    seconds = time.perf_counter() - start
    layers = report(pruned, masks, images)
    with torch.no_grad():
        outputs = float(pruned(images).norm() / model(images).norm())
    found = spectrum(ntk(pruned, images, masks), len(dense[1]))
    return {
        "method": cell.name,
        "sparsity": cell.sparsity,
        "rounds": cell.rounds,
        "kept": masks.kept,
        "total": masks.total,
        "digest": masks.digest(),
        **kept_of(dense, found),
        "outputs_kept": outputs,
        **own_statistics(pruned, fresh, masks, seen, images),
        "empty_layers": [row["layer"] for row in layers if not row["kept"]],
        "dead_units": sum(row["dead_units"] for row in layers),
        "units": sum(row["units"] for row in layers),
        "effective_sparsity": effective_sparsity(layers),
        "seconds": seconds,
    }, masks


@torch.no_grad()
def own_statistics(
    pruned: nn.Module, fresh: nn.Module, masks: Masks, seen: PruningSet, images: Tensor
) -> dict[str, float]:
    """Return kept trace and outputs with each network's own BatchNorm statistics on the pruning set.

    Fine-tuning starts from these. Replaces the pruned model's stored statistics.
    """
    recalibrate(pruned, seen)
    return {
        "own_trace_kept": trace(pruned, images, masks) / trace(fresh, images),
        "own_outputs_kept": float(pruned(images).norm() / fresh(images).norm()),
    }


def kept_of(dense: tuple[float, Tensor], pruned: tuple[float, Tensor]) -> dict[str, Any]:
    """Return the pruned trace, sum of the top eigenvalues, and largest one, each as a fraction of the dense one."""
    (whole, top), (left, still) = dense, pruned
    return {
        "trace_kept": left / whole,
        "top_kept": float(still.sum() / top.sum()),
        "largest_kept": float(still[0] / top[0]),
        **_kernel(pruned),
    }


def _kernel(found: tuple[float, Tensor]) -> dict[str, Any]:
    return {"trace": found[0], "top": found[1].tolist()}


def matrices(masks: Mapping[str, Masks]) -> dict[str, Any]:
    """Return names, the overlaps of each pair of masks, and those expected of independent masks of equal densities."""
    return {
        "names": list(masks),
        "found": [[overlap(a, b).total for b in masks.values()] for a in masks.values()],
        "expected": [[expected_overlap(a, b).total for b in masks.values()] for a in masks.values()],
    }


def page(settings: Mapping[str, Any], rows: Sequence[dict[str, Any]], overlaps: Mapping[str, dict[str, Any]]) -> str:
    """Return the settings, the table of methods and the tables of overlaps in Markdown."""
    parts = ["".join(f"- {name.replace('_', ' ')}: {value}\n" for name, value in settings.items())]
    parts.append(tables.markdown(COLUMNS, [line(row) for row in rows]))
    for sparsity, found in overlaps.items():
        head = f"Overlap at sparsity {float(sparsity):.2%}, percent (expected of independent masks):\n\n"
        parts.append(head + tables.markdown(("", *found["names"]), triangle(found)))
    return "\n".join(parts)


def triangle(found: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """Return the matrices below the diagonal as text, one row per method: percent found (percent expected)."""
    names = found["names"]
    return [
        (
            name,
            *(f"{100 * found['found'][i][j]:.0f} ({100 * found['expected'][i][j]:.0f})" for j in range(i)),
            *[""] * (len(names) - i),
        )
        for i, name in enumerate(names)
    ]


def line(row: Mapping[str, Any]) -> tuple[str, ...]:
    """Return a row of the table as text."""
    effective = row["effective_sparsity"]
    return (
        row["method"],
        f"{row['sparsity']:.2%}",
        str(row["rounds"]),
        *(share(row[key]) for key in SHARES),
        str(len(row["empty_layers"])),
        f"{row['dead_units']} of {row['units']}",
        "not known" if effective is None else f"{effective:.2%}",
        f"{row['seconds']:.1f}",
    )


def share(fraction: float) -> str:
    """Return a fraction as a percentage, or as a factor from 10 on."""
    return f"{fraction:.2%}" if fraction < 10 else f"{fraction:,.0f}×"


def _settings(seen: PruningSet, images: Tensor, args: argparse.Namespace) -> dict[str, Any]:
    shown = ("px-transfer", "torch", "timm")
    return {
        "backbone": "embedded ResNet-20",
        "head": f"fresh: Kaiming normal from seed {args.seed}, not trained",
        "data": args.data,
        "size": images.shape[-1],
        "pruning_set": f"{seen.samples} training images ({seen.digest}), batches of 64",
        "kernel_images": len(images),
        "top": args.top,
        "seed": args.seed,
        "device": args.device,
        "threads": torch.get_num_threads(),
        "versions": ", ".join(f"{name} {number}" for name, number in versions().items() if name in shown),
    }


if __name__ == "__main__":
    main()
