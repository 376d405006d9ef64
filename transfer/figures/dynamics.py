"""Training against the trace of the path kernel (figures 1 and 2 of Gebhart et al. 2021).

For a linear model whose kernel has one eigenvalue, proportional to Tr Π, the distance of the weights from their start
and the outputs follow a · (1 − exp(−η · Tr Π · t)). Here the nets are trained themselves, not their linearisations.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from checkpoints.architectures import FullyConnected
from checkpoints.errors import InputError
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
LOOK = {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}


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
) -> tuple[list[dict[str, Any]], dict[str, dict[str, float]]]:
    """Prune and train a net for each width and compression; write and return a row for each, and the two fits.

    Args:
        start: what all share.
        widths: of the six hidden layers.
        compressions: powers of ten; 1.0 keeps a tenth of the weights.
        out: folder for the files.

    Raises:
        InputError: ``out`` is no folder, a setting cannot be used, or there are fewer than three nets.
        TrainingError: a training diverged.
    """
    files.check_folder(out)
    if len(widths) * len(compressions) < 3:
        raise InputError("there are fewer than 3 nets; a curve with two parameters needs more: give --widths")
    batches, classes = _images(start)
    rows = [_row(start, batches, classes, width, power) for width in widths for power in compressions]
    fits = {name: fitted([r["path_kernel"] for r in rows], [r[name] for r in rows]) for name in (DISTANCE, OUTPUTS)}
    files.write(out, NAME, {"settings": asdict(start), "rows": rows, "fits": fits}, rows)
    title = f"Fully connected nets on {start.data}, {start.method}, {start.steps} steps of {start.lr:g}"
    paper_plots.dynamics(rows, fits, out / f"{NAME}.png", title=title)
    return rows, fits


def table(rows: Sequence[dict[str, Any]]) -> list[tuple[str, ...]]:
    """Return the rows as text under COLUMNS."""
    return [
        (
            str(r["width"]),
            f"10^{r['compression']:g}",
            f"{r['path_kernel']:.3g}",
            f"{r[DISTANCE]:.3g}",
            f"{r[OUTPUTS]:.3g}",
        )
        for r in rows
    ]


def fitted(kernels: Sequence[float], values: Sequence[float]) -> dict[str, float]:
    """Fit ``a · (1 − exp(−rate · kernel))`` by least squares; return a, rate and R²."""
    from scipy.optimize import curve_fit

    x, y = np.array(kernels), np.array(values)

    def curve(logs: np.ndarray, a: float, log_rate: float) -> np.ndarray:
        saturated: np.ndarray = a * -np.expm1(-np.exp(np.minimum(logs + log_rate, 700.0)))
        return saturated

    best: dict[str, float] = {}
    for quantile in (0.1, 0.5, 0.9):  # where the curve bends is not known
        begin = (float(y.max()), -float(np.log(np.quantile(x, quantile))))
        (a, log_rate), _ = curve_fit(curve, np.log(x), y, p0=begin, maxfev=10_000)
        off = np.square(y - curve(np.log(x), a, log_rate)).sum()
        r2 = float(1 - off / np.square(y - y.mean()).sum())
        if not best or r2 > best["r2"]:
            best = {"a": float(a), "rate": float(np.exp(log_rate)), "r2": r2}
    return best


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
    return {"width": width, "compression": power, "path_kernel": kernel, DISTANCE: distance, OUTPUTS: outputs}


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
