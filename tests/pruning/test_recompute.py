"""Gradient checkpointing changes no score: what runs again in a backward sees what the forward saw."""

import pytest
import torch
from torch import nn
from torch.nn.modules import module as hooks
from torch.utils.checkpoint import checkpoint

from checkpoints.errors import InputError
from tests.pruning.small_nets import TinyVgg, images, randomised
from transfer.pruning import Masks, methods, score
from transfer.pruning.prunable import prunable

DATA = [images((3, 8, 8), 4, seed) for seed in (0, 1)]


class Checkpointed(TinyVgg):
    """Every block runs again in the backward, one of them within another, one as a bare function."""

    def forward(self, x):
        def first(x):
            return self.features[1](self.features[0](x))

        def block(x):
            return self.features[2:](checkpoint(first, x, use_reentrant=False))

        return self.head(checkpoint(block, x, use_reentrant=False))


class Mixed(Checkpointed):
    def forward(self, x):
        with torch.autocast("cpu", torch.bfloat16):
            return super().forward(x)


@pytest.mark.parametrize("kind", [Checkpointed, Mixed])
@pytest.mark.parametrize("statistics", ["batch", "running"])
@pytest.mark.parametrize("method", methods())
def test_checkpointing_changes_no_score(method, statistics, kind):
    plain, again = randomised(TinyVgg()), randomised(kind())
    masks = {
        n: torch.rand(w.shape, generator=torch.Generator().manual_seed(1)) < 0.7 for n, w in prunable(plain).items()
    }
    Masks(masks).apply_(plain), Masks(masks).apply_(again)
    expected, found = (score(method, m, DATA, masks=masks, statistics=statistics) for m in (plain, again))
    for name in expected:
        torch.testing.assert_close(
            found[name], expected[name], rtol=1e-5, atol=1e-9 * float(expected[name].abs().max())
        )
    assert not hooks._global_forward_hooks
    assert not hooks._global_forward_pre_hooks


def test_with_pretrained_weights_and_several_draws():
    plain, again = randomised(TinyVgg()), randomised(Checkpointed())
    for method, options in (
        ("ntk-sap", {"weights": "pretrained"}),
        ("ntk-sap", {"resamplings": 2, "inputs": "gaussian"}),
        ("ntk-trace", {"draws": 3}),
        ("fisher", {"draws": 0}),
    ):
        expected, found = (score(method, m, DATA, **options) for m in (plain, again))
        for name in expected:
            torch.testing.assert_close(found[name], expected[name], rtol=1e-5, atol=0)


def test_constants_cannot_be_placed_in_a_part_of_the_forward():
    with pytest.raises(InputError, match=r"again in its backward .*give statistics='batch' or 'running'") as caught:
        score("snip", randomised(Checkpointed()), DATA, statistics="warmup")
    assert "\n" not in str(caught.value)
    assert not hooks._global_forward_hooks
    norm_free = nn.Sequential(nn.Flatten(), nn.Linear(192, 3))
    assert score("snip", norm_free, DATA, statistics="warmup")
