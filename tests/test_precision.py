"""TF32 is off where float32 is promised, left alone elsewhere, and put back."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.training.small import Calls, Small, small_loaders
from transfer.precision import full_float32
from transfer.recipe import Train
from transfer.training import accelerator_for, finetune

BACKENDS: Any = torch.backends
NEWER = hasattr(BACKENDS.cudnn, "conv")


def switches() -> list[Any]:
    found = [BACKENDS.cudnn.allow_tf32, BACKENDS.cuda.matmul.allow_tf32, torch.get_float32_matmul_precision()]
    if NEWER:
        parts = (BACKENDS.cudnn.conv, BACKENDS.cudnn.rnn, BACKENDS.cuda.matmul)
        found += [part.fp32_precision for part in parts]
    return found


OFF = [False, False, "highest", *(["ieee"] * 3 if NEWER else [])]


@pytest.fixture(params=["default", "high", "off"])
def chosen(request: pytest.FixtureRequest) -> Iterator[str]:
    """What the user chose before."""
    precision, convolutions = torch.get_float32_matmul_precision(), BACKENDS.cudnn.allow_tf32
    if request.param == "high":
        torch.set_float32_matmul_precision("high")
    if request.param == "off":
        BACKENDS.cudnn.allow_tf32 = False
    yield request.param
    torch.set_float32_matmul_precision(precision)
    BACKENDS.cudnn.allow_tf32 = convolutions


def test_it_is_off_inside_and_put_back(chosen: str) -> None:
    before = switches()
    assert before[0] == (chosen != "off"), "torch's default lets convolutions use TF32"
    with full_float32():
        assert switches() == OFF
        with full_float32():
            assert switches() == OFF
        assert switches() == OFF
    assert switches() == before
    with pytest.raises(KeyError), full_float32():
        raise KeyError
    assert switches() == before


@pytest.mark.skipif(not NEWER, reason="this torch has the older switches only")
def test_newer_switches_that_contradict_the_older_are_put_back() -> None:
    BACKENDS.cudnn.conv.fp32_precision, before = "ieee", BACKENDS.cudnn.conv.fp32_precision
    try:
        with pytest.raises(RuntimeError):
            print(BACKENDS.cudnn.allow_tf32)
        with full_float32():
            assert BACKENDS.cudnn.rnn.fp32_precision == "ieee"
        assert (BACKENDS.cudnn.conv.fp32_precision, BACKENDS.cudnn.rnn.fp32_precision) == ("ieee", "tf32")
    finally:
        BACKENDS.cudnn.conv.fp32_precision = before
    assert BACKENDS.cudnn.allow_tf32


@pytest.mark.parametrize("precision", ["no", "bf16"])
def test_training_in_float32_is_without_it(precision: str, tmp_path: Path) -> None:
    train = Train(epochs=1, batch=8, precision=precision)  # type: ignore[arg-type]
    before, seen = switches(), []
    task = Calls(lambda _: seen.append(switches()))
    try:
        finetune(Small(), None, small_loaders(), train, task=task, accelerator=accelerator_for(train))
    finally:
        accelerator_for(Train(precision="no"))
    assert seen == [OFF if precision == "no" else before] * 4
    assert switches() == before
