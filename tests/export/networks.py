"""Small networks with every connection that compacting follows, and random pruning of them."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)


def conv(inputs: int, outputs: int, size: int = 3, **options: object) -> nn.Sequential:
    """Convolution without a bias, BatchNorm, ReLU."""
    layer = nn.Conv2d(inputs, outputs, size, padding=size // 2, bias=False, **options)  # type: ignore[arg-type]
    return nn.Sequential(layer, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True))


class Residual(nn.Module):
    def __init__(self, groups: int = 1) -> None:
        super().__init__()
        self.stem = conv(3, 12)
        self.one = conv(12, 12, groups=groups)
        self.two = nn.Sequential(nn.Conv2d(12, 12, 3, padding=1, groups=groups), nn.BatchNorm2d(12))
        self.wide = nn.Sequential(nn.Conv2d(12, 24, 1, stride=2), nn.BatchNorm2d(24))
        self.main = nn.Sequential(conv(12, 18, stride=2), nn.Conv2d(18, 24, 3, padding=1))
        self.head = nn.Linear(24, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        x = torch.relu_(x + self.two(self.one(x)))
        x = torch.relu(self.main(x) + self.wide(x))
        return self.head(x.mean((2, 3)))


class Dense(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.pool = conv(3, 10), nn.AvgPool2d(2, ceil_mode=True)
        self.second, self.third = conv(10, 8), nn.Conv2d(18, 9, 3, padding=1)
        self.head = nn.Conv2d(27, 4, 1)

    def forward(self, x: Tensor) -> list[Tensor]:
        x = self.pool(self.first(x))
        x = torch.cat([x, self.second(x)], 1)
        x = torch.cat([x, self.third(x)], 1)
        up = nn.functional.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=True)
        return [self.head(x), self.head(up)]


class Depthwise(nn.Module):
    """Expansion, depthwise 5×5, gates from pooled channels, projection, residual sum; twice."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2), nn.BatchNorm2d(8), nn.Hardswish())
        self.up = nn.ModuleList(conv(8, 24, 1) for _ in range(2))
        self.deep = nn.ModuleList(conv(24, 24, 5, groups=24) for _ in range(2))
        self.squeeze = nn.ModuleList(nn.Conv2d(24, 6, 1) for _ in range(2))
        self.excite = nn.ModuleList(nn.Conv2d(6, 24, 1) for _ in range(2))
        self.down = nn.ModuleList(nn.Sequential(nn.Conv2d(24, 8, 1), nn.BatchNorm2d(8)) for _ in range(2))
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(), nn.Linear(8, 3))

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for up, deep, squeeze, excite, down in zip(
            self.up, self.deep, self.squeeze, self.excite, self.down, strict=True
        ):
            y = deep(up(x))
            y = y * excite(nn.functional.silu(squeeze(y.mean((2, 3), keepdim=True)))).sigmoid()
            x = x + down(y)
        return self.head(x)


class Chain(nn.Sequential):
    """VGG's form: convolutions, max-pooling, a flattened map, linear layers."""

    def __init__(self) -> None:
        features = [conv(3, 12), nn.MaxPool2d(2), conv(12, 16), conv(16, 16), nn.AdaptiveAvgPool2d(2)]
        head = [nn.Linear(64, 20), nn.BatchNorm1d(20), nn.LeakyReLU(0.2), nn.Linear(20, 6)]
        super().__init__(*features, nn.Flatten(), *head)


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "residual": Residual,
    "grouped": lambda: Residual(groups=3),
    "dense": Dense,
    "depthwise": Depthwise,
    "chain": Chain,
}


def prune(model: nn.Module, sparsity: float, seed: int, whole: float = 0.0) -> nn.Module:
    """Draw weights, norms and biases; zero random weights, and with probability ``whole`` each row; in float64.

    The weights that are left are scaled such that the image, and not the biases alone, reaches the outputs.
    """
    g = torch.Generator().manual_seed(seed)
    for module in model.modules():
        if isinstance(module, NORMS):
            for tensor, low in ((module.running_mean, -0.5), (module.running_var, 0.5), (module.weight, 0.5)):
                tensor.data = low + torch.rand(tensor.shape, generator=g)
            module.bias.data = 0.5 * torch.randn(module.bias.shape, generator=g)
        elif isinstance(module, (nn.Conv2d, nn.Linear)):
            rows = torch.rand(len(module.weight), generator=g) >= whole
            module.weight.data = sparse(module.weight.shape, sparsity, g)
            module.weight.data *= rows.view(-1, *[1] * (module.weight.dim() - 1))
            if module.bias is not None:
                module.bias.data = 0.5 * torch.randn(module.bias.shape, generator=g)
    return model.double().eval()


def sparse(shape: torch.Size, sparsity: float, g: torch.Generator) -> Tensor:
    """Return normal weights of which a random fraction is zero, each row scaled as Kaiming's for the others."""
    kept = torch.rand(shape, generator=g) >= sparsity
    count = kept.flatten(1).sum(1).clamp(min=1).view(-1, *[1] * (len(shape) - 1))
    return torch.randn(shape, generator=g) * kept * (2 / count).sqrt()


def size(model: nn.Module) -> int:
    """Number of parameters."""
    return sum(p.numel() for p in model.parameters())


@torch.no_grad()
def gap(one: nn.Module, other: nn.Module, *shapes: tuple[int, ...]) -> float:
    """Return the largest difference of outputs over the largest output, on random images of the shapes."""
    worst = 0.0
    for shape in shapes:
        x = drawn(one, shape)
        for a, b in zip(listed(one(x)), listed(other(x)), strict=True):
            assert a.shape == b.shape
            worst = max(worst, float((a - b).abs().max() / a.abs().max()))
    return worst


@torch.no_grad()
def signal(model: nn.Module, shape: tuple[int, ...]) -> float:
    """Return how much the outputs differ between two images, over the largest output."""
    x = drawn(model, shape)
    pairs = zip(listed(model(x)), listed(model(-x)), strict=True)
    return min(float((a - b).abs().max() / a.abs().max()) for a, b in pairs)


def drawn(model: nn.Module, shape: tuple[int, ...]) -> Tensor:
    """Return random images of the model's precision, always the same."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(1), dtype=next(model.parameters()).dtype)


def listed(outputs: Tensor | list[Tensor]) -> list[Tensor]:
    return [outputs] if isinstance(outputs, Tensor) else outputs
