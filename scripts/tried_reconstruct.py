"""Reconstruct each layer after pruning: adjust its kept weights so that its outputs match those before pruning.

Layer by layer from the input on, the kept weights of every output unit become the (ridge) least-squares fit of the
unpruned layer's outputs to the layer's inputs in the pruned network, on the pruning set: the layer-wise reconstruction
of He 2017 (§3.1) for single weights, with inputs from the partly reconstructed network. It needs no labels and no
learning rate, and keeps the masks. Tried by scripts/tried_scores.py; docs/methods.md has the results.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.modules.conv import _ConvTransposeNd

from checkpoints.errors import InputError
from transfer.pruning.eval_mode import untouched
from transfer.pruning.masks import kept
from transfer.pruning.problem import Batch, Batches, Problem, cross_entropy
from transfer.pruning.prunable import prunable
from transfer.pruning.reduction import Processes

RIDGE = 0.1  # relative to the mean squared input: pull towards the old weight
STEPS = 100  # maximum steps of conjugate gradients
AT_ONCE = 2**25  # elements of a layer's unfolded inputs held at a time
Layer = nn.Module
Called = list[tuple[Tensor, Tensor]]  # input and output of each call of a layer in a forward pass


@torch.no_grad()
def reconstruct(
    model: nn.Module,
    weights: Mapping[str, Tensor],
    masks: Mapping[str, Tensor],
    batches: Batches,
    *,
    accelerator: Any = None,
) -> None:
    """Fit the kept weights of a pruned model to the outputs of its unpruned layers, in place.

    In both networks BatchNorm normalises with batch statistics, as in training, and keeps its running statistics.
    Linear layers and convolutions are fitted; transposed convolutions are not.

    Args:
        model: the pruned model.
        weights: the unpruned weights by parameter name, at least those with a mask.
        masks: True = kept.
        batches: the pruning set; iterated twice per layer.
        accelerator: splits the batches over its processes, which all compute the same weights.

    Raises:
        InputError: the batches are unusable, or masks or weights belong to another model.
    """
    bare = model if accelerator is None else accelerator.unwrap_model(model)
    own = {name: p.detach() for name, p in prunable(bare).items()}
    for name in masks:
        if name not in weights or name not in own or weights[name].shape != own[name].shape:
            raise InputError(f"there is no unpruned weight {name} of the model's shape; give those of before pruning")
    before = {name: weights[name].to(own[name]) for name in masks}
    problem = Problem(
        bare, own, kept(own, masks), batches, cross_entropy, 0, Processes(accelerator), statistics="batch"
    )
    with untouched(bare):
        for name, layer in _in_order(problem, masks).items():
            sums, _ = problem.total(partial(_products, problem, before, name, layer))
            _fit(own[name], problem.masks[name], sums["inputs"], sums["outputs"])


def _in_order(problem: Problem, masks: Mapping[str, Tensor]) -> dict[str, Layer]:
    """Return the masked layers by weight name, in the order of their first call in a forward pass."""
    holders = {id(m._parameters.get("weight")): m for m in reversed(list(problem.model.modules()))}
    layers = {name: holders[id(p)] for name, p in problem.model.named_parameters() if name in masks}
    layers = {name: layer for name, layer in layers.items() if not isinstance(layer, _ConvTransposeNd)}
    order: dict[int, None] = {}

    def note(module: nn.Module, *_: Any) -> None:
        order.setdefault(id(module))

    _watched(list(layers.values()), note, lambda: problem.output({}, next(iter(problem.batches))[0]))
    by_module = {id(layer): name for name, layer in layers.items()}
    return {by_module[key]: layers[by_module[key]] for key in order}


def _products(
    problem: Problem, before: Mapping[str, Tensor], name: str, layer: Layer, batch: Batch
) -> dict[str, Tensor]:
    """Return, for one batch, the products of a layer's unfolded inputs with themselves and with its target outputs."""
    wanted = _calls(layer, lambda: problem.output(dict(before), batch.inputs))
    seen = _calls(layer, lambda: problem.output({}, batch.inputs))
    sums: dict[str, Tensor] = {}
    for (inputs, _), (_, outputs) in zip(seen, wanted, strict=True):
        each = max(1, AT_ONCE * len(inputs) // (inputs.numel() * layer.weight[0, 0].numel()))  # type: ignore[index]
        for part, target in zip(inputs.split(each), outputs.split(each), strict=True):
            rows, goal = _unfolded(layer, part), _by_group(layer, target)
            for key, value in (("inputs", rows @ rows.mT), ("outputs", rows @ goal.mT)):
                sums[key] = sums.get(key, 0) + value.to(torch.float64)
    return sums


def _calls(layer: Layer, forward: Callable[[], Any]) -> Called:
    found: Called = []

    def note(_: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        found.append((inputs[0].detach().clone(), output.detach().clone()))

    _watched([layer], note, forward)
    return found


def _watched(layers: list[Layer], note: Callable[..., None], forward: Callable[[], Any]) -> None:
    handles = [layer.register_forward_hook(note) for layer in layers]
    try:
        forward()
    finally:
        for handle in handles:
            handle.remove()


def _unfolded(layer: Layer, inputs: Tensor) -> Tensor:
    """Return what each weight of a unit multiplies, (groups, weights per unit, positions).

    The layer itself unfolds its inputs, whatever its padding: its weight is replaced by one unit per weight position.
    """
    weight: Tensor = layer.weight  # type: ignore[assignment]
    groups, width = _groups(layer), weight[0].numel()
    eye = torch.eye(width, dtype=weight.dtype, device=weight.device)
    stand_in = {"weight": eye.view(width, *weight.shape[1:]).repeat(groups, *[1] * (weight.dim() - 1))}
    if getattr(layer, "bias", None) is not None:
        stand_in["bias"] = weight.new_zeros(groups * width)
    return _grouped(functional_call(layer, stand_in, (inputs,)), isinstance(layer, nn.Linear), groups)


def _by_group(layer: Layer, outputs: Tensor) -> Tensor:
    """Return a layer's outputs minus its bias, (groups, units per group, positions)."""
    linear, bias = isinstance(layer, nn.Linear), getattr(layer, "bias", None)
    if bias is not None:
        outputs = outputs - (bias if linear else bias.view(-1, *[1] * (outputs.dim() - 2)))
    return _grouped(outputs, linear, _groups(layer))


def _grouped(x: Tensor, linear: bool, groups: int) -> Tensor:
    if linear:  # (…, channels)
        return x.flatten(0, -2).mT.unsqueeze(0)
    return x.flatten(2).transpose(0, 1).flatten(1).unflatten(0, (groups, -1))


def _groups(layer: Layer) -> int:
    groups: int = getattr(layer, "groups", 1)
    return groups


def _fit(weight: Tensor, mask: Tensor, inputs: Tensor, outputs: Tensor) -> None:
    """Solve ``(G + λ) w = c + λ w₀`` for the kept weights w of each unit, all units at once, by conjugate gradients.

    Args:
        weight: the layer's weight with kept entries w₀; changed in place.
        mask: True = kept.
        inputs: G, (groups, width, width) float64.
        outputs: c, (groups, width, units).
    """
    groups, width = inputs.shape[:2]
    shape = (groups, -1, width)
    here, open_ = weight.reshape(shape).to(torch.float64), mask.reshape(shape)
    pull = RIDGE * inputs.diagonal(dim1=1, dim2=2).mean(1).clamp(min=torch.finfo(weight.dtype).tiny).view(-1, 1, 1)

    def product(w: Tensor) -> Tensor:
        return (w @ inputs + pull * w) * open_

    rest = (outputs.mT + pull * here) * open_ - product(here)
    scale = (inputs.diagonal(dim1=1, dim2=2).unsqueeze(1) + pull).reciprocal()
    step = rest * scale
    size = (rest * step).sum(2, keepdim=True)
    goal = 1e-12 * size
    for _ in range(STEPS):
        if bool((size <= goal).all()):
            break
        along = product(step)
        length = (size / (step * along).sum(2, keepdim=True)).nan_to_num(0.0, 0.0, 0.0)
        here, rest = here + length * step, rest - length * along
        new = (rest * scale * rest).sum(2, keepdim=True)
        step, size = rest * scale + (new / size).nan_to_num(0.0, 0.0, 0.0) * step, new
    weight.copy_((here * open_).view_as(weight))
