"""Patterns of kept weights: N of M input channels, and blocks, under every method and allocation."""

import copy
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from checkpoints.errors import InputError
from tests.pruning.small_nets import TinyVgg, images, randomised
from transfer.pruning import Masks, methods, prune, score
from transfer.pruning.allocation import RULES, choose
from transfer.pruning.patterns import bind, check
from transfer.pruning.patterns.channels import channels
from transfer.pruning.prunable import prunable
from transfer.pruning.selection import select

pytestmark = pytest.mark.filterwarnings("ignore::transfer.pruning.CollapseWarning")
FEW = {"hutchinson": {"draws": 2}, "hts": {"draws": 2}}
STEM = ("features.0",)  # its three input channels do not divide by 4
Y, N = True, False


def most_kept(mask, of):
    """Of a weight (outputs, inputs, ...): the fewest and the most that a group of inputs keeps."""
    groups = torch.stack([mask[:, i : i + of].sum(1) for i in range(0, mask.shape[1], of)])
    return int(groups.min()), int(groups.max())


def tiny(*layers):
    return nn.Sequential(*layers)


def chosen(model, scores, pattern, keep, *, masks=None, allocation="global"):
    weights = prunable(model)
    total = sum(w.numel() for w in weights.values())
    constraint = bind(pattern, model, weights, sparsity=1 - keep / total)
    return choose(scores, masks or Masks.full(weights), keep, allocation, constraint)


def test_groups_by_hand():
    model = tiny(nn.Linear(8, 2, bias=False))
    scores = {"0.weight": torch.tensor([[4, 1, 3, 2, 9, 9, 9, 9], [0, 0, 5, 0, 8, 7, 6, 5]], dtype=torch.float64)}
    half = chosen(model, scores, "2:4", 8)["0.weight"]
    assert half.tolist() == [[Y, N, Y, N, Y, Y, N, N], [Y, N, Y, N, Y, Y, N, N]]  # of equal ones the earlier
    few = chosen(model, scores, "2:4", 5)["0.weight"]
    assert few.tolist() == [[N, N, N, N, Y, Y, N, N], [N, N, Y, N, Y, Y, N, N]]  # the best five of those eight


def test_while_more_are_wanted_the_best_of_a_group_stay_and_the_others_compete():
    model = tiny(nn.Linear(8, 1, bias=False))
    scores = {"0.weight": torch.tensor([[1, 2, 3, 4, 50, 60, 70, 80]], dtype=torch.float64)}
    constraint = bind("2:4", model, prunable(model), sparsity=0.5)
    first = choose(scores, Masks.full(prunable(model)), 6, "global", constraint)
    assert first["0.weight"].tolist() == [[N, N, Y, Y, Y, Y, Y, Y]]
    turned = {"0.weight": -scores["0.weight"]}
    assert choose(turned, first, 4, "global", constraint)["0.weight"].tolist() == [[N, N, Y, Y, Y, Y, N, N]]


def test_groups_lie_along_the_input_channels_at_each_entry_of_the_kernel():
    model = tiny(nn.Conv2d(4, 1, (1, 2), bias=False))
    scores = {"0.weight": torch.tensor([[8, 1], [7, 2], [6, 3], [5, 4]], dtype=torch.float64).view(1, 4, 1, 2)}
    assert chosen(model, scores, "2:4", 4)["0.weight"].view(4, 2).tolist() == [[Y, N], [Y, N], [N, Y], [N, Y]]


def test_of_a_transposed_convolution_the_input_channels_come_first():
    model = tiny(nn.ConvTranspose2d(8, 4, 1, groups=2, bias=False))  # (8, 2): in each group four inputs, two outputs
    scores = {"0.weight": torch.arange(16, dtype=torch.float64).view(8, 2, 1, 1)}
    half = chosen(model, scores, "2:4", 8)["0.weight"].view(8, 2)
    assert half.tolist() == [[N, N], [N, N], [Y, Y], [Y, Y]] * 2
    assert chosen(model, scores, "1x4", 4)["0.weight"].view(8, 2)[:, 1].tolist() == [N] * 4 + [Y] * 4


def test_blocks_by_hand():
    model = tiny(nn.Linear(4, 4, bias=False))
    scores = {"0.weight": torch.tensor([[1, 1, 9, 0], [1, 1, 0, 0], [3, 2, 2, 2], [2, 0, 2, 2]], dtype=torch.float64)}
    assert chosen(model, scores, "2x2", 8)["0.weight"].tolist() == [[N, N, Y, Y]] * 2 + [[N, N, Y, Y]] * 2
    first = chosen(model, {"0.weight": torch.ones(4, 4).double()}, "2x2", 7)["0.weight"]
    assert first.tolist() == [[Y, Y, N, N]] * 2 + [[N] * 4] * 2, "seven weights are one block; of equal ones the first"
    assert chosen(model, scores, "1x4", 8)["0.weight"].tolist() == [[Y] * 4, [N] * 4, [Y] * 4, [N] * 4]


def test_blocks_have_their_own_position_in_the_kernel_and_the_sums_do_not_overflow():
    model = tiny(nn.Conv2d(2, 2, (1, 2), bias=False))
    scores = torch.full((2, 2, 1, 2), 1e308, dtype=torch.float64)
    scores[0, 0, 0, 0] = 9e307
    found = chosen(model, {"0.weight": scores}, "2x2", 4)["0.weight"]
    assert found.view(2, 2, 2).tolist() == [[[N, Y], [N, Y]], [[N, Y], [N, Y]]]


values = st.sampled_from([0.0, -0.0, 1.0, -1.0, 1e-300, 1e300, 5e-324, 2.0, 3.0])
SHAPES = st.sampled_from([(1, 1), (2, 1), (1, 3), (3, 2)])  # outputs and groups of inputs


@st.composite
def problems(draw, pattern_groups=True):
    """A model of one or two layers, scores with many ties, and N:M or the sides of blocks."""
    first, second = draw(st.integers(1, 4)), draw(st.integers(2, 5))
    most, of = sorted((first, second)) if first != second else (first, first + 1)
    rows = 1 if pattern_groups else first
    layers, scores = [], {}
    for i in range(draw(st.integers(1, 2))):
        outputs, inputs = draw(SHAPES)
        side = draw(st.integers(1, 2))
        layers.append(nn.Conv2d(inputs * of, outputs * rows, (1, side), bias=False))
        count = layers[-1].weight.numel()
        flat = torch.tensor(draw(st.lists(values, min_size=count, max_size=count)), dtype=torch.float64)
        scores[f"{i}.weight"] = flat.view(layers[-1].weight.shape)
    return tiny(*layers), scores, most if pattern_groups else rows, of


def best_of_groups(scores, alive, most, of):
    """The reference: sort (−score, channel) of every group in Python."""
    found = {name: torch.zeros_like(mask) for name, mask in alive.items()}
    for name, values in scores.items():
        for o in range(values.shape[0]):
            for k in range(values.shape[3]):
                for start in range(0, values.shape[1], of):
                    here = [c for c in range(start, start + of) if alive[name][o, c, 0, k]]
                    for c in sorted(here, key=lambda c: (-float(values[o, c, 0, k]), c))[:most]:
                        found[name][o, c, 0, k] = True
    return found


@settings(max_examples=60, deadline=None)
@given(problem=problems(), data=st.data())
def test_laws_of_groups(problem, data):
    model, scores, most, of = problem
    full = Masks.full(prunable(model))
    half = full.total * most // of
    constraint = bind(f"{most}:{of}", model, prunable(model), sparsity=1 - most / of)
    counts = sorted(data.draw(st.lists(st.integers(1, full.total), min_size=1, max_size=4)), reverse=True)
    allocation = data.draw(st.sampled_from(["global", *RULES]))
    masks = full
    for keep in [*counts, min(half, counts[-1])]:
        best = best_of_groups(scores, masks, most, of)
        new = Masks(choose(scores, masks, keep, allocation, constraint))
        assert new.kept == keep
        assert not any(bool((new[n] & ~masks[n]).any()) for n in new), "a pruned weight returned"
        if keep <= half:
            assert all(most_kept(mask, of)[1] <= most for mask in new.values())
        within = [bool((new[n] & ~best[n]).any()) for n in new]
        assert not any(within) or all(bool((new[n] >= best[n]).all()) for n in new), "the best of the groups come first"
        if allocation == "global":
            tier = masks if keep > half else best
            rest = keep - sum(int(b.sum()) for b in best.values())
            other = select(scores, {n: masks[n] & ~best[n] for n in new}, rest) if rest > 0 else None
            wanted = {n: best[n] | other[n] for n in new} if other else select(scores, tier, keep)
            assert all(torch.equal(new[n], wanted[n]) for n in new)
        again = choose(scores, masks, keep, allocation, constraint)
        assert all(torch.equal(new[n], again[n]) for n in new)
        scores = {name: values.flip(1) for name, values in scores.items()}  # other scores in the next round
        masks = new


@settings(max_examples=40, deadline=None)
@given(problem=problems())
def test_at_the_least_sparsity_every_group_keeps_exactly_n(problem):
    model, scores, most, of = problem
    total = Masks.full(prunable(model)).total
    found = chosen(model, scores, f"{most}:{of}", total * most // of)
    assert all(most_kept(mask, of) == (most, most) for mask in found.values())


@settings(max_examples=60, deadline=None)
@given(problem=problems(pattern_groups=False), data=st.data())
def test_laws_of_blocks(problem, data):
    model, scores, rows, columns = problem
    masks, size = Masks.full(prunable(model)), rows * columns
    allocation = data.draw(st.sampled_from(["global", *RULES]))
    constraint = bind(f"{rows}x{columns}", model, prunable(model), sparsity=0)
    for keep in sorted(data.draw(st.lists(st.integers(size, masks.total), min_size=1, max_size=3)), reverse=True):
        new = Masks(choose(scores, masks, keep, allocation, constraint))
        assert new.kept == keep // size * size
        for name, mask in new.items():
            blocks = mask.view(mask.shape[0] // rows, rows, mask.shape[1] // columns, columns, -1)
            assert torch.equal(blocks.amax((1, 3)), blocks.amin((1, 3))), "blocks are whole"
            assert not bool((mask & ~masks[name]).any()), "a pruned block returned"
        if allocation == "global" and all(torch.equal(v, v.round()) and float(v.max()) < 9 for v in scores.values()):
            sums = [s.view(s.shape[0] // rows, rows, -1, columns, s.shape[3]).sum((1, 3)) for s in scores.values()]
            kept = [m.view(m.shape[0] // rows, rows, -1, columns, m.shape[3])[:, 0, :, 0] for m in new.values()]
            was = [m.view(m.shape[0] // rows, rows, -1, columns, m.shape[3])[:, 0, :, 0] for m in masks.values()]
            gone = torch.cat([s[w & ~k] for s, k, w in zip(sums, kept, was, strict=True)])
            left = torch.cat([s[k] for s, k in zip(sums, kept, strict=True)])
            assert not len(gone) or float(gone.max()) <= float(left.min()), "a dropped block beats a kept one"
        masks = new


@pytest.mark.parametrize("most", [1, 3, 8, 19])
def test_large_groups_are_ranked_as_small_ones(most):
    model = tiny(nn.Conv2d(40, 3, (1, 2), bias=False))
    generator = torch.Generator().manual_seed(0)
    scores = {"0.weight": torch.randint(-3, 4, (3, 40, 1, 2), generator=generator).double()}
    for of in (20, 8):  # sorted, and compared in pairs
        if most < of:
            full = {"0.weight": torch.ones(3, 40, 1, 2, dtype=torch.bool)}
            expected = best_of_groups(scores, full, most, of)["0.weight"]
            assert torch.equal(chosen(model, scores, f"{most}:{of}", 240 * most // of)["0.weight"], expected)


def pruned(method, pattern, sparsity, **options):
    model, batches = randomised(TinyVgg()), [images((3, 8, 8), 4, seed) for seed in range(2)]
    given = {"exclude": STEM, "rounds": 3, "seed": 1, **FEW.get(method, {}), **options}
    return model, prune(model, batches, method=method, sparsity=sparsity, pattern=pattern, **given)


@pytest.mark.parametrize("sparsity", [0.5, 0.8])
@pytest.mark.parametrize("method", methods())
def test_every_method_keeps_two_of_four(method, sparsity):
    seen = []
    model, masks = pruned(method, "2:4", sparsity, after_round=lambda _, now: seen.append(now))
    assert masks.kept == masks.total - int(sparsity * masks.total + 0.5)
    for name, mask in masks.items():
        least, most = most_kept(mask, 4)
        assert most <= 2
        assert least == 2 or sparsity > 0.5
        assert not model.get_parameter(name)[~mask].any()
    for before, after in pairwise([*seen, masks]):
        assert after.kept < before.kept
        assert not any(bool((after[name] & ~before[name]).any()) for name in after), "a pruned weight returned"
    assert pruned(method, "2:4", sparsity)[1].digest() == masks.digest()


@pytest.mark.parametrize("method", methods())
def test_every_method_keeps_whole_blocks(method):
    _, masks = pruned(method, "1x4", 0.7)
    wanted = masks.total - int(0.7 * masks.total + 0.5)
    assert masks.kept == wanted // 4 * 4
    for mask in masks.values():
        blocks = mask.view(mask.shape[0], -1, 4, *mask.shape[2:])
        assert torch.equal(blocks.amax(2), blocks.amin(2))


@pytest.mark.parametrize("sparsity", [0.5, 0.75])
@pytest.mark.parametrize("allocation", ["uniform", "erk", "px", "random"])
def test_every_allocation_keeps_the_pattern(allocation, sparsity):
    _, masks = pruned("snip", "2:4", sparsity, allocation=allocation)
    assert masks.kept == masks.total - int(sparsity * masks.total + 0.5)
    assert all(most_kept(mask, 4)[1] <= 2 for mask in masks.values())
    _, blocks = pruned("snip", "4x4", sparsity, allocation=allocation, exclude=(*STEM, "head.2"))
    assert blocks.kept == (blocks.total - int(sparsity * blocks.total + 0.5)) // 16 * 16
    if allocation == "uniform":
        assert all(abs(row["density"] - (1 - sparsity)) <= 1 / row["total"] for row in masks.layers())
    if allocation == "px":
        guide = pruned("px", "2:4", sparsity)[1]
        assert [row["kept"] for row in guide.layers()] == [row["kept"] for row in masks.layers()]


@pytest.mark.parametrize("method", ["magnitude", "px"])
def test_without_a_pattern_the_masks_are_those_of_plain_selection(method):
    model = randomised(TinyVgg())
    scores = score(method, model, [images((3, 8, 8), 4)])
    masks = prune(copy.deepcopy(model), [images((3, 8, 8), 4)], method=method, sparsity=0.6, rounds=1, pattern="none")
    expected = select(scores, Masks.full(prunable(model)), masks.kept)
    assert all(torch.equal(masks[name], expected[name]) for name in masks)


def test_rounds_can_be_taken_up_again_with_masks_of_the_pattern_only():
    seen = {}
    whole = pruned("px", "2:4", 0.5, after_round=lambda done, now: seen.update({done: now}))[1]
    assert pruned("px", "2:4", 0.5, begin=(2, seen[2]))[1].digest() == whole.digest()
    other = pruned("px", "none", 0.45, rounds=1)[1]
    with pytest.raises(InputError, match="begin has masks that leave pattern 2:4 no choice of 450 weights"):
        pruned("px", "2:4", 0.5, begin=(2, other))
    with pytest.raises(InputError, match="begin has masks that leave pattern 1x4 no choice"):
        pruned("px", "1x4", 0.5, begin=(2, other))


def test_rows_of_a_flattened_convolution_are_those_that_sparse_kernels_pack():
    conversions = pytest.importorskip("torch.sparse._semi_structured_conversions")
    model = tiny(nn.Conv2d(32, 32, 3, bias=False), nn.Flatten(), nn.Linear(32, 32, bias=False))
    masks = prune(model, [], method="magnitude", sparsity=0.5, pattern="2:4")
    conv, linear = (p.detach().half() for p in model.parameters())
    assert masks.kept * 2 == masks.total
    for matrix in (conv.permute(0, 2, 3, 1).reshape(32, -1), linear):
        packed, meta = conversions.sparse_semi_structured_from_dense_cutlass(matrix)
        assert torch.equal(conversions.sparse_semi_structured_to_dense_cutlass(packed, meta), matrix)


@pytest.mark.filterwarnings("ignore:Sparse BSR tensor support is in beta")
@pytest.mark.parametrize("pattern", ["1x4", "4x1", "4x8"])
def test_block_formats_store_the_kept_blocks_and_no_other(pattern):
    model = tiny(nn.Conv2d(16, 32, 3, bias=False), nn.Flatten(), nn.Linear(32, 32, bias=False))
    masks = prune(model, [], method="random", sparsity=0.7, pattern=pattern)
    sides = tuple(map(int, pattern.split("x")))
    conv, linear = masks["0.weight"], masks["2.weight"]
    matrices = [mask.float().to_sparse_bsr(sides) for mask in (conv.permute(0, 2, 3, 1).flatten(1), linear)]
    assert sum(matrix.values().numel() for matrix in matrices) == masks.kept


@pytest.mark.parametrize(
    "text", ["", "2", "4:4", "5:4", "0:4", "2:0", "2/4", "1x1", "0x4", "4X4", "4x", "-1x4", "02:4", "2:4 ", "none:4"]
)
def test_an_unknown_pattern_is_refused(text):
    with pytest.raises(InputError, match=r"unknown pattern .*; give N:M with N below M, such as 2:4") as caught:
        prune(TinyVgg(), [images((3, 8, 8), 2)], method="magnitude", sparsity=0.5, pattern=text)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("pattern", "sparsity", "match"),
    [
        ("2:4", 0.49, "sparsity is 0.49; pattern 2:4 keeps at most 2 of 4 weights: give a sparsity of at least 0.5"),
        ("1:3", 0.5, "give a sparsity of at least 0.666667"),
        ("2:3", 0.3, "give a sparsity of at least 0.333334"),
    ],
)
def test_too_low_a_sparsity_is_refused_with_the_least(pattern, sparsity, match):
    with pytest.raises(InputError, match=match):
        check(pattern, sparsity)


def test_the_least_sparsity_is_that_of_the_exact_count():
    model = tiny(nn.Linear(30, 100, bias=False))
    assert prune(model, [], method="magnitude", sparsity=0.3333333, pattern="2:3").kept == 2000
    with pytest.raises(InputError, match=r"give a sparsity of at least 0\.333334"):
        prune(tiny(nn.Linear(3000, 1000, bias=False)), [], method="magnitude", sparsity=0.333333, pattern="2:3")


@pytest.mark.parametrize(
    ("layers", "pattern", "exclude", "match"),
    [
        (
            [nn.Conv2d(3, 4, 1)],
            "2:4",
            (),
            "layer 0 has 3 input channels, which do not divide by the 4 of pattern 2:4; ",
        ),
        ([nn.Conv2d(3, 4, 1)], "2:4", (), "give --prune.exclude 0, or another pattern$"),
        ([nn.Linear(4, 4), nn.Linear(4, 6)], "4x4", (), "layer 1 has 6 output channels, .* by the 4 of pattern 4x4; "),
        ([nn.Conv2d(8, 8, 3, groups=8)], "2:4", (), "layer 0 has 1 input channel a group, which do not divide"),
        ([nn.Conv2d(8, 8, 3, groups=8)], "4x1", (), "layer 0 has 1 output channel a group"),
        (
            [nn.Linear(3, 5), nn.Linear(5, 8), nn.Linear(8, 7), nn.Linear(7, 2)],
            "2:4",
            ("1",),
            r"layer 0 has .* pattern 2:4 \(nor do those of 1 more\); give --prune.exclude 1 0 3, or",
        ),
    ],
)
def test_a_layer_that_does_not_divide_is_named_and_offered_to_be_excluded(layers, pattern, exclude, match):
    model = tiny(*layers)
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(InputError, match=match) as caught:
        prune(model, [], method="magnitude", sparsity=0.5, pattern=pattern, exclude=exclude)
    assert "\n" not in str(caught.value)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_blocks_larger_than_what_is_left_are_refused():
    with pytest.raises(InputError, match=r"sparsity 0\.9 leaves 6 weights, fewer than a block of pattern 8x8 has"):
        prune(tiny(nn.Linear(8, 8)), [], method="magnitude", sparsity=0.9, pattern="8x8")


def test_a_weight_shared_by_layers_of_other_axes_is_refused():
    model = tiny(nn.Conv2d(4, 8, 1, bias=False), nn.ConvTranspose2d(8, 4, 1, bias=False), nn.Linear(4, 4))
    model[1].weight = model[0].weight
    with pytest.raises(InputError, match="layers 0 and 1 share a weight but not its input channels"):
        prune(model, [], method="magnitude", sparsity=0.5, pattern="2:4")
    assert set(channels(tiny(model[0], model[2]), prunable(tiny(model[0], model[2])))) == {"0.weight", "1.weight"}
