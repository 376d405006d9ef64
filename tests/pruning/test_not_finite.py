"""A forward that is not finite: the message names the layer where that begins, and the model stays as it was."""

import pytest
import torch
from torch import nn

from tests.pruning.small_nets import TinyVgg, images, randomised
from tests.pruning.test_laws import same, snapshot
from transfer.errors import ScoreError
from transfer.pruning import prune, score
from transfer.pruning.not_finite import finite

HEEDED = ("batch", "warmup", "running")


def nan_weight(model):
    model.features[4].weight[3, 0, 0, 0] = torch.nan


def infinite_scale(model):
    model.features[1].weight[2] = torch.inf


def overflow(model):
    """Finite weights whose product leaves float32 in the middle of the network."""
    model.features[1].weight.fill_(1e30)
    model.features[4].weight.fill_(1e30)


BROKEN = {
    "features.4 (Conv2d, whose weight is not finite)": nan_weight,
    "features.1 (BatchNorm2d, whose weight is not finite)": infinite_scale,
    "features.4 (Conv2d)": overflow,
}


@pytest.mark.parametrize("layer", BROKEN)
@pytest.mark.parametrize("statistics", HEEDED)
@pytest.mark.parametrize("method", ["snip", "grasp", "fisher", "hutchinson", "ntk-trace", "px", "px-gated", "px-trace"])
def test_the_layer_where_it_begins_is_named(method, statistics, layer):
    model = randomised(TinyVgg())
    with torch.no_grad():
        BROKEN[layer](model)
    before, batches = snapshot(model), [images((3, 8, 8), 4, seed) for seed in (0, 1)]
    for call in (score, prune):
        arguments = (method, model) if call is score else (model,)
        options = {} if call is score else {"method": method, "sparsity": 0.5, "rounds": 2}
        with pytest.raises(ScoreError) as caught:
            call(*arguments, batches, statistics=statistics, **options)
        says = str(caught.value)
        assert says.startswith("the model's output on the pruning images is nan or infinite; it begins in layer ")
        assert f"layer {layer};" in says
        assert "zero" not in says
        assert "\n" not in says
        after = snapshot(model)
        for key in ("state",):
            assert all(torch.equal(before[key][n].nan_to_num(), v.nan_to_num()) for n, v in after[key].items())
        same({k: v for k, v in before.items() if k != "state"}, after)


@pytest.mark.parametrize("statistics", HEEDED)
@pytest.mark.parametrize("method", ["snip", "ntk-trace", "px", "px-gated", "px-trace"])
def test_one_image_that_overflows_late_is_told_in_the_layer_where_it_does(method, statistics):
    """Its statistics would spoil those of all batches; the layer is the convolution, not the norm after it."""
    model = randomised(TinyVgg())
    good, bad = images((3, 8, 8), 4), images((3, 8, 8), 4, 1)
    with torch.no_grad():
        model.features[0].weight.fill_(1e3)
    bad[0][2] = 3e38
    with pytest.raises(ScoreError, match=r"it begins in layer features\.0 \(Conv2d\)"):
        score(method, model, [good, bad], statistics=statistics)


@pytest.mark.parametrize("method", ["synflow", "synflow-l2-dist", "logsynflow"])
def test_open_path_methods_say_so_where_they_look_at_data(method):
    model = randomised(TinyVgg())
    with torch.no_grad():
        nan_weight(model)
    with pytest.raises(ScoreError, match=r"it begins in layer features\.4 \(Conv2d, whose weight is not finite\)"):
        score(method, model, [images((3, 8, 8), 4)], statistics="batch")


def test_an_output_that_no_module_makes_is_called_the_output():
    class Divides(TinyVgg):
        def forward(self, x):
            return super().forward(x) / 0.0

    with pytest.raises(ScoreError, match=r"it begins in layer \(the model\) \(Divides\)"):
        score("snip", Divides(), [images((3, 8, 8), 4)])


def test_images_that_are_not_finite_are_still_refused_as_such():
    inputs, targets = images((3, 8, 8), 4)
    inputs[0, 0, 0, 0] = torch.nan
    with pytest.raises(Exception, match="inputs that are nan or infinite"):
        score("px", TinyVgg(), [(inputs, targets)])


def test_a_finite_output_after_an_infinite_value_is_no_error():
    """What does not reach the output does not matter: a clamp may be meant."""

    class Clamped(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.last = nn.Linear(12, 4), nn.Linear(4, 3)

        def forward(self, x):
            return self.last((self.first(x.flatten(1)) * 1e38 * 1e38).clamp(-1, 1))

    scores = score("snip", randomised(Clamped()), [images((3, 2, 2), 4)])
    assert bool(torch.isfinite(scores["last.weight"]).all())


@pytest.mark.parametrize(
    ("values", "wanted"),
    [
        ([], True),
        ([1.0, -2.0], True),
        ([1e308, 1e308], True),  # whose sum is infinite
        ([1.0, float("nan")], False),
        ([float("inf"), -float("inf")], False),
        ([-float("inf"), 0.0], False),
    ],
)
def test_finite_is_told_of_every_value(values, wanted):
    assert finite(torch.tensor(values, dtype=torch.float64)) is wanted
