"""Weights that a layer computes in its forward are refused, by what the operation receives; all else passes."""

import pytest
import timm
import torch
import torch.nn.functional as F
from timm.layers import ScaledStdConv2d, ScaledStdConv2dSame, StdConv2d, StdConv2dSame
from torch import nn

from checkpoints.errors import InputError
from tests.pruning.small_nets import TinyVgg, images
from transfer.pruning import methods, prune
from transfer.pruning.prunable import prunable
from transfer.pruning.received import check_received

pytestmark = pytest.mark.filterwarnings("ignore::transfer.pruning.CollapseWarning")
DATA = [images((3, 8, 8), 4)]


class Centred(nn.Linear):
    def forward(self, x):
        return x @ (self.weight - self.weight.mean(1, keepdim=True)).T + self.bias


class Centre(torch.autograd.Function):
    @staticmethod
    def forward(ctx, weight):
        return weight - weight.mean()

    @staticmethod
    def backward(ctx, gradient):
        return gradient - gradient.mean()


class ByFunction(nn.Linear):
    def forward(self, x):
        return F.linear(x, Centre.apply(self.weight), self.bias)


class Outside(nn.Module):
    """It standardises the weight of a convolution that it never calls."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)

    def forward(self, x):
        var, mean = torch.var_mean(self.conv.weight, (1, 2, 3), keepdim=True)
        return F.conv2d(x, weight=(self.conv.weight - mean) * torch.rsqrt(var + 1e-5))


class Padded(nn.Conv2d):
    """It computes the weight, and then pads it."""

    def forward(self, x):
        weight = self.weight - self.weight.mean()
        return F.conv2d(x, F.pad(weight, (1, 1, 1, 1)), self.bias, padding=2)


def headed(stem):
    return nn.Sequential(stem, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))


COMPUTED = {
    "StdConv2d": lambda: headed(StdConv2d(3, 4, 3)),
    "StdConv2dSame": lambda: headed(StdConv2dSame(3, 4, 3, stride=2)),
    "ScaledStdConv2d": lambda: headed(ScaledStdConv2d(3, 4, 3)),
    "ScaledStdConv2dSame": lambda: headed(ScaledStdConv2dSame(3, 4, 3, stride=2)),
    "Padded": lambda: headed(Padded(3, 4, 3)),
    "depthwise": lambda: headed(nn.Sequential(nn.Conv2d(3, 4, 1), StdConv2d(4, 4, 3, groups=4))),
    "Centred": lambda: nn.Sequential(nn.Flatten(), Centred(192, 5), nn.ReLU(), nn.Linear(5, 3)),
    "ByFunction": lambda: nn.Sequential(nn.Flatten(), ByFunction(192, 5), nn.ReLU(), nn.Linear(5, 3)),
    "Outside": lambda: headed(Outside()),
}


@pytest.mark.parametrize("what", COMPUTED)
def test_computed_weights_are_refused(what):
    model = COMPUTED[what]()
    state = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(InputError, match=r"computed anew in the forward.*exclude such layers \(exclude=\['") as caught:
        prune(model, DATA, method="magnitude", sparsity=0.5)
    assert "\n" not in str(caught.value)
    assert all(torch.equal(state[name], value) for name, value in model.state_dict().items())
    layer = str(caught.value).split("exclude=['")[1].split("'")[0]
    prune(model, DATA, method="magnitude", sparsity=0.5, exclude=[layer])


@pytest.mark.parametrize("method", methods())
@pytest.mark.parametrize("trained", [False, True])
def test_every_method_refuses_them_also_before_training_and_with_zeros(method, trained):
    model = COMPUTED["ScaledStdConv2d"]().train(trained)
    with torch.no_grad():
        model[0].weight.zero_()
    with pytest.raises(InputError, match=r"weight of 0 \(ScaledStdConv2d\) is computed"):
        prune(model, DATA, method=method, sparsity=0.5)


@pytest.mark.parametrize("batches", [None, [], [3], [(torch.zeros(2, 5, 8, 8), torch.zeros(2).long())]])
@pytest.mark.parametrize("what", [w for w in COMPUTED if w != "Outside"])
def test_without_images_that_the_model_takes_layers_are_called_alone(what, batches):
    with pytest.raises(InputError, match="computed anew"):
        prune(COMPUTED[what](), batches, method="random", sparsity=0.5)
    assert prune(TinyVgg(), batches, method="random", sparsity=0.5)


class Shared(nn.Module):
    """A module called twice, one never called, one called as another's weight is used, and one of a forward of two."""

    def __init__(self):
        super().__init__()
        self.conv, self.never, self.fc = nn.Conv2d(3, 3, 3, padding=1), nn.Linear(5, 5), Pair(3, 3)

    def forward(self, x):
        return self.fc(self.conv(self.conv(x)).mean((2, 3)), F.linear(x.mean((2, 3)), self.fc.weight))


class Pair(nn.Linear):
    def forward(self, x, y):
        return super().forward(x) + y


class Kind(nn.Conv2d):
    """Its operation receives another tensor with the zeros of the weight."""

    def __init__(self, kind):
        super().__init__(3, 4, 3)
        self.kind = kind

    def forward(self, x):
        w = self.weight
        if self.kind == "scaled":
            w = w * 0.3 * w.new_ones(4, 1, 1, 1)
        elif self.kind == "padded":
            w = F.pad(w, (1, 1, 1, 1))
        elif self.kind == "halves":
            return torch.cat([F.conv2d(x, part) for part in w.chunk(2)], 1)
        elif self.kind == "repeated":
            return F.conv2d(x.repeat(1, 2, 1, 1), w.repeat(1, 2, 1, 1))
        elif self.kind == "normalised":
            w = F.normalize(w.flatten(1)).view_as(w)
        elif self.kind == "cast":
            return F.conv2d(x.double(), w.double()).float()
        elif self.kind == "quantised":
            w = torch.fake_quantize_per_tensor_affine(w, 0.01, 3, 0, 255)
        elif self.kind == "product":
            return (x.flatten(2).mT @ w.mean((2, 3)).mT).mT.unflatten(2, x.shape[2:])
        elif self.kind == "beside":
            return F.conv2d(x, w, self.bias) / w.norm() + w.mean()
        return F.conv2d(x, w, self.bias)


KINDS = ["scaled", "padded", "halves", "repeated", "normalised", "cast", "quantised", "product", "beside"]


@pytest.mark.parametrize("kind", [*KINDS, "shared", "attention", "circular"])
def test_what_keeps_the_zeros_passes(kind):
    if kind == "shared":
        model = Shared()
    elif kind == "attention":
        layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        model = nn.Sequential(nn.Conv2d(3, 8, 4, 4), nn.Flatten(2), Turned(), layer, nn.Flatten(), nn.Linear(32, 3))
    elif kind == "circular":
        model = headed(nn.Conv2d(3, 4, 5, padding=2, padding_mode="circular"))
    else:
        model = headed(Kind(kind))
    for data in (DATA, None):
        check_received(model, prunable(model), data)
    assert prune(model, DATA, method="snip", sparsity=0.5) if kind != "shared" else True


class Turned(nn.Module):
    def forward(self, x):
        return x.mT


def test_other_inputs_than_images():
    class Tokens(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed, self.fc = nn.Embedding(7, 4), nn.Linear(4, 3)

        def forward(self, x):
            return self.fc(self.embed(x).mean(1))

    data = [(torch.zeros(2, 5, dtype=torch.long), torch.zeros(2).long())]
    assert prune(Tokens(), data, method="random", sparsity=0.5)


def test_it_costs_one_forward_of_two_images_whatever_the_rounds():
    model, seen = TinyVgg(), []
    model.register_forward_hook(lambda module, args, out: seen.append(len(args[0])))
    prune(model, DATA, method="magnitude", sparsity=0.5, rounds=5)
    assert seen == [2]
    weights = [id(p) for p in model.parameters()]
    check_received(model, prunable(model), DATA)
    assert [id(p) for p in model.parameters()] == weights
    assert not any(vars(p) for p in model.parameters())


@pytest.mark.parametrize("name", ["test_vit", "test_resnet", "test_efficientnet", "test_convnext", "test_byobnet"])
def test_models_as_they_come_pass(name):
    model = timm.create_model(name, num_classes=3)
    assert prune(model, [images((3, 160, 160), 2)], method="magnitude", sparsity=0.5)


def test_a_model_of_standardised_weights_is_refused():
    with pytest.raises(InputError, match=r"stem.conv1 \(ScaledStdConv2d\), as of 20 more, is computed"):
        prune(
            timm.create_model("test_nfnet", num_classes=3), [images((3, 96, 96), 2)], method="magnitude", sparsity=0.5
        )
