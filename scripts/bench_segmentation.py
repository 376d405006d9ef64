"""What segmentation costs with DeepLabV3+: the metric beside a forward, and the memory of a training step.

    python scripts/bench_segmentation.py                   # a minute or two on 2 cores, about 10 GB
    python scripts/bench_segmentation.py --only metric
    python scripts/bench_segmentation.py --arch resnet18 --size 256

metric     one confusion matrix of a batch against an evaluation forward of the same batch, in turn; medians.
           ``share`` is the metric's part of both together (goal: below 0.03).
memory     the peak resident memory of a process of its own that takes training steps (SGD with momentum, float32),
           imports included; on a GPU the peak that torch allocated.

Prints JSON lines. Weights and images are random; neither cost depends on them.
"""

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

import checkpoints
from transfer.data.dataset import IGNORE
from transfer.models import segmenter
from transfer.tasks.segmentation import Segmentation


def main() -> None:
    """Read the options and measure what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=["metric", "memory"])
    parser.add_argument("--arch", default="resnet50", help="a timm model name (default resnet50)")
    parser.add_argument("--size", type=int, default=512, help="side of the images (default 512)")
    parser.add_argument("--batch", type=int, default=4, help="images a training step (default 4)")
    parser.add_argument("--classes", type=int, default=21, help="classes (default 21)")
    parser.add_argument("--turns", type=int, default=7, help="turns of the metric and the forward (default 7)")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--steps", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if min(options.turns, options.classes) < 1 or options.batch < 2 or options.size % 16:
        parser.error("--turns and --classes are 1 or more, --batch 2 or more, --size a multiple of 16")
    if options.steps:
        memory(options)
        return
    if options.only != "metric":  # first: a process starts with the peak of the one that made it
        subprocess.run([sys.executable, __file__, *sys.argv[1:], "--steps"], check=True)
    if options.only != "memory":
        metric(options)


def metric(options: argparse.Namespace) -> None:
    """Time forwards of one image and of a batch, and the counts of their logits."""
    task, device = Segmentation(("class",) * options.classes), torch.device(options.device)
    model = build(options).eval()
    for count in (1, options.batch):
        images, labels = batch(options, count)
        with torch.inference_mode():
            outputs = model(images)
            found = take_turns(
                {"forward": lambda x=images: model(x), "metric": lambda x=outputs, y=labels: task.counts(x, y)},
                options.turns,
                device,
            )
        share = found["metric"] / (found["metric"] + found["forward"])
        report(
            "metric", options, images=count, forward_s=found["forward"], metric_s=found["metric"],
            share=round(share, 4),
        )  # fmt: skip


def memory(options: argparse.Namespace) -> None:
    """Take three training steps and report the peak."""
    task, cuda = Segmentation(("class",) * options.classes), options.device.startswith("cuda")
    model = build(options)
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
    report("memory", options, batch=options.batch, peak_mb=round(peak(cuda)), step_s=step_s)


def build(options: argparse.Namespace) -> torch.nn.Module:
    """Return the model, untrained, on the device."""
    return segmenter(checkpoints.load(f"random:{options.arch}"), options.classes).to(options.device)


def batch(options: argparse.Namespace, count: int) -> tuple[Tensor, Tensor]:
    """Return random images and, as uint8, labels with some that are ignored."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(count, 3, options.size, options.size, generator=generator)
    labels = torch.randint(0, options.classes + 1, images[:, 0].shape, generator=generator, dtype=torch.uint8)
    labels[labels == options.classes] = IGNORE
    return images.to(options.device), labels.to(options.device)


def take_turns(calls: dict[str, Callable[[], Any]], turns: int, device: torch.device) -> dict[str, float]:
    """Return the median seconds of each call; the first turn warms up."""
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(turns + 1):
        for name, call in calls.items():
            begin = time.perf_counter()
            call()
            if device.type == "cuda":
                torch.cuda.synchronize()
            if turn:
                seconds[name].append(time.perf_counter() - begin)
    return {name: statistics.median(values) for name, values in seconds.items()}


def peak(cuda: bool) -> float:
    """Return the most memory so far, in MB."""
    if cuda:
        return torch.cuda.max_memory_allocated() / 1e6
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


def report(name: str, options: argparse.Namespace, **found: Any) -> None:
    """Print one line."""
    rounded = {key: round(value, 5) if isinstance(value, float) else value for key, value in found.items()}
    settings = {"arch": options.arch, "size": options.size, "classes": options.classes, "device": options.device}
    versions = {"python": platform.python_version(), "torch": torch.__version__}
    cpu = {"threads": torch.get_num_threads(), "cores": os.cpu_count(), "load": round(os.getloadavg()[0], 2)}
    print(json.dumps({"name": name, **rounded, "settings": settings, "versions": versions, "cpu": cpu}), flush=True)


if __name__ == "__main__":
    main()
