"""The backbone in the package: really trained, and what its card says."""

import hashlib
import json
import warnings

import pytest
import torch

import checkpoints
from checkpoints import Backbone, embedded
from transfer import data
from transfer.data.image_batches import Batches
from transfer.models import classifier
from transfer.training import evaluate


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return checkpoints.load("embedded")


def test_the_card_is_that_of_the_file(backbone: Backbone) -> None:
    card = json.loads((embedded.FOLDER / embedded.CARD).read_text("utf-8"))
    content = (embedded.FOLDER / embedded.WEIGHTS).read_bytes()
    assert card["sha256"] == hashlib.sha256(content).hexdigest()
    assert card["accuracy"] >= 90
    assert set(embedded.STATED) <= set(card)
    assert 1_000_000 < len(content) < 1_300_000
    assert (backbone.arch, backbone.mean, backbone.std) == ("resnet20", tuple(card["mean"]), tuple(card["std"]))


def test_its_statistics_are_those_of_a_trained_network(backbone: Backbone) -> None:
    state = backbone.state_dict
    layers = [key.removesuffix("running_mean") for key in state if key.endswith("running_mean")]
    assert len(layers) == 21
    for layer in layers:
        assert not torch.allclose(state[layer + "running_mean"], torch.tensor(0.0))
        assert not torch.allclose(state[layer + "running_var"], torch.tensor(1.0))
        assert not torch.allclose(state[layer + "weight"], torch.tensor(1.0))
        assert state[layer + "num_batches_tracked"] > 100
    assert all(torch.isfinite(value).all() for value in state.values())


def test_its_features_know_more_of_digits_than_random_ones(backbone: Backbone) -> None:
    """A nearest class mean on the features of the training images beats that of an untrained trunk."""
    digits = data.load("digits")
    accuracies = []
    for trunk in (backbone, checkpoints.load("random:resnet20")):
        model = classifier(trunk, 10).eval()
        look = {"size": 16, "mean": backbone.mean, "std": backbone.std, "batch": 256}
        with torch.no_grad():
            x, y = _features(model, Batches(digits.train, **look))
            features, labels = _features(model, Batches(digits.test, **look))
            means = torch.stack([x[y == k].mean(0) for k in range(10)])
            model.fc.weight.copy_(2 * means)
            model.fc.bias.copy_(-means.square().sum(1))
        accuracies.append(evaluate(model, Batches(digits.test, **look))["accuracy"])
        nearest = torch.cdist(features, means).argmin(1)
        assert accuracies[-1] == pytest.approx(float((nearest == labels).float().mean()), abs=0.01)
    assert accuracies[0] > accuracies[1]


def _features(model: torch.nn.Module, batches: Batches) -> tuple[torch.Tensor, torch.Tensor]:
    found = [(model.forward_head(model.forward_features(x), pre_logits=True), y) for x, y in batches]  # type: ignore[operator]
    features, labels = zip(*found, strict=True)
    return torch.cat(features), torch.cat(labels)
