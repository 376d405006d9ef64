"""Show a run on the terminal: its result as a table, and the plan of a dry run."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from checkpoints.errors import one_line
from transfer import tasks
from transfer.environment import main_process
from transfer.pruning.patterns import NONE
from transfer.report import summary, tables
from transfer.report.units import count
from transfer.runs.folder import RunFolder
from transfer.runs.prepare import Setup
from transfer.runs.report_runs import Report
from transfer.runs.run import Result


def show_result(result: Result) -> None:
    """Print the result of a finished run and its folder."""
    m: Mapping[str, Any] = result.metrics
    task = tasks.find(m["task"])
    headline = task.headline
    last, best = headline.text(m[headline.name]), headline.text(m[f"best_{headline.name}"])
    method = f"{m['method']}, {_rounds(m['rounds'])}"
    method += f", statistics {m['statistics']}" if m.get("statistics") else ""
    method += _pattern(m.get("pattern")) + _ablated(m.get("ablate"))
    rows = [
        ("backbone", f"{m['backbone']} ({m['arch']})"),
        ("data", task.data_line(m)),
        ("method", method if m["sparsity"] else "dense, no pruning"),
        (
            "sparsity",
            f"{m['sparsity']:.4%} (density {1 - m['sparsity']:.4%}; {m['kept']:,} of {m['total']:,} weights)",
        ),
        (headline.name, f"{last} after the last epoch, {best} after epoch {m['best_epoch']}"),
        ("folder", str(result.folder)),
    ]
    if m.get("multiply_adds"):
        dense, kept = m["multiply_adds"]["dense"], m["multiply_adds"]["kept"]
        rows.insert(4, ("multiply-adds", f"{count(kept)} of {count(dense)} per image ({kept / dense:.2%})"))
    if m.get("absent_classes"):
        rows.insert(-1, ("absent classes", ", ".join(m["absent_classes"])))
    if m.get("empty_layers"):
        rows.insert(4, ("empty layers", ", ".join(m["empty_layers"])))
    if (m.get("effective_sparsity") or 0) > m["sparsity"]:
        off = round((m["effective_sparsity"] - m["sparsity"]) * m["total"])
        rows.insert(4, ("effective", f"{m['effective_sparsity']:.4%}: {off:,} kept weights lie on no path"))
    tables.show(("run", m["recipe"]), rows)
    if result.earlier and main_process():
        print(result.earlier)


def show_savings(rows: Sequence[Mapping[str, Any]]) -> None:
    """Print the rows of :func:`transfer.export.table.savings`: what each layer had and has left."""
    counts = [(row["name"], *map(_left, (row["weights"], row["multiply_adds"]))) for row in rows]
    tables.show(("layer", "weights", "multiply-adds per image"), counts)


def show_report(found: Report) -> None:
    """Print a report: what is missing, a table and the recommendation for each section, and its files."""
    if not main_process():
        return
    for fault in found.faults:
        cell = f" ({fault.cell})" if fault.cell else ""
        print(one_line(f"{fault.kind}: {fault.where}{cell}: {fault.what}"))
    for number, section in enumerate(found.sections, 1):
        title = f"section {number}: {section.title}" if len(found.sections) > 1 else section.title
        tables.show(*summary.shown(section), title=f"{title}\n{section.differs}".rstrip())
    for section in found.sections:
        print("\n".join(found.lines(section)), end="\n\n")
    print("\n".join(f"file {path}" for path in found.files))


def _left(counts: Sequence[int]) -> str:
    before, after = counts
    return f"{before:,}" if before == after else f"{before:,} → {after:,}"


def plan(setup: Setup, absent: Mapping[str, str], out: Path) -> str:
    """Return a description of what a run would do, in a few lines.

    Args:
        setup: from :func:`transfer.runs.prepare.dry_run`.
        absent: what is not on this machine, each with where a run gets it.
        out: folder that holds the run folders.
    """
    recipe, train = setup.recipe, setup.recipe.train
    protocol = setup.task.protocol(recipe)
    lines = [
        f"backbone  {recipe.backbone} ({setup.backbone.arch})",
        f"data      {recipe.data.name}: {_images(setup, absent)}{recipe.data.size} px"
        + (f", tested on {protocol}" if protocol else ""),
        f"pruning   {_pruning(setup)}",
        f"training  {train.epochs} epochs, batch {train.batch}, {train.optimizer} {train.lr:g}",
        f"device    {setup.accelerator.device}, {setup.accelerator.num_processes} process(es)",
        f"folder    {f'in {out}' if absent else _place(RunFolder(out, recipe, setup.origin))}",
        *(f"absent    {line}" for line in absent.values()),
    ]
    return "\n".join(lines)


def _images(setup: Setup, absent: Mapping[str, str]) -> str:
    data, classes = setup.dataset, len(setup.dataset.classes)
    images = "" if "data" in absent else f"{len(data.train)} training, {len(data.test)} {data.test_split} images, "
    return images + (f"{classes} classes, " if classes else "")


def _pruning(setup: Setup) -> str:
    asked = setup.recipe.prune
    if asked.dense:
        return "none (dense)"
    if not asked.sparsity:
        return "none; the zeros that are there are kept"
    shares = "" if asked.allocation == "global" else f", {asked.allocation} allocation"
    statistics = f", statistics {asked.statistics}" if asked.statistics else ""
    more = shares + statistics + _pattern(asked.pattern) + _ablated(asked.ablate)
    return f"{asked.method} to {asked.sparsity:.4%} in {_rounds(asked.rounds)}{more}"


def _place(folder: RunFolder) -> str:
    return f"{folder.path} ({folder.state()})"


def _pattern(pattern: str | None) -> str:
    return f", pattern {pattern}" if pattern and pattern != NONE else ""


def _ablated(ablate: str | None) -> str:
    return f", ablated: {ablate}" if ablate else ""


def _rounds(count: int | None) -> str:
    return f"{count} round{'s' * (count != 1)}"
