"""The trace of the NTK, that of the path kernel, and PX's bounds, against sparsity (Iurada et al. 2024, eq. 5-9)."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from checkpoints.files import check_folder
from transfer.analysis.path_bounds import bounds
from transfer.figures import files
from transfer.figures.subject import DENSE, Subject
from transfer.report import paper_plots

NAME = "bounds"
SHOWN = {"trace": "Tr Θ", "tight": "Σ G·H", "loose": "‖J_v‖²·‖J_θ‖²", "path_kernel": "Tr Π"}
COLUMNS = ("sparsity", "method", *SHOWN.values())


def of_methods(
    subject: Subject, methods: Sequence[str], *, sparsities: Sequence[float], rounds: int | None, out: Path
) -> list[dict[str, Any]]:
    """Write the logarithms for the dense network and each method at each sparsity; return a row for each.

    Raises:
        InputError: ``out`` is no folder, or a setting cannot be used.
        NoPathError: the network has an operation that is not defined on paths.
        ScoreError: a method gave no usable score.
    """
    check_folder(out)
    rows = [{"method": DENSE, "sparsity": 0.0, **asdict(bounds(subject.under(None), subject.images))}]
    for method in methods:
        for sparsity in sparsities:
            masks, _ = subject.masks(method, sparsity, rounds)
            found = bounds(subject.under(masks), subject.images, masks)
            rows.append({"method": method, "sparsity": sparsity, **asdict(found)})
    content = {"settings": {**subject.about, "rounds": rounds}, "rows": rows}
    files.write(out, NAME, content, rows)
    draw(content, out / f"{NAME}.png")
    return rows


def draw(content: Mapping[str, Any], path: Path) -> None:
    """Draw what NAME.json holds."""
    about = content["settings"]
    title = f"NTK before fine-tuning and its bounds, {about['backbone']} on {about['data']}, {about['images']} images"
    paper_plots.bounds(content["rows"], SHOWN, path, title=title)


def table(rows: Sequence[dict[str, Any]]) -> list[tuple[str, ...]]:
    """Return the rows as text under COLUMNS, decimal logarithms."""
    return [
        (f"{row['sparsity']:.2%}", row["method"], *("no path" if row[k] is None else f"{row[k]:.2f}" for k in SHOWN))
        for row in rows
    ]
