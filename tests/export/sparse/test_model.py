"""Whole networks: outputs of the sparse form equal the masked model's, whichever form each layer takes."""

import builtins
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import checkpoints
from checkpoints.errors import InputError
from tests.export.networks import NETWORKS, gap, prune
from transfer.export.compact import compact
from transfer.export.sparse import Choice, kernel, sparse_model
from transfer.export.sparse.choice import Candidate
from transfer.export.sparse.layer import Dense, Sparse
from transfer.models import classifier, segmenter

SIZES = ((2, 3, 16, 16), (1, 3, 15, 21))


@pytest.fixture
def all_sparse(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Choice, "sparse", property(lambda self: self.sparse_ms is not None))


@pytest.mark.usefixtures("all_sparse")
@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_of_sparse_layers_gives_the_outputs_of_the_masked_one(name: str) -> None:
    model = prune(NETWORKS[name](), 0.8, 1, 0.1).float()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    made, choices = sparse_model(model, torch.randn(2, 3, 16, 16))
    assert gap(model.double(), Doubled(made), *SIZES) < 1e-5
    assert any(isinstance(each, Sparse) for each in made.modules())
    assert not any(isinstance(each, Candidate) for each in made.modules())
    assert all(torch.equal(value.float(), before[key]) for key, value in model.state_dict().items())
    assert [choice.name for choice in choices if choice.sparse_ms is None] == []


class Doubled(nn.Module):
    """A float32 network that takes and gives float64."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> list[Tensor]:
        found = self.model(x.float())
        return [each.double() for each in (found if isinstance(found, (list, tuple)) else [found])]


@pytest.mark.usefixtures("all_sparse")
@pytest.mark.parametrize("small", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_resnet20_and_its_compact_form(small: bool) -> None:
    model = prune(classifier(checkpoints.load("random:resnet20"), 10), 0.98, 0).float()
    x = torch.randn(2, 3, 32, 32)
    made, choices = sparse_model(compact(model, x) if small else model, x)
    assert gap(model, made, (2, 3, 32, 32)) < 1e-5
    kinds = {type(module) for module in made.modules()}
    assert kinds & {nn.BatchNorm2d, Dense} == set()
    weight = model.get_parameter(f"{choices[0].name}.weight")
    assert small or choices[0].density == float(weight.count_nonzero()) / weight.numel()


@pytest.mark.slow
@pytest.mark.usefixtures("all_sparse")
@pytest.mark.parametrize("name", ["resnet50", "tf_efficientnet_lite0", "vit_tiny_patch16_224"])
def test_networks_of_timm(name: str) -> None:
    import timm

    torch.manual_seed(0)
    model = prune(timm.create_model(name, num_classes=7), 0.9, 0).float()
    made = sparse_model(model, torch.randn(1, 3, 224, 224), resizable=False).model
    assert gap(model, made, (1, 3, 224, 224), (2, 3, 224, 224)) < 1e-4


@pytest.mark.slow
@pytest.mark.usefixtures("all_sparse")
def test_deeplab() -> None:
    model = prune(segmenter(checkpoints.load("random:resnet18"), 5), 0.9, 0).float()
    made = sparse_model(model, torch.randn(2, 3, 64, 64)).model
    assert gap(model, made, (2, 3, 64, 64), (1, 3, 96, 64)) < 1e-4


def test_a_layer_is_sparse_only_if_it_was_measured_faster() -> None:
    slow, fast = Choice("a", 0.5, 1.0, 2.0), Choice("a", 0.5, 2.0, 1.0)
    assert not slow.sparse
    assert fast.sparse
    assert not Choice("a", 0.5, 1.0, None).sparse


def test_float64_stays_dense() -> None:
    model = prune(NETWORKS["chain"](), 0.9, 0)
    made, choices = sparse_model(model, torch.zeros(1, 3, 16, 16, dtype=torch.float64))
    assert {choice.sparse_ms for choice in choices} == {None}
    assert gap(model, made, *SIZES) < 1e-12


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (None, r"^sparse layers need numba; pip install 'px-transfer\[sparse\]'"),
        ("found", "installed but does not load: needs an older NumPy$"),
    ],
)
def test_without_numba_one_line_says_why(monkeypatch: pytest.MonkeyPatch, spec: object, message: str) -> None:
    real: Callable[..., Any] = builtins.__import__

    def missing(name: str, *rest: Any, **more: Any) -> Any:
        if name == "numba":
            raise ImportError("needs an older NumPy")
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", missing)
    monkeypatch.setattr(kernel, "find_spec", lambda name: spec)
    kernel.products.cache_clear()
    with pytest.raises(InputError, match=message):
        sparse_model(NETWORKS["chain"](), torch.zeros(1, 3, 16, 16))
