"""What the papers prove of the path methods, seen on networks."""

import itertools

import pytest
import timm
import torch
from torch import nn

import checkpoints.architectures  # noqa: F401
from checkpoints.errors import InputError
from tests.pruning.small_nets import TinyVgg, images, randomised
from transfer.pruning import CollapseWarning, Masks, live, path_kernel_trace, prune, score
from transfer.pruning import schedule as schedules
from transfer.pruning.layers import effective_sparsity, report
from transfer.pruning.paths.carried import NoPathError
from transfer.pruning.prunable import prunable
from transfer.pruning.selection import select

CHAIN = ("synflow", "synflow-dist", "synflow-l2", "synflow-l2-dist", "px", "px-gated")


class Chain(nn.Module):
    """Linear layers of the given widths, with ReLU, without biases."""

    def __init__(self, *widths: int):
        super().__init__()
        pairs = itertools.pairwise(widths)
        self.layers = nn.ModuleList(nn.Linear(i, o, bias=False) for i, o in pairs)

    def forward(self, x):
        x = x.flatten(1)
        for layer in self.layers[:-1]:
            x = torch.relu(layer(x))
        return self.layers[-1](x)


@pytest.mark.parametrize("method", CHAIN)
@pytest.mark.parametrize("make", [lambda: Chain(12, 30, 7, 40, 5), TinyVgg], ids=["mlp", "vgg"])
def test_saliency_is_conserved_over_every_cut_of_a_chain(method, make):
    """Tanaka 2020, theorem 2: the layers of a chain have the same total score, R."""
    model = randomised(make(), 3).double()
    shape = (3, 2, 2) if isinstance(model, Chain) else (3, 8, 8)
    scores = score(method, model, [images(shape, 4, dtype=torch.float64)])
    sums = torch.stack([values.sum() for values in scores.values()])
    torch.testing.assert_close(sums, sums[:1].expand_as(sums), rtol=1e-10, atol=0)


@pytest.mark.parametrize("method", ["synflow", "synflow-l2", "px"])
def test_saliency_is_conserved_at_every_hidden_unit(method):
    """Tanaka 2020, theorem 1: what flows into a unit flows out of it."""
    model = randomised(Chain(12, 30, 7, 40, 5), 4).double()
    scores = list(score(method, model, [images((3, 2, 2), 4, dtype=torch.float64)]).values())
    for before, after in itertools.pairwise(scores):
        torch.testing.assert_close(before.sum(1), after.sum(0), rtol=1e-10, atol=0)


@pytest.mark.parametrize(
    ("method", "options"), [("synflow", {}), ("synflow-l2", {}), ("px", {}), ("ntk-balanced", {"balance": 1.0})]
)
def test_maximal_critical_compression_on_a_chain(method, options):
    """Tanaka 2020, theorem 3: while no round removes as much score as a layer has, no layer is emptied.

    Down to one weight a layer, the most that any method can do. The hypothesis is checked in each round. All layers
    have the same sum: by conservation along paths, or because ntk-balanced divides by it.
    """
    model = randomised(Chain(12, 8, 8, 5), 5).double()
    for weight in model.parameters():
        weight.data.abs_()  # on positive images every gate is open, for px
    batches = [images((3, 2, 2), 4, dtype=torch.float64)[0].abs()]
    masks = Masks.full(prunable(model))
    layers, rounds = len(masks), 200
    final = 1 - layers / masks.total
    for done in range(1, rounds + 1):
        scores = score(method, model, batches, masks=masks, **options)
        keep = schedules.kept(masks.total, schedules.sparsity_after(done, rounds, final))
        new = Masks(select(scores, masks, keep))
        removed = sum(float(scores[n][masks[n] & ~new[n]].sum()) for n in scores)
        if removed < min(float(values.sum()) for values in scores.values()) * (1 - 1e-9):
            assert not new.collapsed(), f"round {done}: the theorem does not hold"
        else:
            pytest.fail(f"round {done} removes as much as a layer has; the test's hypothesis does not hold")
        masks = new
        masks.apply_(model)
    assert [row["kept"] for row in masks.layers()] == [1] * layers
    assert live(model, masks, torch.zeros(1, 3, 2, 2, dtype=torch.float64)).kept == layers, "they form one path"


def test_magnitude_and_one_round_of_synflow_empty_layers_where_many_rounds_do_not():
    data = [images((3, 8, 8), 4)]
    with pytest.warns(CollapseWarning, match=r"synflow at sparsity .* left .* try more rounds"):
        prune(randomised(TinyVgg()), data, method="synflow", sparsity=0.99, rounds=1)
    masks = prune(randomised(TinyVgg()), data, method="synflow", sparsity=0.99)
    assert not masks.collapsed()


class Wide(nn.Module):
    """Layer totals of a residual branch."""

    def __init__(self):
        super().__init__()
        self.stem, self.a, self.b, self.fc = nn.Linear(12, 8), nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 3)

    def forward(self, x):
        x = torch.relu(self.stem(x.flatten(1)))
        return self.fc(x + self.b(torch.relu(self.a(x))))


def test_on_a_residual_net_the_branch_has_less_than_the_whole():
    model = randomised(Wide()).double()
    sums = {n: float(v.sum()) for n, v in score("px", model, [images((3, 2, 2), 4, dtype=torch.float64)]).items()}
    assert sums["stem.weight"] == pytest.approx(sums["fc.weight"], rel=1e-10)
    assert sums["a.weight"] == pytest.approx(sums["b.weight"], rel=1e-10)
    assert sums["a.weight"] < sums["stem.weight"]


def test_the_trace_of_a_chain_by_hand():
    """Two layers of one unit: Tr(Π) = w² + v² for each of three inputs of a 3-channel pixel."""
    model = Chain(3, 1, 2)
    with torch.no_grad():
        model.layers[0].weight.copy_(torch.tensor([[1.0, 2.0, 3.0]]))
        model.layers[1].weight.copy_(torch.tensor([[5.0], [7.0]]))
    # paths: 3 inputs × 2 outputs; Tr = Σ_p (u² + w²) of each path's other weight
    expected = sum(u * u + w * w for w in (1, 2, 3) for u in (5, 7))
    assert path_kernel_trace(model, 1) == expected
    assert path_kernel_trace(model, (3, 1, 1), masks={
        "layers.0.weight": torch.tensor([[True, True, True]]), "layers.1.weight": torch.tensor([[True], [False]]),
    }) == sum(w * w + 25 for w in (1, 2, 3))  # fmt: skip


def test_a_zero_initialised_residual_branch_is_refused_with_the_cure():
    with torch.random.fork_rng():
        model = timm.create_model("resnet18", num_classes=3)
    for method in ("px", "synflow", "snip"):
        with pytest.raises(Exception, match=r"layer layer1\.0\.conv1 and .* more 0 .*zero_init_last=False"):
            prune(model, [images((3, 32, 32), 2)], method=method, sparsity=0.5, rounds=2)


def test_report_names_disconnected_weights_by_hand():
    model = Chain(3, 2, 2, 1)
    masks = Masks({
        "layers.0.weight": torch.tensor([[True, False, False], [False, True, True]]),
        "layers.1.weight": torch.tensor([[True, False], [True, False]]),  # unit 1 of the first layer goes nowhere
        "layers.2.weight": torch.tensor([[True, False]]),  # unit 1 of the second layer goes nowhere
    })  # fmt: skip
    masks.apply_(model)
    rows = report(model, masks, torch.zeros(2, 3, 1, 1))
    assert [row["disconnected"] for row in rows] == [2, 1, 0]
    assert [row["dead_units"] for row in rows] == [0, 0, 0]
    assert masks.sparsity == pytest.approx(1 - 6 / 12)
    assert effective_sparsity(rows) == pytest.approx(1 - 3 / 12)


def test_a_report_goes_by_name_whatever_the_order_of_the_masks():
    model, generator = Chain(12, 6, 5, 3), torch.Generator().manual_seed(1)
    masks = Masks({n: torch.rand(w.shape, generator=generator) < 0.3 for n, w in prunable(model).items()})
    turned = Masks({name: masks[name] for name in reversed(list(masks))})
    image = torch.zeros(1, 3, 2, 2)
    rows = report(model, masks, image)
    assert report(model, turned, image) == rows[::-1]
    assert any(row["disconnected"] for row in rows)
    assert all(0 <= row["disconnected"] <= row["kept"] for row in rows)


@pytest.mark.parametrize("groups", [1, 2])
def test_dead_units_of_a_transposed_convolution_are_outputs(groups):
    model = nn.Sequential(nn.ConvTranspose2d(4, 6, 2, groups=groups), nn.Flatten(), nn.Linear(6 * 9, 2))
    masks = {name: torch.ones_like(w, dtype=torch.bool) for name, w in prunable(model).items()}
    masks["0.weight"][:, 1] = False  # with two groups: output 1 of each
    masks["0.weight"][3] = False  # an input: no unit is dead for it
    masks["2.weight"][0] = False
    rows = report(model, Masks(masks), torch.zeros(1, 4, 2, 2))
    assert [(row["units"], row["dead_units"]) for row in rows] == [(6, groups), (2, 1)]
    with torch.no_grad():
        Masks(masks).apply_(model)
        silent = model[0](torch.randn(9, 4, 2, 2)) - model[0].bias.view(-1, 1, 1)
    assert int((silent == 0).all(0).all(1).all(1).sum()) == groups


def test_report_refuses_masks_of_another_model():
    with pytest.raises(InputError, match="has no parameter"):
        report(Chain(12, 5), Masks.full(prunable(Chain(12, 5, 3))), torch.zeros(1, 3, 2, 2))


def test_an_excluded_weight_connects_only_where_it_is_not_0():
    model = Chain(3, 2, 1)
    with torch.no_grad():
        model.layers[1].weight.copy_(torch.tensor([[0.0, 5.0]]))
    masks = Masks({"layers.0.weight": torch.tensor([[True, True, True], [True, False, True]])})
    found = live(model, masks, torch.zeros(1, 3, 1, 1))
    assert found["layers.0.weight"].tolist() == [[False, False, False], [True, False, True]]


def test_the_trace_does_not_depend_on_whether_pruned_weights_are_zeroed_yet():
    model = randomised(Chain(12, 8, 5), 2).double()
    masks = Masks({n: torch.rand(w.shape, generator=torch.Generator().manual_seed(1)) < 0.5
                   for n, w in prunable(model).items()})  # fmt: skip
    before = path_kernel_trace(model, 2, masks=masks)
    masks.apply_(model)
    assert path_kernel_trace(model, 2, masks=masks) == before < path_kernel_trace(model, 2) * 2


@pytest.mark.parametrize("pool", [nn.AdaptiveMaxPool2d(4), nn.MaxPool2d(2, dilation=2)])
def test_a_pool_without_a_sum_over_its_window_is_told_and_pruning_still_reports(pool):
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(), pool, nn.Flatten(), nn.LazyLinear(2))
    inputs = torch.randn(2, 3, 6, 6)
    model(inputs)
    rows = report(model, Masks.full(prunable(model)), inputs)
    assert {row["disconnected"] for row in rows} == {None}
    with pytest.raises(NoPathError, match="window"):
        path_kernel_trace(model, 6)


@pytest.mark.parametrize("method", ["px-trace", "px-gated", "grasp", "px", "synflow", "jacobian"])
def test_one_layer_is_enough(method):
    model = nn.Sequential(nn.Flatten(), nn.Linear(12, 3))
    scores = score(method, model, [images((3, 2, 2), 4)])
    assert bool(torch.isfinite(scores["1.weight"]).all())


def test_report_on_a_net_without_paths_says_so():
    with torch.random.fork_rng():
        model = timm.create_model("test_vit", num_classes=3)
    data = [images((3, 160, 160), 2)]
    masks = prune(model, data, method="magnitude", sparsity=0.5)
    rows = report(model, masks, data[0][0])
    assert {row["disconnected"] for row in rows} == {None}
    assert effective_sparsity(rows) is None
