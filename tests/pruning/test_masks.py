"""Masks: files, reports, and holding them through everything that training does."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from checkpoints.errors import InputError
from tests.pruning.small_nets import TinyVgg, images
from transfer.pruning import Masks
from transfer.pruning.prunable import prunable


def half(model, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return Masks({n: torch.rand(w.shape, generator=generator) < 0.5 for n, w in prunable(model).items()})


@settings(max_examples=50, deadline=None)
@given(shape=st.lists(st.integers(1, 5), min_size=1, max_size=4), seed=st.integers(0, 99))
def test_a_file_gives_back_the_masks(shape, seed, tmp_path_factory):
    generator = torch.Generator().manual_seed(seed)
    masks = Masks(
        {"a.weight": torch.rand(*shape, generator=generator) < 0.5, "b.weight": torch.ones(3, dtype=torch.bool)}
    )
    path = tmp_path_factory.mktemp("masks") / "m.safetensors"
    masks.save(path)
    found = Masks.load(path)
    assert found.digest() == masks.digest()
    assert all(torch.equal(found[name], masks[name]) for name in masks)


def test_one_bit_a_weight(tmp_path):
    masks = Masks({"w": torch.ones(80_000, dtype=torch.bool)})
    masks.save(tmp_path / "m.safetensors")
    assert (tmp_path / "m.safetensors").stat().st_size < 10_000 + 1_000


def test_files_that_are_no_masks(tmp_path):
    path = tmp_path / "m.safetensors"
    with pytest.raises(InputError, match="no mask file"):
        Masks.load(path)
    Masks({"w": torch.ones(800, dtype=torch.bool)}).save(path)
    whole = path.read_bytes()
    for damaged in (b"", b"junk", whole[:60], whole[:-1], b"\xff" * 8 + whole[8:]):
        path.write_bytes(damaged)
        with pytest.raises(InputError, match="not a whole mask file"):
            Masks.load(path)


def test_digest_tells_names_shapes_and_bits_apart():
    ones = torch.ones(4, dtype=torch.bool)
    digests = {
        Masks({"a": ones}).digest(),
        Masks({"b": ones}).digest(),
        Masks({"a": ones.view(2, 2)}).digest(),
        Masks({"a": torch.tensor([True, True, True, False])}).digest(),
    }
    assert len(digests) == 4


def test_report_by_hand():
    mask = torch.tensor([[True, False], [False, False], [True, True]])
    masks = Masks({"fc.weight": mask, "gone.weight": torch.zeros(2, 2, dtype=torch.bool)})
    row = masks.layers()[0]
    assert row == {"layer": "fc", "total": 6, "kept": 3, "density": 0.5}
    assert masks.collapsed() == ["gone.weight"]
    assert (masks.kept, masks.total, masks.density, masks.sparsity) == (3, 10, 0.3, 0.7)


def test_masks_that_do_not_fit():
    model = TinyVgg()
    with pytest.raises(InputError, match="has no parameter"):
        Masks({"x.weight": torch.ones(1, dtype=torch.bool)}).apply_(model)
    with pytest.raises(InputError, match="has shape"):
        Masks({"features.0.weight": torch.ones(1, dtype=torch.bool)}).apply_(model)
    with pytest.raises(InputError, match="masks are bool"):
        Masks({"features.0.weight": torch.ones(1)})


OPTIMIZERS = {
    "sgd": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, weight_decay=0.1, nesterov=True),
    "sgd foreach": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, weight_decay=0.1, foreach=True),
    "sgd fused": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, weight_decay=0.1, fused=True),
    "adam": lambda p: torch.optim.Adam(p, lr=0.1, weight_decay=0.1),
    "adamw": lambda p: torch.optim.AdamW(p, lr=0.1, weight_decay=0.1),
    "adamw fused": lambda p: torch.optim.AdamW(p, lr=0.1, fused=True),
    "rmsprop": lambda p: torch.optim.RMSprop(p, lr=0.01, momentum=0.9),
}


def step(model, optimizer, batch, times=1, clip=None):
    norm = None
    for _ in range(times):
        optimizer.zero_grad(set_to_none=True)
        nn.functional.cross_entropy(model(batch[0]), batch[1]).backward()
        if clip:
            norm = nn.utils.clip_grad_norm_(model.parameters(), clip)
        optimizer.step()
    return norm


def exactly_zero(model, masks):
    parameters = dict(model.named_parameters())
    return all(bool((parameters[n][~m] == 0).all()) for n, m in masks.items())


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_masks_hold_even_when_the_optimizer_has_momentum_from_before(name):
    torch.manual_seed(0)
    model, batch = TinyVgg(), images((3, 8, 8), 8)
    optimizer = OPTIMIZERS[name](model.parameters())
    step(model, optimizer, batch, 3)
    masks = half(model)
    masks.apply_(model)
    hold = masks.hold(model, optimizer)
    step(model, optimizer, batch, 5)
    assert exactly_zero(model, masks)
    kept = dict(model.named_parameters())["features.0.weight"][masks["features.0.weight"]]
    assert bool((kept != 0).all())
    hold.remove()
    step(model, optimizer, batch, 1)
    assert not exactly_zero(model, masks), "hooks were left behind"


def test_the_clipping_norm_counts_kept_weights_only():
    torch.manual_seed(0)
    model, batch = TinyVgg().eval(), images((3, 8, 8), 8)
    masks = half(model)
    masks.apply_(model)
    nn.functional.cross_entropy(model(batch[0]), batch[1]).backward()
    gradients = {n: p.grad.clone() for n, p in model.named_parameters()}
    for name, mask in masks.items():
        gradients[name][~mask] = 0
    expected = torch.sqrt(sum(g.square().sum() for g in gradients.values()))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    masks.hold(model, optimizer)
    torch.testing.assert_close(step(model, optimizer, batch, clip=1e9), expected)


def test_masks_hold_through_accumulation_and_a_nan():
    torch.manual_seed(0)
    model, batch = TinyVgg(), images((3, 8, 8), 8)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    masks = half(model)
    masks.hold(model, optimizer)
    for _ in range(3):
        nn.functional.cross_entropy(model(batch[0]), batch[1]).backward()
    assert all(bool((dict(model.named_parameters())[n].grad[~m] == 0).all()) for n, m in masks.items())
    optimizer.step()
    model.features[0].weight.grad.fill_(torch.nan)
    optimizer.step()
    assert exactly_zero(model, masks), "nan · 0 is nan; masked_fill is not"


def gradient_hooks(model):
    return sum(len(p._post_accumulate_grad_hooks or ()) for p in model.parameters())


def test_a_frozen_weight_is_held_without_a_hook_on_its_gradient():
    torch.manual_seed(0)
    model, batch = TinyVgg(), images((3, 8, 8), 8)
    model.features.requires_grad_(False)
    masks = half(model)
    before = {name: p.detach().clone() for name, p in model.features.named_parameters()}
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=0.1)
    hold = masks.hold(model, optimizer)
    assert gradient_hooks(model) == 1
    step(model, optimizer, batch, 2)
    assert exactly_zero(model, masks)
    for name, p in model.features.named_parameters():
        mask = masks.get(f"features.{name}", torch.ones(()))
        assert torch.equal(p, before[name] * mask)
    model.features.requires_grad_(True)  # thawed: its values are held
    step(model, optimizer, batch, 2)
    assert exactly_zero(model, masks)
    hold.remove()
    assert gradient_hooks(model) == 0


def test_a_hold_that_fails_leaves_no_hook(monkeypatch):
    model = TinyVgg()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    def fails(hook):
        raise RuntimeError("cannot register")

    monkeypatch.setattr(model.head[2].weight, "register_post_accumulate_grad_hook", fails, raising=True)
    with pytest.raises(RuntimeError, match="cannot register"):
        half(model).hold(model, optimizer)
    assert gradient_hooks(model) == 0
    assert not optimizer._optimizer_step_post_hooks


def test_masks_hold_in_an_average_and_after_resuming():
    torch.manual_seed(0)
    model, batch = TinyVgg(), images((3, 8, 8), 8)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
    masks = half(model)
    masks.hold(model, optimizer)
    average = torch.optim.swa_utils.AveragedModel(model, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.9))
    step(model, optimizer, batch, 2)
    average.update_parameters(model)
    step(model, optimizer, batch, 2)
    average.update_parameters(model)
    assert exactly_zero(average.module, masks)

    saved = copy.deepcopy((model.state_dict(), optimizer.state_dict()))
    fresh = TinyVgg()
    again = torch.optim.AdamW(fresh.parameters(), lr=0.1)
    fresh.load_state_dict(saved[0])
    again.load_state_dict(saved[1])
    masks.hold(fresh, again)
    masks.hold(fresh, again)  # twice is as good as once
    for net, opt in ((fresh, again), (model, optimizer)):
        torch.manual_seed(1)  # the same dropout
        step(net, opt, batch, 2)
    assert exactly_zero(fresh, masks)
    assert all(torch.equal(a, b) for a, b in zip(model.state_dict().values(), fresh.state_dict().values(), strict=True))


@pytest.mark.parametrize("wrapped", [torch.compile, nn.DataParallel, lambda m: nn.DataParallel(torch.compile(m))])
def test_masks_hold_in_a_model_that_is_wrapped_or_compiled(wrapped):
    model, batch = TinyVgg(), images((3, 8, 8), 8)
    optimizer, masks = torch.optim.SGD(model.parameters(), lr=0.1), half(model)
    masks.hold(wrapped(model), optimizer)
    step(model, optimizer, batch, 2)
    assert exactly_zero(model, masks)
    with pytest.raises(InputError, match="no parameter in Linear"):
        masks.hold(torch.compile(nn.Linear(3, 3)), optimizer)


def test_a_masked_model_is_an_ordinary_model():
    model = TinyVgg()
    keys = list(model.state_dict())
    masks = half(model)
    masks.apply_(model)
    masks.hold(model, torch.optim.SGD(model.parameters(), lr=0.1))
    assert list(model.state_dict()) == keys
    assert all(type(p) is nn.Parameter for p in model.parameters())
    clone = copy.deepcopy(model)
    assert exactly_zero(clone, masks)
    TinyVgg().load_state_dict(model.state_dict(), strict=True)
