"""Every path method against path enumeration, in float64, with and without masks, for each choice of statistics.

The graph of units has the statistics that references.py finds with hooks, as those of its BatchNorms.
"""

import numpy as np
import pytest
import torch

from tests.pruning.path_graph import (
    activity,
    connected,
    gated_saliency,
    kernel_trace,
    path_trace,
    saliency,
)
from tests.pruning.references import STATISTICS, calls, fixed, storing
from tests.pruning.small_nets import Mlp, Pooled, Residual, images, randomised
from transfer.pruning import Masks, live, path_kernel_trace, score
from transfer.pruning.prunable import prunable

NETS = {"mlp": Mlp, "leaky mlp": lambda: Mlp(0.1), "residual": Residual, "max-pool": Pooled}
CASES = [(net, seen) for net in NETS for seen in STATISTICS if seen == "running" or net in ("residual", "max-pool")]
every_case = pytest.mark.parametrize(("net", "statistics"), CASES)


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


def halves(model, seed=0, count=5):
    """Two mini-batches of different sizes, of more than one value per channel."""
    inputs, targets = images(model.shape, count, seed, torch.float64)
    cut = count - count // 2
    return [(inputs[:cut], targets[:cut]), (inputs[cut:], targets[cut:])]


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("masked", [False, True])
@every_case
def test_px_equals_enumeration(net, statistics, masked, seed):
    """Under ``batch`` the gates are those of a training forward of each mini-batch; h has the pooled statistics."""
    model, masks = build(net, masked, seed)
    batches = halves(model, seed)
    found = score("px", model, batches, masks=masks, statistics=statistics)

    constant = fixed(model, batches, statistics)
    bits = {name: mask.numpy() for name, mask in masks.items()}
    weight = 0.0
    for batch in batches:
        seen = storing(model, calls(model, [batch])) if statistics == "batch" else constant
        weight = weight + activity(*seen.graph(), batch[0].flatten(1).numpy(), bits)
    expected = saliency(*constant.graph(), cotangent=weight)
    same_up_to_a_power_of_two(found, expected)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize(("method", "power", "dist"), [
    ("synflow", 1, False), ("synflow-dist", 1, True), ("synflow-l2", 2, False), ("synflow-l2-dist", 2, True),
])  # fmt: skip
@every_case
def test_the_synflow_family_equals_enumeration(net, statistics, method, power, dist, masked):
    model, masks = build(net, masked, 5)
    batches = halves(model)
    found = score(method, model, batches, masks=masks, statistics=statistics)
    graph, outputs = fixed(model, batches, statistics).graph()
    start = torch.cat([x for x, _ in batches]).abs().mean(0).flatten().numpy() if dist else None
    same_up_to_a_power_of_two(found, saliency(graph, outputs, power=power, start=start))


@every_case
def test_logsynflow_equals_enumeration(net, statistics):
    model, _ = build(net, False, 6)
    batches = halves(model)
    found = score("logsynflow", model, batches, statistics=statistics)
    graph, outputs = fixed(model, batches, statistics).graph()
    for name, flow in saliency(graph, outputs, power=1).items():
        weight = np.abs(graph.weights[name])
        expected = weight * np.log1p(flow / weight)
        torch.testing.assert_close(found[name], torch.from_numpy(expected), rtol=1e-10, atol=0)


@pytest.mark.parametrize("masked", [False, True])
@every_case
def test_px_gated_equals_enumeration(net, statistics, masked):
    """Gates and scales have the same constants."""
    model, masks = build(net, masked, 1)
    batches = halves(model, 1)
    found = score("px-gated", model, batches, masks=masks, statistics=statistics)
    graph, outputs = fixed(model, batches, statistics).graph()
    inputs = torch.cat([x for x, _ in batches])
    same_up_to_a_power_of_two(found, gated_saliency(graph, outputs, inputs.flatten(1).numpy()))


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize(("net", "statistics"), [case for case in CASES if case[1] != "warmup"])
def test_px_trace_is_the_loss_of_the_trace_when_a_weight_goes(net, statistics, masked):
    """Exact where a path meets a weight once, as in these nets."""
    model, masks = build(net, masked, 2)
    inputs, targets = images(model.shape, 1, 2, torch.float64)
    found = score("px-trace", model, [(inputs, targets)], masks=masks, statistics=statistics)
    graph, outputs = fixed(model, [inputs], statistics).graph()
    data, bits = inputs.flatten(1).numpy(), {name: mask.numpy() for name, mask in masks.items()}
    whole = path_trace(graph, outputs, data, bits)
    rng = np.random.default_rng(0)
    pairs = []
    for name, mask in bits.items():
        kept = np.argwhere(mask)
        for index in map(tuple, kept[rng.permutation(len(kept))[:4]]):
            index = tuple(int(i) for i in index)
            pairs.append((float(found[name][index]), whole - path_trace(graph, outputs, data, bits, (name, index))))
    ours, exact = (torch.tensor(column, dtype=torch.float64) for column in zip(*pairs, strict=True))
    factor = exact.max() / ours[exact.argmax()]
    assert abs(torch.frexp(factor).mantissa - 0.5) < 1e-10 or abs(torch.frexp(factor).mantissa - 1) < 1e-10
    torch.testing.assert_close(ours * factor, exact, rtol=1e-10, atol=1e-10 * whole)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("net", NETS)
def test_the_trace_of_the_path_kernel_equals_enumeration(net, masked):
    model, masks = build(net, masked, 7)
    graph, outputs = model.graph()
    expected = kernel_trace(graph, outputs, {name: mask.numpy() for name, mask in masks.items()})
    assert path_kernel_trace(model, model.shape, masks=masks) == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("net", NETS)
def test_live_weights_are_those_on_a_path_of_kept_weights(net):
    model = randomised(NETS[net](), 3).double()
    generator = torch.Generator().manual_seed(8)
    disconnected = 0
    for density in (0.05, 0.1, 0.2, 0.3, 0.45, 0.6):
        masks = Masks({n: torch.rand(w.shape, generator=generator) < density for n, w in prunable(model).items()})
        graph, outputs = model.graph()
        expected = connected(graph, outputs, {name: mask.numpy() for name, mask in masks.items()})
        found = live(model, masks, torch.zeros(1, *model.shape, dtype=torch.float64))
        for name, alive in expected.items():
            assert torch.equal(found[name], torch.from_numpy(alive)), name
        disconnected += masks.kept - found.kept
    assert disconnected > 0


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
