"""Cost of segmentation with DeepLabV3+: the metric relative to a forward, and the memory of a training step.

    python scripts/bench_segmentation.py                   # a minute or two on 2 cores, about 10 GB
    python scripts/bench_segmentation.py --only metric
    python scripts/bench_segmentation.py --arch resnet18 --size 256

metric     the confusion matrix of a batch against an evaluation forward of the same batch, in turn; medians.
           ``share`` is the metric's part of the sum of both (goal: below 0.03).
memory     peak resident memory of a separate process that takes training steps (SGD with momentum, float32), imports
           included; on a GPU the peak allocated by torch.

Prints JSON lines. Weights and images are random; neither cost depends on them.
"""

import argparse
import os
import statistics
import subprocess
import sys
import time
from typing import Any

import _bench
import torch
from torch import Tensor

import checkpoints
from transfer.data.dataset import IGNORE
from transfer.models import segmenter
from transfer.tasks.segmentation import Segmentation


def main() -> None:
    """Parse the options and run the selected benchmarks."""
    parser = _bench.options(__doc__)
    parser.add_argument("--only", choices=["metric", "memory"])
    parser.add_argument("--arch", default="resnet50", help="a timm model name (default resnet50)")
    parser.add_argument("--size", type=int, default=512, help="image side in pixels (default 512)")
    parser.add_argument("--batch", type=int, default=4, help="images per training step (default 4)")
    parser.add_argument("--classes", type=int, default=21, help="number of classes (default 21)")
    parser.add_argument("--turns", type=int, default=7, help="turns of the metric and the forward (default 7)")
    parser.add_argument("--device", default=_bench.DEVICE)
    parser.add_argument("--steps", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if min(options.turns, options.classes) < 1 or options.batch < 2 or options.size % 16:
        parser.error("--turns and --classes are 1 or more, --batch 2 or more, --size a multiple of 16")
    if options.steps:
        memory(options)
        return
    if options.only != "metric":  # first: a process inherits the peak of its parent
        subprocess.run([sys.executable, __file__, *sys.argv[1:], "--steps"], check=True)
    if options.only != "memory":
        metric(options)


def metric(options: argparse.Namespace) -> None:
    """Time forwards of one image and of a batch, and the counts of their logits."""
    task = Segmentation(("class",) * options.classes)
    model = build(options).eval()
    for count in (1, options.batch):
        images, labels = batch(options, count)
        with torch.inference_mode():
            outputs = model(images)
            found = _bench.take_turns(
                {"forward": lambda x=images: model(x), "metric": lambda x=outputs, y=labels: task.counts(x, y)},
                options.turns,
                options.device,
            )
        share = found["metric"] / (found["metric"] + found["forward"])
        report(
            "metric", options, images=count, forward_s=found["forward"], metric_s=found["metric"],
            share=round(share, 4),
        )  # fmt: skip


def memory(options: argparse.Namespace) -> None:
    """Take three training steps and report the peak memory."""
    task, model = Segmentation(("class",) * options.classes), build(options)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, weight_decay=1e-4)
    images, labels = batch(options, options.batch)
    seconds = []
    for _ in range(3):
        begin = time.perf_counter()
        optimizer.zero_grad(set_to_none=True)
        task.loss(model(images), labels).backward()
        optimizer.step()
        seconds.append(time.perf_counter() - begin)
    step_s = statistics.median(seconds)
    report("memory", options, batch=options.batch, peak_mb=round(_bench.peak_mb(options.device)), step_s=step_s)


def build(options: argparse.Namespace) -> torch.nn.Module:
    """Return an untrained model on the device."""
    return segmenter(checkpoints.load(f"random:{options.arch}"), options.classes).to(options.device)


def batch(options: argparse.Namespace, count: int) -> tuple[Tensor, Tensor]:
    """Return random images and labels (uint8), some of them ignored."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(count, 3, options.size, options.size, generator=generator)
    labels = torch.randint(0, options.classes + 1, images[:, 0].shape, generator=generator, dtype=torch.uint8)
    labels[labels == options.classes] = IGNORE
    return images.to(options.device), labels.to(options.device)


def report(name: str, options: argparse.Namespace, **found: Any) -> None:
    """Print one measurement."""
    settings = {"arch": options.arch, "size": options.size, "classes": options.classes, "device": options.device}
    cpu = {"threads": torch.get_num_threads(), "cores": os.cpu_count(), "load": _bench.load()}
    _bench.show(".5f", name=name, **found, settings=settings, versions=_bench.versions(), cpu=cpu)


if __name__ == "__main__":
    main()
