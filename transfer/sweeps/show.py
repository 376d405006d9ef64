"""Show a sweep that has ended on the terminal."""

from checkpoints.files import read_json
from transfer import tasks
from transfer.report import tables
from transfer.sweeps.cells import Planned
from transfer.sweeps.plan import told_same
from transfer.sweeps.sweep import Sweep


def show(sweep: Sweep) -> None:
    """Print the cells of a sweep, then those that failed, and where all of it is."""
    tables.show(("cell", "result", "run folder"), [(str(each.cell), _reached(each), each.run) for each in sweep.cells])
    if sweep.same:
        print(told_same(sweep.same))
    for each in sweep.failed:
        print(f"failed  {each.cell}: {(each.error or '').removeprefix(f'{each.cell}: ')}")
    print(f"folder  {sweep.folder}")


def _reached(each: Planned) -> str:
    """Return the headline metric of a cell."""
    if each.failed:
        return "failed"
    if not each.folder:
        return "done"
    m = read_json(each.folder.file("result.json"))
    headline = tasks.find(m["task"]).headline
    return f"{headline.label} {headline.text(m[headline.name])}"
