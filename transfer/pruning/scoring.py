"""Score the saliency of every prunable weight, as a pure function of the model and real mini-batches."""

import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from checkpoints.errors import InputError
from transfer.errors import ScoreError
from transfer.pruning.eval_mode import untouched
from transfer.pruning.masks import kept
from transfer.pruning.not_finite import finite
from transfer.pruning.paths.carried import NoPathError
from transfer.pruning.plain import plain
from transfer.pruning.problem import Batches, Loss, Problem, cross_entropy
from transfer.pruning.prunable import prunable
from transfer.pruning.reduction import Processes
from transfer.pruning.saliency import about, check_options, find, methods
from transfer.pruning.statistics import Constants, Statistics
from transfer.pruning.statistics import check as check_statistics


def score(
    method: str,
    model: nn.Module,
    batches: Batches,
    *,
    masks: Mapping[str, Tensor] | None = None,
    loss: Loss | None = None,
    exclude: Iterable[str] = (),
    seed: int = 0,
    accelerator: Any = None,
    statistics: Statistics | Constants | None = None,
    **options: Any,
) -> dict[str, Tensor]:
    """Score every prunable weight; larger scores are kept longer.

    The model's state, modes, gradients and hooks and the global RNG state are restored, also after an error.

    Args:
        method: one of :func:`transfer.pruning.methods`.
        model: any nn.Module; with ``masks``, its pruned weights are already 0.
        batches: pairs of inputs (N, 3, H, W), float, and targets (N,) or (N, H, W), int64; can be iterated repeatedly.
            Methods without labels accept inputs alone, too.
        masks: True = kept so far; a weight without a mask is kept entirely, None keeps all.
        loss: (outputs, targets) → mean over samples; None = cross entropy (255 ignored in maps).
        exclude: globs over names of modules whose weights are not scored.
        seed: seeds the method's random draws, and the global RNG while the model is scored (for always-on dropout).
        accelerator: an ``accelerate.Accelerator``; every process scores its share of the batches.
        statistics: BatchNorm statistics, see :mod:`transfer.pruning.statistics`: "batch", "warmup" (here measured on
            the current weights), "running", or precomputed constants; None = the method's default. Methods that do not
            run the network accept any.
        **options: the method's own.

    Returns:
        float64 scores by parameter name, shaped like the parameters, up to a common power of two.

    Raises:
        InputError: unknown method or option, or unusable batches, masks or model.
        ScoreError: a score is not finite.
    """
    function = find(method)
    check_options(method, function, options)
    check_statistics(statistics)
    usual = about(method).statistics
    if isinstance(batches, Iterator):
        raise InputError(
            f"the batches are a {type(batches).__name__}, which ends after one walk; give a list or a loader"
        )
    bare = model if accelerator is None else accelerator.unwrap_model(model)
    weights = {name: p.detach() for name, p in prunable(bare, exclude).items()}
    if torch.is_inference_mode_enabled() or any(p.is_inference() for p in model.parameters()):
        raise InputError(
            "scores need gradients, which torch.inference_mode() forbids; make the model and score it outside"
        )
    problem = Problem(
        model=bare,
        weights=weights,
        masks=kept(weights, masks),
        batches=batches,
        loss=loss or cross_entropy,
        seed=seed,
        processes=Processes(accelerator),
        statistics="running" if usual is None else statistics or usual,
    )
    if problem.statistics != "running":
        _refuse_scripted(bare)
    with untouched(bare, seed), plain():
        if problem.statistics == "warmup":
            problem = replace(problem, statistics=problem.measured())
        try:
            scores = function(problem, **options)
        except NoPathError as error:
            raise NoPathError(f"{error}; these work on it: {', '.join(_others(bare, problem.first()))}") from None
    _check(method, scores, weights)
    return {name: scores[name].to(torch.float64) for name in weights}


def statistics_of(
    model: nn.Module, batches: Batches, *, exclude: Iterable[str] = (), seed: int = 0, accelerator: Any = None
) -> Constants:
    """Return the statistics of the batches through the current model, which ``warmup`` keeps for all rounds."""
    bare = model if accelerator is None else accelerator.unwrap_model(model)
    weights = {name: p.detach() for name, p in prunable(bare, exclude).items()}
    problem = Problem(bare, weights, kept(weights, None), batches, cross_entropy, seed, Processes(accelerator))
    _refuse_scripted(bare)
    with untouched(bare, seed), plain():
        return problem.measured()


def _refuse_scripted(model: nn.Module) -> None:
    if any(isinstance(module, torch.jit.ScriptModule) for module in model.modules()):
        raise InputError(
            "the model is scripted, so that its BatchNorm cannot be given other statistics; give statistics='running', "
            "or the model before torch.jit"
        )


def _others(model: nn.Module, inputs: Tensor) -> list[str]:
    """Return the non-path methods that suit the model: all but two differentiate a single output tensor."""
    output = None
    with torch.enable_grad(), warnings.catch_warnings(), suppress(RuntimeError):  # the forward may fail with gradients
        warnings.simplefilter("ignore")
        output = model(inputs.detach().requires_grad_().clone())
    suits = isinstance(output, Tensor) and output.requires_grad
    known = {method: about(method) for method in methods()}
    return [name for name, method in known.items() if not method.paths and (suits or method.statistics is None)]


def _check(method: str, scores: Mapping[str, Tensor], weights: Mapping[str, Tensor]) -> None:
    for name, weight in weights.items():
        values = scores.get(name)
        if values is None or values.shape != weight.shape:
            raise InputError(f"method {method!r} gave no score of the shape {tuple(weight.shape)} for {name}")
        if not finite(values):
            bad = values.numel() - int(torch.isfinite(values).sum())
            layer = name.removesuffix(".weight")
            raise ScoreError(
                f"method {method!r} gave {bad} of {values.numel()} scores of layer {layer} that are nan or infinite; "
                "check the weights and inputs, or choose another method"
            )
