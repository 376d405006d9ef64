"""The gradient scaler of fp16, on the CPU: steps that it skips, and what one training leaves to the next."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator
from torch import Tensor

from tests.training.small import Small, small_loaders
from transfer.recipe import Train
from transfer.tasks.classification import Classification
from transfer.training import accelerator_for, finetune
from transfer.training.imp import imp

TRAIN = Train(epochs=2, batch=8, lr=0.05, schedule="cosine", precision="no")  # eight steps


@pytest.fixture
def scaled() -> Iterator[Accelerator]:
    """An accelerator with a scaler whose scale doubles after every two steps."""
    accelerator = accelerator_for(TRAIN)
    accelerator.scaler = torch.amp.GradScaler("cpu", init_scale=4.0, growth_interval=2)
    yield accelerator
    accelerator.scaler = None


def test_every_training_begins_with_the_scale_of_the_first(scaled: Accelerator) -> None:
    scales: list[float] = []
    for _ in range(2):
        finetune(
            Small(), None, small_loaders(), TRAIN, accelerator=scaled,
            after_epoch=lambda *_: scales.append(scaled.scaler.get_scale()),
        )  # fmt: skip
    assert scales == [16.0, 64.0, 16.0, 64.0]
    assert scaled.scaler.get_scale() == 4.0


def test_a_stopped_imp_goes_on_with_the_scale_that_it_would_have_had(scaled: Accelerator, tmp_path: Path) -> None:
    scales: list[float] = []
    scaled.scaler.update = lambda *_, _update=scaled.scaler.update: (
        scales.append(scaled.scaler.get_scale()) or _update()
    )
    imp(Small(), small_loaders(), TRAIN, sparsity=0.5, rounds=2, accelerator=scaled, folder=tmp_path)
    assert scales[8:] == scales[:8] == [4.0, 4.0, 8.0, 8.0, 16.0, 16.0, 32.0, 32.0]


class Steep(Classification):
    """A loss whose gradients overflow once they are scaled."""

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return a million times the cross entropy."""
        return super().loss(outputs, targets) * 1e6


def test_a_first_step_that_is_skipped_is_no_warning(scaled: Accelerator) -> None:
    """Warnings are errors here; torch's schedulers complain when they step before the optimizer did."""
    scaled.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**127)
    model, before = Small(), Small()
    history = finetune(model, None, small_loaders(), TRAIN, until=1, accelerator=scaled, task=Steep())
    assert history.done == 1
    assert all(torch.equal(p, q) for p, q in zip(model.parameters(), before.parameters(), strict=True))
