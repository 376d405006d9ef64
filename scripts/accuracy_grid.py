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
import dataclasses
import runpy
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from grid_cells import EXTRA, PAIRS, Cell, Pair, Way, cells, measure, way
from grid_csv import Table, csv_of
from grid_found import Found, found

from checkpoints.errors import InputError
from transfer.environment import versions
from transfer.errors import RunError
from transfer.pruning import methods
from transfer.report import plots


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


def titled(pairs: Mapping[str, Pair], rows: Found) -> dict[str, dict[str, list[float]]]:
    """Return the accuracies by way of each column under the title of its panel."""
    titles = {
        f"{name}@{sparsity:g}": f"{pair.backbone} to {pair.data},\n{100 * sparsity:g} % removed"
        for name, pair in pairs.items()
        for sparsity in pair.sparsities
    }
    return {titles[key]: by_way for key, by_way in rows.columns.items()}


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
            if rows.other:
                print(f"{rows.other} rows of other sizes are left out", file=sys.stderr)
            rows = rows.complete() if args.complete else rows
        if args.table or args.candidates is not None:
            print(rows.markdown() if args.table else rows.candidates(args.candidates), end="")
            return
        if args.plot:
            plots.ways(titled(pairs, rows), rows.order(), args.plot)
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
