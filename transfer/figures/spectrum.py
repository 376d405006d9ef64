"""Eigenvalues of the NTK before fine-tuning, dense and pruned (figure 5 of Iurada et al. 2024)."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from checkpoints.files import check_folder
from transfer.analysis.eigenvalues import Eigenvalues, eigenvalues
from transfer.figures import files
from transfer.figures.subject import DENSE, Subject, subject_of_run
from transfer.pruning import Masks
from transfer.report import paper_plots

NAME = "spectrum"
COLUMNS = ("network", "kernel", "largest", "sum", "of dense", "residual")


def of_methods(
    subject: Subject, methods: Sequence[str], *, sparsity: float, rounds: int | None, top: int, out: Path
) -> list[dict[str, Any]]:
    """Write the eigenvalues of the dense network and of each method's; return a row per network.

    Raises:
        InputError: ``out`` is no folder, or a setting cannot be used.
        ScoreError: a method gave no usable score.
    """
    check_folder(out)
    rows = [_row(DENSE, _found(subject, None, top))]
    for method in methods:
        rows.append(_row(method, _found(subject, subject.masks(method, sparsity, rounds)[0], top)))
    about = {**subject.about, "sparsity": sparsity, "rounds": rounds}
    _write(out, {"settings": about, "rows": rows})
    return rows


def of_run(folder: Path, *, images: int, top: int, out: Path | None) -> list[dict[str, Any]]:
    """Write the eigenvalues of a run's network before fine-tuning, dense and under its masks, into its folder.

    ``spectrum.json`` has the lists "dense" and "pruned".

    Raises:
        InputError: the run is not finished or pruned nothing, or ``out`` is no folder.
    """
    check_folder(out or folder)
    subject, masks = subject_of_run(folder, images)
    rows = [_row(DENSE, _found(subject, None, top)), _row(subject.about["method"], _found(subject, masks, top))]
    dense, pruned = (row["values"] for row in rows)
    content = {"dense": dense, "pruned": pruned, "settings": subject.about, "rows": rows}
    _write(out or folder, content)
    return rows


def table(rows: Sequence[dict[str, Any]]) -> list[tuple[str, ...]]:
    """Return the rows as text under COLUMNS; the sum is over the eigenvalues that are listed."""
    dense = sum(rows[0]["values"])
    return [
        (
            row["network"],
            f"{row['rows']:,} rows, " + ("exact" if row["residual"] is None else f"{len(row['values'])} by Lanczos"),
            f"{row['values'][0]:.3g}",
            f"{sum(row['values']):.3g}",
            f"{sum(row['values']) / dense:.2%}" if dense else "",
            "" if row["residual"] is None else f"{row['residual']:.0e}",
        )
        for row in rows
    ]


def _found(subject: Subject, masks: Masks | None, top: int) -> Eigenvalues:
    return eigenvalues(subject.under(masks), subject.images, masks, top=top)


def _row(network: str, found: Eigenvalues) -> dict[str, Any]:
    return {"network": network, **asdict(found)}


def _write(out: Path, content: dict[str, Any]) -> None:
    lines = [
        {"network": row["network"], "index": index, "eigenvalue": value}
        for row in content["rows"]
        for index, value in enumerate(row["values"], start=1)
    ]
    files.write(out, NAME, content, lines)
    draw(content, out / f"{NAME}.png")


def draw(content: Mapping[str, Any], path: Path) -> None:
    """Draw what NAME.json holds."""
    about = content["settings"]
    title = (
        f"NTK before fine-tuning, {about['backbone']} on {about['data']}, {about['images']} images, "
        f"{about['sparsity']:.2%} removed"
    )
    paper_plots.spectrum(content["rows"], path, title=title)
