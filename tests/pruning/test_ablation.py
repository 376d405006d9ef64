"""Ablated masks: shuffled ones keep each layer's count, redrawn weights are those of an untrained net."""

import math

import pytest
import torch

import checkpoints
from tests.training.small import Small, equal, small_masks
from transfer.models import classifier
from transfer.pruning import prune
from transfer.pruning.ablation import redraw_, shuffled


def test_shuffled_masks_keep_the_count_of_each_layer_and_no_more() -> None:
    masks = small_masks(0.7)
    other, again, third = (shuffled(masks, seed) for seed in (0, 0, 1))
    assert [row["kept"] for row in other.layers()] == [row["kept"] for row in masks.layers()]
    assert other.digest() == again.digest()
    assert len({masks.digest(), other.digest(), third.digest()}) == 3
    both = sum(int((masks[name] & other[name]).sum()) for name in masks)
    chance = sum(row["kept"] * row["density"] for row in masks.layers())
    assert both == pytest.approx(chance, abs=4 * math.sqrt(chance))


def test_redrawn_weights_have_an_untrained_nets_spread_under_the_same_masks() -> None:
    model = classifier(checkpoints.load("embedded"), 10)
    masks = prune(model, [], method="magnitude", sparsity=0.5)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    redraw_(model, masks, 0)
    first = {name: value.clone() for name, value in model.state_dict().items()}
    redraw_(model, masks, 0)
    assert equal(first, model.state_dict())
    fresh = checkpoints.load("random:resnet20").state_dict
    for name, value in first.items():
        if name not in masks:
            assert torch.equal(value, before[name]), name
            continue
        kept = masks[name]
        assert not bool(value[~kept].any())
        assert not bool((value[kept] == before[name][kept]).any())
        if name in fresh and int(kept.sum()) > 4000:
            assert float(value[kept].std()) == pytest.approx(float(fresh[name].std()), rel=0.05), name
    redraw_(model, masks, 1)
    assert not equal(first, model.state_dict())


def test_a_layer_in_a_module_is_found() -> None:
    model, masks = Small(), small_masks(0.5)
    redraw_(model, masks, 0)
    assert not any(bool(value[~masks[name]].any()) for name, value in masks.match(model).items())
