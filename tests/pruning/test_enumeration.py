"""px and synflow-l2 against path enumeration, in float64, with and without masks."""

import pytest
import torch

from tests.pruning.path_graph import activity, squared_saliency
from tests.pruning.small_nets import Mlp, Pooled, Residual, images, randomised
from transfer.pruning import Masks, score
from transfer.pruning.prunable import prunable

NETS = {"mlp": Mlp, "leaky mlp": lambda: Mlp(0.1), "residual": Residual, "max-pool": Pooled}


def build(net, masked, seed):
    model = randomised(NETS[net](), seed).double()
    generator = torch.Generator().manual_seed(seed + 1)
    keep = 0.8 if masked else 1.1
    weights = prunable(model)
    masks = Masks({n: torch.rand(w.shape, generator=generator) < keep for n, w in weights.items()})
    masks.apply_(model)
    return model, masks


def same_up_to_a_power_of_two(found, expected):
    largest = max(float(v.max()) for v in found.values()), max(float(v.max()) for v in expected.values())
    factor = largest[1] / largest[0]
    assert factor > 0
    mantissa = torch.frexp(torch.tensor(factor, dtype=torch.float64)).mantissa.item()
    assert abs(mantissa - 0.5) < 1e-10 or abs(mantissa - 1) < 1e-10, "not a power of two"
    for name, values in expected.items():
        torch.testing.assert_close(found[name] * factor, torch.from_numpy(values), rtol=1e-10, atol=1e-10 * largest[1])


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("net", NETS)
def test_px_equals_enumeration(net, masked, seed):
    model, masks = build(net, masked, seed)
    inputs, targets = images(model.shape, 3, seed, torch.float64)
    found = score("px", model, [(inputs[:2], targets[:2]), (inputs[2:], targets[2:])], masks=masks)

    graph, outputs = model.graph()
    bits = {name: mask.numpy() for name, mask in masks.items()}
    weight = activity(graph, outputs, inputs.flatten(1).numpy(), bits)
    expected = squared_saliency(graph, outputs, weight)
    same_up_to_a_power_of_two(found, expected)


@pytest.mark.parametrize("net", NETS)
def test_synflow_l2_equals_enumeration(net):
    model, masks = build(net, True, 5)
    found = score("synflow-l2", model, [images(model.shape, 1, dtype=torch.float64)], masks=masks)
    graph, outputs = model.graph()
    same_up_to_a_power_of_two(found, squared_saliency(graph, outputs, [1.0] * len(outputs)))


def test_the_graph_computes_what_the_model_does():
    for make in NETS.values():
        model = randomised(make(), 3).double()
        inputs, _ = images(model.shape, 2, dtype=torch.float64)
        graph, outputs = model.graph()
        for x, y in zip(inputs, model(inputs), strict=True):
            values = graph.values(x.flatten().numpy())
            torch.testing.assert_close(torch.tensor([values[int(u)] for u in outputs], dtype=torch.float64), y.detach())


def test_px_ranks_like_synflow_l2_while_a_pooled_head_is_full_and_not_after():
    model, masks = build("residual", False, 0)
    batches = [images(model.shape, 4, dtype=torch.float64)]
    px, l2 = score("px", model, batches), score("synflow-l2", model, batches)
    ratio = torch.cat([(px[n] / l2[n]).flatten() for n in px])
    torch.testing.assert_close(ratio, ratio[:1].expand_as(ratio), rtol=1e-10, atol=0)

    cut = Masks({n: m.clone() for n, m in masks.items()})
    cut["fc.weight"][0, :2] = False
    cut.apply_(model)
    px, l2 = score("px", model, batches, masks=cut), score("synflow-l2", model, batches, masks=cut)
    ratio = px["fc.weight"][:, 2] / l2["fc.weight"][:, 2]
    assert ratio[1] > ratio[0] * 1.01, "G of the class with the fuller head is larger"
