"""Lanczos against the decomposed matrix, and both against autograd's rows."""

import numpy as np
import pytest
import torch
from torch import nn

from checkpoints.errors import InputError
from tests.analysis.test_ntk import Joined, by_autograd, randomly_masked
from tests.pruning.small_nets import Mlp, Pooled, randomised
from transfer.analysis import eigenvalues as module
from transfer.analysis.eigenvalues import eigenvalues
from transfer.pruning import Masks
from transfer.pruning.prunable import prunable


def images(net: nn.Module, count: int = 4) -> torch.Tensor:
    return torch.randn(count, *net.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(
    ("kind", "batch"), [(Mlp, 3), (Joined, 32), (Pooled, 3)]
)  # three images a pass leave one for the second
def test_the_largest_are_those_of_autograds_rows(
    kind: type[nn.Module], batch: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BATCH", batch)
    net = randomised(kind().double())
    inputs = images(net)
    for masks in (Masks.full(prunable(net)), randomly_masked(net)):
        expected = np.linalg.eigvalsh(by_autograd(net, inputs, masks))[::-1]
        exact = eigenvalues(net, inputs, masks)
        np.testing.assert_allclose(exact.values, expected, rtol=1e-9, atol=1e-9 * expected[0])
        assert (exact.rows, exact.residual) == (len(expected), None)
        assert exact.trace == pytest.approx(expected.sum())
        few = eigenvalues(net, inputs, masks, top=3, exact_rows=0)
        np.testing.assert_allclose(few.values, expected[:3], rtol=1e-8, atol=1e-9 * expected[0])
        assert few.trace is None
        assert few.residual is not None
        assert few.residual < 1e-7


def test_the_residual_shows_a_product_that_is_off(monkeypatch: pytest.MonkeyPatch) -> None:
    net = randomised(Mlp().double())
    product, calls = module._Kernel.__call__, []

    def off(kernel: module._Kernel, vector: np.ndarray) -> np.ndarray:
        calls.append(vector)
        found: np.ndarray = product(kernel, vector)
        return found * (1 + 0.01 * (len(calls) % 2))

    monkeypatch.setattr(module._Kernel, "__call__", off)
    monkeypatch.setattr(module, "TOLERANCE", 0.1)
    residual = eigenvalues(net, images(net), top=2, exact_rows=0).residual
    assert residual is not None
    assert residual > 1e-3


def test_a_model_in_float32_in_training_mode_is_left_as_it_was() -> None:
    net = randomised(Joined()).train()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    inputs = images(net).float()
    wanted = eigenvalues(net, inputs).values
    np.testing.assert_allclose(eigenvalues(net, inputs, top=3, exact_rows=0).values, wanted[:3], rtol=1e-4)
    assert net.training
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


def test_numbers_are_checked() -> None:
    net = randomised(Mlp())
    with pytest.raises(InputError, match="top is 0"):
        eigenvalues(net, images(net).float(), top=0)
    with pytest.raises(InputError, match="a kernel of 12 rows, too many for 50000000 eigenvalues"):
        eigenvalues(net, images(net).float(), top=50_000_000, exact_rows=0)
    with pytest.raises(InputError, match="give one or more images"):
        eigenvalues(net, torch.zeros(0, *net.shape))
