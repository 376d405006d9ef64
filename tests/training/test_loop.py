"""Fine-tuning: masks hold, a dense model learns, and the model is the user's again afterwards."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from checkpoints import InputError
from transfer.errors import TrainingError
from transfer.pruning import Masks, prune
from transfer.recipe import Train
from transfer.tasks.classification import Classification
from transfer.training import History, Loaders, accelerator_for, finetune

SGD = Train(epochs=1, batch=16, lr=0.05, nesterov=True, weight_decay=1e-3, clip_norm=1.0)
ADAMW = Train(epochs=1, batch=16, optimizer="adamw", lr=1e-3, weight_decay=0.1, schedule="cosine", warmup=1)
LONG = replace(SGD, epochs=3, schedule="cosine", warmup=1)


class BreaksInEpoch(Classification):
    """Cross entropy that is not a number from some training step on."""

    def __init__(self, step: int) -> None:
        object.__setattr__(self, "left", [step])

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        if outputs.requires_grad:
            self.left[0] -= 1
        return super().loss(outputs, targets) * (float("nan") if self.left[0] < 0 else 1.0)


def hooks(model: nn.Module) -> int:
    return sum(len(getattr(p, "_post_accumulate_grad_hooks", None) or {}) for p in model.parameters())


@pytest.mark.parametrize("train", [SGD, ADAMW, replace(SGD, optimizer="adam", channels_last=False)])
def test_pruned_weights_stay_exactly_zero(sparse: tuple[nn.Module, Masks], loaders: Loaders, train: Train) -> None:
    model, masks = sparse
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    finetune(model, masks, loaders, train)
    after = dict(model.named_parameters())
    for name, mask in masks.items():
        assert (after[name][~mask] == 0).all()
        assert (after[name][mask] != before[name][mask]).any()
    assert hooks(model) == 0


@pytest.mark.parametrize("train", [SGD, ADAMW])
def test_frozen_layers_stay_and_are_pruned(
    sparse: tuple[nn.Module, Masks], network: Callable[[], nn.Module], loaders: Loaders, train: Train
) -> None:
    model, masks = network(), sparse[1]
    frozen = [name for name in masks if not name.startswith("fc")]
    before = {name: model.get_parameter(name).requires_grad_(False).detach().clone() for name in frozen}
    head = model.get_parameter("fc.weight").detach().clone()
    finetune(model, masks, loaders, train)
    for name, mask in masks.items():
        assert (model.get_parameter(name)[~mask] == 0).all()
        assert name not in before or torch.equal(model.get_parameter(name), before[name] * mask)
    assert not torch.equal(model.get_parameter("fc.weight"), head)
    assert hooks(model) == 0


@pytest.mark.parametrize("train", [SGD, ADAMW])  # both move to channels_last
def test_weights_over_one_memory_stay_one(loaders: Loaders, train: Train) -> None:
    model = nn.Sequential(
        nn.Conv2d(3, 3, 3, padding=1), nn.ReLU(), nn.Conv2d(3, 3, 3, padding=1), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(3, 10),
    )  # fmt: skip
    model[2].weight = nn.Parameter(model[0].weight.data)
    before = model[0].weight.detach().clone()
    masks = prune(model, [], method="magnitude", sparsity=0.5)
    assert list(masks) == ["0.weight", "5.weight"]
    finetune(model, masks, loaders, train)
    for layer in (model[0], model[2]):
        assert not layer.weight[~masks["0.weight"]].any()
        assert torch.equal(layer.weight, model[0].weight)
    assert not torch.equal(before[masks["0.weight"]], model[0].weight[masks["0.weight"]])


def test_masks_are_applied_to_a_dense_model(
    sparse: tuple[nn.Module, Masks], network: Callable[[], nn.Module], loaders: Loaders
) -> None:
    model, masks = network(), sparse[1]
    finetune(model, masks, loaders, replace(SGD, epochs=0))
    assert sum(int((model.get_parameter(name) == 0).sum()) for name in masks) == masks.total - masks.kept


def test_a_dense_model_learns(network: Callable[[], nn.Module], loaders: Loaders) -> None:
    history = finetune(network(), None, loaders, replace(SGD, epochs=2, lr=0.02))
    assert [row["epoch"] for row in history.epochs] == [1, 2]
    assert history.epochs[1]["train_loss"] < history.epochs[0]["train_loss"]
    assert history.best["accuracy"] == max(row["accuracy"] for row in history.epochs)
    assert set(history.last) == {"epoch", "lr", "train_loss", "test_loss", "accuracy"}


def test_after_epoch_sees_each_epoch_and_the_best(network: Callable[[], nn.Module], loaders: Loaders) -> None:
    seen: list[tuple[int, bool, float]] = []

    def note(history: History, best: bool) -> None:
        seen.append((len(history.epochs), best, history.last["accuracy"]))

    history = finetune(network(), None, loaders, LONG, after_epoch=note)
    top = -1.0
    for number, best, accuracy in seen:
        assert best == (accuracy > top)
        top = max(top, accuracy)
        assert number <= 3
    assert history.best_epoch == [number for number, best, _ in seen if best][-1]


def test_masks_are_let_go_when_training_fails(sparse: tuple[nn.Module, Masks], loaders: Loaders) -> None:
    model, masks = sparse
    with pytest.raises(TrainingError):
        finetune(model, masks, loaders, SGD, task=BreaksInEpoch(2))
    assert hooks(model) == 0


def test_the_state_of_another_fine_tuning_is_refused(
    network: Callable[[], nn.Module], loaders: Loaders, tmp_path: Path
) -> None:
    finetune(network(), None, loaders, SGD, folder=tmp_path)
    with pytest.raises(InputError, match="another fine-tuning"):
        finetune(network(), None, loaders, SGD, folder=tmp_path, seed=1)


def test_another_precision_in_the_same_process(network: Callable[[], nn.Module], loaders: Loaders) -> None:
    accelerator_for(Train(precision="no"))
    accelerator = accelerator_for(Train(precision="bf16"))
    try:
        model = network()
        history = finetune(model, None, loaders, replace(SGD, precision="bf16"), accelerator=accelerator)
        assert history.last["train_loss"] > 0
        assert {p.dtype for p in model.parameters()} == {torch.float32}
        assert model(torch.zeros(2, 3, 16, 16)).dtype == torch.float32  # the model is the user's again: no autocast
        assert "forward" not in vars(model)
    finally:
        accelerator_for(Train(precision="no"))
