"""An independent slow reference: a network as a graph of scalar units, its paths enumerated one by one.

Nothing here uses the project or autograd. A unit is one of

    ("input", i)   ("sum", [(unit, weight reference or None, coefficient)], bias)   ("scale", unit, s, shift)
    ("relu", unit, slope)   ("max", [units])   ("add", [units])

and a path runs from an output down to an input through one branch of every unit.
"""

import math
from dataclasses import dataclass, field

import numpy as np


@dataclass
class Graph:
    weights: dict  # name -> float64 array
    units: list = field(default_factory=list)

    def new(self, unit):
        self.units.append(unit)
        return len(self.units) - 1

    def inputs(self, *shape):
        return np.array([self.new(("input", i)) for i in range(math.prod(shape))]).reshape(shape)

    def linear(self, x, name, bias=None):
        rows = self.weights[name].shape[0]
        made = []
        for o in range(rows):
            terms = [(int(u), (name, (o, i)), 1.0) for i, u in enumerate(x.reshape(-1))]
            made.append(self.new(("sum", terms, 0.0 if bias is None else float(bias[o]))))
        return np.array(made)

    def conv(self, x, name, stride=1, padding=0, bias=None):
        weight = self.weights[name]
        outs, ins, kh, kw = weight.shape
        _, height, width = x.shape
        high, wide = (height + 2 * padding - kh) // stride + 1, (width + 2 * padding - kw) // stride + 1
        out = np.empty((outs, high, wide), dtype=int)
        for o, r, c in np.ndindex(outs, high, wide):
            terms = []
            for i, a, b in np.ndindex(ins, kh, kw):
                y, z = r * stride + a - padding, c * stride + b - padding
                if 0 <= y < height and 0 <= z < width:
                    terms.append((int(x[i, y, z]), (name, (o, i, a, b)), 1.0))
            out[o, r, c] = self.new(("sum", terms, 0.0 if bias is None else float(bias[o])))
        return out

    def batch_norm(self, x, gamma, beta, mean, var, eps=1e-5):
        out = np.empty_like(x)
        for index in np.ndindex(*x.shape):
            s = float(gamma[index[0]] / math.sqrt(var[index[0]] + eps))
            out[index] = self.new(("scale", int(x[index]), s, float(beta[index[0]] - s * mean[index[0]])))
        return out

    def relu(self, x, slope=0.0):
        return np.vectorize(lambda u: self.new(("relu", int(u), slope)))(x)

    def add(self, x, y):
        return np.vectorize(lambda u, v: self.new(("add", [int(u), int(v)])))(x, y)

    def max_pool(self, x, side):
        channels, height, width = x.shape
        out = np.empty((channels, height // side, width // side), dtype=int)
        for k, r, c in np.ndindex(*out.shape):
            window = x[k, r * side : (r + 1) * side, c * side : (c + 1) * side]
            out[k, r, c] = self.new(("max", [int(u) for u in window.reshape(-1)]))
        return out

    def global_pool(self, x):
        share = 1.0 / (x.shape[1] * x.shape[2])
        return np.array([self.new(("sum", [(int(u), None, share) for u in ch.reshape(-1)], 0.0)) for ch in x])

    def values(self, x):
        """Every unit's value in the real network."""
        found = []
        for kind, *rest in self.units:
            if kind == "input":
                found.append(float(x[rest[0]]))
            elif kind == "sum":
                terms, bias = rest
                found.append(sum(found[u] * self._weight(w) * c for u, w, c in terms) + bias)
            elif kind == "scale":
                found.append(found[rest[0]] * rest[1] + rest[2])
            elif kind == "relu":
                z = found[rest[0]]
                found.append(z if z > 0 else z * rest[1])
            elif kind == "max":
                found.append(max(found[u] for u in rest[0]))
            else:
                found.append(sum(found[u] for u in rest[0]))
        return found

    def _weight(self, reference):
        return 1.0 if reference is None else float(self.weights[reference[0]][reference[1]])

    def paths(self, unit, choice):
        """Yield (input, weight references, BatchNorm scales, relu units, coefficient) of every path into ``unit``.

        ``choice`` says which branches of a max unit are on paths.
        """
        kind, *rest = self.units[unit]
        if kind == "input":
            yield rest[0], (), (), (), 1.0
        elif kind == "sum":
            for source, weight, coefficient in rest[0]:
                for i, w, s, r, c in self.paths(source, choice):
                    yield i, w if weight is None else (*w, weight), s, r, c * coefficient
        elif kind == "scale":
            for i, w, s, r, c in self.paths(rest[0], choice):
                yield i, w, (*s, rest[1]), r, c
        elif kind == "relu":
            for i, w, s, r, c in self.paths(rest[0], choice):
                yield i, w, s, (*r, unit), c
        elif kind == "max":
            for source in choice(unit, rest[0]):
                yield from self.paths(source, choice)
        else:
            for source in rest[0]:
                yield from self.paths(source, choice)

    def gates(self, x):
        """Squared gates of every relu and the choice of every max, at the real input ``x``."""
        values = self.values(x)
        squared = {
            u: (1.0 if values[unit[1]] > 0 else unit[2] ** 2) for u, unit in enumerate(self.units) if unit[0] == "relu"
        }
        return squared, lambda unit, sources: [max(sources, key=lambda s: values[s])]

    def open_choice(self, power, start):
        """The choice of every max in the network of ``|weights| ** power`` on ``start``, from its own values."""
        found = []
        for kind, *rest in self.units:
            if kind == "input":
                found.append(float(start[rest[0]]))
            elif kind == "sum":
                found.append(sum(found[u] * abs(self._weight(w)) ** power * c for u, w, c in rest[0]))
            elif kind == "scale":
                found.append(found[rest[0]] * abs(rest[1]) ** power)
            elif kind == "relu":
                found.append(found[rest[0]])
            elif kind == "max":
                found.append(max(found[u] for u in rest[0]))
            else:
                found.append(sum(found[u] for u in rest[0]))
        return lambda unit, sources: [max(sources, key=lambda s: found[s])]


def activity(graph, outputs, images, masks):
    """G_k = Σ_n Σ_paths x² · masks · gates · coefficients."""
    total = np.zeros(len(outputs))
    for x in images:
        gates, choice = graph.gates(x)
        for k, unit in enumerate(outputs):
            for i, weights, _, relus, c in graph.paths(int(unit), choice):
                kept = math.prod(float(masks[name][index]) for name, index in weights)
                total[k] += x[i] ** 2 * kept * math.prod(gates[r] for r in relus) * c
    return total


def saliency(graph, outputs, *, power=2, start=None, cotangent=None):
    """t · ∂(Σ_k c_k h_k(start))/∂t with t = |θ| ** power: every path's value, counted for each weight on it."""
    start = np.ones(sum(unit[0] == "input" for unit in graph.units)) if start is None else start
    scores = {name: np.zeros_like(w) for name, w in graph.weights.items()}
    choice = graph.open_choice(power, start)
    for k, unit in enumerate(outputs):
        for i, weights, scales, _, c in graph.paths(int(unit), choice):
            value = (1.0 if cotangent is None else cotangent[k]) * c * start[i]
            value *= math.prod(abs(s) ** power for s in scales)
            value *= math.prod(abs(float(graph.weights[name][index])) ** power for name, index in weights)
            for name, index in weights:
                scores[name][index] += value
    return scores


def gated_paths(graph, outputs, images):
    """Yield (weight references, value without them) of every path of every image: x² · gates · scales² · c."""
    for x in images:
        gates, choice = graph.gates(x)
        for unit in outputs:
            for i, weights, scales, relus, c in graph.paths(int(unit), choice):
                fixed = x[i] ** 2 * c * math.prod(s**2 for s in scales) * math.prod(gates[r] for r in relus)
                yield weights, fixed


def gated_saliency(graph, outputs, images):
    """t · ∂R'/∂t with t = θ²."""
    scores = {name: np.zeros_like(w) for name, w in graph.weights.items()}
    for weights, fixed in gated_paths(graph, outputs, images):
        value = fixed * math.prod(float(graph.weights[name][index]) ** 2 for name, index in weights)
        for name, index in weights:
            scores[name][index] += value
    return scores


def path_trace(graph, outputs, images, masks, without=None):
    """T = Σ_i M_i ∂R'/∂t_i over kept weights, in the network without the weight ``without`` = (name, index).

    A path through the removed weight is gone, with its part for every other weight on it; so is the removed weight's
    own part.
    """
    total = 0.0
    for weights, fixed in gated_paths(graph, outputs, images):
        if without in weights:
            continue
        squares = [float(graph.weights[name][index]) ** 2 for name, index in weights]
        for place, (name, index) in enumerate(weights):
            if masks[name][index]:
                total += fixed * math.prod(squares[:place] + squares[place + 1 :])
    return total


def kernel_trace(graph, outputs, masks):
    """Tr(Π): for each path and each kept weight on it, the squares of the others; every branch of a max counts."""
    total = 0.0
    for unit in outputs:
        for _, weights, scales, _, c in graph.paths(int(unit), lambda unit, sources: sources):
            squares = [float(graph.weights[name][index]) ** 2 for name, index in weights]
            for place, (name, index) in enumerate(weights):
                if masks[name][index]:
                    total += c * math.prod(s**2 for s in scales) * math.prod(squares[:place] + squares[place + 1 :])
    return total


def connected(graph, outputs, masks):
    """True where a weight lies on a path of kept weights."""
    found = {name: np.zeros(w.shape, dtype=bool) for name, w in graph.weights.items()}
    for unit in outputs:
        for _, weights, _, _, _ in graph.paths(int(unit), lambda unit, sources: sources):
            if all(masks[name][index] for name, index in weights):
                for name, index in weights:
                    found[name][index] = True
    return found
