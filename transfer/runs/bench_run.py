"""How fast a finished run's model is in each of its forms, on this machine."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from checkpoints.errors import InputError
from transfer.export.measure import Measured, measured
from transfer.export.variants import variants
from transfer.runs import predictor

WORTH = 1.2
"""How many times as fast as the masked model a form must be to be worth the change; equal models differ by a tenth."""

SAME_WORK = ("dense", "masked")
"""Forms that multiply every weight; what their times differ by is noise."""
COLUMNS = ("form", "ms", "times as fast", "difference", "")


@dataclass(frozen=True)
class Bench:
    """The forms of one model on one batch of images.

    Attributes:
        device: "cpu" or "cuda".
        threads: of the processor.
        batch: images.
        size: their side in pixels.
        rows: one per form.
    """

    device: str
    threads: int
    batch: int
    size: int
    rows: list[Measured]

    def lines(self) -> Iterator[dict[str, Any]]:
        """Yield one dict per form, of JSON types: a difference that is not finite is None, and ``note`` says it."""
        settings = {"device": self.device, "threads": self.threads, "batch": self.batch, "size": self.size}
        for row in self.rows:
            finite = {key: None if _infinite(value) else value for key, value in asdict(row).items()}
            yield {**settings, **finite}

    @property
    def title(self) -> str:
        """What was measured."""
        return f"batch {self.batch}, {self.size} px, {self.device}, threads {self.threads}"

    def table(self) -> list[tuple[str, ...]]:
        """Return the rows as text under COLUMNS."""
        return [
            (row.form, _text(row.ms, ".2f"), _text(row.speed_up, ".2f"), _text(row.difference, ".0e"), row.note)
            for row in self.rows
        ]

    def advice(self) -> str:
        """Return which form to use."""
        as_it_is = [row.ms for row in self.rows if row.form in SAME_WORK and row.ms is not None]
        others = [(row.ms, row.form) for row in self.rows if row.form not in SAME_WORK and row.ms and not row.note]
        ms, form = min(others, default=(math.inf, ""))
        if min(as_it_is) < WORTH * ms:
            return f"{self.title}: use the masked model as it is; no form is {WORTH} times as fast"
        return f"{self.title}: use {form}, {min(as_it_is) / ms:.1f} times as fast as the masked model"


def bench_run(
    run: Path, *, batch_sizes: Sequence[int] = (1, 8), threads: int = 1, which: str = "last"
) -> Iterator[Bench]:
    """Yield, for each batch size, what each form of a run's model takes, on the CPU and on a GPU if there is one.

    Args:
        run: folder of a finished run; its data set is not needed. The images are noise of the run's size.
        batch_sizes: images in a batch.
        threads: of the processor.
        which: "last" or "best" weights.

    Raises:
        InputError: the run is not finished, or a number is not positive.
    """
    if min(*batch_sizes, threads, 1) < 1 or not batch_sizes:
        raise InputError(f"--batch-sizes {list(batch_sizes)} --threads {threads}: give numbers from 1")
    loaded = predictor.load(run, which=which)
    for device in ("cpu", "cuda") if torch.cuda.is_available() else ("cpu",):
        for batch in batch_sizes:
            with _threads(threads):
                found = _bench(loaded.model, device, batch, loaded.look.size)
            yield found


def _infinite(value: Any) -> bool:
    return isinstance(value, float) and not math.isfinite(value)


def _text(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)


def _bench(model: nn.Module, device: str, batch: int, size: int) -> Bench:
    images = torch.randn(batch, 3, size, size, generator=torch.Generator().manual_seed(0))
    images = images.to(device, torch.float16 if device == "cuda" else torch.float32)
    return Bench(device, torch.get_num_threads(), batch, size, measured(variants(model, images), images))


@contextmanager
def _threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
