"""What accuracy_grid.py has measured: accuracies by way and column, their ranks, and the ways near the best."""

import dataclasses
import re
import statistics
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from grid_cells import PAIRS, Pair, settings, way
from grid_csv import SETTINGS, Table, csv_of

from checkpoints.errors import InputError
from transfer.pruning import default_rounds, methods
from transfer.pruning.saliency import statistics as statistics_of
from transfer.report import tables


@dataclass(frozen=True)
class Found:
    """Accuracies of the finished cells by column, then by way: one per seed, none for a way that failed."""

    columns: dict[str, dict[str, list[float]]]
    other: int = 0
    """How many rows of other sizes were left out."""

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
    if not columns:
        left = f" ({other} rows of other sizes are left out)" if other else ""
        raise InputError(f"{out} holds no rows of {', '.join(pairs)} at these sizes{left}; run the grid first")
    return Found(columns, other)


def accuracies(folder: Path, sparsity: float) -> dict[str, list[float]]:
    """Return the accuracies of all seeds on digits at a sparsity by way of pruning.

    Raises:
        InputError: there are none.
    """
    pair = dataclasses.replace(PAIRS["digits"], sparsities=(sparsity,))
    (by_way,) = found({"digits": pair}, folder).columns.values()
    return by_way


def csv_name(method: str, seen: str | None, rounds: int) -> str:
    """Return the name that the CSV gives to a method with these statistics (None = its own), at most so many rounds."""
    usual = default_rounds(method)
    asked = None if usual in (1, rounds) else str(rounds)
    return str(way(":".join(filter(None, (method, seen or statistics_of(method), asked)))))
