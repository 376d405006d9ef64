"""Times and outputs of a model's forms, side by side."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from transfer.export.difference import CLOSE, gap
from transfer.export.variants import Variant

SECONDS, FEWEST, MOST = 6.0, 5, 50
"""About how long the forms are measured together, and between how many turns."""


@dataclass(frozen=True)
class Measured:
    """One form on one batch of images.

    Attributes:
        form: its name.
        ms: median milliseconds of a batch; None if there is no such form.
        speed_up: how many times as fast as the dense form.
        difference: largest difference of the outputs from the masked model's, over the largest output; None for the
            dense form, which has other weights.
        note: why there is no such form, or what is wrong with it.
    """

    form: str
    ms: float | None = None
    speed_up: float | None = None
    difference: float | None = None
    note: str = ""


def measured(forms: Iterable[tuple[str, Variant]], images: Tensor) -> list[Measured]:
    """Return one row per form; the models, ``dense`` and ``masked`` among them, take turns on the images."""
    known = dict(forms)
    models = {name: form for name, form in known.items() if isinstance(form, nn.Module)}
    ms, differences = milliseconds(models, images), _differences(models, images)
    missing = {name: Measured(name, note=form) for name, form in known.items() if isinstance(form, str)}
    there = {
        name: Measured(name, ms[name], ms["dense"] / ms[name], differences[name], _note(differences[name], images))
        for name in models
    }
    return [{**there, **missing}[name] for name in known]


@torch.inference_mode()
def milliseconds(models: Mapping[str, nn.Module], images: Tensor) -> dict[str, float]:
    """Return each model's median milliseconds for the images; the models take turns, after one that does not count."""
    taken: dict[str, list[float]] = {name: [] for name in models}
    _turn(models, images, taken)
    turns = round(SECONDS / sum(sum(each) for each in taken.values()))
    for _ in range(min(max(turns, FEWEST), MOST)):
        _turn(models, images, taken)
    return {name: 1e3 * statistics.median(each[1:]) for name, each in taken.items()}


def _turn(models: Mapping[str, nn.Module], images: Tensor, taken: dict[str, list[float]]) -> None:
    for name, model in models.items():
        begin = time.perf_counter()
        model(images)
        if images.device.type == "cuda":
            torch.cuda.synchronize()
        taken[name].append(time.perf_counter() - begin)


@torch.inference_mode()
def _differences(models: Mapping[str, nn.Module], images: Tensor) -> dict[str, float | None]:
    wanted = models["masked"](images)
    return {name: None if name == "dense" else gap(wanted, model(images)) for name, model in models.items()}


def _note(difference: float | None, images: Tensor) -> str:
    wrong = difference is not None and not difference <= (CLOSE if images.device.type == "cpu" else 100 * CLOSE)
    return "the outputs differ from the masked model's" if wrong else ""
