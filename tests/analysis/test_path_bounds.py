"""The bounds against enumerated paths; without biases they are bounds."""

import math

import pytest
import torch
from torch import Tensor, nn

from checkpoints.errors import InputError
from tests.analysis.test_ntk import Joined, randomly_masked
from tests.pruning.path_graph import Graph, activity
from tests.pruning.small_nets import Mlp, Pooled, randomised
from transfer.analysis.ntk import trace
from transfer.analysis.path_bounds import bounds
from transfer.pruning import Masks
from transfer.pruning.prunable import prunable

KINDS = [Mlp, Joined, Pooled]


def net(kind: type[nn.Module], masks: bool, biases: bool = True) -> tuple[nn.Module, Masks, Tensor]:
    """A random network whose pruned weights are 0, its masks, and three images."""
    model = randomised(kind().double())
    if not biases:
        for name, value in model.state_dict().items():
            if name.endswith(("bias", "running_mean")):
                value.zero_()
    kept = randomly_masked(model, density=0.6) if masks else Masks.full(prunable(model))
    kept.apply_(model)
    images = torch.randn(3, *model.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    return model, kept, images


def enumerated(graph: Graph, unit: int, masks: dict[str, object]) -> float:
    """Σ_i ∂h/∂θ_i² over kept weights: each path once for each of its weights, without that weight."""
    total = 0.0
    for _, weights, scales, _, coefficient in graph.paths(unit, lambda _, sources: sources):
        fixed = coefficient * math.prod(s**2 for s in scales)
        values = [float(graph.weights[name][index]) ** 2 * bool(masks[name][index]) for name, index in weights]
        for place, (name, index) in enumerate(weights):
            if masks[name][index]:
                total += fixed * math.prod(values[:place] + values[place + 1 :])
    return total


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_they_are_sums_over_enumerated_paths(kind: type[nn.Module], masked: bool) -> None:
    model, masks, images = net(kind, masked)
    graph, outputs = model.graph()
    arrays = {name: mask.numpy() for name, mask in masks.items()}
    g = activity(graph, outputs, images.flatten(1).numpy(), arrays)
    h = [enumerated(graph, int(unit), arrays) for unit in outputs]
    found = bounds(model, images, masks)
    assert found.activity == pytest.approx(math.log10(sum(g)), abs=1e-9)
    assert found.path_kernel == pytest.approx(math.log10(sum(h)), abs=1e-9)
    assert found.tight == pytest.approx(math.log10(sum(a * b for a, b in zip(g, h, strict=True))), abs=1e-9)
    assert found.loose == pytest.approx(math.log10(sum(g) * sum(h)), abs=1e-9)
    assert found.trace == pytest.approx(math.log10(trace(model, images, masks)), abs=1e-9)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_without_biases_each_bounds_the_one_before(kind: type[nn.Module], masked: bool) -> None:
    model, masks, images = net(kind, masked, biases=False)
    found = bounds(model, images, masks)
    assert None not in (found.trace, found.tight, found.loose)
    assert found.trace <= found.tight <= found.loose


def test_a_network_without_a_path_has_no_logarithm() -> None:
    model, masks, images = net(Mlp, False)
    none = Masks({**masks, "net.5.weight": torch.zeros(3, 4, dtype=torch.bool)})
    none.apply_(model)
    found = bounds(model, images, none)
    assert (found.trace, found.activity, found.path_kernel, found.tight, found.loose) == (None,) * 5


def test_bad_images_are_one_line() -> None:
    model, masks, images = net(Mlp, False)
    with pytest.raises(InputError, match="give one or more images"):
        bounds(model, images[:0], masks)
