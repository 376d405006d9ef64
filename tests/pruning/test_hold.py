"""Pruned weights and gradients become +0.0 whatever they were, in every dtype and layout; kept ones keep their bits."""

import pytest
import torch
from torch import nn

from transfer.pruning import Masks

DTYPES = [torch.float16, torch.bfloat16, torch.float32, torch.float64]
LAYOUTS = [torch.contiguous_format, torch.channels_last]
WILD = [float("nan"), float("inf"), -float("inf"), -1.0, -0.0, 2.5]


@pytest.fixture(params=[str(dtype).removeprefix("torch.") for dtype in DTYPES])
def dtype(request: pytest.FixtureRequest) -> torch.dtype:
    return getattr(torch, request.param)


@pytest.mark.parametrize("layout", LAYOUTS, ids=["contiguous", "channels_last"])
def test_pruned_places_are_positive_zeros_and_the_others_keep_their_bits(dtype, layout):
    model = nn.Conv2d(6, 6, 3, bias=False).to(dtype=dtype, memory_format=layout)
    mask = torch.rand(6, 6, 3, 3, generator=torch.Generator().manual_seed(0)) < 0.4
    wild = torch.tensor(WILD, dtype=dtype).repeat(54).view(6, 6, 3, 3)
    hold = Masks({"weight": mask}).hold(model, torch.optim.SGD(model.parameters()))
    with torch.no_grad():
        model.weight.copy_(wild)
    model.weight.grad = wild.clone(memory_format=torch.contiguous_format)  # as a backward may lay it out
    hold.zero_weights()
    hold.zero_gradients()
    words = {2: torch.int16, 4: torch.int32, 8: torch.int64}[wild.element_size()]
    for values in (model.weight.detach(), model.weight.grad):
        found, before = values.contiguous().view(words), wild.view(words)
        assert not found[~mask].any()
        assert torch.equal(found[mask], before[mask])


def test_a_step_is_that_of_masked_fill():
    torch.manual_seed(0)
    ours, reference = (nn.Linear(8, 4, bias=False) for _ in range(2))
    mask = torch.rand(4, 8) < 0.5
    with torch.no_grad():
        reference.weight.copy_(ours.weight)
    optimizers = [torch.optim.SGD(m.parameters(), lr=0.1, momentum=0.9, weight_decay=0.01) for m in (ours, reference)]
    Masks({"weight": mask}).hold(ours, optimizers[0])
    for seed in range(4):
        inputs = torch.randn(5, 8, generator=torch.Generator().manual_seed(seed))
        with torch.no_grad():
            reference.weight.masked_fill_(~mask, 0.0)
        for model, optimizer in zip((ours, reference), optimizers, strict=True):
            optimizer.zero_grad()
            model(inputs).square().sum().backward()
            if model is reference:
                model.weight.grad.masked_fill_(~mask, 0.0)
            optimizer.step()
    with torch.no_grad():
        reference.weight.masked_fill_(~mask, 0.0)
    assert torch.equal(ours.weight, reference.weight)
