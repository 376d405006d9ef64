"""A small sparse model and a few digits of 16 px: an epoch is six steps."""

from collections.abc import Callable

import pytest
import torch
from torch import nn

import checkpoints
from transfer import data
from transfer.data.dataset import Dataset, Images
from transfer.data.image_batches import Batches
from transfer.models import classifier
from transfer.pruning import Masks, prune
from transfer.training import Loaders


@pytest.fixture(scope="session")
def digits() -> Dataset:
    return data.load("digits")


@pytest.fixture
def loaders(digits: Dataset) -> Loaders:
    assert isinstance(digits.train, Images)
    assert isinstance(digits.test, Images)
    look = {"size": 16, "mean": (0.5,) * 3, "std": (0.25,) * 3}
    train, test = digits.train.subset(torch.arange(96)), digits.test.subset(torch.arange(40))
    return Loaders(Batches(train, batch=16, shuffle=True, **look), Batches(test, batch=16, **look))


@pytest.fixture
def network() -> Callable[[], nn.Module]:
    """Make the same new model at every call."""
    return lambda: classifier(checkpoints.load("random:resnet20"), 10)


@pytest.fixture
def sparse(network: Callable[[], nn.Module]) -> tuple[nn.Module, Masks]:
    """A model without 80 % of its weights, and its masks."""
    model = network()
    return model, prune(model, [], method="magnitude", sparsity=0.8)
