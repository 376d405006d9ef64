"""Markdown table of some ways of accuracy_grid.py: a column for each pair, sparsity and length of training.

    python scripts/grid_columns.py --columns digits 'digits*4' lite0@0.95 --ways dense ntk-trace:batch px:batch:20

A column is PAIR[@SPARSITY][*BUDGET]: *4 is four times the pair's epochs. A way is named as in the CSV. An empty cell
was not run; one seed has no standard deviation.
"""

import argparse
import dataclasses
import re
from collections.abc import Sequence
from pathlib import Path

from grid_cells import PAIRS, Pair
from grid_found import found, spread

from checkpoints.errors import InputError
from transfer.report import tables


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--columns", nargs="+", required=True, metavar="PAIR[@SPARSITY][*BUDGET]")
    parser.add_argument("--ways", nargs="+", required=True, metavar="WAY")
    parser.add_argument("--out", type=Path, default=Path("benchmarks"), help="folder with the files methods-PAIR.csv")
    args = parser.parse_args(arguments)
    try:
        print(table(args.columns, args.ways, args.out), end="")
    except InputError as error:
        parser.exit(2, f"{error}\n")


def table(columns: Sequence[str], ways: Sequence[str], out: Path) -> str:
    """Return a line per way.

    Raises:
        InputError: a column is unknown or has no rows, or a way is in none of them.
    """
    read = [column(text) for text in columns]
    by_column = [next(iter(found({name: pair}, out, ways).columns.values())) for _, name, pair in read]
    missing = [name for name in ways if not any(name in of for of in by_column)]
    if missing:
        raise InputError(f"{out} has no row of {', '.join(missing)} in these columns; name ways as its CSV does")
    rows = [(f"`{name}`", *(spread(of.get(name)) for of in by_column)) for name in ways]
    return tables.markdown(("way", *(title for title, _, _ in read)), rows)


def column(text: str) -> tuple[str, str, Pair]:
    """Return title, name and pair of PAIR[@SPARSITY][*BUDGET].

    Raises:
        InputError: it is not of that form.
    """
    read = re.fullmatch(r"(\w+)(?:@(0\.\d+))?(?:\*(\d+))?", text)
    if not read or read[1] not in PAIRS:
        raise InputError(f"column {text!r} is not PAIR[@SPARSITY][*BUDGET], PAIR one of {', '.join(PAIRS)}")
    name, sparsity, budget = read.groups()
    pair = PAIRS[name]
    title = name + (f" at {100 * float(sparsity):g} %" if sparsity else "") + (f" ×{budget}" if budget else "")
    train = dataclasses.replace(pair.train, epochs=pair.train.epochs * int(budget or 1))
    levels = (float(sparsity),) if sparsity else pair.sparsities
    return title, name, dataclasses.replace(pair, train=train, sparsities=levels)


if __name__ == "__main__":
    main()
