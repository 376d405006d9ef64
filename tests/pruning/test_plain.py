"""Scoring runs the model as it is written: no autocast, no torch.compile; torch's complaints are one line."""

import warnings

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from checkpoints.errors import InputError
from tests.pruning.references import STATISTICS
from tests.pruning.small_nets import Activated, TinyVgg, images, randomised
from transfer.pruning import methods, path_kernel_trace, prune, score

BLIND = ("random", "magnitude")
SEEING = [m for m in methods() if m not in BLIND]
DATA = [images((3, 8, 8), 4, seed) for seed in (0, 1)]


def same_scores(ours, theirs):
    assert list(ours) == list(theirs)
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


class Mixed(TinyVgg):
    """Autocast within the forward, around a block and as a decorator."""

    def forward(self, x):
        with torch.autocast("cpu", torch.bfloat16):
            x = self.features(x)
        return self.end(x)

    @torch.autocast("cpu", torch.bfloat16)
    def end(self, x):
        return self.head(x)


@pytest.mark.parametrize("statistics", STATISTICS)
@pytest.mark.parametrize("method", SEEING)
def test_autocast_around_and_within_the_model_has_no_part_in_the_scores(method, statistics):
    expected = score(method, randomised(TinyVgg()), DATA, statistics=statistics)
    same_scores(score(method, randomised(Mixed()), DATA, statistics=statistics), expected)
    with torch.autocast("cpu", torch.bfloat16):
        same_scores(score(method, randomised(TinyVgg()), DATA, statistics=statistics), expected)
        assert torch.is_autocast_enabled("cpu")
    assert not torch.is_autocast_enabled("cpu")


def test_autocast_has_no_part_in_the_trace_of_the_path_kernel_nor_in_prune():
    expected, masks = path_kernel_trace(randomised(TinyVgg()), 8), prune(randomised(TinyVgg()), DATA, sparsity=0.5)
    with torch.autocast("cpu", torch.bfloat16):
        assert path_kernel_trace(randomised(TinyVgg()), 8) == expected
        assert prune(randomised(Mixed()), DATA, sparsity=0.5).digest() == masks.digest()


def test_gates_in_bfloat16_are_still_to_be_had():
    exact, rough = (score("px", randomised(TinyVgg()), DATA, bf16=bf16) for bf16 in (False, True))
    assert any(not torch.equal(exact[name], rough[name]) for name in exact)


def refuses(graph, _):
    raise AssertionError("compiled")


@pytest.mark.parametrize("method", SEEING)
def test_a_compiled_model_is_scored_as_it_is_written(method):
    model = randomised(TinyVgg())
    compiled = torch.compile(model, backend=refuses)
    expected = score(method, model, DATA)
    found = score(method, compiled, DATA)
    same_scores({name.removeprefix("_orig_mod."): value for name, value in found.items()}, expected)
    part = randomised(TinyVgg())
    part.features = torch.compile(part.features, backend=refuses)
    same_scores({n.replace("._orig_mod", ""): v for n, v in score(method, part, DATA).items()}, expected)
    compiling = torch.compile(lambda x: x + 1, backend=refuses)
    with pytest.raises(Exception, match="compiled"):
        compiling(DATA[0][0])  # afterwards as before


class NoGradient(TinyVgg):
    @torch.no_grad()
    def forward(self, x):
        return super().forward(x)


class Reentrant(TinyVgg):
    def forward(self, x):
        return self.head(checkpoint(self.features[1:], self.features[0](x), use_reentrant=True))


class Complex(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.fc = nn.Conv2d(3, 4, 3, dtype=torch.complex64), nn.Linear(4, 3)

    def forward(self, x):
        return self.fc(self.conv(x.to(torch.complex64)).abs().mean((2, 3)))


def lazy():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # some versions of torch call them new
        return nn.Sequential(nn.LazyConv2d(4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 3))


def told(says, method, model, batches=DATA, **options):
    for call in (
        lambda: score(method, model, batches, **options),
        lambda: prune(model, batches, method=method, sparsity=0.5, rounds=1, **options),
    ):
        with pytest.raises(InputError, match=says) as caught:
            call()
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("method", ["snip", "grasp", "fisher", "ntk-trace", "ntk-sap", "px", "synflow"])
def test_what_does_not_go_together_is_told_in_one_line(method):
    (x, y), *_ = DATA
    told(r"wrapped in nn\.DataParallel; give model\.module", method, nn.DataParallel(TinyVgg()))
    both = r"(?i)differ in type or device; .*torch: (.*double.*float|.*float.*double)"  # the order is torch's
    told(both, method, TinyVgg(), [(x.double(), y)])
    told(both, method, TinyVgg().double(), [(x, y)])
    told(r"lost in torch\.float16", method, TinyVgg(), [(x.half(), y)])
    told(r"check the images' channels and size .*to have 3 channels, but got 1", method, TinyVgg(), [(x[:, :1], y)])
    told(
        r"check the images' channels and size .*shapes cannot be", method, nn.Sequential(nn.Flatten(), nn.Linear(5, 3))
    )
    told(r"layer 0 \(LazyConv2d\) has no weights yet; run the model on one batch", method, lazy())
    told(r"real weights, not torch\.complex64", method, Complex())


@pytest.mark.parametrize(
    "method", [m for m in SEEING if m in ("snip", "grasp", "fisher", "hts", "ntk-trace", "ntk-sap")]
)
def test_a_model_without_gradients_is_told(method):
    told(r"no gradient by the weights; .*torch\.no_grad\(\)", method, NoGradient())
    told(r"use_reentrant=True.*pass use_reentrant=False", method, Reentrant())


@pytest.mark.parametrize("method", ["snip", "grasp", "hutchinson"])
def test_a_loss_of_several_numbers_is_told(method):
    told(r"several numbers; .*reduction='mean'", method, TinyVgg(), loss=nn.CrossEntropyLoss(reduction="none"))


def test_single_samples_have_one_number_under_any_reduction_or_are_told():
    options = {"loss": nn.CrossEntropyLoss(reduction="none")}
    same_scores(score("fisher", randomised(TinyVgg()), DATA, **options), score("fisher", randomised(TinyVgg()), DATA))
    told(r"several numbers; .*reduction='mean'", "fisher", TinyVgg(), **options, draws=0)


@pytest.mark.parametrize("method", ["grasp", "hutchinson", "hts"])
def test_an_operation_without_second_derivatives_is_told(method):
    told(r"second derivatives.*snip.*hardsigmoid_backward", method, Activated(nn.Hardsigmoid()))
    assert score("snip", Activated(nn.Hardsigmoid()), DATA)


def test_another_error_of_the_model_stays_as_it_is():
    class Broken(TinyVgg):
        def forward(self, x):
            raise RuntimeError("out of luck")

    with pytest.raises(RuntimeError, match="out of luck"):
        score("snip", Broken(), DATA)


def test_weights_that_are_complex_can_be_left_out():
    assert set(score("magnitude", Complex(), DATA)) == {"conv.weight", "fc.weight"}
    assert set(score("snip", Complex(), DATA, exclude=["conv"])) == {"fc.weight"}
