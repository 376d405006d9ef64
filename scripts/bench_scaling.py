"""Cost of saving, and speed-up by a second process; prints one JSON object per line.

    python scripts/bench_scaling.py                      # some minutes on 2 idle cores
    python scripts/bench_scaling.py --only save
    python scripts/bench_scaling.py --only score --repeats 1

save    seconds to save the training state (gathering, checking that all is finite, writing, fsync) after each of some
        steps of a fine-tuning with masks, its size, and its share of an epoch that ends with one save. The epoch is
        estimated: 100 times the median step, without data and test. The state is written below the current folder,
        whose disk is what is measured.
step    seconds per training step and the peak memory of each process, for one and for two processes that share the same
        global batch. Memory is the peak of the process, imports and data included (on a GPU: allocated by torch);
        ``imports_mb`` is the part before the model is built.
score   seconds of one round of px and snip over the same batches for one and for two processes, whether the scores are
        bit-identical, and the speed-up.

Each setting is a torchrun of its own; the settings take turns, and medians are reported. On CPU each process has half
of the cores, so the second process adds the other half; ``one_all_cores_s`` is one process with all of them. On GPUs
each process has one GPU, and there is a second process if there is a second GPU. Weights and images are random; no
cost depends on them.
"""

import argparse
import hashlib
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import _bench
import torch
from accelerate.utils import gather_object

from transfer.data.image_batches import Batches
from transfer.pruning import prune, score
from transfer.recipe import Train
from transfer.training import Loaders, accelerator_for, finetune
from transfer.training.checkpoint import State
from transfer.training.loop import _Training

CASES = {"resnet50": (64, 32), "resnet20": (32, 128)}  # image side in pixels, global batch
METHODS = ("px", "snip")
STEPS, WARM_UP = 10, 2  # timed steps, and those before them
EPOCH = 100  # steps
SCORED = 4  # batches per round
Figures = dict[str, Any]


def main() -> None:
    """Run the selected benchmarks."""
    parser = _bench.options(__doc__)
    parser.add_argument("--only", choices=["save", "step", "score"])
    parser.add_argument("--archs", nargs="+", choices=list(CASES), default=list(CASES))
    parser.add_argument("--repeats", type=int, default=3, help="measurements per setting (default 3)")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        work(args.worker, args.archs[0])
        return
    for arch in args.archs:
        for kind, tell in (("save", tell_save), ("step", tell_step), ("score", tell_score)):
            if args.only in (None, kind):
                tell(arch, take_turns(kind, arch, args.repeats))


def settings() -> dict[str, tuple[int, int]]:
    """Return the number of processes, and of threads per process, of each setting."""
    cores = len(os.sched_getaffinity(0))
    half = max(cores // 2, 1)
    if torch.cuda.is_available():
        return {"one": (1, half), **({"two": (2, half)} if torch.cuda.device_count() > 1 else {})}
    return {"one": (1, half), "one_all_cores": (1, cores), "two": (2, half)}


def take_turns(kind: str, arch: str, repeats: int) -> dict[str, list[Figures]]:
    """Return the figures of each setting per turn; saving needs one process only."""
    chosen = settings()
    if kind == "save":
        chosen = {"one": chosen.get("one_all_cores", chosen["one"])}
    found: dict[str, list[Figures]] = {name: [] for name in chosen}
    for _ in range(repeats):
        for name, (processes, threads) in chosen.items():
            found[name].append(launch(kind, arch, processes, threads))
    return found


def launch(kind: str, arch: str, processes: int, threads: int) -> Figures:
    """Start processes with torchrun; return the figures that the main process printed."""
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes),
         __file__, "--worker", kind, "--archs", arch],
        env={**os.environ, "OMP_NUM_THREADS": str(threads)}, stdout=subprocess.PIPE, text=True, check=True,
    )  # fmt: skip
    found: Figures = json.loads(done.stdout.splitlines()[-1])
    if found["processes"] != processes:
        raise SystemExit(f"asked for {processes} processes, got {found['processes']}")
    return found


def tell_save(arch: str, found: dict[str, list[Figures]]) -> None:
    """Print the cost of a save."""
    (turns,) = found.values()
    step_s, save_s = median(turns, "step_s"), median(turns, "save_s")
    epoch_s = EPOCH * step_s
    report(
        "save", arch, turns[0], state_mb=turns[0]["state_mb"], save_s=save_s, step_s=step_s, epoch_s=epoch_s,
        epoch=f"estimated: {EPOCH} × step_s", share_of_epoch=save_s / (epoch_s + save_s),
        share_every_10_minutes=save_s / (600 + save_s),
    )  # fmt: skip


def tell_step(arch: str, found: dict[str, list[Figures]]) -> None:
    """Print each setting's memory and time, then the speed-up."""
    for turns in found.values():
        peaks = [round(statistics.median(peaks), 1) for peaks in zip(*(turn["peak_mb"] for turn in turns), strict=True)]
        imports = {"imports_mb": median(turns, "imports_mb")} if turns[0]["device"] == "cpu" else {}
        report("step", arch, turns[0], step_s=median(turns, "step_s"), peak_mb=peaks, **imports)
    report("step speed-up", arch, last(found), **speed_up(found, "step_s"))


def tell_score(arch: str, found: dict[str, list[Figures]]) -> None:
    """Print the time of a round in each setting, side by side."""
    for method in METHODS:
        figures = speed_up(found, f"{method}_s")
        if "two" in found:  # only these two have equal threads per process
            figures["same_bits"] = len({turn[f"{method}_bits"] for name in ("one", "two") for turn in found[name]}) == 1
        report(f"{method} score", arch, last(found), batches=SCORED, **figures)


def speed_up(found: dict[str, list[Figures]], key: str) -> Figures:
    """Return the seconds of each setting and the speed-up of two processes."""
    seconds = {name: median(turns, key) for name, turns in found.items()}
    figures: Figures = {f"{name}_s": value for name, value in seconds.items()}
    if "two" in seconds:
        figures["speed_up"] = seconds["one"] / seconds["two"]
    if "one_all_cores" in seconds:
        figures["speed_up_over_all_cores"] = seconds["one_all_cores"] / seconds["two"]
    return figures


def last(found: dict[str, list[Figures]]) -> Figures:
    """Return one turn of the last setting, the one with the most processes."""
    return list(found.values())[-1][0]


def median(turns: list[Figures], key: str) -> float:
    """Return the median of one figure over the turns."""
    return statistics.median(turn[key] for turn in turns)


def work(kind: str, arch: str) -> None:
    """Measure in this process of a setting; the main process prints."""
    accelerator = accelerator_for(Train())
    device = accelerator.device.type
    imports = _bench.peak_mb(device)
    found = score_rounds(arch, accelerator) if kind == "score" else train(arch, accelerator, saving=kind == "save")
    every = gather_object([_bench.peak_mb(device)])
    if accelerator.is_main_process:
        about = {
            "processes": accelerator.num_processes, "threads": torch.get_num_threads(),
            "device": device, "precision": accelerator.mixed_precision,
        }  # fmt: skip
        print(json.dumps({**found, "peak_mb": every, "imports_mb": imports, **about}), flush=True)


def train(arch: str, accelerator: Any, *, saving: bool) -> Figures:
    """Fine-tune for some steps; return the median seconds of a step and of a save to the current disk."""
    size, batch = CASES[arch]
    model = _bench.model(arch)
    masks = prune(model, [], method="magnitude", sparsity=0.9, allocation="uniform")
    share = {"rank": accelerator.process_index, "world": accelerator.num_processes, "device": accelerator.device}
    look = {"size": size, "batch": batch, "mean": (0.5,) * 3, "std": (0.25,) * 3, **share}
    data = Loaders(*(Batches(_bench.noise(count * batch, size), **look) for count in (WARM_UP + STEPS, 1)))
    recipe = Train(epochs=1, batch=batch, lr=0.01, save_minutes=0.0 if saving else 1e6)
    sync = accelerator.device.type == "cuda"
    with (
        tempfile.TemporaryDirectory(dir=Path.cwd(), prefix=".bench-") as folder,
        timed(_Training, "train_on", sync) as steps, timed(_Training, "save", sync) as saves,
    ):  # fmt: skip
        finetune(model, masks, data, recipe, accelerator=accelerator, folder=Path(folder))
        accelerator.wait_for_everyone()
        state = State(Path(folder)).path
        size_mb = state.stat().st_size / 1e6 if state.exists() else 0.0  # exists on the main process only
    return {
        "step_s": statistics.median(steps[WARM_UP:]), "save_s": statistics.median(saves[WARM_UP:] or saves),
        "state_mb": size_mb,
    }  # fmt: skip


def score_rounds(arch: str, accelerator: Any) -> Figures:
    """Score the same batches with each method; return the median seconds of a round and a digest of the scores."""
    size, batch = CASES[arch]
    model = _bench.model(arch).eval().to(accelerator.device)
    source = torch.Generator().manual_seed(0)
    batches = [
        (torch.randn(batch, 3, size, size, generator=source).to(accelerator.device),
         (torch.arange(batch) % 10).to(accelerator.device))
        for _ in range(SCORED)
    ]  # fmt: skip
    found: Figures = {}
    for method in METHODS:
        seconds = []
        for _ in range(4):
            accelerator.wait_for_everyone()
            start = time.perf_counter()
            scores = score(method, model, batches, accelerator=accelerator)
            total = sum(float(values.sum()) for values in scores.values())  # synchronises a GPU
            seconds.append(time.perf_counter() - start)
        assert total > 0
        sha = hashlib.sha256()
        for values in scores.values():
            sha.update(values.cpu().numpy().tobytes())
        found |= {f"{method}_s": statistics.median(seconds[1:]), f"{method}_bits": sha.hexdigest()}
    return found


@contextmanager
def timed(owner: type, name: str, sync: bool) -> Iterator[list[float]]:
    """Record the seconds of each call of a method in the context; ``sync`` synchronises the GPU before and after."""
    method: Callable[..., Any] = getattr(owner, name)
    seconds: list[float] = []

    def noted(*args: Any, **options: Any) -> Any:
        if sync:
            torch.cuda.synchronize()
        start = time.perf_counter()
        result = method(*args, **options)
        if sync:
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - start)
        return result

    setattr(owner, name, noted)
    try:
        yield seconds
    finally:
        setattr(owner, name, method)


def report(name: str, arch: str, turn: Figures, **figures: Any) -> None:
    """Print one measurement."""
    size, batch = CASES[arch]
    about = {key: turn[key] for key in ("processes", "threads", "device", "precision")}
    machine = {"torch": torch.__version__, "machine": platform.machine()}
    _bench.show(".4g", measurement=name, arch=arch, size=size, batch=batch, **about, **figures, **machine)


if __name__ == "__main__":
    main()
