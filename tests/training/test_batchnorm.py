"""BatchNorm: frozen statistics, layers that are replaced and put back."""

from dataclasses import replace

import pytest
import timm
import torch
from torch import nn

from checkpoints import InputError
from tests.training.small import Small, small_loaders
from transfer.recipe import Train
from transfer.training import accelerator_for, batchnorm, finetune

TRAIN = Train(epochs=1, batch=8, lr=0.1)


def statistics(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: b.clone() for name, b in model.named_buffers()}


def test_frozen_statistics_stay_and_scale_and_shift_train() -> None:
    model = Small()
    before = statistics(model), model.encoder[1].weight.detach().clone(), model.encoder[1].bias.detach().clone()
    modes: list[bool] = []
    model.encoder[1].register_forward_pre_hook(lambda module, _: modes.append(module.training))
    finetune(model, None, small_loaders(), replace(TRAIN, freeze_norm=True))
    assert all(torch.equal(b, before[0][name]) for name, b in model.named_buffers())
    assert not torch.equal(model.encoder[1].weight, before[1])
    assert not torch.equal(model.encoder[1].bias, before[2])
    assert not any(modes)
    assert model.training
    assert len(modes) == 4 + 2


def test_without_it_they_move() -> None:
    model = Small()
    before = statistics(model)
    finetune(model, None, small_loaders(), TRAIN)
    assert not any(torch.equal(b, before[name]) for name, b in model.named_buffers())


def test_layers_are_replaced_with_their_weights_and_activation_and_put_back() -> None:
    model = timm.create_model("resnet50_clip_gap", num_classes=3).eval()  # its BatchNorm layers run the ReLU too
    kinds = {name: type(m) for name, m in model.named_modules()}
    state = {name: id(value) for name, value in model.state_dict(keep_vars=True).items()}
    inputs = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = model(inputs)
        old = batchnorm.synchronise(model)
        assert len(old) > 50
        assert {type(m) for m in model.modules() if batchnorm._is_norm(m)} == set()
        assert {name: id(value) for name, value in model.state_dict(keep_vars=True).items()} == state
        assert torch.equal(model(inputs), expected)
        batchnorm.restore(old)
    assert {name: type(m) for name, m in model.named_modules()} == kinds
    assert {name: id(value) for name, value in model.state_dict(keep_vars=True).items()} == state


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_synchronised_layers_want_a_gpu() -> None:
    with pytest.raises(InputError, match=r"train\.sync_norm needs CUDA GPUs; leave it out"):
        accelerator_for(Train(sync_norm=True))
