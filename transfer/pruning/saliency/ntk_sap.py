"""NTK-SAP: the effect of a weight on the NTK spectrum, by finite differences (Wang 2023, §4, algorithm 1)."""

from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd

from checkpoints.errors import InputError
from transfer.pruning.problem import Batch, Problem

_DRAW = 15_485_863  # seed offset between draws of a batch; not a sum of offsets between batches and rounds


def score(
    problem: Problem,
    *,
    inputs: Literal["real", "gaussian"] = "real",
    weights: Literal["resampled", "pretrained"] = "resampled",
    resamplings: int = 1,
    epsilon: float = 0.01,
) -> dict[str, Tensor]:
    """Return ``|∂/∂M ‖f(x; M·θ) − f(x; M·(θ + ε·Δ))‖²|`` summed over all samples and draws.

    Δ is standard normal, drawn separately for each batch and draw.

    The score ignores the weights that it prunes: θ is reinitialised (Kaiming normal; norms at scale 1, shift 0 and
    initial statistics; zero biases; BatchNorm on batch statistics) in copies, and the model is unchanged. In the
    published code the reinitialisation overwrites the pretrained weights.

    Args:
        problem: targets are not used.
        inputs: "real" images, or "gaussian" noise of their shape, as in the paper.
        weights: "resampled", always with batch statistics, or "pretrained" for the model's own.
        resamplings: number of draws of θ and Δ to sum over; of Δ alone with ``weights="pretrained"``.
        epsilon: size of the perturbation.

    Raises:
        InputError: ``resamplings`` is below 1, ``epsilon`` is not positive, or a batch is too small for batch
            statistics.
    """
    if resamplings < 1 or not 0 < epsilon < float("inf"):
        raise InputError(
            f"options of 'ntk-sap': resamplings is {resamplings}, epsilon is {epsilon}; give 1 or more and above 0"
        )
    sums: dict[str, Tensor] = {}
    generator = problem.generator()
    if weights == "resampled":
        problem = replace(problem, statistics="batch")  # the stored ones do not fit reinitialised weights
    for draw in range(resamplings):
        own = _resampled(problem.model, generator) if weights == "resampled" else {}

        def of_batch(batch: Batch, own: dict[str, Tensor] = own, draw: int = draw) -> dict[str, Tensor]:
            batch.generator.manual_seed(batch.generator.initial_seed() + _DRAW * draw)
            return _of_batch(problem, batch, own, inputs, epsilon)

        found, _ = problem.total(of_batch)
        sums = {name: value + sums.get(name, 0.0) for name, value in found.items()}
    return {name: value.abs() for name, value in sums.items()}


def _of_batch(problem: Problem, batch: Batch, own: dict[str, Tensor], inputs: str, epsilon: float) -> dict[str, Tensor]:
    x, generator = batch.inputs, batch.generator
    if inputs == "gaussian":
        x = torch.randn(x.shape, generator=generator).to(x)
    theta = {name: own.get(name, w) for name, w in problem.weights.items()}
    noise = {name: torch.randn(w.shape, generator=generator).to(w) for name, w in theta.items()}
    here = {name: problem.masks[name] * w for name, w in theta.items()}
    there = {name: here[name] + problem.masks[name] * noise[name].mul_(epsilon) for name in theta}
    for w in (*here.values(), *there.values()):
        w.requires_grad_()
    with torch.enable_grad():
        first, second = problem.output(own | here, x), problem.output(own | there, x)
        twice = 2 * (first - second).detach()  # gradient of the squared change w.r.t. the first output
        parts = problem.gradients(own | here, first, here.values(), twice)
        others = problem.gradients(own | there, second, there.values(), -twice)
    # M enters as M · θ and as M · (θ + ε · Δ)
    pairs = zip(theta, parts, others, strict=True)
    return {n: (a * here[n].detach()).addcmul_(b, there[n].detach()) for n, a, b in pairs}


def _resampled(model: nn.Module, generator: torch.Generator) -> dict[str, Tensor]:
    """Return reinitialised parameters and norm buffers by name.

    A computed weight (weight norm in an excluded layer) stays: the tensors it is computed from are not weights.
    """
    drawn: dict[str, Tensor] = {}
    names = {id(x): name for name, x in (*model.named_parameters(), *model.named_buffers())}
    for module in model.modules():
        parameters = dict(module.named_parameters(recurse=False))
        if isinstance(module, (_ConvNd, nn.Linear)):
            for key, p in parameters.items():
                if key not in ("weight", "bias"):
                    continue
                new = torch.zeros(p.shape, dtype=p.dtype)
                if key == "weight":
                    nn.init.kaiming_normal_(new, nonlinearity="relu", generator=generator)
                drawn[names[id(p)]] = new.to(p.device)
        elif isinstance(module, (_NormBase, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)):
            for key, x in (*parameters.items(), *module.named_buffers(recurse=False)):
                drawn[names[id(x)]] = torch.ones_like(x) if key in ("weight", "running_var") else torch.zeros_like(x)
    return {name: value.detach() for name, value in drawn.items()}
