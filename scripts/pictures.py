"""Draw the pictures of README and docs from the files in benchmarks/, or check that they show these files.

    python scripts/pictures.py                    # all of them
    python scripts/pictures.py quickstart search  # these
    python scripts/pictures.py --check            # exit code 1 if one shows other numbers; one line names each

A picture holds the digest of the numbers in it as the PNG text "Numbers": its pixels differ between versions of
matplotlib. voc_quickstart.png, the predictions of `python -m recipes.voc_quickstart`, is not drawn here.
"""

import argparse
import hashlib
import json
import sys
import tempfile
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import accuracy_grid
import compare_methods
import grid_found
import results
from command_tables import FIGURES, headline
from grid_cells import PAIRS
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from checkpoints.files import read_json, write_whole
from transfer.figures import rounds
from transfer.report import plots

ROOT = Path(__file__).parents[1]
BENCHMARKS = ROOT / "benchmarks"
TEXT = "Numbers"
WAYS = (
    "dense", "px-released:batch:20", "ntk-trace:batch", "px-trace:batch:20", "px-gated:batch:20",
    "synflow-l2:batch:20", "snip:batch:20", "px:batch:20", "hutchinson:warmup", "snip:batch", "magnitude",
    "synflow-l2:running:20", "snip:running", "px:running:20", "random",
)  # fmt: skip
"""Ways of pruning in methods.png."""
Drawn = tuple[Any, Callable[[Path], None]]
"""The numbers of a picture, of JSON types, and what draws them."""


def main() -> None:
    """Draw or check."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(PICTURES)}; default: all")
    parser.add_argument("--check", action="store_true", help="draw nothing; exit code 1 if a picture differs")
    asked = parser.parse_args()
    if unknown := [name for name in asked.names if name not in PICTURES]:
        parser.exit(2, f"there is no picture {unknown[0]}; known: {', '.join(PICTURES)}\n")
    different = 0
    for name in asked.names or PICTURES:
        path = ROOT / "docs" / f"{name}.png"
        numbers, draw = PICTURES[name]()
        digest = hashlib.sha256(json.dumps(numbers, sort_keys=True).encode()).hexdigest()
        if held(path) == digest:
            continue
        different += 1
        print(f"{path.relative_to(ROOT)} {'shows other numbers than' if asked.check else 'drawn from'} benchmarks/")
        if not asked.check:
            write_whole(path, stamped(draw, digest))
    sys.exit(bool(different and asked.check))


def held(path: Path) -> str | None:
    """Return the digest that a picture holds; None without one."""
    if not path.exists():
        return None
    with Image.open(path) as image:
        found = image.info.get(TEXT)
        return str(found) if found else None


def stamped(draw: Callable[[Path], None], digest: str) -> bytes:
    """Return a picture with the digest of its numbers."""
    with tempfile.TemporaryDirectory() as folder:
        draw(Path(folder) / "drawn.png")
        texts, whole = PngInfo(), BytesIO()
        texts.add_text(TEXT, digest)
        with Image.open(Path(folder) / "drawn.png") as image:
            image.save(whole, "PNG", pnginfo=texts, optimize=True)
    return whole.getvalue()


def quickstart() -> Drawn:
    """The metric by sparsity of the quickstart's methods."""
    (section,) = results.sections(BENCHMARKS / "quickstart.zip")
    first, count = section.rows[0].first.result, len(section.rows[0].runs)
    rows = [
        {"method": row.first.result["method"], "sparsity": row.sparsity, "mean": row.mean, "std": row.std}
        for row in section.rows
    ]
    order = list(plots.COLOURS)
    rows.sort(key=lambda row: (order.index(row["method"]), row["sparsity"]))
    epochs = f"{first['backbone']}, {first['epochs']} epochs, mean ± std over {count} seeds"
    title = f"{section.task.data_line(first)}\n{epochs}"
    return [rows, title], lambda path: plots.comparison(rows, section.headline, path, title=title)


def methods() -> Drawn:
    """The accuracies of the main ways of pruning on three pairs of a backbone and a task."""
    found = grid_found.found(PAIRS, BENCHMARKS, WAYS)
    columns, order = accuracy_grid.titled(PAIRS, found), found.order()
    return [columns, order], lambda path: plots.ways(columns, order, path)


def kept_trace() -> Drawn:
    """The trace of the NTK that each method keeps."""
    content = read_json(BENCHMARKS / "ntk-digits.json")
    return content["rows"], lambda path: compare_methods.draw_trace(content, path)


def overlaps() -> Drawn:
    """The overlaps of the methods' masks."""
    content = read_json(BENCHMARKS / "ntk-digits.json")
    return content["overlaps"], lambda path: compare_methods.draw_overlaps(content, path)


def search() -> Drawn:
    """The metric by epoch of the trials of a search."""
    content = read_json(BENCHMARKS / "search-digits.json")
    metric = headline(content["recipe"])
    lines = [
        (
            trial["method"],
            trial["allocation"],
            [{"epoch": epoch, metric.name: value} for epoch, value in enumerate(trial["values"], start=1)],
            trial["state"] == "finished",
        )
        for trial in content["trials"]
    ]
    title = f"search {content['recipe']['name']}, {content['recipe']['prune']['sparsity']:.2%} removed"
    return [lines, title], lambda path: plots.search(lines, metric, path, title=title)


def figure(name: str, file: str) -> Drawn:
    """A figure of the papers, as its command draws it."""
    content = read_json(BENCHMARKS / "figures" / file)
    if name == rounds.NAME:
        metric = headline(content["settings"]["recipe"])
        return content, lambda path: rounds.draw(content, metric, path)
    return content, lambda path: FIGURES[name].draw(content, path)


PICTURES: dict[str, Callable[[], Drawn]] = {
    "quickstart": quickstart,
    "methods": methods,
    "ntk-trace": kept_trace,
    "ntk-overlap": overlaps,
    "search": search,
    "figure-spectrum": lambda: figure("spectrum", "spectrum-seed0.json"),
    "figure-bounds": lambda: figure("bounds", "bounds-seed0.json"),
    "figure-units": lambda: figure("units", "units-seed0.json"),
    "figure-rounds": lambda: figure("rounds", "rounds.json"),
    "figure-dynamics": lambda: figure("dynamics", "dynamics.json"),
}

if __name__ == "__main__":
    main()
