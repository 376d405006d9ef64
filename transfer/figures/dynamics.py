"""Training against the trace of the path kernel (figures 1 and 2 of Gebhart et al. 2021).

For a linear model whose kernel has one eigenvalue, proportional to Tr Π, the distance of the weights from their start
and the outputs follow a · (1 − exp(−η · Tr Π · t)). Here the nets are trained themselves, not their linearisations.
"""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from checkpoints.architectures import FullyConnected
from checkpoints.errors import InputError
from checkpoints.files import check_folder
from transfer import data as datasets
from transfer.data.pruning_set import pruning_set
from transfer.errors import TrainingError
from transfer.figures import files
from transfer.pruning import Masks, default_rounds, path_kernel_trace, prune
from transfer.pruning.prunable import prunable
from transfer.report import paper_plots

NAME = "dynamics"
DISTANCE, OUTPUTS = "‖θ_t − θ_0‖", "‖f(X, θ_t)‖"
COLUMNS = ("width", "compression", "Tr Π", DISTANCE, OUTPUTS)
FEWEST = 3  # nets for a curve of two parameters
LOOK = {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}

Fit = dict[str, float]


@dataclass(frozen=True)
class Start:
    """What all nets of the figure share."""

    data: str
    method: str
    rounds: int
    size: int
    per_class: int
    steps: int
    lr: float
    seed: int


def of_widths(
    start: Start, widths: Sequence[int], compressions: Sequence[float], out: Path
) -> tuple[list[dict[str, Any]], dict[str, Fit | None]]:
    """Prune and train a net for each width and compression; write and return a row for each, and the two fits.

    Nets whose Tr Π is 0 or beyond floats (None in their rows) are in no fit and not drawn; a fit that least squares
    does not find is None.

    Args:
        start: what all share.
        widths: of the six hidden layers.
        compressions: powers of ten; 1.0 keeps a tenth of the weights.
        out: folder for the files.

    Raises:
        InputError: ``out`` is no folder, a setting cannot be used, or there are fewer than three nets.
        TrainingError: a training diverged.
    """
    check_folder(out)
    if len(widths) * len(compressions) < FEWEST:
        raise InputError(f"there are fewer than {FEWEST} nets; a curve with two parameters needs more: give --widths")
    batches, classes = _images(start)
    rows = [_row(start, batches, classes, width, power) for width in widths for power in compressions]
    drawn = [row for row in rows if row["path_kernel"]]
    fits = {name: fitted([r["path_kernel"] for r in drawn], [r[name] for r in drawn]) for name in (DISTANCE, OUTPUTS)}
    content = {"settings": asdict(start), "rows": rows, "fits": fits}
    files.write(out, NAME, content, rows)
    draw(content, out / f"{NAME}.png")
    return rows, fits


def draw(content: Mapping[str, Any], path: Path) -> None:
    """Draw what NAME.json holds, but for the nets without Tr Π."""
    about = content["settings"]
    title = f"Fully connected nets on {about['data']}, {about['method']}, {about['steps']} steps of {about['lr']:g}"
    fits = {name: content["fits"][name] for name in (DISTANCE, OUTPUTS)}
    paper_plots.dynamics([row for row in content["rows"] if row["path_kernel"]], fits, path, title=title)


def table(rows: Sequence[dict[str, Any]]) -> list[tuple[str, ...]]:
    """Return the rows as text under COLUMNS."""
    return [
        (
            str(r["width"]),
            f"10^{r['compression']:g}",
            "beyond floats" if r["path_kernel"] is None else f"{r['path_kernel']:.3g}",
            f"{r[DISTANCE]:.3g}",
            f"{r[OUTPUTS]:.3g}",
        )
        for r in rows
    ]


def lines(rows: Sequence[dict[str, Any]], fits: Mapping[str, Fit | None]) -> list[str]:
    """Return the fits as text, and how many nets are in none."""
    out = sum(not row["path_kernel"] for row in rows)
    left = [f"{out} of {len(rows)} nets are left out of the fits: Tr Π is 0 or beyond floats"] if out else []
    return left + [f"{name}: {_told(fit)}" for name, fit in fits.items()]


def _told(fit: Fit | None) -> str:
    if fit is None:
        return f"no fit: least squares found none, or fewer than {FEWEST} nets have a Tr Π"
    return f"{fit['a']:.3g} (1 - exp(-{fit['rate']:.3g} Tr Π)), R² {fit['r2']:.3f}"


def fitted(kernels: Sequence[float], values: Sequence[float]) -> Fit | None:
    """Fit ``a · (1 − exp(−rate · kernel))`` by least squares; return a, rate and R², or None if none is found."""
    if len(kernels) < FEWEST:
        return None
    x, y = np.array(kernels), np.array(values)

    def curve(logs: np.ndarray, a: float, log_rate: float) -> np.ndarray:
        saturated: np.ndarray = a * -np.expm1(-np.exp(np.minimum(logs + log_rate, 700.0)))
        return saturated

    found: list[Fit] = []
    for quantile in (0.1, 0.5, 0.9):  # where the curve bends is not known
        begin = (float(y.max()), -float(np.log(np.quantile(x, quantile))))
        with np.errstate(all="ignore"):
            a, log_rate = _least_squares(curve, np.log(x), y, begin)
            off = np.square(y - curve(np.log(x), a, log_rate)).sum()
            r2 = 1 - off / np.square(y - y.mean()).sum()
            found.append({"a": float(a), "rate": float(np.exp(log_rate)), "r2": float(r2)})
    usable = [fit for fit in found if np.isfinite(list(fit.values())).all()]
    return max(usable, key=lambda fit: fit["r2"], default=None)


def _least_squares(curve: Any, x: np.ndarray, y: np.ndarray, begin: tuple[float, float]) -> tuple[float, float]:
    """Return the two parameters; nan if the search does not end."""
    from scipy.optimize import OptimizeWarning, curve_fit

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", OptimizeWarning)  # of their covariance, which is not used
        try:
            (a, rate), _ = curve_fit(curve, x, y, p0=begin, maxfev=10_000)
        except (RuntimeError, ValueError):
            return float("nan"), float("nan")
    return float(a), float(rate)


def _images(start: Start) -> tuple[Any, int]:
    if datasets.task(start.data) != "classification":
        raise InputError(f"data is {start.data}, which has no class per image; give a classification data set")
    dataset = datasets.load(start.data)
    count = len(dataset.classes) * start.per_class
    look: dict[str, Any] = {**LOOK, "size": start.size, "seed": start.seed, "batch": count}
    return pruning_set(dataset.train, dataset.classes, per_class=start.per_class, **look), len(dataset.classes)


def _row(start: Start, batches: Any, classes: int, width: int, power: float) -> dict[str, Any]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(start.seed)
        model = FullyConnected(width=width, num_classes=classes, img_size=start.size)
    rounds = start.rounds if default_rounds(start.method) > 1 else 1
    masks = prune(
        model, batches, method=start.method, sparsity=1 - 10**-power, rounds=rounds, seed=start.seed
    )  # fmt: skip
    kernel = path_kernel_trace(model, (3, start.size, start.size), masks=masks)
    inputs, targets = next(iter(batches))
    distance, outputs = trained(model, masks, inputs, F.one_hot(targets, classes).float(), start.steps, start.lr)
    if not np.isfinite([distance, outputs]).all():
        raise TrainingError(f"the net of width {width} at compression 10^{power:g} diverged; give a lower --lr")
    known = kernel if np.isfinite(kernel) else None
    return {"width": width, "compression": power, "path_kernel": known, DISTANCE: distance, OUTPUTS: outputs}


def trained(
    model: nn.Module, masks: Masks, inputs: Tensor, targets: Tensor, steps: int, lr: float
) -> tuple[float, float]:
    """Train by gradient descent on ½ · ‖f(X) − Y‖² / n; return how far the weights went, and ‖f(X)‖ at the end.

    Biases, which are in no path, stay as they are.
    """
    weights = prunable(model)
    before = {name: weight.detach().clone() for name, weight in weights.items()}
    optimizer = torch.optim.SGD(weights.values(), lr=lr)
    hold = masks.hold(model, optimizer)
    for _ in range(steps):
        optimizer.zero_grad()
        (0.5 * (model(inputs) - targets).square().sum() / len(inputs)).backward()
        optimizer.step()
    hold.remove()
    with torch.no_grad():
        moved = sum(float((value - before[name]).square().sum()) for name, value in weights.items())
        return moved**0.5, float(model(inputs).norm())
