"""Tiny float64 networks, each with its graph of units, and the nets that the laws run on."""

import numpy as np
import torch
from torch import nn

from tests.pruning.path_graph import Graph


def randomised(model: nn.Module, seed: int = 0) -> nn.Module:
    """Random weights, biases, BatchNorm parameters and statistics, in eval mode."""
    generator = torch.Generator().manual_seed(seed)
    for name, tensor in model.state_dict().items():
        if name.endswith("running_var"):
            tensor.uniform_(0.5, 2.0, generator=generator)
        elif tensor.is_floating_point():
            tensor.normal_(generator=generator)
    return model.eval()


class Mlp(nn.Module):
    def __init__(self, slope: float = 0.0):
        super().__init__()
        act = nn.ReLU(inplace=True) if slope == 0 else nn.LeakyReLU(slope, inplace=True)
        self.net = nn.Sequential(nn.Flatten(), nn.Linear(6, 5), act, nn.Linear(5, 4), act, nn.Linear(4, 3))
        self.slope, self.shape = slope, (3, 1, 2)

    def forward(self, x):
        return self.net(x)

    def graph(self):
        w = arrays(self)
        g = Graph({k: v for k, v in w.items() if k.endswith("weight")})
        x = g.inputs(6)
        x = g.relu(g.linear(x, "net.1.weight", w["net.1.bias"]), self.slope)
        x = g.relu(g.linear(x, "net.3.weight", w["net.3.bias"]), self.slope)
        return g, g.linear(x, "net.5.weight", w["net.5.bias"])


class Residual(nn.Module):
    """Stride, padding, BatchNorm, a projected residual joined in place, one ReLU used three times, global pool."""

    shape = (3, 4, 4)

    def __init__(self):
        super().__init__()
        self.a, self.bn_a = nn.Conv2d(3, 2, 3, 2, 1, bias=False), nn.BatchNorm2d(2)
        self.b, self.bn_b = nn.Conv2d(2, 3, 2, 1, 1), nn.BatchNorm2d(3)
        self.c, self.bn_c = nn.Conv2d(2, 3, 1), nn.BatchNorm2d(3)
        self.relu = nn.ReLU(inplace=True)
        self.fc = nn.Linear(3, 2)

    def forward(self, x):
        x = self.relu(self.bn_a(self.a(x)))
        y = self.relu(self.bn_b(self.b(x))[:, :, :2, :2])
        y += self.bn_c(self.c(x))
        y = self.relu(y)
        return self.fc(y.mean((2, 3)))

    def graph(self):
        w = arrays(self)
        g = Graph({k: w[k] for k in ("a.weight", "b.weight", "c.weight", "fc.weight")})
        x = g.relu(g.batch_norm(g.conv(g.inputs(3, 4, 4), "a.weight", 2, 1), *norm(w, "bn_a")))
        y = g.batch_norm(g.conv(x, "b.weight", 1, 1, w["b.bias"]), *norm(w, "bn_b"))[:, :2, :2]
        z = g.batch_norm(g.conv(x, "c.weight", 1, 0, w["c.bias"]), *norm(w, "bn_c"))
        return g, g.linear(g.global_pool(g.relu(g.add(g.relu(y), z))), "fc.weight", w["fc.bias"])


class Pooled(nn.Module):
    """Max-pool, a functional ReLU, BatchNorm after the pool."""

    shape = (3, 4, 4)

    def __init__(self):
        super().__init__()
        self.a, self.bn = nn.Conv2d(3, 2, 3, 1, 1), nn.BatchNorm2d(2)
        self.pool = nn.MaxPool2d(2)
        self.b, self.fc = nn.Conv2d(2, 2, 2), nn.Linear(2, 3)

    def forward(self, x):
        x = self.bn(self.pool(torch.relu(self.a(x))))
        return self.fc(torch.nn.functional.relu(self.b(x)).flatten(1))

    def graph(self):
        w = arrays(self)
        g = Graph({k: w[k] for k in ("a.weight", "b.weight", "fc.weight")})
        x = g.max_pool(g.relu(g.conv(g.inputs(3, 4, 4), "a.weight", 1, 1, w["a.bias"])), 2)
        x = g.relu(g.conv(g.batch_norm(x, *norm(w, "bn")), "b.weight", 1, 0, w["b.bias"]))
        return g, g.linear(x, "fc.weight", w["fc.bias"])


def arrays(model: nn.Module) -> dict[str, np.ndarray]:
    return {name: tensor.numpy().copy() for name, tensor in model.state_dict().items()}


def norm(w: dict[str, np.ndarray], name: str) -> tuple[np.ndarray, ...]:
    return tuple(w[f"{name}.{part}"] for part in ("weight", "bias", "running_mean", "running_var"))


def images(shape, count=4, seed=0, dtype=torch.float32, classes=3):
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(count, *shape, generator=generator, dtype=dtype)
    return inputs, torch.randint(0, classes, (count,), generator=generator)


class TinyVgg(nn.Module):
    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(True), nn.MaxPool2d(2),
            nn.Conv2d(8, 12, 3, padding=1), nn.BatchNorm2d(12), nn.ReLU(True), nn.AdaptiveAvgPool2d(1),
        )  # fmt: skip
        self.head = nn.Sequential(nn.Flatten(), nn.Dropout(), nn.Linear(12, 3))

    def forward(self, x):
        return self.head(self.features(x))


class Activated(nn.Module):
    """Two convolutions around any activation."""

    def __init__(self, activation: nn.Module):
        super().__init__()
        self.net = nn.Sequential(
            nn.Conv2d(3, 6, 3), activation, nn.Conv2d(6, 4, 3), activation, nn.Flatten(), nn.LazyLinear(3)
        )
        self.net(torch.zeros(1, 3, 8, 8))

    def forward(self, x):
        return self.net(x)
