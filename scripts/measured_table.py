"""Markdown table of the speeds and sizes that README names, from the lines in benchmarks/; it takes no options."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from transfer.report import tables

HOME = Path(__file__).parents[1] / "benchmarks"
METHODS = ("synflow", "px-gated", "snip", "jacobian", "px-trace", "grasp", "ntk-sap")


def main() -> None:
    """Print the table."""
    print(tables.markdown(("what", "figure", "torch"), list(rows())), end="")


def rows() -> Iterator[tuple[str, str, str]]:
    """Yield what was measured, the figure, and the version of torch."""
    whole = line("scoring-round-cpu", measurement="px rounds", batch=20)
    yield (
        "a round of px with everything, ResNet-50, 224 px, 100 images in batches of 20, in forwards of these images",
        f"{whole['round_forwards']:.2f}; 100 rounds {whole['hundred_rounds']:.0f}",
        version(whole),
    )
    for arch, name in (("resnet20", "ResNet-20, 32 px, batch 128"), ("resnet50", "ResNet-50, 64 px, batch 32")):
        of = {m: line("scoring-batch-cpu", measurement=f"{m} round", arch=arch) for m in ("ntk-trace", "px", "snip")}
        figures = ", ".join(f"{method} {found['further_batch']:.2f}" for method, found in of.items())
        yield f"a further batch in a round, in plain forwards: {name}, one thread", figures, version(of["px"])
    others = {m: line("scoring-methods-cpu", measurement=f"{m} round", arch="resnet50") for m in METHODS[1:]}
    yield (
        "the same of other methods, ResNet-50, stored statistics; the synflow family has no further batch",
        ", ".join(f"{method} {found['further_batch']:.1f}" for method, found in others.items()),
        version(others["snip"]),
    )
    memory = {m: line("scoring-methods-cpu", measurement=f"{m} memory") for m in ("px", *METHODS)}
    yield (
        "peak extra memory of a round in times the weights, activations included, ResNet-50, 224 px, batch 16, stored "
        "statistics",
        ", ".join(f"{method} {found['times_weights']:.0f}" for method, found in memory.items()),
        version(memory["px"]),
    )
    found = line("scoring-cpu", measurement="threshold")
    yield (
        f"exact threshold over {found['scores'] / 1e6:.1f} M float64 scores",
        f"{found['threshold_s']:.3f} s, {found['ratio']:.1f} times as fast as `torch.kthvalue`",
        version(found),
    )
    one, four = (line("segmentation-cpu", name="metric", images=images) for images in (1, 4))
    yield (
        "mIoU of 512 px images, 21 classes, beside the forward of DeepLabV3+ ResNet-50",
        f"{one['share']:.1%} of both for one image, {four['share']:.1%} for four",
        version(one),
    )
    found = line("segmentation-cpu", name="memory")
    what = f"peak memory of a training step of that model, {found['settings']['size']} px, batch {found['batch']}"
    yield what, f"{found['peak_mb'] / 1000:.1f} GB", version(found)
    found = line("data-cpu", name="segmentation")
    what = "segmentation pipeline against torchvision's transforms, one process"
    yield what, f"{found['ratio']:.1f} times the images/s", version(found)
    ours, theirs = line("data-cpu", name="batches"), line("data-cpu", name="dataloader")
    yield (
        "augmented 32 px batches against a torchvision DataLoader, 2 workers",
        f"{ours['images_per_s']:,} against {theirs['images_per_s']:,} images/s: {ours['ratio']:.0f} times",
        version(ours),
    )
    found = line("training-cpu", name="epoch", loop="ours")
    yield (
        "an epoch of ResNet-20 on them against a plain loop on such a DataLoader, two threads",
        f"{found['ratio']:.2f} times the images/s: the network takes nearly all the time",
        version(found),
    )
    found = line("training-cpu", loop="masked")
    yield (
        f"holding the masks in a training step of ResNet-50, 224 px, batch {found['batch']}",
        f"{found['hold_ms']:.0f} ms, {found['hold_share']:.1%} of the step",
        version(found),
    )


def line(file: str, **wanted: Any) -> dict[str, Any]:
    """Return the one line of benchmarks/FILE.jsonl that has these values.

    Raises:
        ValueError: there is none, or more than one.
    """
    lines = [json.loads(text) for text in (HOME / f"{file}.jsonl").read_text().splitlines()]
    (found,) = (of for of in lines if wanted.items() <= of.items())
    return dict(found)


def version(found: dict[str, Any]) -> str:
    """Return the version of torch without its build."""
    return str(found.get("torch") or found["versions"]["torch"]).partition("+")[0]


if __name__ == "__main__":
    main()
