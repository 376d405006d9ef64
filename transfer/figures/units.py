"""Living output units of every layer (figure 6 of Iurada et al. 2024)."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from checkpoints.files import check_folder
from transfer.figures import files
from transfer.figures.subject import Subject
from transfer.pruning import report
from transfer.report import paper_plots

NAME = "units"
COLUMNS = ("method", "living units", "", "empty layers", "least")


def of_methods(
    subject: Subject, methods: Sequence[str], *, sparsity: float, rounds: int | None, out: Path
) -> list[dict[str, Any]]:
    """Write how many output units of each layer each method leaves alive; return a row per method and layer.

    A unit is a kernel of a convolution or a row of a linear layer; it lives while it has a weight.

    Raises:
        InputError: ``out`` is no folder, or a setting cannot be used.
        ScoreError: a method gave no usable score.
    """
    check_folder(out)
    rows = []
    for method in methods:
        masks, _ = subject.masks(method, sparsity, rounds)
        for layer in report(subject.model, masks, subject.images):
            living = layer["units"] - layer["dead_units"]
            rows.append({"method": method, "layer": layer["layer"], "units": layer["units"], "living": living})
    content = {"settings": {**subject.about, "sparsity": sparsity, "rounds": rounds}, "rows": rows}
    files.write(out, NAME, content, rows)
    draw(content, out / f"{NAME}.png")
    return rows


def draw(content: Mapping[str, Any], path: Path) -> None:
    """Draw what NAME.json holds."""
    about = content["settings"]
    title = f"Living output units, {about['backbone']} on {about['data']}, {about['sparsity']:.2%} removed"
    paper_plots.units(content["rows"], path, title=title)


def table(rows: Sequence[dict[str, Any]]) -> list[tuple[str, ...]]:
    """Return a line per method as text under COLUMNS."""
    return [_line(method, [row for row in rows if row["method"] == method]) for method in _methods(rows)]


def _methods(rows: Sequence[dict[str, Any]]) -> list[str]:
    return list(dict.fromkeys(row["method"] for row in rows))


def _line(method: str, layers: Sequence[dict[str, Any]]) -> tuple[str, ...]:
    living, units = (sum(row[key] for row in layers) for key in ("living", "units"))
    least = min(layers, key=lambda row: row["living"] / row["units"])
    empty = sum(not row["living"] for row in layers)
    share = least["living"] / least["units"]
    return method, f"{living:,} of {units:,}", f"{living / units:.2%}", str(empty), f"{share:.2%} in {least['layer']}"
