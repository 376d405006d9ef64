"""The laws that hold for every method, over nets of every kind and every choice of statistics."""

import copy

import pytest
import segmentation_models_pytorch as smp
import timm
import torch
import torchvision
from torch import nn

from checkpoints.errors import InputError
from tests.pruning.references import STATISTICS
from tests.pruning.small_nets import Activated, TinyVgg, images, randomised
from transfer.errors import ScoreError
from transfer.pruning import Masks, methods, prune, score
from transfer.pruning.paths.carried import NoPathError
from transfer.pruning.prunable import prunable
from transfer.pruning.saliency import about
from transfer.pruning.selection import select

pytestmark = pytest.mark.filterwarnings("ignore::transfer.pruning.CollapseWarning")
NO_DATA = {"random", "magnitude"}
FIRST_BATCH_ONLY = {"synflow", "synflow-l2", "logsynflow"}  # where BatchNorm keeps its stored statistics
SIGNS_OF_SAMPLES = {"jacobian", "ntk-trace", "ntk-balanced", "fisher", "fts"}
FEW = {"hutchinson": {"draws": 2}, "hts": {"draws": 2}}  # 10 unless told otherwise, at a backward each


class TinyMlp(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Flatten(), nn.Linear(192, 16), nn.ReLU(True), nn.Linear(16, 16), nn.ReLU(True))
        self.head = nn.Linear(16, 3)

    def forward(self, x):
        return self.head(self.net(x))


def warm(model):
    """Let BatchNorm meet data, so that its statistics are not the defaults."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model.train()
        for _ in range(3):
            model(torch.randn(8, 3, 8, 8) if not hasattr(model, "side") else torch.randn(8, 3, model.side, model.side))
    return model


def timm_net(name, side, **options):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = timm.create_model(name, num_classes=3, **options)
    model.side = side
    return model


NETS = {
    "test_resnet": lambda: warm(timm_net("test_resnet", 32, zero_init_last=False)),
    "vgg": lambda: warm(randomised(TinyVgg())),
    "mlp": TinyMlp,
    "leaky": lambda: Activated(nn.LeakyReLU(0.2, inplace=True)),
    "gelu": lambda: Activated(nn.GELU()),
    "vit": lambda: timm_net("test_vit", 32, img_size=32, patch_size=16, embed_dim=32),
}
METHODS = methods()
every_method = pytest.mark.parametrize("method", METHODS)
PAIRS = [(method, net) for net in NETS for method in METHODS if not (net == "vit" and about(method).paths)]
OTHERS = [seen for seen in STATISTICS if seen != "batch"]  # which is what every method takes by itself


def cases(*nets):
    """Every method on every net as it comes; on these nets with the other statistics too."""
    usual = [(method, net, None) for method, net in PAIRS]
    return usual + [
        (m, net, seen) for m in METHODS if m not in NO_DATA for net in nets for seen in OTHERS if (m, net) in PAIRS
    ]


SPARSITIES = {"mlp": (0.0, 0.3, 0.9), "vgg": (0.9, 0.98)}
every_case = pytest.mark.parametrize(("method", "case", "statistics"), cases("vgg"), indirect=["case"])


@pytest.fixture(scope="module")
def case(request):
    model = NETS[request.param]()
    side = getattr(model, "side", 8)
    return model, [images((3, side, side), 4, seed) for seed in range(2)]


def snapshot(model):
    return {
        "state": {k: v.clone() for k, v in model.state_dict().items()},
        "modes": [m.training for m in model.modules()],
        "requires_grad": [p.requires_grad for p in model.parameters()],
        "grad": [None if p.grad is None else p.grad.clone() for p in model.parameters()],
        "hooks": [(len(m._forward_hooks), len(m._forward_pre_hooks)) for m in model.modules()],
        "attributes": [sorted(vars(m)) for m in model.modules()],
        "rng": torch.get_rng_state(),
        "threads": torch.get_num_threads(),
        "relu": (torch.relu, torch.nn.functional.relu, torch.nn.functional.batch_norm),
    }


def same(before, after):
    for key, old in before.items():
        new = after[key]
        if key == "state":
            assert old.keys() == new.keys()
            assert all(torch.equal(old[name], new[name]) for name in old), "state_dict changed"
        elif key == "grad":
            assert all(a is b is None or torch.equal(a, b) for a, b in zip(old, new, strict=True)), "grad changed"
        elif key == "rng":
            assert torch.equal(old, new), "global RNG changed"
        else:
            assert old == new, key


@every_case
def test_score_is_pure_and_repeatable(method, case, statistics):
    model, batches = case
    model.train()
    list(model.modules())[1].eval()  # a mixture of modes
    parameters = list(model.parameters())
    parameters[0].requires_grad_(False)
    parameters[1].grad = torch.ones_like(parameters[1])
    before = snapshot(model)
    first = score(method, model, batches, seed=3, statistics=statistics, **FEW.get(method, {}))
    same(before, snapshot(model))
    second = score(method, model, batches, seed=3, statistics=statistics, **FEW.get(method, {}))
    weights = prunable(model)
    assert list(first) == list(weights)
    for name, values in first.items():
        assert values.dtype == torch.float64
        assert values.shape == weights[name].shape
        assert torch.isfinite(values).all()
        assert not values.requires_grad
        assert torch.equal(values, second[name]), "the same call gave other scores"
    parameters[0].requires_grad_(True)
    parameters[1].grad = None


class Counts(TinyMlp):
    """Buffers that move in eval mode: one in place, one by another tensor."""

    def __init__(self):
        super().__init__()
        self.register_buffer("calls", torch.zeros(()))
        self.register_buffer("more", torch.zeros(()))

    def forward(self, x):
        self.calls += 1
        self.more = self.more + 1
        return super().forward(x)


class Stubborn(nn.BatchNorm2d):
    def train(self, mode=True):
        return super().train(True)


class Own(nn.BatchNorm2d):
    def forward(self, x):
        return nn.functional.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, True)


@every_method
@pytest.mark.parametrize("statistics", ["batch", "running"])
@pytest.mark.parametrize("norm", [Stubborn, Own, None])
def test_buffers_that_move_in_eval_mode_are_put_back(method, norm, statistics):
    model = Counts() if norm is None else randomised(TinyVgg())
    if norm is not None:
        model.features[1] = norm(8)
    before, buffers = snapshot(model), list(model.buffers())
    looks = about(method).paths and method != "px-released"  # which has those of the batch in any case
    if norm is not None and looks and statistics == "running":
        with pytest.raises(NoPathError, match=r"uses the statistics of the batch.*statistics='batch' gives it one"):
            score(method, model, [images((3, 8, 8), 4)], statistics=statistics)
    else:
        score(method, model, [images((3, 8, 8), 4)], statistics=statistics)
    same(before, snapshot(model))
    assert all(a is b for a, b in zip(buffers, model.buffers(), strict=True))
    with torch.no_grad():
        model(images((3, 8, 8), 4)[0])
    assert any(not torch.equal(before["state"][name], b) for name, b in model.named_buffers()), "they do move"


@every_method
def test_the_global_random_state_is_put_back_when_others_draw_from_it(method):
    model = TinyMlp()
    good = images((3, 8, 8), 4)

    class Draws:
        def __iter__(self):
            torch.rand(3)
            yield good

    def loss(outputs, targets):
        return nn.functional.cross_entropy(outputs, targets) + torch.rand(()) * 0

    model.net.append(Noisy())
    before = snapshot(model)
    score(method, model, Draws(), loss=loss)
    same(before, snapshot(model))


class Noisy(nn.Module):
    def forward(self, x):
        torch.rand(2)
        return x


@every_method
@pytest.mark.parametrize("statistics", STATISTICS)
def test_score_is_pure_after_an_exception(method, statistics):
    if method in NO_DATA and statistics != "batch":
        return
    model = NETS["test_resnet"]()

    def broken(outputs, targets):
        raise ValueError("a broken loss")

    class Broken:
        def __iter__(self):
            yield images((3, 32, 32), 2)
            raise ValueError("a broken loader")

    class Breaks(nn.Module):
        def forward(self, x):
            raise ValueError("a broken layer")

    before = snapshot(model)
    for arguments in ({"batches": Broken()}, {"batches": [images((3, 32, 32), 2)], "loss": broken}):
        unread = NO_DATA | (FIRST_BATCH_ONLY if statistics == "running" else set())
        blind = not about(method).labels if "loss" in arguments else method in unread
        if blind:
            score(method, model, statistics=statistics, **arguments)  # they do not look that far
        else:
            with pytest.raises(ValueError, match="a broken"):
                score(method, model, statistics=statistics, **arguments)
        same(before, snapshot(model))
    if method not in NO_DATA:
        model.act2 = Breaks() if hasattr(model, "act2") else None
        model.global_pool, kept = Breaks(), model.global_pool
        before = snapshot(model)
        with pytest.raises(ValueError, match="a broken layer"):
            score(method, model, [images((3, 32, 32), 2)], statistics=statistics)
        same(before, snapshot(model))
        model.global_pool = kept


@pytest.mark.parametrize(
    ("method", "case", "statistics", "sparsity"),
    [(*c, s) for c in cases("vgg") for s in SPARSITIES.get(c[1], (0.9,)) if s == 0.9 or not c[2]],
    indirect=["case"],
)
def test_prune_keeps_the_exact_count_and_applies_it(method, sparsity, case, statistics):
    options = {"method": method, "sparsity": sparsity, "rounds": 2, "statistics": statistics, **FEW.get(method, {})}
    model, batches = copy.deepcopy(case[0]), case[1]
    state = {k: v.clone() for k, v in model.state_dict().items()}
    masks = prune(model, batches, **options)
    total = sum(w.numel() for w in prunable(model).values())
    assert masks.total == total
    assert masks.kept == total - int(sparsity * total + 0.5)
    for name, tensor in model.state_dict().items():
        if name in masks:
            assert torch.equal(tensor, state[name].masked_fill(~masks[name], 0.0))
        else:
            assert torch.equal(tensor, state[name]), f"{name} is not prunable and changed"


@every_method
def test_the_same_call_prunes_the_same_weights(method):
    batches = [images((3, 8, 8), 4, seed) for seed in range(2)]
    options = {"method": method, "sparsity": 0.9, "rounds": 2, **FEW.get(method, {})}
    first, second = (prune(randomised(TinyVgg()), batches, **options).digest() for _ in range(2))
    assert first == second


@pytest.mark.parametrize(("method", "case"), PAIRS, indirect=["case"])
def test_masks_are_nested_over_rounds(method, case):
    model, batches = copy.deepcopy(case[0]), case[1]
    masks = Masks.full(prunable(model))
    for sparsity in (0.5, 0.95):
        scores = score(method, model, batches, masks=masks, **FEW.get(method, {}))
        new = Masks(select(scores, masks, int((1 - sparsity) * masks.total)))
        assert not any(bool((new[name] & ~masks[name]).any()) for name in new), "a pruned weight returned"
        new.apply_(model)
        masks = new


@pytest.mark.parametrize(
    ("method", "case", "statistics"), [c for c in cases("vgg") if c[0] not in SIGNS_OF_SAMPLES], indirect=["case"]
)
def test_order_of_samples_in_a_batch_does_not_matter(method, case, statistics):
    model, batches = case
    turned = [(x.flip(0), y.flip(0)) for x, y in batches]
    first, second = (
        score(method, model, data, statistics=statistics, **FEW.get(method, {})) for data in (batches, turned)
    )
    high, other = (max(float(v.abs().max()) for v in scores.values()) for scores in (first, second))
    for name in first:  # a power of two may be removed
        torch.testing.assert_close(first[name] / high, second[name] / other, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(
    ("method", "case"), [(m, net) for m, net in PAIRS if net in ("mlp", "leaky", "vit")], indirect=["case"]
)
def test_without_batch_norm_all_statistics_give_the_same_bits(method, case):
    model, batches = case
    options = {"seed": 2, **FEW.get(method, {})}
    usual, *others = (score(method, model, batches, statistics=seen, **options) for seen in STATISTICS)
    for other in others:
        assert all(torch.equal(usual[name], other[name]) for name in usual)


@pytest.mark.parametrize("method", [m for m in METHODS if m not in NO_DATA])
def test_with_batch_norm_statistics_matter_where_they_are_heeded(method):
    model, batches = NETS["vgg"](), [images((3, 8, 8), 4, seed) for seed in range(2)]
    batch, warmup, running = (score(method, model, batches, statistics=seen) for seen in STATISTICS)
    own = method in ("ntk-sap", "px-released")  # always those of the batch
    for other in (warmup, running):
        assert all(torch.equal(batch[name], other[name]) for name in batch) == own or (
            other is warmup and about(method).paths and method not in ("px", "px-released")
        )
    usual = score(method, model, batches)
    assert all(torch.equal(batch[name], usual[name]) for name in batch)


@every_method
def test_excluded_modules_are_neither_scored_nor_pruned(method):
    model = NETS["test_resnet"]()
    batches = [images((3, 32, 32), 2)]
    before = model.fc.weight.clone()
    masks = prune(model, batches, method=method, sparsity=0.9, rounds=1, exclude=("fc", "layer1.*"))
    assert not any(name.startswith(("fc", "layer1")) for name in masks)
    assert torch.equal(model.fc.weight, before)
    with pytest.raises(InputError, match="matches no"):
        prune(model, batches, method=method, sparsity=0.9, exclude=("nothing.*",))


@pytest.mark.parametrize("method", ["snip", "px"])
def test_outputs_that_are_not_finite_are_refused_and_the_model_is_left(method):
    model = NETS["mlp"]()
    with torch.no_grad():
        model.head.weight[0, 0] = torch.nan
    before = snapshot(model)
    with pytest.raises(ScoreError, match=r"it begins in layer head .Linear, whose weight is not finite"):
        prune(model, [images((3, 8, 8), 4)], method=method, sparsity=0.5)
    state = {k: v for k, v in model.state_dict().items() if k != "head.weight"}
    assert all(torch.equal(before["state"][k], v) for k, v in state.items())


@every_method
@pytest.mark.parametrize("statistics", STATISTICS)
def test_a_failed_prune_leaves_the_weights(method, statistics):
    model = NETS["vgg"]()
    good, state = images((3, 8, 8), 4), {}
    state = {k: v.clone() for k, v in model.state_dict().items()}
    calls = []

    class Fails:
        def __iter__(self):
            calls.append(1)
            if len(calls) > 2:
                raise KeyboardInterrupt
            return iter([good])

    if method in NO_DATA:
        return
    with pytest.raises(KeyboardInterrupt):
        prune(model, Fails(), method=method, sparsity=0.9, rounds=5, statistics=statistics)
    assert all(torch.equal(state[k], v) for k, v in model.state_dict().items())


@pytest.mark.large
@pytest.mark.slow
@every_method
@pytest.mark.parametrize("net", ["tv_resnet50", "resnet50_clip_gap", "resnet18", "deeplab"])
def test_large_nets_as_they_come(method, net):
    check_large(method, net)


@pytest.mark.parametrize("net", ["resnet18", "deeplab"])
@pytest.mark.parametrize("method", ["px", "grasp"])
def test_large_nets_with_a_few_methods(method, net):
    check_large(method, net)


def test_clip_with_one_method():
    check_large("px", "resnet50_clip_gap")


def check_large(method, net):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = {
            "tv_resnet50": lambda: torchvision.models.resnet50(num_classes=3),
            "resnet50_clip_gap": lambda: timm.create_model("resnet50_clip_gap", num_classes=3, zero_init_last=False),
            "resnet18": lambda: torchvision.models.resnet18(num_classes=3),
            "deeplab": lambda: smp.DeepLabV3Plus("resnet18", encoder_weights=None, classes=3),
        }[net]()
    before = snapshot(model)
    inputs, targets = images((3, 64, 64), 2)
    if net == "deeplab":
        targets = targets[:, None, None].repeat(1, 64, 64)
    scores = score(method, model, [(inputs, targets)])
    same(before, snapshot(model))
    assert all(bool(s.any()) for s in scores.values()), "a whole layer scores 0"
