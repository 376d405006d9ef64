"""What scoring and selection cost, measured side by side in one run; prints one JSON object a line.

    python scripts/bench_scoring.py                      # a few minutes on 2 cores
    python scripts/bench_scoring.py --only threshold

round      a px round against plain no-grad forwards of the same batches: ``further_batch`` is what one more batch
           costs in forwards (goal: 2.3 at most), ``fixed_s`` what a round costs beside its batches. Rounds of one
           and of three batches and the forwards take turns; medians.
memory     peak of the resident memory during a px round on ResNet-50 above what was there before it, activations
           included, against the weights (goal: 7 times at most), in three processes of their own.
threshold  the exact threshold over 23.5 million float64 scores against torch.kthvalue (goal: 3 times as fast), and the
           whole selection, masks included.
"""

import argparse
import json
import platform
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import timm
import torch
from torch import Tensor, nn

import checkpoints.architectures  # noqa: F401
from transfer.pruning import score
from transfer.pruning.selection import ordered, select, threshold

CASES = {"resnet20": [(32, 128)], "resnet50": [(64, 32), (224, 16)]}


def main() -> None:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=["round", "memory", "threshold"])
    parser.add_argument("--repeats", type=int, default=7, help="how often each measurement takes its turn")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--peak", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.peak:
        peak(args.device)
        return
    if args.only in (None, "round"):
        for arch, settings in CASES.items():
            for size, batch in settings:
                px_round(arch, size, batch, args.repeats, args.device)
    if args.only in (None, "memory"):
        for _ in range(3):
            subprocess.run([sys.executable, __file__, "--peak", "--device", args.device], check=True)
    if args.only in (None, "threshold"):
        selection(args.repeats, args.device)


def px_round(arch: str, size: int, batch: int, repeats: int, device: str) -> None:
    """Compare rounds of one and three batches with forwards."""
    model, batches = build(arch, size, batch, device)

    def forward() -> None:
        with torch.no_grad():
            model(batches[0][0])

    found = take_turns(
        {
            "forward": forward,
            "one": lambda: score("px", model, batches[:1]),
            "three": lambda: score("px", model, batches),
        },
        repeats,
        device,
    )
    further = (found["three"] - found["one"]) / 2
    report(
        "px round", arch=arch, size=size, batch=batch, forward_s=found["forward"], round_s=found["one"],
        further_batch=round(further / found["forward"], 3), fixed_s=found["one"] - further, device=device,
    )  # fmt: skip


def peak(device: str) -> None:
    """Measure the peak memory of one px round on ResNet-50."""
    model, batches = build("resnet50", 224, 16, device)
    weights = sum(p.numel() * p.element_size() for p in model.parameters())
    extra = peak_of(lambda: score("px", model, batches[:2]), device)
    report(
        "px memory", arch="resnet50", size=224, batch=16, weights_mb=weights / 1e6, extra_mb=extra / 1e6,
        times_weights=round(extra / weights, 2), device=device,
    )  # fmt: skip


def selection(repeats: int, device: str) -> None:
    """Compare exact selection with torch.kthvalue over as many scores as ResNet-50 has weights."""
    generator = torch.Generator().manual_seed(0)
    model = timm.create_model("resnet50", num_classes=10)
    scores = {
        name: (torch.randn(p.shape, generator=generator, dtype=torch.float64).square() * 10.0 ** -(i % 9)).to(device)
        for i, (name, p) in enumerate(model.named_parameters())
        if p.dim() > 1
    }
    masks = {name: torch.ones_like(s, dtype=torch.bool) for name, s in scores.items()}
    flat = torch.cat([s.flatten() for s in scores.values()])
    keep = flat.numel() // 50
    found = take_turns(
        {
            "threshold": lambda: threshold([ordered(s, masks[name]) for name, s in scores.items()], keep),
            "select": lambda: select(scores, masks, keep),
            "kthvalue": lambda: flat.kthvalue(flat.numel() - keep + 1).values,
        },
        repeats,
        device,
    )
    cut = flat.kthvalue(flat.numel() - keep + 1).values
    chosen = torch.cat([mask.flatten() for mask in select(scores, masks, keep).values()])
    same = bool((chosen == (flat >= cut)).all())
    report(
        "threshold", scores=flat.numel(), kept=int(chosen.sum()), same_as_kthvalue=same,
        threshold_s=found["threshold"], select_s=found["select"], kthvalue_s=found["kthvalue"],
        ratio=round(found["kthvalue"] / found["threshold"], 2),
        device=device,
    )  # fmt: skip


def build(arch: str, size: int, batch: int, device: str) -> tuple[nn.Module, list[tuple[Tensor, Tensor]]]:
    """Return a model and three batches of random images."""
    torch.manual_seed(0)
    options = {"zero_init_last": False} if arch == "resnet50" else {}
    model = timm.create_model(arch, num_classes=10, **options).eval().to(device)
    return model, [(torch.randn(batch, 3, size, size, device=device), torch.zeros(batch).long()) for _ in range(3)]


def take_turns(calls: dict[str, Callable[[], object]], repeats: int, device: str) -> dict[str, float]:
    """Return the median seconds of each call, the calls taking turns; one round before that is not counted."""
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(repeats + 1):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            if device.startswith("cuda"):
                torch.cuda.synchronize()
            seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(times[1:]) for name, times in seconds.items()}


def peak_of(call: Callable[[], object], device: str) -> int:
    """Return how many bytes of memory a call takes at most: the allocator's count on CUDA, resident pages elsewhere."""
    if device.startswith("cuda"):
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        call()
        return torch.cuda.max_memory_allocated() - before
    seen, done = [resident()], threading.Event()

    def watch() -> None:
        while not done.wait(0.002):
            seen.append(resident())

    watcher = threading.Thread(target=watch)
    watcher.start()
    call()
    done.set()
    watcher.join()
    return max(seen) - seen[0]


def resident() -> int:
    """Return the process's resident memory in bytes (Linux)."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096


def report(name: str, **figures: object) -> None:
    """Print one measurement."""
    rounded = {key: round(value, 4) if isinstance(value, float) else value for key, value in figures.items()}
    machine = {"torch": torch.__version__, "threads": torch.get_num_threads(), "machine": platform.machine()}
    print(json.dumps({"measurement": name, **rounded, **machine}), flush=True)


if __name__ == "__main__":
    main()
