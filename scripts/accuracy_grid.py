"""Accuracy after fine-tuning of every way to prune, on several pairs of a backbone and a task; one CSV per pair.

    python scripts/accuracy_grid.py                                      # all methods, all pairs, seed 0
    python scripts/accuracy_grid.py --pairs digits --ways dense snip snip:running px:20+erk --seeds 0 1 2
    python scripts/accuracy_grid.py --shard 1/2 & python scripts/accuracy_grid.py --shard 2/2
    python scripts/accuracy_grid.py --table --complete              # Markdown table of the CSVs
    python scripts/accuracy_grid.py --plot methods.png --ways dense snip px
    python scripts/accuracy_grid.py --candidates 3 > near.txt            # the ways within 3 points of the best
    python scripts/accuracy_grid.py --ways-file near.txt --seeds 1 2

A way is METHOD[:STATISTICS][:ROUNDS][+ALLOCATION][,NAME=VALUE]... or dense:

    snip                        a method of `transfer methods` with its defaults
    snip:running                with these BatchNorm statistics: batch, warmup or running
    snip:batch:20+px            in 20 rounds, with as many weights per layer as px keeps (or +erk, +uniform)
    jacobian,draws=4            with an option of the method, or schedule=linear
    px,per_class=5,batch=50     from 5 images per class (default 10), in batches of 50 (default 64)

Each way prunes the same model (one per seed) to the same sparsity; the model is fine-tuned with its masks held and
tested after the last epoch. A row is appended as soon as its cell is done, and cells with a row are skipped: restart
the script to resume. Several processes may share the CSVs. A way that fails gets a row with its error.
"""

import argparse
import csv
import dataclasses
import os
import re
import runpy
import statistics
import sys
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock
from grid_cells import EXTRA, IDENTITY, PAIRS, Cell, Pair, Row, Way, cells, measure, settings, way

from checkpoints.errors import InputError
from checkpoints.files import write_whole
from transfer.environment import versions
from transfer.errors import RunError
from transfer.pruning import methods
from transfer.report import plots, tables

SETTINGS = IDENTITY[:11]  # columns of the pair, the same for every way
COLUMNS = (
    *IDENTITY, "way", "kept", "accuracy", "test_loss", "prune_seconds", "train_seconds", "cpu_seconds",
    "empty_layers", "masks", "threads", "device", "torch", "version", "error",
)  # fmt: skip


@dataclass(frozen=True)
class Table:
    """The CSV of a pair, which several processes may append to; new rows keep the columns of the file."""

    path: Path

    def rows(self) -> list[Row]:
        """Return the complete rows.

        Raises:
            InputError: the file has other columns.
        """
        with self._lock():
            return self._read()[1] if self.path.exists() else []

    def append(self, row: Mapping[str, Any]) -> None:
        """Append a row to disk; drop an incomplete last line, left by a killed process.

        Raises:
            InputError: the file has other columns.
        """
        with self._lock():
            self._mend()
            columns, _ = self._read()
            with open(self.path, "ab") as file:
                file.write(_line(row.get(column, "") for column in columns).encode())
                file.flush()
                os.fsync(file.fileno())

    def drop_errors(self) -> None:
        """Remove the rows with an error, so that their cells are run again."""
        with self._lock():
            if self.path.exists():
                columns, rows = self._read()
                kept = [_line(row[column] for column in columns) for row in rows if not row["error"]]
                write_whole(self.path, _line(columns) + "".join(kept))

    def _lock(self) -> FileLock:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        return FileLock(self.path.with_name(f".{self.path.name}.lock"))

    def _mend(self) -> None:
        content = self.path.read_bytes() if self.path.exists() else b""
        whole = content[: content.rfind(b"\n") + 1]
        if not whole:
            self.path.write_text(_line(COLUMNS))
        elif whole != content:
            os.truncate(self.path, len(whole))

    def _read(self) -> tuple[list[str], list[Row]]:
        """Return columns and rows; a file of an earlier version may lack columns that do not identify cells."""
        content = self.path.read_text()
        header, *rows = list(csv.reader(StringIO(content[: content.rfind("\n") + 1]))) or [list(COLUMNS)]
        if not {*IDENTITY, "way", "accuracy", "error"} <= set(header) <= set(COLUMNS):
            raise InputError(f"{self.path} has other columns; move it away or give another --out")
        return header, [dict(zip(header, row, strict=True)) for row in rows]


def _line(values: Iterable[object]) -> str:
    text = StringIO()
    csv.writer(text, lineterminator="\n").writerow([" ".join(str(value).split()) for value in values])
    return text.getvalue()


def work(todo: Sequence[Cell], out: Path) -> None:
    """Run the cells that have no row yet."""
    for number, cell in enumerate(todo, start=1):
        table, identity = Table(csv_of(out, cell.name)), cell.identity()
        if any(all(row[key] == value for key, value in identity.items()) for row in table.rows()):
            continue
        facts: dict[str, Any]
        try:
            facts = measure(cell)
            said = f"{facts['accuracy']:.2%}"
        except (InputError, RunError) as error:
            facts = {"error": str(error)}
            said = f"error: {error}"
        shared = {
            "way": str(cell.way), "threads": torch.get_num_threads(), "torch": torch.__version__,
            "version": versions()["px-transfer"],
        }  # fmt: skip
        table.append({**identity, **shared, **{key: _text(value) for key, value in facts.items()}})
        where = f"{cell.name} {cell.way} at {cell.sparsity:.2%}, seed {cell.seed}"
        seconds = [f"{facts[f'{what}_seconds']:.1f}" for what in ("prune", "train", "cpu") if "accuracy" in facts]
        spent = f", {seconds[0]} + {seconds[1]} s, CPU {seconds[2]} s" if seconds else ""
        print(f"[{number}/{len(todo)}] {where}: {said}{spent}", file=sys.stderr, flush=True)


def _text(value: object) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


@dataclass(frozen=True)
class Found:
    """Accuracies of the finished cells by column, then by way: one per seed, none for a way that failed."""

    columns: dict[str, dict[str, list[float]]]

    def ranks(self) -> dict[str, dict[str, float]]:
        """Return the rank of each way except dense in each column: 1 is best, ties share a rank, failures come last."""
        found: dict[str, dict[str, float]] = {}
        for column, by_way in self.columns.items():
            means = {name: mean(values) for name, values in by_way.items() if name != "dense"}
            found[column] = {
                name: 1 + sum(other > mine for other in means.values())
                + (sum(other == mine for other in means.values()) - 1) / 2
                for name, mine in means.items()
            }  # fmt: skip
        return found

    def _ranks_of_ways(self) -> dict[str, list[float]]:
        """Return the ranks of each way in the columns that have it; none for dense."""
        names = dict.fromkeys(name for by_way in self.columns.values() for name in by_way)
        ranks = self.ranks().values()
        return {name: [of[name] for of in ranks if name in of] for name in names}

    def order(self) -> list[str]:
        """Return the ways: dense first, then by mean rank; those that lack columns last."""
        ranks = self._ranks_of_ways()
        return sorted(ranks, key=lambda name: (name != "dense", -len(ranks[name]), mean(ranks[name])))

    def markdown(self) -> str:
        """Return a table with one row per way, in the order of :meth:`order`."""
        ranks = self._ranks_of_ways()
        rows = [
            (
                name,
                *(spread(by_way.get(name)) for by_way in self.columns.values()),
                f"{mean(ranks[name]):.1f}" if ranks[name] else "",
                f"{100 * self._shortfall(name):.1f}" if ranks[name] else "",
            )
            for name in self.order()
        ]
        pairs = [column.partition("@")[0] for column in self.columns]
        titles = self.columns if len(set(pairs)) < len(pairs) else pairs
        return tables.markdown(("way", *titles, "mean rank", "worst shortfall"), rows)

    def _shortfall(self, name: str) -> float:
        """Return how far a way stays behind the best one, in the column where that is most; a failure counts as 0."""
        behind = []
        for by_way in self.columns.values():
            means = {way: max(mean(values), 0.0) for way, values in by_way.items() if way != "dense"}
            behind += [max(means.values()) - means[name]] if name in means else []
        return max(behind)

    def complete(self) -> "Found":
        """Return the ways that every column has, without those that need another script."""

        def shown(name: str) -> bool:
            ours = re.split(r"[:+,]", name)[0] in (*methods(), "dense") and "correct=1" not in name
            return ours and all(name in by_way for by_way in self.columns.values())

        kept = {
            column: {name: values for name, values in by_way.items() if shown(name)}
            for column, by_way in self.columns.items()
        }
        return Found(kept)

    def candidates(self, points: float) -> str:
        """Return the ways within ``points`` of the best of a column, one per line, followed by those columns."""
        near: dict[str, list[str]] = defaultdict(list)
        for column, by_way in self.columns.items():
            means = {name: mean(values) for name, values in by_way.items() if values and name != "dense"}
            for name, value in sorted(means.items(), key=lambda item: -item[1]):
                if value >= max(means.values()) - points / 100:
                    near[name].append(column)
        lines = sorted(near.items(), key=lambda item: -len(item[1]))
        return "".join(f"{name}  # {' '.join(columns)}\n" for name, columns in lines)


def mean(values: Sequence[float]) -> float:
    """Return the mean; -1, below every accuracy, of nothing."""
    return statistics.fmean(values) if values else -1.0


def spread(values: Sequence[float] | None) -> str:
    """Return mean and standard deviation in percent; nothing for no way, "error" for one without a value."""
    if not values:
        return "" if values is None else "error"
    spread = f" ± {100 * statistics.stdev(values):.2f}" if len(values) > 1 else ""
    return f"{100 * mean(values):.2f}{spread}"


def found(pairs: Mapping[str, Pair], out: Path, ways: Sequence[str] | None = None) -> Found:
    """Read the rows of the CSVs that match the current settings of the pairs, for all ways or those named.

    Raises:
        InputError: there are none.
    """
    columns: dict[str, dict[str, list[float]]] = {}
    other = 0
    for name, pair in pairs.items():
        now, titles = settings(name, pair), {f"{s:g}": f"{name}@{s:g}" for s in pair.sparsities}
        for row in Table(csv_of(out, name)).rows():
            if any(row[key] != now[key] for key in SETTINGS):
                other += 1
            elif ways is None or row["way"] in ways:
                shown = list(titles.values()) if row["way"] == "dense" else [titles.get(row["sparsity"], "")]
                for title in filter(None, shown):
                    values = columns.setdefault(title, {}).setdefault(row["way"], [])
                    values += [] if row["error"] else [float(row["accuracy"])]
    if other:
        print(f"{other} rows of other sizes are left out", file=sys.stderr)
    if not columns:
        raise InputError(f"{out} holds no rows of {', '.join(pairs)} at these sizes; run the grid first")
    return Found(columns)


def csv_of(out: Path, name: str) -> Path:
    """Return the path of the CSV of a pair."""
    return out / f"methods-{name}.csv"


def adjusted(args: argparse.Namespace) -> dict[str, Pair]:
    """Return the selected pairs, with the overrides from the options."""
    chosen = {}
    for name in args.pairs:
        pair = PAIRS[name]
        epochs = max(1, round((args.epochs or pair.train.epochs) * args.budget))
        chosen[name] = dataclasses.replace(
            pair,
            size=args.size or pair.size,
            images=args.images or pair.images,
            test_images=args.test_images or pair.test_images,
            train=dataclasses.replace(
                pair.train, epochs=epochs, lr=args.lr or pair.train.lr, batch=args.batch or pair.train.batch
            ),
            sparsities=tuple(args.sparsities or pair.sparsities),
        )
    return chosen


def shard(text: str) -> tuple[int, int]:
    """Parse i/n."""
    mine, _, count = text.partition("/")
    if not (mine.isdigit() and count.isdigit() and 1 <= int(mine) <= int(count)):
        raise argparse.ArgumentTypeError(f"{text!r} is not i/n with 1 <= i <= n")
    return int(mine), int(count)


def read_ways(args: argparse.Namespace) -> list[Way] | None:
    """Return the ways that are named, each once; None if there are none.

    Raises:
        InputError: the file cannot be read, or a way is invalid.
    """
    texts = list(args.ways or [])
    if args.ways_file:
        try:
            lines = args.ways_file.read_text().splitlines()
        except OSError as error:
            raise InputError(f"cannot read {args.ways_file} ({error.strerror})") from None
        texts += [line.partition("#")[0].strip() for line in lines]
    named = list(dict.fromkeys(way(text) for text in texts if text))
    return named or None


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse the options; run the grid or show its results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", nargs="+", choices=PAIRS, default=list(PAIRS))
    parser.add_argument("--ways", nargs="+", metavar="WAY", help="default: dense and every method")
    parser.add_argument("--ways-file", type=Path, metavar="FILE", help="more ways, one per line; # begins a comment")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--sparsities", nargs="+", type=float, help="overrides the pairs' sparsities")
    parser.add_argument("--images", type=int, help="training images")
    parser.add_argument("--test-images", type=int)
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--size", type=int, help="side of the images in pixels")
    parser.add_argument("--batch", type=int, help="training images per step")
    parser.add_argument("--lr", type=float)
    parser.add_argument("--budget", type=float, default=1.0, help="multiplies the epochs")
    parser.add_argument("--register", type=Path, metavar="FILE", help="script that registers its own methods")
    parser.add_argument("--shard", type=shard, default=(1, 1), metavar="i/n", help="run every n-th cell, from the i-th")
    parser.add_argument("--retry", action="store_true", help="run cells again that ended in an error")
    parser.add_argument("--out", type=Path, default=Path("benchmarks"), help="folder with the files methods-PAIR.csv")
    parser.add_argument("--table", action="store_true", help="print the results as a table and run nothing")
    parser.add_argument("--complete", action="store_true", help="show only ways without --register that all pairs have")
    parser.add_argument("--plot", type=Path, metavar="PNG", help="plot the results and run nothing")
    parser.add_argument("--candidates", type=float, metavar="POINTS", help="print the ways within POINTS of the best")
    args = parser.parse_args(arguments)
    try:
        if args.register:
            EXTRA.update(runpy.run_path(str(args.register)))
        pairs, ways = adjusted(args), read_ways(args)
        if args.table or args.plot or args.candidates is not None:
            rows = found(pairs, args.out, None if ways is None else [str(way) for way in ways])
            rows = rows.complete() if args.complete else rows
        if args.table or args.candidates is not None:
            print(rows.markdown() if args.table else rows.candidates(args.candidates), end="")
            return
        if args.plot:
            titles = {
                f"{name}@{sparsity:g}": f"{pair.backbone} to {pair.data},\n{100 * sparsity:g} % removed"
                for name, pair in pairs.items()
                for sparsity in pair.sparsities
            }
            plots.ways({titles[key]: by_way for key, by_way in rows.columns.items()}, rows.order(), args.plot)
            return
        if args.retry:
            for name in pairs:
                Table(csv_of(args.out, name)).drop_errors()
        mine, count = args.shard
        todo = cells(pairs, ways or [way(name) for name in ("dense", *methods())], args.seeds)
        work(todo[mine - 1 :: count], args.out)
    except InputError as error:
        parser.exit(2, f"{error}\n")


if __name__ == "__main__":
    main()
