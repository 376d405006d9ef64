"""Multiply-adds by hand, and against torch's own counter."""

import pytest
import timm
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

import checkpoints.architectures  # noqa: F401
from checkpoints.errors import InputError
from transfer.analysis.flops import LayerCount, multiply_adds
from transfer.pruning import Masks
from transfer.pruning.prunable import prunable


def test_two_layers_by_hand():
    model = nn.Sequential(nn.Conv2d(3, 4, 3, stride=2, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 3 * 3, 5))
    conv = torch.zeros(4, 3, 3, 3, dtype=torch.bool)
    conv[0, 0], conv[2, 1, 1, 1] = True, True
    found = multiply_adds(model, (3, 6, 6), Masks({"0.weight": conv}))
    assert found.layers == {"0.weight": LayerCount(9 * 108, 9 * 10), "3.weight": LayerCount(180, 180)}
    assert (found.dense, found.kept) == (9 * 108 + 180, 9 * 10 + 180)


def test_groups_transposed_and_reused_layers_by_hand():
    shared = nn.Conv2d(4, 4, 3, padding=1, groups=2)
    model = nn.Sequential(shared, shared, nn.ConvTranspose2d(4, 2, 2, stride=2))
    layers = multiply_adds(model, (4, 5, 5)).layers
    assert layers == {"0.weight": LayerCount(2 * 25 * 72, 2 * 25 * 72), "2.weight": LayerCount(25 * 32, 25 * 32)}


def test_a_linear_layer_counts_every_vector():
    model = nn.Linear(6, 2)
    assert multiply_adds(model, (3, 4, 6)).dense == 3 * 4 * 12


@pytest.mark.parametrize(("arch", "side"), [("test_resnet", 48), ("resnet18", 64), ("vgg16_bn_cifar", 32)])
def test_dense_is_half_of_torchs_flops(arch, side):
    model = timm.create_model(arch).eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(torch.zeros(1, 3, side, side))
    assert 2 * multiply_adds(model, (3, side, side)).dense == counter.get_total_flops()


def test_the_model_is_left_as_it_was():
    model = timm.create_model("test_resnet").train()
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    drawn = torch.get_rng_state()
    multiply_adds(model, (3, 32, 32), Masks.full(prunable(model)))
    assert all(torch.equal(tensor, state[name]) for name, tensor in model.state_dict().items())
    assert all(module.training and not module._forward_hooks for module in model.modules())
    assert torch.equal(torch.get_rng_state(), drawn)
    with pytest.raises(RuntimeError):
        multiply_adds(model, (5, 32, 32))
    assert all(module.training and not module._forward_hooks for module in model.modules())


def test_masks_of_another_model_are_refused():
    with pytest.raises(InputError, match=r"mask conv\.weight is of no prunable weight"):
        multiply_adds(nn.Linear(3, 2), (1, 1, 3), {"conv.weight": torch.ones(1, dtype=torch.bool)})


class Attends(nn.Module):
    def __init__(self, module):
        super().__init__()
        self.module = module

    def forward(self, x):
        tokens = x.flatten(2).transpose(1, 2)
        return self.module(tokens) if isinstance(self.module, nn.TransformerEncoder) else self.module(*[tokens] * 3)[0]


def test_the_output_projection_of_attention_counts_every_token():
    attention = nn.MultiheadAttention(8, 2, batch_first=True)
    mask = torch.zeros(8, 8, dtype=torch.bool)
    mask[0, :3] = True
    found = multiply_adds(Attends(attention), (8, 3, 5), {"module.out_proj.weight": mask})
    assert found.layers == {"module.out_proj.weight": LayerCount(15 * 64, 15 * 3)}


def test_a_transformer_of_torch_counts_all_its_layers():
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    layers = multiply_adds(Attends(nn.TransformerEncoder(layer, 2)), (8, 3, 5)).layers
    per_layer = {"self_attn.out_proj": 64, "linear1": 128, "linear2": 128}
    assert {name: count.dense for name, count in layers.items()} == {
        f"module.layers.{i}.{name}.weight": 15 * size for i in (0, 1) for name, size in per_layer.items()
    }
