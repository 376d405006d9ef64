"""The kernel against autograd row by row and by hand; bounded memory; the model left as it was."""

import copy

import numpy as np
import pytest
import timm
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from checkpoints.errors import InputError
from tests.pruning.small_nets import Mlp, Pooled, Residual, randomised
from transfer.analysis.ntk import _Jacobian, ntk, spectrum, trace
from transfer.pruning import Masks
from transfer.pruning.prunable import prunable


class Joined(Residual):
    """Residual without the join in place, which autograd cannot follow."""

    def forward(self, x):
        x = self.relu(self.bn_a(self.a(x)))
        y = self.relu(self.bn_b(self.b(x)))[:, :, :2, :2]
        return self.fc(self.relu(y + self.bn_c(self.c(x))).mean((2, 3)))


def randomly_masked(model, density=0.4, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return Masks({n: torch.rand(w.shape, generator=generator) < density for n, w in prunable(model).items()})


def by_autograd(model, inputs, masks):
    """Every row of J by one backward pass on a copy whose pruned weights are zero; pruned columns left out."""
    model = copy.deepcopy(model).eval()
    masks.apply_(model)
    weights = prunable(model)
    rows = []
    for output in model(inputs).flatten():
        gradients = torch.autograd.grad(output, list(weights.values()), retain_graph=True)
        columns = [g[masks[n]] if n in masks else g.flatten() for n, g in zip(weights, gradients, strict=True)]
        rows.append(torch.cat(columns).numpy())
    jacobian = np.stack(rows)
    return jacobian @ jacobian.T


@pytest.fixture(params=[Mlp, Joined, Pooled])
def net(request):
    return randomised(request.param().double())


@pytest.fixture
def inputs(net):
    return torch.randn(3, *net.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("chunk", [1, 2, 5, None])
def test_it_is_the_product_of_autograds_rows(net, inputs, chunk):
    for masks in (Masks.full(prunable(net)), randomly_masked(net)):
        expected = by_autograd(net, inputs, masks)
        np.testing.assert_allclose(ntk(net, inputs, masks, chunk=chunk).numpy(), expected, rtol=1e-10, atol=1e-12)
        assert trace(net, inputs, masks, chunk=chunk) == pytest.approx(np.trace(expected), rel=1e-10)


def test_no_masks_keep_everything(net, inputs):
    assert torch.equal(ntk(net, inputs), ntk(net, inputs, Masks.full(prunable(net))))


def test_a_weight_without_a_mask_is_kept_whole(net, inputs):
    masks = randomly_masked(net)
    some = Masks({name: masks[name] for name in list(masks)[1:]})
    np.testing.assert_allclose(ntk(net, inputs, some).numpy(), by_autograd(net, inputs, some), rtol=1e-10, atol=1e-12)


def test_a_pruned_model_need_not_have_been_zeroed_first(net, inputs):
    masks, zeroed = randomly_masked(net), copy.deepcopy(net)
    masks.apply_(zeroed)
    torch.testing.assert_close(ntk(net, inputs, masks), ntk(zeroed, inputs, masks), rtol=1e-12, atol=0)


def test_a_linear_model_by_hand():
    model = nn.Sequential(
        nn.Flatten(), nn.Linear(2, 2)
    )  # dense: Θ of outputs k, l is δ_kl · x·y; the bias is not in it
    images = torch.tensor([[1.0, 2.0], [3.0, -1.0]]).reshape(2, 2, 1, 1)
    assert ntk(model, images).tolist() == [[5, 0, 1, 0], [0, 5, 0, 1], [1, 0, 10, 0], [0, 1, 0, 10]]
    masks = Masks({"1.weight": torch.tensor([[True, False], [False, False]])})
    assert ntk(model, images, masks).tolist() == [[1, 0, 3, 0], [0, 0, 0, 0], [3, 0, 9, 0], [0, 0, 0, 0]]
    assert trace(model, images, masks) == 10
    nothing = Masks({"1.weight": torch.zeros(2, 2, dtype=torch.bool)})
    assert not ntk(model, images, nothing).any()
    assert trace(model, images, nothing) == 0


def test_a_shared_weight_counts_once_with_both_its_gradients():
    model = randomised(nn.Sequential(nn.Linear(3, 3), nn.Tanh(), nn.Linear(3, 3)).double())
    model[2].weight = model[0].weight
    inputs = torch.randn(2, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    expected = by_autograd(model, inputs, randomly_masked(model))
    np.testing.assert_allclose(ntk(model, inputs, randomly_masked(model)).numpy(), expected, rtol=1e-10, atol=1e-12)


def test_fused_attention_has_a_kernel_too():
    model = timm.create_model("test_vit", num_classes=3, img_size=32, patch_size=16, embed_dim=32).double().eval()
    inputs = torch.randn(2, 3, 32, 32, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    expected = by_autograd(model, inputs, randomly_masked(model))
    np.testing.assert_allclose(ntk(model, inputs, randomly_masked(model)).numpy(), expected, rtol=1e-8)


def test_float32_gradients_are_summed_in_float64(net, inputs):
    theta = ntk(copy.deepcopy(net).float(), inputs.float())
    assert theta.dtype == torch.float64
    torch.testing.assert_close(theta, ntk(net, inputs), rtol=1e-4, atol=1e-4 * float(theta.diagonal().max()))


def test_the_kernel_of_a_training_model_is_that_of_eval_mode_and_nothing_changes():
    model = randomised(Joined())
    model.bn_c.eval()
    images = torch.randn(3, *Joined.shape, generator=torch.Generator().manual_seed(1))
    expected = ntk(model, images)
    model.train()
    model.bn_b.eval()
    model.fc.weight.requires_grad_(False)
    model.fc.bias.grad = torch.ones(2)
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    modes, drawn = [m.training for m in model.modules()], torch.get_rng_state()
    parameters = list(model.parameters())
    assert torch.equal(ntk(model, images), expected)
    assert trace(model, images) == pytest.approx(float(expected.trace()))
    assert [m.training for m in model.modules()] == modes
    assert all(torch.equal(tensor, state[name]) for name, tensor in model.state_dict().items())
    assert all(a is b for a, b in zip(model.parameters(), parameters, strict=True))
    assert [p.requires_grad for p in parameters] == [name != "fc.weight" for name, _ in model.named_parameters()]
    assert [name for name, p in model.named_parameters() if p.grad is not None] == ["fc.bias"]
    assert torch.equal(torch.get_rng_state(), drawn)


def test_it_is_left_as_it_was_after_an_error_too():
    model = Joined().train()
    with pytest.raises(RuntimeError):
        ntk(model, torch.zeros(2, 5, 4, 4))
    assert all(module.training for module in model.modules())


class Largest(TorchDispatchMode):
    """The size of the largest tensor that is made."""

    numbers = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        made = func(*args, **(kwargs or {}))
        for tensor in made if isinstance(made, (tuple, list)) else [made]:
            if isinstance(tensor, torch.Tensor):
                self.numbers = max(self.numbers, tensor.numel())
        return made


def test_no_more_than_chunk_rows_are_held():
    model = nn.Sequential(nn.Flatten(), nn.Linear(48, 40), nn.ReLU(), nn.Linear(40, 10))
    images = torch.randn(8, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    weights = 48 * 40 + 40 * 10
    with Largest() as whole:
        ntk(model, images, chunk=80)
    assert whole.numbers == 80 * weights
    with Largest() as part:
        ntk(model, images, chunk=4)
    assert part.numbers <= 4 * weights


def test_the_blocks_deal_every_kept_weight_once():
    model = Mlp()
    masks = randomly_masked(model, density=0.7)
    jacobian = _Jacobian.of(model, torch.zeros(5, *model.shape), masks, chunk=2)
    blocks = list(jacobian.blocks())
    widths = [sum(len(p) for p in block.values()) for block in blocks]
    assert set(widths[:-1]) == {2 * masks.total // jacobian.rows}
    assert sum(widths) == masks.kept
    for name, mask in masks.items():
        dealt = torch.cat([block[name] for block in blocks if name in block])
        assert torch.equal(dealt, torch.arange(mask.numel())[mask.flatten()])


def test_the_kernel_has_no_negative_eigenvalue_and_the_spectrum_descends(net, inputs):
    theta = ntk(net, inputs)
    total, values = spectrum(theta, top=len(theta))
    expected = np.linalg.svd(theta.numpy(), compute_uv=False)
    np.testing.assert_allclose(values.numpy(), expected, atol=1e-10 * expected[0])
    assert total == pytest.approx(expected.sum())
    assert values.tolist() == sorted(values.tolist(), reverse=True)


def test_a_spectrum_by_hand():
    total, values = spectrum(torch.tensor([[2.0, 1.0, 0.0], [1.0, 2.0, 0.0], [0.0, 0.0, 5.0]]), top=2)
    assert total == 9
    assert values.tolist() == pytest.approx([5, 3])
    assert len(spectrum(torch.eye(3))[1]) == 3


@pytest.mark.parametrize(
    ("theta", "top", "says"),
    [
        (torch.zeros(2, 3), 1, "shape \\(2, 3\\)"),
        (torch.tensor([[torch.nan]]), 1, "nan or infinite"),
        (torch.eye(2), 0, "top is 0"),
    ],
)
def test_what_a_spectrum_refuses(theta, top, says):
    with pytest.raises(InputError, match=says):
        spectrum(theta, top)


@pytest.mark.parametrize(
    ("images", "masks", "chunk", "says"),
    [
        (torch.zeros(2, 3, 4, 4, dtype=torch.uint8), None, None, "torch.uint8"),
        (torch.zeros(0, 3, 4, 4), None, None, "one or more images"),
        (torch.full((1, 3, 4, 4), torch.nan), None, None, "finite floats"),
        (torch.zeros(2, 3, 4, 4), None, 0, "chunk is 0"),
        (torch.zeros(2, 3, 4, 4), {"a.bias": torch.ones(2) > 0}, None, "a.bias is of no prunable weight"),
        (torch.zeros(2, 3, 4, 4), {"a.weight": torch.ones(2, 3, 3, 3)}, None, "float32"),
        (torch.zeros(2, 3, 4, 4), {"a.weight": torch.ones(2) > 0}, None, "the weight's shape \\(2, 3, 3, 3\\)"),
        (torch.zeros(10_001, 3, 4, 4), None, None, "kernel of 20,002 rows, more than 20,000; use fewer images$"),
    ],
)
@pytest.mark.parametrize("function", [ntk, trace])
def test_what_a_kernel_refuses(function, images, masks, chunk, says):
    with pytest.raises(InputError, match=says) as caught:
        function(Joined(), images, masks, chunk=chunk)
    assert "\n" not in str(caught.value)


def test_maps_are_refused():
    with pytest.raises(InputError, match=r"2 images of 86,016 outputs each .* or smaller ones"):
        ntk(nn.Conv2d(3, 21, 1), torch.zeros(2, 3, 64, 64))


def test_a_model_of_several_outputs_is_refused():
    class Two(nn.Linear):
        def forward(self, x):
            return {"out": super().forward(x)}

    with pytest.raises(InputError, match="returns dict"):
        ntk(Two(3, 2), torch.zeros(1, 3))
