"""report(): what finished runs show, as a page, a table for spreadsheets and one for papers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from checkpoints.errors import InputError
from checkpoints.files import write_whole
from transfer.report import again
from transfer.report.files import as_csv, as_latex
from transfer.report.page import page
from transfer.report.recommend import lines
from transfer.report.rows import Row
from transfer.report.sections import Section, split
from transfer.runs import pack as packs
from transfer.runs.gather import gather
from transfer.runs.run_files import Fault, is_run
from transfer.runs.usual import modules_of, usual_recipe


@dataclass(frozen=True)
class Report:
    """What was found, and the files that were written."""

    sections: Sequence[Section]
    faults: Sequence[Fault]
    files: Sequence[Path]
    within: float

    def lines(self, section: Section) -> list[str]:
        """Return the recommendation of a section and what is within noise."""
        return lines(section, self.within)


def report(
    folders: Sequence[Path], *, out: Path = Path("report"), within: float = 1.0, pack: Path | None = None,
    progress: bool = False,
) -> Report:  # fmt: skip
    """Write ``report.html``, ``report.csv`` and ``report.tex`` of runs into the folder ``out``.

    Args:
        folders: run folders, folders that hold run folders, the folders of comparisons and sweeps, and zips of runs.
        out: folder to write to; a report that is there is replaced.
        within: how much worse than dense the recommended model may be: percentage points, or the metric's own unit.
        pack: also write a zip of what a report reads of these runs, without weights; None = do not.
        progress: show a progress bar.

    Raises:
        InputError: before anything is written: a folder holds no run, none is finished, a task is not registered,
            ``within`` is no distance, ``out`` cannot be written, or a zip is damaged. After the report:
            ``pack`` cannot be written.
    """
    if not folders:
        raise InputError("say which runs: transfer report FOLDER..., such as transfer report runs")
    if not math.isfinite(within) or within < 0:
        raise InputError(f"--within is {within}; give 0 or more, in percentage points or the metric's unit")
    if is_run(out) or (out.exists() and not out.is_dir()):
        raise InputError(f"--out {out} is {'the folder of a run' if out.is_dir() else 'a file'}; give another folder")
    if pack and (pack.is_dir() or pack.suffix != ".zip"):
        raise InputError(f"--pack is {pack}; give a file whose name ends in .zip")
    with packs.unpacked(folders) as places:
        found = gather(list(places.values()), progress=progress)
        shown = packs.renamed(found, places)
        sections, twice = split(shown.records)
        faults = [*shown.faults, *(Fault("twice", folder, why) for folder, why in twice)]
        seen = f"{len(shown.records)} finished runs in {', '.join(map(str, folders))}"
        content = {
            "report.html": page(sections, faults, seen, within, _command),
            "report.csv": as_csv(sections),
            "report.tex": as_latex(sections),
        }
        files = _write(out, content)
        if pack:
            packs.pack(found, pack)
            files.append(pack)
    return Report(sections, faults, files, within)


def _command(row: Row) -> str:
    recipe = row.first.recipe
    return again.command(row, usual_recipe(recipe.name), modules_of(recipe))


def _write(out: Path, content: dict[str, str]) -> list[Path]:
    try:
        for name, text in content.items():
            write_whole(out / name, text)
    except OSError as error:
        raise InputError(f"cannot write to {out} ({error.strerror or error}); choose another --out") from error
    return [out / name for name in content]
