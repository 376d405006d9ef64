"""Cost of scoring and selection, measured side by side in one run; prints one JSON object per line.

    python scripts/bench_scoring.py                      # half an hour on 2 idle cores
    python scripts/bench_scoring.py --only threshold
    python scripts/bench_scoring.py --only method --methods px snip

round      a px round against plain no-grad forwards of the same batches: ``further_batch`` is the cost of one more
           batch in forwards (goal: 2.2 at most), ``fixed_s`` the cost of a round apart from its batches,
           ``fixed_forwards`` in forwards (goal: 0.5 at 224 px), ``round_forwards`` that of one batch. Rounds of one
           and of three batches and the forwards take turns; medians.
rounds     rounds of prune, selection and masks included, on ResNet-50 at 224 px with 100 images in five batches and in
           two, against plain forwards of these batches: ``round_forwards`` is the cost of one more round in forwards,
           of which ``hundred_rounds`` take a hundred times as many (goal: 215 at most).
method     the same two figures for every method: ``goal`` is the most a further batch should cost, ``floor`` a low
           estimate of the cost of the method's passes. For a method that uses no image beyond the first, a further
           batch costs nothing but noise.
memory     peak resident memory of a round of every method on ResNet-20 and ResNet-50 above the memory before it,
           activations included, relative to the weights (goal of px on ResNet-50: 7 times at most); each in its own
           process.
layout     a forward with images in channels_last against the default layout, and a round of px, which chooses its
           layout by itself, against one in that of the images. Ratios below 1: channels_last is faster.
bf16       px with the gates computed in bfloat16 against px, on the embedded ResNet-20 and digits: the overlap
           (Jaccard) of the masks after one round to 90 % and ten to 98 %, the largest relative change of a score after
           those ten, and the ratio of the times of a round.
threshold  the exact threshold over 23.5 million float64 scores against torch.kthvalue (goal: 3 times as fast), and the
           whole selection, masks included.
"""

import argparse
import copy
import gc
import platform
import resource
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path

import _bench
import timm
import torch
from _bench import take_turns
from torch import Tensor, nn

import checkpoints
from transfer import data as datasets
from transfer.analysis.overlap import overlap
from transfer.data.dataset import Dataset
from transfer.data.pruning_set import pruning_set
from transfer.models import classifier
from transfer.pruning import CollapseWarning, Masks, methods, prune, score
from transfer.pruning.paths import follow
from transfer.pruning.selection import ordered, select, threshold

CASES = {"resnet20": [(32, 128)], "resnet50": [(64, 32), (224, 16)]}
METHOD_CASES = (("resnet20", 32, 128), ("resnet50", 64, 32))
LAYOUT_CASES = (*METHOD_CASES, ("vgg16_bn", 32, 32), ("tf_efficientnet_lite0", 64, 32))
MEMORY_CASES = {"resnet20": (32, 128), "resnet50": (224, 16)}
GOALS = {"px": {"goal": 2.2}, "px-gated": {"goal": 5.0}, "snip": {"goal": 3.5}, "ntk-trace": {"goal": 3.8}}
FLOORS = {"grasp": {"floor": 9.0}, "ntk-sap": {"floor": 5.0}}


def main() -> None:
    """Run the selected benchmarks."""
    parser = _bench.options(__doc__)
    parser.add_argument("--only", choices=["round", "rounds", "method", "memory", "layout", "bf16", "threshold"])
    parser.add_argument("--methods", nargs="+", choices=methods(), default=methods(), help="for method and memory")
    parser.add_argument("--repeats", type=int, default=7, help="turns per measurement (default 7)")
    parser.add_argument("--device", default=_bench.DEVICE)
    parser.add_argument("--peak", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.peak:
        peak(*args.peak, args.device)
        return
    if args.only in (None, "round"):
        for arch, settings in CASES.items():
            for size, batch in settings:
                round_cost("px", arch, size, batch, args.repeats, args.device)
    if args.only in (None, "rounds"):
        for batch in (20, 50):
            rounds_cost("resnet50", 224, batch, args.repeats, args.device)
    if args.only in (None, "method"):
        for arch, size, batch in METHOD_CASES:
            for method in args.methods:
                round_cost(method, arch, size, batch, args.repeats, args.device)
    if args.only in (None, "memory"):
        for arch in MEMORY_CASES:
            for method in args.methods:
                subprocess.run([sys.executable, __file__, "--peak", method, arch, "--device", args.device], check=True)
    if args.only in (None, "layout"):
        for arch, size, batch in LAYOUT_CASES:
            layouts(arch, size, batch, args.repeats, args.device)
    if args.only in (None, "bf16"):
        bf16(args.repeats, args.device)
    if args.only in (None, "threshold"):
        selection(args.repeats, args.device)


def round_cost(method: str, arch: str, size: int, batch: int, repeats: int, device: str) -> None:
    """Compare rounds over one and three batches with forwards."""
    model, batches = build(arch, size, batch, device)

    def forward() -> None:
        with torch.no_grad():
            model(batches[0][0])

    found = take_turns(
        {
            "forward": forward,
            "one": lambda: score(method, model, batches[:1]),
            "three": lambda: score(method, model, batches),
        },
        repeats,
        device,
    )
    further = (found["three"] - found["one"]) / 2
    report(
        f"{method} round", arch=arch, size=size, batch=batch, forward_s=found["forward"], round_s=found["one"],
        round_forwards=round(found["one"] / found["forward"], 3),
        further_batch=round(further / found["forward"], 3), **GOALS.get(method, {}), **FLOORS.get(method, {}),
        fixed_s=found["one"] - further, fixed_forwards=round((found["one"] - further) / found["forward"], 3),
        device=device,
    )  # fmt: skip


def rounds_cost(arch: str, size: int, batch: int, repeats: int, device: str) -> None:
    """Compare further rounds of px over 100 images with forwards."""
    model, batches = build(arch, size, batch, device, 100 // batch)
    fresh = copy.deepcopy(model.state_dict())

    def forwards() -> None:
        with torch.no_grad():
            for images, _ in batches:
                model(images)

    def pruned(rounds: int) -> None:
        model.load_state_dict(fresh)
        prune(model, batches, method="px", sparsity=0.982, rounds=rounds)

    calls = {"forwards": forwards, "one": partial(pruned, 1), "two": partial(pruned, 2)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CollapseWarning)
        found = take_turns(calls, repeats, device)
    share = (found["two"] - found["one"]) / found["forwards"]
    report(
        "px rounds", arch=arch, size=size, batch=batch, images=100, forwards_s=found["forwards"],
        one_round_s=found["one"], two_rounds_s=found["two"], round_forwards=round(share, 3),
        hundred_rounds=round(100 * share, 1), goal=215, device=device,
    )  # fmt: skip


def peak(method: str, arch: str, device: str) -> None:
    """Measure the peak memory of one round over two batches."""
    size, batch = MEMORY_CASES[arch]
    model, batches = build(arch, size, batch, device)
    weights = sum(p.numel() * p.element_size() for p in model.parameters())
    extra = peak_of(lambda: score(method, model, batches[:2]), device)
    report(
        f"{method} memory", arch=arch, size=size, batch=batch, weights_mb=weights / 1e6, extra_mb=extra / 1e6,
        times_weights=round(extra / weights, 2), device=device,
    )  # fmt: skip


def layouts(arch: str, size: int, batch: int, repeats: int, device: str) -> None:
    """Compare rounds of px as they are with rounds in the layout of the images, and forwards in both layouts."""
    model, batches = build(arch, size, batch, device)
    images, chosen = batches[0][0], follow._layout
    turned = images.to(memory_format=torch.channels_last)

    def as_given() -> None:
        follow._layout = lambda _: torch.preserve_format
        try:
            score("px", model, batches[:1])
        finally:
            follow._layout = chosen

    with torch.no_grad():
        found = take_turns(
            {
                "forward": lambda: model(images),
                "forward_last": lambda: model(turned),
                "round": lambda: score("px", model, batches[:1]),
                "round_as_given": as_given,
            },
            repeats,
            device,
        )
    report(
        "px layout", arch=arch, size=size, batch=batch, forward_s=found["forward"], round_s=found["round"],
        channels_last_forward_s=found["forward_last"], as_given_round_s=found["round_as_given"],
        forward_ratio=round(found["forward_last"] / found["forward"], 3),
        round_ratio=round(found["round"] / found["round_as_given"], 3), device=device,
    )  # fmt: skip


def bf16(repeats: int, device: str) -> None:
    """Compare px with bfloat16 gates with px: time of a round, and masks."""
    backbone, digits = checkpoints.load("embedded"), datasets.load("digits")
    assert isinstance(digits, Dataset)
    model = classifier(backbone, len(digits.classes)).to(device).eval()
    images = pruning_set(
        digits.train, digits.classes, per_class=10, size=32, mean=backbone.mean, std=backbone.std, device=device
    )
    found = take_turns(
        {
            "float32": lambda: score("px", model, images),
            "bf16": lambda: score("px", model, images, bf16=True),
        },
        repeats,
        device,
    )

    def pruned(sparsity: float, rounds: int, choice: bool) -> tuple[nn.Module, Masks]:
        own = copy.deepcopy(model)
        return own, prune(own, images, method="px", sparsity=sparsity, rounds=rounds, bf16=choice)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CollapseWarning)
        once, (sparse, masks) = pruned(0.9, 1, False)[1], pruned(0.98, 10, False)
        once_overlap = overlap(once, pruned(0.9, 1, True)[1]).total
        ten_overlap = overlap(masks, pruned(0.98, 10, True)[1]).total
    exact, rough = (score("px", sparse, images, masks=masks, bf16=choice) for choice in (False, True))
    report(
        "px bf16", arch="resnet20", size=32, batch=images.samples, float32_s=found["float32"], bf16_s=found["bf16"],
        time_ratio=round(found["bf16"] / found["float32"], 3), overlap_90_one_round=once_overlap,
        overlap_98_ten_rounds=ten_overlap, largest_change=round(largest_change(exact, rough), 5), device=device,
    )  # fmt: skip


def largest_change(exact: dict[str, Tensor], rough: dict[str, Tensor]) -> float:
    """Return the largest relative change of a positive score, after scaling both sets to the same sum."""
    a, b = (torch.cat([s.flatten() for s in scores.values()]) for scores in (exact, rough))
    a, b = a / a.sum(), b / b.sum()
    return float(((b - a).abs() / a)[a > 0].max())


def selection(repeats: int, device: str) -> None:
    """Compare exact selection with torch.kthvalue, over as many scores as ResNet-50 has weights."""
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


def build(
    arch: str, size: int, batch: int, device: str, count: int = 3
) -> tuple[nn.Module, list[tuple[Tensor, Tensor]]]:
    """Return a model and batches of random images."""
    model = _bench.model(arch).eval().to(device)
    labels = torch.arange(batch, device=device) % 10
    return model, [(torch.randn(batch, 3, size, size, device=device), labels) for _ in range(count)]


def peak_of(call: Callable[[], object], device: str) -> int:
    """Return the peak memory of a call in bytes: the allocator's count on CUDA, resident pages elsewhere.

    Run each in its own process: memory that an earlier call left to the allocator is reused and not counted.
    """
    if device.startswith("cuda"):
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        call()
        return torch.cuda.max_memory_allocated() - before
    gc.collect()  # garbage freed during the call would hide its use
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
    """Return the process's own resident memory in bytes (Linux), without mapped files."""
    pages, shared = Path("/proc/self/statm").read_text().split()[1:3]
    return (int(pages) - int(shared)) * resource.getpagesize()


def report(name: str, **figures: object) -> None:
    """Print one measurement."""
    machine = {"torch": torch.__version__, "threads": torch.get_num_threads(), "machine": platform.machine()}
    _bench.show(".4f", measurement=name, **figures, **machine)


if __name__ == "__main__":
    main()
