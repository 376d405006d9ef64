"""Milliseconds of a pruned network on this machine: dense, masked, compact, sparse, and sparse on the compact one.

    python scripts/bench_inference.py                                     # ResNet-50, 224 px: most of an hour
    python scripts/bench_inference.py --sparsities 0.956 0.982 --batches 1
    python scripts/bench_inference.py --arch resnet20 --size 32
    python scripts/bench_inference.py --arch deeplab --size 256           # DeepLabV3+ on a ResNet-50, 21 classes

Masks come from one round of:

random     all weights alike, so that each layer has the same density
magnitude  one threshold over the network; random initial weights are small where a layer has many outputs or a large
           window, so that early 1×1 layers stay half full while late ones are emptied; the first layer is not pruned,
           since the threshold would empty it and no image would reach the outputs
erk        magnitude, with the layers' densities of Erdős-Rényi kernels

The last layer is never pruned. Weights are random; BatchNorm has the statistics of noise through the masked network, so
that the image reaches the outputs. Sparsity 0 shows what is gained without any zero, by taking BatchNorm into the
convolutions. Forms take turns; times are medians. ``difference`` is the largest of the outputs from the masked
network's, over its largest output. ``varies`` is the largest standard deviation of an output over images, over the
largest output; a mask through which no image passes is an error. ``layers`` counts those that run sparse.

Prints JSON lines; ``--table FILE`` prints the table that docs/inference.md shows of such a file instead.
"""

import argparse
import json
import os
import platform
import warnings
from importlib.metadata import version
from pathlib import Path
from typing import Any

import _bench
import torch
from torch import Tensor, nn

import checkpoints
from transfer.export.measure import measured
from transfer.export.sparse.layer import Sparse
from transfer.export.variants import variants
from transfer.models import segmenter
from transfer.pruning import CollapseWarning, prune
from transfer.pruning.prunable import prunable
from transfer.report import tables

GRID = (0.0, 0.36, 0.5904, 0.738, 0.8322, 0.893, 0.9312, 0.956, 0.9717, 0.982)
WAYS: dict[str, dict[str, Any]] = {
    "random": {"method": "random"},
    "magnitude": {"method": "magnitude"},
    "erk": {"method": "magnitude", "allocation": "erk"},
}
NAMES = {"resnet50": "ResNet-50", "resnet20": "ResNet-20", "deeplab": "DeepLabV3+"}
KINDS = ("masked", "compact", "sparse", "compact, sparse")


def main() -> None:
    """Measure each way, sparsity and batch size."""
    parser = _bench.options(__doc__)
    parser.add_argument("--arch", default="resnet50", help="deeplab or a timm model name (default resnet50)")
    parser.add_argument("--size", type=int, default=224, help="image side in pixels (default 224)")
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    parser.add_argument("--sparsities", nargs="+", type=float, default=list(GRID))
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 8])
    parser.add_argument("--threads", type=int, default=1)
    options = _bench.parsed(parser, table)
    if options is None:
        return
    torch.set_num_threads(options.threads)
    for way in options.ways:
        for sparsity in options.sparsities:
            model = masked(options, way, sparsity)
            settings = {"way": way, "sparsity": sparsity, "varies": varies(model, options.size)}
            for batch in options.batches:
                bench(model, torch.randn(batch, 3, options.size, options.size), options, **settings)


def masked(options: argparse.Namespace, way: str, sparsity: float) -> nn.Module:
    """Return a pruned network in eval mode whose activations have the scale that BatchNorm gives them."""
    torch.manual_seed(0)
    deeplab = options.arch == "deeplab"
    model = segmenter(checkpoints.load("random:resnet50"), 21) if deeplab else _bench.model(options.arch)
    if sparsity:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", CollapseWarning)
            batches = [(torch.zeros(2, 3, 64, 64), torch.zeros(2, dtype=torch.int64))]
            prune(model, batches, sparsity=sparsity, rounds=1, exclude=unpruned(model, way), **WAYS[way]).apply_(model)
    return settled(model, torch.randn(4, 3, options.size, options.size))


def unpruned(model: nn.Module, way: str) -> list[str]:
    """Return the layers that stay dense, lest no image reaches the outputs."""
    first, *_, last = (name.removesuffix(".weight") for name in prunable(model))
    return [first, last] if way == "magnitude" else [last]


@torch.no_grad()
def settled(model: nn.Module, images: Tensor) -> nn.Module:
    """Give every BatchNorm the statistics of the images."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0
    model.train()(images)
    return model.eval()


@torch.inference_mode()
def varies(model: nn.Module, size: int) -> float:
    """Return how much the outputs depend on the image."""
    found = model(torch.randn(3, 3, size, size))
    spread = float(found.std(0).max() / found.abs().max())
    if not spread > 1e-3:
        raise SystemExit(f"the outputs hardly depend on the image (they vary by {spread:.0e}): the masks empty a layer")
    return spread


def bench(model: nn.Module, images: Tensor, options: argparse.Namespace, **settings: Any) -> None:
    """Print one line per form."""
    known = dict(variants(model, images))
    for row in measured(known.items(), images):
        form = known[row.form]
        layers = sum(isinstance(each, Sparse) for each in form.modules()) if isinstance(form, nn.Module) else 0
        _bench.show(
            ".4g", arch=options.arch, size=options.size, batch=len(images), **settings, kind=row.form, ms=row.ms,
            speed_up=row.speed_up, difference=row.difference, layers=layers, note=row.note, machine=platform.machine(),
            cores=os.cpu_count(), threads=torch.get_num_threads(), load=_bench.load(), numba=version("numba"),
            **_bench.versions(),
        )  # fmt: skip


def table(path: Path) -> str:
    """Return a Markdown table of how many times as fast as dense each form of a network is."""
    cases: dict[tuple[Any, ...], dict[str, dict[str, Any]]] = {}
    for line in map(json.loads, path.read_text().splitlines()):
        key = (f"{NAMES[line['arch']]}, {line['size']}", line["way"], line["sparsity"], line["threads"], line["batch"])
        cases.setdefault(key, {})[line["kind"]] = line
    columns = ("network, px", "masks", "sparsity", "threads", "batch", "dense ms", *KINDS)
    return tables.markdown(columns, [_row(key, kinds) for key, kinds in cases.items()])


def _row(key: tuple[Any, ...], kinds: dict[str, dict[str, Any]]) -> tuple[str, ...]:
    network, way, sparsity, threads, batch = key
    times = [_cell(kinds[kind]) for kind in KINDS]
    named = (network, way if sparsity else "none", f"{sparsity:.2%}", str(threads), str(batch))
    return (*named, f"{kinds['dense']['ms']:.1f}", *times)


def _cell(line: dict[str, Any]) -> str:
    """Return how many times as fast as dense a form is and, but for the masked one, the difference of its outputs."""
    if line["speed_up"] is None:
        return "-"
    return f"{line['speed_up']:.2f}" + (f" ({line['difference']:.0e})" if line["kind"] != "masked" else "")


if __name__ == "__main__":
    main()
