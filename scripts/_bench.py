"""Shared by the bench_*.py scripts: options, interleaved timing, random models and images, JSON lines."""

import argparse
import json
import os
import platform
import resource
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import timm
import torch
from torch import nn

import checkpoints.architectures  # noqa: F401  (registers resnet20 with timm)
from transfer.data.dataset import Images

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
T = TypeVar("T")


def options(description: str | None) -> argparse.ArgumentParser:
    """Return a parser whose help shows the script's docstring."""
    return argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)


def parsed(parser: argparse.ArgumentParser, table: Callable[[Path], str]) -> argparse.Namespace | None:
    """Parse the options; with ``--table FILE``, which is added, print the table of a file and return None."""
    parser.add_argument("--table", type=Path, metavar="FILE")
    found = parser.parse_args()
    if found.table is None:
        return found
    print(table(found.table), end="")
    return None


def in_turns(calls: Mapping[str, Callable[[], T]], turns: int) -> dict[str, list[T]]:
    """Call all functions in turn; return the results of each per turn, after one uncounted warm-up turn."""
    found: dict[str, list[T]] = {name: [] for name in calls}
    for _ in range(turns + 1):
        for name, call in calls.items():
            found[name].append(call())
    return {name: values[1:] for name, values in found.items()}


def take_turns(calls: Mapping[str, Callable[[], object]], turns: int, device: str) -> dict[str, float]:
    """Return the median seconds of each call, interleaved as by :func:`in_turns`."""
    found = in_turns({name: partial(seconds_of, call, device) for name, call in calls.items()}, turns)
    return {name: statistics.median(seconds) for name, seconds in found.items()}


def seconds_of(call: Callable[[], object], device: str) -> float:
    """Return the seconds of one call, synchronised on a GPU."""
    start = time.perf_counter()
    call()
    if device.startswith("cuda"):
        torch.cuda.synchronize()
    return time.perf_counter() - start


def model(arch: str) -> nn.Module:
    """Return a network of 10 classes with random weights and residual branches that are not 0; seeds torch with 0."""
    torch.manual_seed(0)
    made: nn.Module = timm.create_model(arch, num_classes=10, **{"zero_init_last": False} if arch == "resnet50" else {})
    return made


def noise(count: int, side: int) -> Images:
    """Return images of random pixels in 10 classes."""
    source = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (count, 3, side, side), generator=source, dtype=torch.uint8)
    return Images(pixels, torch.arange(count) % 10)


def peak_mb(device: str) -> float:
    """Return the peak memory of this process in MB: allocated by torch on a GPU, else resident."""
    if device.startswith("cuda"):
        return torch.cuda.max_memory_allocated() / 1e6
    status = Path("/proc/self/status")
    if status.exists():
        return int(status.read_text().partition("VmHWM:")[2].split()[0]) * 1024 / 1e6
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


def load() -> float:
    """Return the load average of the last minute."""
    return round(os.getloadavg()[0], 2)


def versions() -> dict[str, str]:
    """Return the versions of Python and torch."""
    return {"python": platform.python_version(), "torch": torch.__version__}


def show(form: str, **line: Any) -> None:
    """Print one measurement as a line of JSON; ``form`` is the format of its floats, such as ".4f"."""
    rounded = {key: float(format(value, form)) if isinstance(value, float) else value for key, value in line.items()}
    print(json.dumps(rounded), flush=True)
