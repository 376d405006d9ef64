"""What BatchNorm sees in training, found with hooks and plain modules: nothing here uses the code that is tested."""

import copy

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

STATISTICS = ("batch", "warmup", "running")


def norms(model):
    return [module for module in model.modules() if isinstance(module, _BatchNorm)]


def in_training(model):
    """A copy whose BatchNorm normalises with the batch; everything else as it is, Dropout in eval mode."""
    copied = copy.deepcopy(model).eval()
    for module in norms(copied):
        module.train()
        module.running_mean = module.running_var = None
        module.track_running_stats = False
    return copied


def calls(model, batches):
    """(mean, biased variance) of each BatchNorm call of a training forward: their mean, weighted by the samples."""
    copied, total, samples = in_training(model), None, 0
    for batch in batches:
        inputs = batch[0] if isinstance(batch, (tuple, list)) else batch
        found = []

        def note(module, given, found=found):
            x = given[0].transpose(0, 1).flatten(1)
            found.append((x.mean(1), (x - x.mean(1, keepdim=True)).square().mean(1)))

        handles = [module.register_forward_pre_hook(note) for module in norms(copied)]
        with torch.no_grad():
            copied(inputs)
        for handle in handles:
            handle.remove()
        parts = [(len(inputs) * mean, len(inputs) * var) for mean, var in found]
        total = parts if total is None else [(a + c, b + d) for (a, b), (c, d) in zip(total, parts, strict=True)]
        samples += len(inputs)
    return [(mean / samples, var / samples) for mean, var in total]


def storing(model, found):
    """A copy in eval mode whose stored statistics are these; for nets that call each BatchNorm once, in turn."""
    copied = copy.deepcopy(model).eval()
    for module, (mean, var) in zip(norms(copied), found, strict=True):
        module.running_mean.copy_(mean)
        module.running_var.copy_(var)
    return copied


def fixed(model, batches, statistics):
    """A copy in eval mode that stores what path methods take for constants."""
    return copy.deepcopy(model).eval() if statistics == "running" else storing(model, calls(model, batches))


def seen(model, batches, statistics):
    """A copy whose forward has BatchNorm of the batch, of a warm-up over ``batches``, or as stored."""
    return in_training(model) if statistics == "batch" else fixed(model, batches, statistics)


def flat(parts):
    return torch.cat([part.reshape(-1) for part in parts.values()])


def unflat(weights, vector):
    parts = vector.split([w.numel() for w in weights.values()])
    return {name: part.view_as(w) for (name, w), part in zip(weights.items(), parts, strict=True)}


def values(model):
    return {name: p.detach() for name, p in model.named_parameters() if p.dim() > 1}


class Small(nn.Module):
    """Two convolutions, BatchNorm, a smooth activation (a Hessian that is not 0) and a head: 66 weights."""

    shape = (3, 3, 3)

    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(
            nn.Conv2d(3, 3, 2), nn.BatchNorm2d(3), nn.Softplus(), nn.Conv2d(3, 2, 2), nn.Flatten(), nn.Linear(2, 3)
        )

    def forward(self, x):
        return self.net(x)
