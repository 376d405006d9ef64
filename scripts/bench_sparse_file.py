"""Size and speed of the sparse file: a ResNet-50 at each of the papers' sparsities.

    python scripts/bench_sparse_file.py               # two minutes on 2 cores
    python scripts/bench_sparse_file.py --dtype float16 --sparsities 0.982
    python scripts/bench_sparse_file.py --table FILE  # the table that docs/sparse_format.md shows of such a file

One line per mask (random, magnitude: one threshold for all layers) and sparsity:

bytes, dense_bytes    the sparse file and the .safetensors file of the same weights
bound, ratio          the entropy bound in bytes: for each tensor n · H(kept / n) bits for its mask, and its kept values
                      at their width; ``ratio`` is bytes / bound (goal: 1.15 at most)
save_s                seconds to write the sparse file, dense_save_s the dense one (both flushed to the disk)
load_s                medians of ``load_sparse`` and of safetensors' ``load_file`` with a clone of each tensor, in
                      turn, with the files in memory; ``load_ratio`` is the median of their ratios turn by turn
                      (goal: below 2)

Weights are random, with the statistics that a few images leave in BatchNorm, and scales and shifts that vary, so that
no file is small by luck.
"""

import argparse
import json
import math
import os
import statistics
import tempfile
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import _bench
import torch
from safetensors.torch import load_file
from torch import Tensor

import transfer
from checkpoints.weights_file import write
from transfer.report import tables

PAPERS = (0.36, 0.5904, 0.738, 0.8322, 0.893, 0.9312, 0.956, 0.9717, 0.982)
Weights = dict[str, Tensor]


def main() -> None:
    """Parse the options and measure each file."""
    parser = _bench.options(__doc__)
    parser.add_argument("--arch", default="resnet50", help="a timm model name (default resnet50)")
    parser.add_argument("--sparsities", type=float, nargs="+", default=PAPERS, help="fractions removed, in [0, 1)")
    parser.add_argument("--masks", nargs="+", choices=["random", "magnitude"], default=["random", "magnitude"])
    parser.add_argument("--dtype", choices=["float16", "bfloat16"], help="of the values (default: as they are)")
    parser.add_argument("--turns", type=int, default=15, help="turns of loading (default 15)")
    options = _bench.parsed(parser, table)
    if options is None:
        return
    if options.turns < 1 or not all(0 <= sparsity < 1 for sparsity in options.sparsities):
        parser.error("--turns is 1 or more, --sparsities are in [0, 1)")
    dense = weights(options.arch)
    with tempfile.TemporaryDirectory() as folder:
        for mask in options.masks:
            for sparsity in options.sparsities:
                report(options, mask, sparsity, measured(options, pruned(dense, mask, sparsity), Path(folder)))


def weights(arch: str) -> Weights:
    """Return a state dict whose BatchNorm is that of a network in use."""
    model = _bench.model(arch).train()
    with torch.no_grad():
        model(torch.randn(4, 3, 64, 64))
        for parameter in model.parameters():
            if parameter.dim() == 1:
                parameter.add_(0.1 * torch.randn_like(parameter))
    return dict(model.state_dict())


def pruned(dense: Weights, mask: str, sparsity: float) -> Weights:
    """Return the weights with the lowest random or absolute values, of all layers together, at 0."""
    source = torch.Generator().manual_seed(0)
    layers = {name: value for name, value in dense.items() if value.dim() > 1}
    random = mask == "random"
    scores = {name: torch.rand(v.shape, generator=source) if random else v.abs() for name, v in layers.items()}
    every = torch.cat([score.flatten() for score in scores.values()])
    removed = round(sparsity * every.numel())
    threshold = every.kthvalue(removed).values if removed else torch.tensor(-1.0)
    return dense | {name: value.masked_fill(scores[name] <= threshold, 0.0) for name, value in layers.items()}


def measured(options: argparse.Namespace, state_dict: Weights, folder: Path) -> dict[str, Any]:
    """Write both files, and load them in turn."""
    dtype = getattr(torch, options.dtype) if options.dtype else None
    small, dense = folder / "small.safetensors", folder / "dense.safetensors"
    save_s = _bench.seconds_of(partial(transfer.save_sparse, state_dict, small, dtype), "cpu")
    dense_save_s = _bench.seconds_of(partial(write, dense, state_dict, {}), "cpu")
    found = _bench.in_turns({"sparse": partial(seconds, small), "dense": partial(dense_seconds, dense)}, options.turns)
    size, least = small.stat().st_size, sum(bound(value, dtype) for value in state_dict.values())
    ratios = [sparse / whole for sparse, whole in zip(found["sparse"], found["dense"], strict=True)]
    return {
        "bytes": size, "dense_bytes": dense.stat().st_size, "bound": round(least), "ratio": size / least,
        "save_s": save_s, "dense_save_s": dense_save_s, "load_s": statistics.median(found["sparse"]),
        "dense_load_s": statistics.median(found["dense"]), "load_ratio": statistics.median(ratios),
    }  # fmt: skip


def seconds(path: Path) -> float:
    """Return the seconds of loading a sparse file."""
    return _bench.seconds_of(partial(transfer.load_sparse, path), "cpu")


def dense_seconds(path: Path) -> float:
    """Return the seconds of loading a dense file into memory of its own."""
    return _bench.seconds_of(lambda: {name: value.clone() for name, value in load_file(path).items()}, "cpu")


def bound(value: Tensor, dtype: torch.dtype | None) -> float:
    """Return the bytes of the entropy of a tensor's mask, as one of independent places, and of its kept values."""
    kept = int(value.count_nonzero())
    stored = dtype if dtype and value.dim() > 1 else value.dtype
    return value.numel() * entropy(kept / value.numel()) / 8 + kept * stored.itemsize


def entropy(share: float) -> float:
    """Return the bits per place of a mask in which ``share`` is kept."""
    return -sum(part * math.log2(part) for part in (share, 1 - share) if part)


def report(options: argparse.Namespace, mask: str, sparsity: float, found: dict[str, Any]) -> None:
    """Print one measurement."""
    settings = {"arch": options.arch, "dtype": options.dtype or "float32", "turns": options.turns}
    versions = _bench.versions() | {name: version(name) for name in ("safetensors", "zstandard", "numpy")}
    cpu = {"threads": torch.get_num_threads(), "cores": os.cpu_count(), "load": _bench.load()}
    named = {"name": "sparse-file", "mask": mask, "sparsity": sparsity}
    _bench.show(".4f", **named, **found, settings=settings, versions=versions, cpu=cpu)


def table(path: Path) -> str:
    """Return the float32 lines of a file as a Markdown table with one row per sparsity."""
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    found = {(x["sparsity"], x["mask"]): x for x in lines if x["settings"]["dtype"] == "float32"}
    kinds = ("random", "magnitude")
    columns = [title for kind in kinds for title in (f"{kind} masks", "× bound", "load × dense")]
    rows = [
        (f"{sparsity:.2%}", *(text for kind in kinds for text in _cells(found.get((sparsity, kind)))))
        for sparsity in dict.fromkeys(sparsity for sparsity, _ in found)
    ]
    return tables.markdown(("sparsity", *columns), rows)


def _cells(line: dict[str, Any] | None) -> tuple[str, str, str]:
    if line is None:
        return "", "", ""
    return f"{line['bytes'] / 1e6:.2f} MB", f"{line['ratio']:.3f}", f"{line['load_ratio']:.1f}"


if __name__ == "__main__":
    main()
