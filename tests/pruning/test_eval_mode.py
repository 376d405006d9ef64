"""What foreign modules do with modes, buffers and random numbers is undone when a look at them ends."""

import pytest
import timm
import torch
from torch import nn

from tests.pruning.small_nets import TinyVgg, images, randomised
from transfer.pruning import Masks, methods, prune, report, score
from transfer.pruning.eval_mode import untouched
from transfer.pruning.prunable import prunable


class Merges(nn.Linear):
    """As loralib does: adds a product to its weight in eval mode, and takes it off again."""

    def __init__(self):
        super().__init__(4, 3)
        self.extra, self.merged = nn.Parameter(torch.randn(3, 4)), False

    def train(self, mode=True):
        super().train(mode)
        if mode == self.merged:
            self.weight.data += -self.extra if mode else self.extra
            self.merged = not mode
        return self


@pytest.mark.parametrize("training", [True, False])
def test_modes_go_back_through_train_and_to_the_bit(training):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), Merges(), nn.Linear(3, 2)).train(training)
    model[2].train(not training)
    before = {name: p.clone() for name, p in model.named_parameters()}
    score("snip", model, [images((4, 1, 1), 2, classes=2)])
    assert [m.training for m in model.modules()] == [training, training, training, not training]
    assert model[1].merged != training
    assert all(torch.equal(before[name], p) for name, p in model.named_parameters())


@pytest.mark.parametrize("training", [True, False])
def test_a_cache_that_train_drops_is_dropped(training):
    """Levit keeps its attention biases from forwards in eval mode; fine-tuning changes them."""
    model = timm.create_model("levit_128s", num_classes=3, img_size=64).train(training)
    caching = [m for m in model.modules() if hasattr(m, "attention_bias_cache")]
    with untouched(model), torch.no_grad():
        model(torch.zeros(1, 3, 64, 64))
        assert any(m.attention_bias_cache for m in caching)
    assert not any(m.attention_bias_cache for m in caching)


class Observes(nn.Module):
    """As the observers of quantisation-aware training do: buffers that grow, are replaced, added and removed."""

    def __init__(self):
        super().__init__()
        self.register_buffer("low", torch.tensor([]))
        self.register_buffer("high", torch.zeros(2))
        self.register_buffer("none", None)
        self.register_buffer("gone", torch.ones(1))

    def forward(self, x):
        self.low.resize_(3).copy_(torch.arange(3.0))
        self.high.data = torch.ones(4, dtype=torch.float64)
        self.none = torch.ones(1)
        if hasattr(self, "gone"):
            del self.gone
        self.register_buffer("new", x.detach().amax(), persistent=False)
        return x


def test_buffers_of_other_shapes_and_names_are_put_back():
    model = nn.Sequential(Observes(), nn.Flatten(), nn.Linear(12, 3))
    seen = model[0]
    names, buffers = list(seen._buffers), dict(seen._buffers)
    before = {name: b.clone() for name, b in model.named_buffers()}
    score("snip", model, [images((3, 2, 2), 4)])
    assert list(seen._buffers) == names
    assert all(seen._buffers[name] is buffers[name] for name in names)
    after = dict(model.named_buffers())
    assert all(after[n].dtype == b.dtype and torch.equal(after[n], b) for n, b in before.items())
    assert not seen._non_persistent_buffers_set


class Stuck(nn.Module):
    """It goes into eval mode and not back."""

    def train(self, mode=True):
        if mode:
            raise RuntimeError("no way back")
        return super().train(mode)


def test_an_error_in_putting_back_hides_no_other_and_stops_no_other_step():
    model = nn.Sequential(Stuck(), nn.BatchNorm2d(3))
    mean = model[1].running_mean

    def look(error=None):
        with untouched(model):
            mean.fill_(7)
            if error:
                raise error

    with pytest.raises(ValueError, match="the first") as caught:
        look(ValueError("the first"))
    if hasattr(caught.value, "add_note"):
        assert any("no way back" in note for note in caught.value.__notes__)
    assert [m.training for m in model.modules()] == [True, True, True]
    assert not mean.any()
    with pytest.raises(RuntimeError, match="no way back"):
        look()
    assert not mean.any()


@pytest.mark.filterwarnings("ignore:.*spectral_norm.*is deprecated:FutureWarning")
@pytest.mark.parametrize("spectral", [nn.utils.spectral_norm, nn.utils.parametrizations.spectral_norm])
def test_the_report_moves_no_spectral_norm(spectral):
    model = nn.Sequential(spectral(nn.Conv2d(3, 4, 3)), nn.Flatten(), nn.Linear(144, 3))
    before = {name: b.clone() for name, b in model.state_dict().items()}
    masks = Masks.full(prunable(model, ["0"]))
    assert [row["layer"] for row in report(model, masks, torch.zeros(1, 3, 8, 8))] == ["2"]
    assert all(torch.equal(before[name], b) for name, b in model.state_dict().items())


class Drops(nn.Module):
    def forward(self, x):
        return nn.functional.dropout(x, 0.3, training=True)


@pytest.mark.parametrize("method", methods())
@pytest.mark.parametrize("statistics", ["batch", "warmup"])
def test_the_seed_covers_what_the_model_draws(method, statistics):
    model = randomised(TinyVgg())
    model.features.insert(3, Drops())
    data = [images((3, 8, 8), 4, seed) for seed in range(2)]
    found = []
    for outer, seed in ((1, 5), (2, 5), (2, 6)):
        torch.manual_seed(outer)
        state = torch.get_rng_state()
        found.append(score(method, model, data, seed=seed, statistics=statistics))
        assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(found[0][name], found[1][name]) for name in found[0])
    if method in ("snip", "ntk-trace", "px"):
        assert not all(torch.equal(found[0][name], found[2][name]) for name in found[0])


@pytest.mark.filterwarnings("ignore::transfer.pruning.CollapseWarning")
def test_prune_with_a_model_that_draws_depends_on_the_seed_alone():
    digests = []
    for outer in (1, 2):
        model = randomised(TinyVgg())
        model.features.insert(3, Drops())
        torch.manual_seed(outer)
        data = [images((3, 8, 8), 4)]
        digests.append(prune(model, data, method="snip", sparsity=0.5, rounds=2, statistics="warmup").digest())
    assert digests[0] == digests[1]
