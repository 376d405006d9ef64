"""score(): saliency of every prunable weight, as a pure function of the model and real mini-batches."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from checkpoints.errors import InputError
from transfer.errors import ScoreError
from transfer.pruning.processes import Processes
from transfer.pruning.prunable import prunable
from transfer.pruning.saliency import find

Loss = Callable[[Tensor, Tensor], Tensor]
Batches = Iterable[tuple[Tensor, Tensor]]


def cross_entropy(outputs: Tensor, targets: Tensor) -> Tensor:
    """Return the mean cross entropy of logits (N, K, …) and class indices (N, …); 255 is ignored in maps."""
    return F.cross_entropy(outputs, targets, ignore_index=255 if targets.dim() > 1 else -100)


@dataclass(frozen=True)
class Problem:
    """What a method is given.

    ``weights`` are the prunable parameters, detached, in the model's order; ``masks`` (True = kept) are over the same
    names; the pruned entries of the weights are already 0. The model is in eval mode and must be left as it is.
    """

    model: nn.Module
    weights: dict[str, Tensor]
    masks: dict[str, Tensor]
    batches: Batches
    loss: Loss
    generator: torch.Generator
    processes: Processes

    def walk(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield this process's batches: whole ones, dealt in turn.

        Raises:
            InputError: nothing is yielded, or a batch is not a pair of float inputs (N, …) and targets.
        """
        count = 0
        for count, batch in enumerate(self.batches, start=1):
            _check(batch)
            if self.processes.mine(count - 1):
                yield batch[0], batch[1]
        if count == 0:
            raise InputError("the batches yield nothing; give an iterable that can be walked more than once")

    def first(self) -> Tensor:
        """Return the inputs of the very first batch."""
        for batch in self.batches:
            _check(batch)
            return batch[0]
        raise InputError("the batches yield nothing; give an iterable that can be walked more than once")


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
    **options: Any,
) -> dict[str, Tensor]:
    """Score every prunable weight; larger is kept longer.

    Pure: the model's state, modes, gradients and hooks and the global random state are afterwards what they were, also
    after an error.

    Args:
        method: one of :func:`transfer.pruning.methods`.
        model: any nn.Module; with ``masks``, its pruned weights are already 0.
        batches: pairs of inputs (N, 3, H, W), float, and targets (N,) or (N, H, W), int64; can be walked again.
        masks: what is kept so far, True = kept; None = everything.
        loss: (outputs, targets) → mean over the samples; None = cross entropy (255 ignored in maps).
        exclude: globs over module names whose weights are not scored.
        seed: of whatever the method draws.
        accelerator: an ``accelerate.Accelerator``; every process scores its share of the batches.
        **options: the method's own.

    Returns:
        float64 scores by parameter name, shaped like the parameters, a common power of two removed.

    Raises:
        InputError: unknown method or option, unusable batches or model.
        ScoreError: a score is not finite.
    """
    function = find(method)
    if isinstance(batches, Iterator):
        raise InputError(
            f"the batches are a {type(batches).__name__}, which ends after one walk; give a list or a loader"
        )
    bare = model if accelerator is None else accelerator.unwrap_model(model)
    weights = {name: p.detach() for name, p in prunable(bare, exclude).items()}
    full = {name: torch.ones_like(w, dtype=torch.bool) for name, w in weights.items()} if masks is None else masks
    problem = Problem(
        model=bare,
        weights=weights,
        masks={name: full[name].to(w.device) for name, w in weights.items()},
        batches=batches,
        loss=loss or cross_entropy,
        generator=torch.Generator().manual_seed(seed),
        processes=Processes(accelerator),
    )
    with _untouched(bare):
        try:
            scores = function(problem, **options)
        except TypeError as error:
            if "unexpected keyword argument" in str(error) and any(repr(o) in str(error) for o in options):
                raise InputError(f"method {method!r} does not know an option: {error}") from error
            raise
    _check_finite(method, scores)
    return scores


@contextmanager
def _untouched(model: nn.Module) -> Iterator[None]:
    modes = [(module, module.training) for module in model.modules()]
    cuda = list(range(torch.cuda.device_count())) if torch.cuda.is_initialized() else []
    with torch.random.fork_rng(devices=cuda):
        try:
            model.eval()
            yield
        finally:
            for module, training in modes:
                module.training = training


def _check(batch: Any) -> None:
    if not (isinstance(batch, (tuple, list)) and len(batch) == 2 and all(isinstance(x, Tensor) for x in batch)):
        raise InputError(f"a batch is {type(batch).__name__}; give pairs of tensors (inputs, targets)")
    inputs, targets = batch
    if not inputs.is_floating_point():
        raise InputError(f"inputs have dtype {inputs.dtype}; give normalised floats (N, 3, H, W)")
    if len(inputs) != len(targets) or not len(inputs):
        raise InputError(f"a batch has {len(inputs)} inputs and {len(targets)} targets; give as many, at least one")
    if not bool(torch.isfinite(inputs).all()):
        raise InputError("a batch has inputs that are nan or infinite; look at the images and their normalisation")


def _check_finite(method: str, scores: Mapping[str, Tensor]) -> None:
    for name, values in scores.items():
        bad = values.numel() - int(torch.isfinite(values).sum())
        if bad:
            layer = name.removesuffix(".weight")
            raise ScoreError(
                f"method {method!r} gave {bad} of {values.numel()} scores of layer {layer} that are nan or infinite; "
                "check the weights and inputs, or choose another method"
            )
