"""Tables in the terminal and in Markdown."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transfer.environment import main_process

if TYPE_CHECKING:
    from datetime import datetime

    from transfer.runs.folder import RunFolder
    from transfer.runs.prepare import Job
    from transfer.runs.run import Result


def show(columns: Sequence[str], rows: Sequence[Sequence[str]], *, title: str = "") -> None:
    """Print a table to stdout, from the main process; text to the left, numbers to the right."""
    if not main_process():
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title or None, title_justify="left")
    for column, sample in zip(columns, rows[0], strict=True):
        table.add_column(column, justify="right" if sample[:1].isdigit() else "left", overflow="fold")
    for row in rows:
        table.add_row(*row)
    Console().print(table)


def markdown(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return the same table in Markdown."""
    rule = ["---:" if sample[:1].isdigit() else "---" for sample in rows[0]]
    return "".join("| " + " | ".join(row) + " |\n" for row in (columns, rule, *rows))


def show_result(result: "Result") -> None:
    """Print what a finished run found and where it is."""
    m: Mapping[str, Any] = result.metrics
    headline, best = m["headline"], m[f"best_{m['headline']}"]
    rows = [
        ("backbone", f"{m['backbone']} ({m['arch']})"),
        ("data", data_line(m)),
        (
            "method",
            f"{m['method']}, {_rounds(m['rounds'])}"
            + (f", statistics {m['statistics']}" if m.get("statistics") else "")
            if m["sparsity"]
            else "dense, no pruning",
        ),
        (
            "sparsity",
            f"{m['sparsity']:.4%} (density {1 - m['sparsity']:.4%}; {m['kept']:,} of {m['total']:,} weights)",
        ),
        (headline, f"{m[headline]:.2%} after the last epoch, {best:.2%} after epoch {m['best_epoch']}"),
        ("folder", str(result.folder)),
    ]
    if m.get("absent_classes"):
        rows.insert(-1, ("absent classes", ", ".join(m["absent_classes"])))
    if m.get("empty_layers"):
        rows.insert(4, ("empty layers", ", ".join(m["empty_layers"])))
    if (m.get("effective_sparsity") or 0) > m["sparsity"]:
        off = round((m["effective_sparsity"] - m["sparsity"]) * m["total"])
        rows.insert(4, ("effective", f"{m['effective_sparsity']:.4%}: {off:,} kept weights lie on no path"))
    show(("run", m["recipe"]), rows)
    if result.finished and main_process():
        print(earlier(result.finished, result.folder))


def _rounds(count: int | None) -> str:
    return f"{count} round{'s' * (count != 1)}"


def _held(dense: bool, pruning: str) -> str:
    return "none (dense)" if dense else pruning or "none; the zeros that are there are kept"


def _place(folder: "RunFolder") -> str:
    when = folder.finished()
    if when is not None:
        return f"{folder.path} ({earlier(when, folder.path)})"
    return f"{folder.path} ({'begun: it would go on' if folder.path.exists() else 'not made: dry run'})"


def earlier(when: "datetime", folder: Path) -> str:
    """Say that a run is not run again."""
    return f"finished on {when:%Y-%m-%d at %H:%M}; remove {folder} to run it again"


def data_line(m: Mapping[str, Any]) -> str:
    """Return the data of a result in a line: with label maps, split and protocol move mIoU by many points."""
    if m["task"] == "classification":
        return f"{m['dataset']}, trained on {m['train_split']}, tested on {m['split']}, {m['image_size']} px"
    seen = "whole images" if m["protocol"] == "whole" else f"centre crops of {m['image_size']} px"
    return (
        f"{m['dataset']}, trained on {m['train_split']} in crops of {m['image_size']} px, tested on {m['split']}, "
        f"{seen}, output stride {m['output_stride']}"
    )


def plan(job: "Job", absent: dict[str, str], out: Path) -> str:
    """Return what a run would do, in a few lines; ``absent`` is what :func:`transfer.runs.prepare.rehearse` says is."""
    from transfer import data as datasets
    from transfer.runs.folder import RunFolder

    recipe, data, train = job.recipe, job.dataset, job.recipe.train
    shares = "" if recipe.prune.allocation == "global" else f", {recipe.prune.allocation} allocation"
    pruning = f"{recipe.prune.method} to {recipe.prune.sparsity:.4%} in {_rounds(recipe.prune.rounds)}{shares}"
    pruning += f", statistics {recipe.prune.statistics}" if recipe.prune.statistics else ""
    images = "" if "data" in absent else f"{len(data.train)} training, {len(data.test)} {data.test_split} images, "
    tested = f", tested on {'whole images' if recipe.data.protocol == 'whole' else 'centre crops'}"
    place = f"in {out}" if absent else _place(RunFolder(out, recipe, job.origin()))
    lines = [
        f"backbone  {recipe.backbone} ({job.backbone.arch})",
        f"data      {recipe.data.name}: {images}{len(data.classes)} classes, {recipe.data.size} px"
        + (tested if datasets.task(recipe.data.name) == "segmentation" else ""),
        f"pruning   {_held(recipe.prune.dense, pruning if recipe.prune.sparsity else '')}",
        f"training  {train.epochs} epochs, batch {train.batch}, {train.optimizer} {train.lr:g}",
        f"device    {job.accelerator.device}, {job.accelerator.num_processes} process(es)",
        f"folder    {place}",
        *(f"absent    {line}" for line in absent.values()),
    ]
    return "\n".join(lines)
