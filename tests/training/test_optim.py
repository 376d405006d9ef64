"""Optimizers and the learning rate by hand: ten steps an epoch."""

import math

import pytest
import torch
from torch import nn
from torch.optim.optimizer import register_optimizer_step_pre_hook

from checkpoints import InputError
from tests.training.small import Small, small_loaders
from transfer.recipe import Data, Recipe, Train
from transfer.training import finetune
from transfer.training.optim import factor, optimizer

STEPS = 10


@pytest.mark.parametrize(("step", "expected"), [(0, 1.0), (19, 1.0), (20, 0.5), (39, 0.5), (40, 0.25), (1000, 0.25)])
def test_milestones_count_from_the_start_of_their_epoch(step: int, expected: float) -> None:
    train = Train(epochs=5, milestones=(2, 4), gamma=0.5)
    assert factor(train, step, STEPS) == expected


@pytest.mark.parametrize(("step", "expected"), [(0, 1.0), (10, 0.75), (15, 0.5), (20, 0.25), (30, 0.0), (31, 0.0)])
def test_cosine(step: int, expected: float) -> None:
    assert factor(Train(epochs=3, schedule="cosine"), step, STEPS) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(("step", "expected"), [(0, 1 / 20), (9, 0.5), (19, 1.0), (20, 1.0), (30, 0.5), (40, 0.0)])
def test_cosine_after_two_epochs_of_warm_up(step: int, expected: float) -> None:
    train = Train(epochs=4, schedule="cosine", warmup=2)
    assert factor(train, step, STEPS) == pytest.approx(expected, abs=1e-12)


def test_milestones_after_warm_up() -> None:
    train = Train(epochs=4, milestones=(2,), warmup=1)
    assert [factor(train, step, 2) for step in range(6)] == pytest.approx([0.5, 1, 1, 1, 0.1, 0.1])


@pytest.mark.parametrize("schedule", ["cosine", "milestones", "poly"])
def test_a_warm_up_as_long_as_the_training_is_finite(schedule: str) -> None:
    train = Train(epochs=2, schedule=schedule, warmup=2)  # type: ignore[arg-type]
    values = [factor(train, step, STEPS) for step in range(2 * STEPS + 2)]
    assert all(math.isfinite(value) and 0 <= value <= 1 for value in values)


@pytest.mark.parametrize(
    ("step", "expected"), [(0, 1.0), (10, (2 / 3) ** 0.9), (29, (1 / 30) ** 0.9), (30, 0.0), (31, 0.0)]
)
def test_poly_as_deeplab(step: int, expected: float) -> None:
    assert factor(Train(epochs=3, schedule="poly"), step, STEPS) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(("step", "expected"), [(4, 0.5), (10, 1.0), (20, 0.5**0.9)])
def test_poly_after_warm_up(step: int, expected: float) -> None:
    assert factor(Train(epochs=3, schedule="poly", warmup=1), step, STEPS) == pytest.approx(expected, abs=1e-12)


def test_sgd_gets_every_option() -> None:
    made = optimizer(nn.Linear(2, 2), Train(lr=0.3, momentum=0.8, nesterov=True, weight_decay=0.01))
    assert isinstance(made, torch.optim.SGD)
    group = made.param_groups[0]
    assert (group["lr"], group["momentum"], group["nesterov"], group["weight_decay"]) == (0.3, 0.8, True, 0.01)


@pytest.mark.parametrize(("name", "kind"), [("adam", torch.optim.Adam), ("adamw", torch.optim.AdamW)])
def test_adam(name: str, kind: type) -> None:
    made = optimizer(nn.Linear(2, 2), Train(optimizer=name, lr=0.01, weight_decay=0.2))  # type: ignore[arg-type]
    assert type(made) is kind
    assert (made.param_groups[0]["lr"], made.param_groups[0]["weight_decay"]) == (0.01, 0.2)


def test_frozen_parameters_are_left_out() -> None:
    model = nn.Linear(2, 2)
    model.bias.requires_grad_(False)
    assert optimizer(model, Train()).param_groups[0]["params"] == [model.weight]


def test_the_trunk_has_its_own_rate_and_the_schedule_multiplies_both() -> None:
    model, train = Small(), Train(epochs=2, batch=8, lr=0.1, lr_trunk=0.01, milestones=(1,), gamma=0.5)
    made = optimizer(model, train)
    names = {id(p): name for name, p in model.named_parameters()}
    rest, trunk = ([names[id(p)] for p in group["params"]] for group in made.param_groups)
    assert rest == ["head.weight", "head.bias"]
    assert len(trunk) == 8
    assert all(name.startswith("encoder.") for name in trunk)
    rates: list[list[float]] = []
    noting = register_optimizer_step_pre_hook(lambda own, *_: rates.append([g["lr"] for g in own.param_groups]))
    try:
        finetune(model, None, small_loaders(), train)
    finally:
        noting.remove()
    assert rates == [[0.1, 0.01]] * 4 + [[0.05, 0.005]] * 4


def test_a_trunk_at_rate_0_stays() -> None:
    model, before = Small(), Small().state_dict()
    history = finetune(model, None, small_loaders(), Train(epochs=1, batch=8, lr=0.1, lr_trunk=0.0, weight_decay=0.1))
    changed = {name for name, p in model.named_parameters() if not torch.equal(p, before[name])}
    assert changed == {"head.weight", "head.bias"}
    assert history.last["lr"] == 0.1


def test_a_rate_for_a_trunk_that_is_not_there_is_refused() -> None:
    with pytest.raises(InputError, match=r"train\.lr_trunk is for models with a backbone under encoder\."):
        optimizer(nn.Linear(2, 2), Train(lr_trunk=0.1))


@pytest.mark.parametrize("change", [{"lr_trunk": -1.0}, {"lr_trunk": float("nan")}, {"save_minutes": -1.0}])
def test_settings_out_of_range(change: dict) -> None:
    with pytest.raises(InputError, match=r"train\.(lr_trunk|save_minutes) is .*; it should be (greater than|a finite)"):
        Recipe("tiny", data=Data(name="voc-sample"), train=Train(**change)).check()
