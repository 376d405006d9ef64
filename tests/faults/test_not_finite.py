"""A loss or weight that is not finite ends training with its step and learning rate; no state holds it."""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from tests.training.small import Small, left_behind, small_loaders, train_small
from transfer.errors import TrainingError
from transfer.recipe import Train
from transfer.tasks.classification import Classification
from transfer.training import Loaders, accelerator_for, finetune
from transfer.training.checkpoint import State

TRAIN = Train(epochs=3, batch=8, lr=0.05, schedule="cosine", warmup=1)  # four steps an epoch


class Breaks(Classification):
    """Cross entropy that a function changes at one training step, from 1."""

    def __init__(self, step: int, change: Callable[[Tensor], Tensor]) -> None:
        object.__setattr__(self, "change", change)
        object.__setattr__(self, "left", [step])

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        loss = super().loss(outputs, targets)
        if outputs.requires_grad:
            self.left[0] -= 1
            return self.change(loss) if self.left[0] == 0 else loss
        return loss


class BadGradient(torch.autograd.Function):
    """The loss as it is, with a gradient that is not a number."""

    @staticmethod
    def forward(ctx, loss):  # type: ignore[no-untyped-def]
        return loss.clone()

    @staticmethod
    def backward(ctx, gradient):  # type: ignore[no-untyped-def]
        return gradient * float("nan")


def ended(train: Train, task: Classification, folder: Path, model: Small | None = None) -> str:
    with pytest.raises(TrainingError) as caught:
        finetune(
            model or Small(), None, small_loaders(), train, task=task, folder=folder, accelerator=accelerator_for(train)
        )
    assert "\n" not in str(caught.value)
    return str(caught.value)


def all_finite(folder: Path) -> bool:
    saved = left_behind(folder)
    momenta = [value["momentum_buffer"] for value in saved["optimizer"]["state"].values()]
    return all(tensor.isfinite().all() for tensor in [*saved["model"].values(), *momenta, saved["log"]])


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_the_error_names_the_step_its_learning_rate_and_the_last_good_state(value: float, tmp_path: Path) -> None:
    words = ended(TRAIN, Breaks(4 + 2, lambda loss: loss * value), tmp_path)
    found = re.match(
        r"the training loss of epoch 2 is (nan|inf) at step 2, learning rate ([\d.]+); "
        r"the state of the end of epoch 1 is kept; try a lower train\.lr, train\.clip_norm or train\.precision no$",
        words,
    )
    assert found, words
    assert float(found[2]) == pytest.approx(0.05 * 0.5 * (1 + torch.cos(torch.tensor(torch.pi / 8)).item()), rel=1e-4)
    assert left_behind(tmp_path)["scheduler_step"] == 4
    assert all_finite(tmp_path)


def test_within_an_epoch_it_ends_at_the_next_save(tmp_path: Path) -> None:
    task = Breaks(3, lambda loss: loss * float("nan"))
    words = ended(replace(TRAIN, save_minutes=0.0), task, tmp_path)
    assert "epoch 1 is nan at step 3" in words
    assert "the state of epoch 1, step 2 is kept" in words
    assert task.left == [0], "no step after it"
    assert left_behind(tmp_path)["scheduler_step"] == 2
    assert all_finite(tmp_path)


def test_a_gradient_that_is_not_a_number_behind_a_finite_loss_is_not_saved(tmp_path: Path) -> None:
    words = ended(replace(TRAIN, save_minutes=0.0), Breaks(3, BadGradient.apply), tmp_path)
    assert "the weights are not finite after step 3 of epoch 1" in words
    assert left_behind(tmp_path)["scheduler_step"] == 2
    assert all_finite(tmp_path)


def test_running_statistics_that_are_not_finite_are_not_saved(tmp_path: Path) -> None:
    model = Small()

    def spoil(loss: Tensor) -> Tensor:
        model.encoder[1].running_var.data[0] = float("inf")  # behind the back of autograd
        return loss

    words = ended(TRAIN, Breaks(2, spoil), tmp_path, model)
    assert "not finite after step 4 of epoch 1" in words
    assert "no state was saved before" in words
    assert State(tmp_path).load() is None


def test_a_test_loss_that_is_not_a_number_ends_training(tmp_path: Path) -> None:
    broken = [(torch.full((4, 3, 8, 8), float("nan")), torch.zeros(4, dtype=torch.int64))]
    with pytest.raises(TrainingError, match="the test loss of epoch 1 is nan, learning rate"):
        finetune(Small(), None, Loaders(small_loaders().train, broken), TRAIN, folder=tmp_path)
    assert State(tmp_path).load() is None


def test_after_a_resume_the_kept_state_is_the_one_it_began_from(tmp_path: Path) -> None:
    def stop(step: int) -> None:
        if step == 2:
            raise KeyError

    with pytest.raises(KeyError):
        train_small(replace(TRAIN, save_minutes=0.0), tmp_path, at_step=stop)
    words = ended(TRAIN, Breaks(2, lambda loss: loss * float("nan")), tmp_path)
    assert "epoch 1 is nan at step 3" in words
    assert "the state of epoch 1, step 1 is kept" in words
