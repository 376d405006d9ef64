"""What pruning buys: file, parameters, multiply-adds and milliseconds of a network dense, masked, compact and sparse.

    python scripts/bench_payoff.py                            # the embedded ResNet-20 on digits: some minutes
    python scripts/bench_payoff.py --network resnet50         # ResNet-50 at 224 px, random weights: half an hour
    python scripts/bench_payoff.py --table FILE               # the tables that docs/payoff.md shows of such a file

``embedded`` is pruned by each of ``--methods`` on images of digits, in the rounds that are usual for the method; it is
not fine-tuned, which moves no zero. ``resnet50`` has random weights with BatchNorm statistics of noise and is pruned by
magnitude with the layer densities of Erdős-Rényi kernels (``erk``), without the first layer and the classifier.
``--patterns`` adds one row per method and pattern at its lowest sparsity, without the first layer, which it does not
fit.

One JSON line per case. bytes: the .safetensors file of all weights, the sparse file, and the sparse file of the compact
network. parameters: all, those that are not pruned, those of the compact network. multiply_adds of one image: the same
three. ms: medians of forms that take turns on a batch of ``--batch`` images with ``--threads`` threads; null where a
form cannot be made. difference: the largest of any form's outputs from the masked network's, over its largest output.
"""

import argparse
import json
import os
import platform
import tempfile
import warnings
from importlib.metadata import version
from pathlib import Path
from typing import Any

import _bench
import bench_inference
import torch
from torch import Tensor, nn

import checkpoints
import transfer
from checkpoints.weights_file import serialized
from transfer import data as datasets
from transfer.analysis.flops import multiply_adds
from transfer.data.pruning_set import pruning_set
from transfer.export.measure import measured
from transfer.export.variants import variants
from transfer.models import classifier
from transfer.pruning import CollapseWarning, prune
from transfer.pruning.prunable import prunable
from transfer.report import tables

SPARSITIES = (0.5904, 0.8322, 0.893, 0.956, 0.982)
METHODS = ("ntk-trace", "px", "magnitude", "random")
FORMS = ("dense", "masked", "compact", "sparse", "compact, sparse")
NAMES = {"embedded": "ResNet-20, 32 px", "resnet50": "ResNet-50, 224 px"}
FRACTION = {"none": None, "2:4": 0.5}


def main() -> None:
    """Measure each method at each sparsity, or print the table."""
    parser = _bench.options(__doc__)
    parser.add_argument("--network", choices=NAMES, default="embedded")
    parser.add_argument("--methods", nargs="+", default=METHODS, help="for embedded")
    parser.add_argument("--sparsities", nargs="*", type=float, default=list(SPARSITIES))
    parser.add_argument("--patterns", nargs="*", choices=["2:4"], default=["2:4"])
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    options = _bench.parsed(parser, table)
    if options is None:
        return
    torch.set_num_threads(options.threads)
    made = embedded if options.network == "embedded" else resnet50
    for method in options.methods if options.network == "embedded" else ["erk"]:
        cases = [("none", sparsity) for sparsity in options.sparsities] + [(p, FRACTION[p]) for p in options.patterns]
        for pattern, sparsity in cases:
            model, image = made(method, sparsity, pattern)
            settings = {"network": options.network, "method": method, "pattern": pattern, "sparsity": sparsity}
            report(settings, payoff(model, image.repeat(options.batch, 1, 1, 1)), options)


def embedded(method: str, sparsity: float, pattern: str) -> tuple[nn.Module, Tensor]:
    """Return the embedded backbone with a head, pruned on digits, and an image."""
    backbone, digits = checkpoints.load("embedded"), datasets.load("digits")
    model = classifier(backbone, len(digits.classes)).eval()
    images = pruning_set(
        digits.train, digits.classes, per_class=10, size=32, mean=backbone.mean, std=backbone.std, device="cpu"
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CollapseWarning)
        unfit = ("conv1",) if pattern != "none" else ()  # three input channels are no groups of four
        prune(model, images, method=method, sparsity=sparsity, pattern=pattern, exclude=unfit)
    return model, next(iter(images))[0][:1]


def resnet50(method: str, sparsity: float, pattern: str) -> tuple[nn.Module, Tensor]:
    """Return a ResNet-50 of random weights, pruned by magnitude with the densities of ``erk``, and an image."""
    torch.manual_seed(0)
    model = _bench.model("resnet50")
    options: dict[str, Any] = {"method": "magnitude", "allocation": method, "exclude": ("fc", "conv1")}
    prune(model, [], sparsity=sparsity, pattern=pattern, rounds=1, **options)
    return bench_inference.settled(model, torch.randn(4, 3, 224, 224)), torch.randn(1, 3, 224, 224)


def payoff(model: nn.Module, images: Tensor) -> dict[str, Any]:
    """Return all figures of one pruned network."""
    known = dict(variants(model, images))
    small = known["compact"]
    rows = {row.form: row for row in measured(known.items(), images)}
    size = (images.shape[1], images.shape[2], images.shape[3])
    masks = {name: weight != 0 for name, weight in prunable(model).items()}
    work = multiply_adds(model, size, masks)
    less = isinstance(small, nn.Module)
    pruned = sum(int((~mask).sum()) for mask in masks.values())
    every = sum(p.numel() for p in model.parameters())
    return {
        "bytes": {"dense": len(serialized(model.state_dict(), {})), "sparse": sparse_bytes(model),
                  "compact": sparse_bytes(small) if less else None},
        "parameters": {"dense": every, "kept": every - pruned,
                       "compact": sum(p.numel() for p in small.parameters()) if less else None},
        "multiply_adds": {"dense": work.dense, "kept": work.kept,
                          "compact": multiply_adds(small, size).dense if less else None},
        "ms": {form: rows[form].ms if form in rows else None for form in FORMS},
        "difference": max(row.difference or 0.0 for row in rows.values()),
        "notes": [row.note for row in rows.values() if row.note],
    }  # fmt: skip


def sparse_bytes(model: nn.Module) -> int:
    """Return the size of a model's sparse file."""
    with tempfile.TemporaryDirectory() as folder:
        return transfer.save_sparse(model.state_dict(), Path(folder) / "model.safetensors").stat().st_size


def report(settings: dict[str, Any], figures: dict[str, Any], options: argparse.Namespace) -> None:
    """Print one line."""
    figures["ms"] = {form: None if ms is None else round(ms, 3) for form, ms in figures["ms"].items()}
    machine = {"machine": platform.machine(), "cores": os.cpu_count(), "threads": options.threads}
    packages = {"numba": version("numba"), **_bench.versions()}
    _bench.show(".4g", **settings, batch=options.batch, **figures, **machine, load=_bench.load(), **packages)


def table(path: Path) -> str:
    """Return the lines of a file as one Markdown table per network."""
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    shown = []
    for network in dict.fromkeys(line["network"] for line in lines):
        own = [line for line in lines if line["network"] == network]
        columns = (
            "method", "sparsity", "file", "sparse file", "compact, sparse file", "parameters kept", "in compact",
            "multiply-adds kept", "in compact", "dense ms", "masked", "compact", "sparse", "both",
        )  # fmt: skip
        head = f"**{NAMES[network]}**, batch {own[0]['batch']}, {own[0]['threads']} thread"
        shown.append(f"{head}\n\n{tables.markdown(columns, [row(line) for line in own])}")
    return "\n".join(shown)


def row(line: dict[str, Any]) -> tuple[str, ...]:
    """Return the cells of one line: sizes in kB, shares of the dense network, and times as fast as dense."""
    sizes, ms = line["bytes"], line["ms"]
    named = f"{line['sparsity']:.2%}" + ("" if line["pattern"] == "none" else f", {line['pattern']}")
    files = [_or_dash(sizes[key], lambda size: f"{size / 1000:,.0f} kB") for key in ("dense", "sparse", "compact")]
    shares = [
        _or_dash(counts[key], lambda count, counts=counts: f"{count / counts['dense']:.1%}")
        for counts in (line["parameters"], line["multiply_adds"])
        for key in ("kept", "compact")
    ]
    times = [_or_dash(ms[form], lambda each: f"{ms['dense'] / each:.2f}") for form in FORMS[1:]]
    return (line["method"], named, *files, *shares, f"{ms['dense']:.1f}", *times)


def _or_dash(value: float | None, text: Any) -> str:
    return "-" if value is None else str(text(value))


if __name__ == "__main__":
    main()
