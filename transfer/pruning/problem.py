"""The inputs of a scoring method: a model, its weights and masks, and real mini-batches."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from checkpoints.errors import InputError
from transfer.data.dataset import IGNORE
from transfer.pruning.eval_mode import reseed
from transfer.pruning.not_finite import check_finite
from transfer.pruning.plain import no_autocast
from transfer.pruning.prunable import refuse_half
from transfer.pruning.recompute import backward
from transfer.pruning.reduction import Processes, Statistic
from transfer.pruning.scaled import Scaled
from transfer.pruning.statistics import Constants, Norms, OutOfTurn, pooled, seen_through
from transfer.pruning.tied import with_twins

Loss = Callable[[Tensor, Tensor], Tensor]
Batches = Iterable[Any]


def cross_entropy(outputs: Tensor, targets: Tensor) -> Tensor:
    """Return the mean cross entropy of logits (N, K, …) and class indices (N, …); 255 is ignored in maps.

    Raises:
        InputError: the targets are not class indices below K, or have another shape.
    """
    ignored = IGNORE if targets.dim() > 1 else -100
    want = (len(outputs), *outputs.shape[2:])
    if targets.is_floating_point() or tuple(targets.shape) != want:
        raise InputError(
            f"targets are {targets.dtype} of shape {tuple(targets.shape)}; outputs of shape {tuple(outputs.shape)} "
            f"need class indices (int64) of shape {want}"
        )
    counted = targets[targets != ignored]
    if counted.numel() and not 0 <= int(counted.min()) <= int(counted.max()) < outputs.shape[1]:
        raise InputError(
            f"targets run from {int(counted.min())} to {int(counted.max())}; the model has outputs for classes 0 to "
            f"{outputs.shape[1] - 1}"
        )
    if not counted.numel():
        return outputs.sum() * 0.0
    return F.cross_entropy(outputs, targets.long(), ignore_index=ignored)


@dataclass(frozen=True)
class Batch:
    """One mini-batch; its own ``generator`` draws the same on whichever process has the batch."""

    inputs: Tensor
    labels: Tensor | None
    generator: torch.Generator

    @property
    def targets(self) -> Tensor:
        """Targets of the batch.

        Raises:
            InputError: the batch has none.
        """
        if self.labels is None:
            raise InputError("the batches have no targets, which this method needs; give pairs (inputs, targets)")
        return self.labels


@dataclass(frozen=True)
class Problem:
    """The inputs of a scoring method; the model is in eval mode and must not be changed.

    Attributes:
        weights: prunable parameters, detached, in the model's order; pruned entries are already 0.
        masks: by the same names, True = kept.
        statistics: BatchNorm statistics: "batch", "running" (the stored ones), or constants.
    """

    model: nn.Module
    weights: dict[str, Tensor]
    masks: dict[str, Tensor]
    batches: Batches
    loss: Loss
    seed: int
    processes: Processes
    statistics: str | Constants = "running"
    _seen: list[tuple[Any, ...]] = field(default_factory=list)

    def generator(self) -> torch.Generator:
        """Return a new generator, identical on every process."""
        return torch.Generator().manual_seed(self.seed)

    def total(self, statistic: Callable[[Batch], dict[str, Tensor]]) -> tuple[dict[str, Tensor], int]:
        """Sum a statistic over all batches, in float64 and in batch order; return it with the number of samples.

        Each process computes the statistic of its own batches only; the sum is bit-identical on all processes and for
        any number of them.

        Raises:
            InputError: a batch is unusable, there are none, or they differ from the previous pass.
        """

        def of_batch(batch: Batch) -> Statistic:
            return {name: Scaled(value) for name, value in statistic(batch).items()}

        sums, samples = self.scaled_total(of_batch)
        return {name: value.tensor for name, value in sums.items()}, samples

    def scaled_total(self, statistic: Callable[[Batch], Statistic]) -> tuple[Statistic, int]:
        """As :meth:`total`, for sums over paths, which leave the range of float32.

        Raises:
            InputError: a batch is unusable, there are none, or they differ from the previous pass.
        """
        total: Statistic = {}
        own: Statistic | None = None
        samples = count = 0
        for count, batch in enumerate(self._walk(), start=1):
            samples += len(batch.inputs)
            if self.processes.mine(count - 1):
                reseed(batch.generator.initial_seed())  # the model's own draws depend on the batch too
                own = statistic(batch)
            if count % self.processes.count == 0:
                _add(total, self.processes.in_order(own, self.processes.count))
                own = None
        _add(total, self.processes.in_order(own, count % self.processes.count))
        return total, samples

    def first(self) -> Tensor:
        """Return one sample of the first batch, (1, C, H, W)."""
        for batch in self.batches:
            return self._usable(batch)[0][:1]
        raise _nothing()

    def output(self, weights: dict[str, Tensor], inputs: Tensor) -> Tensor:
        """Return the model's output with ``weights`` in place of its own of the same names.

        BatchNorm normalises with ``statistics``; with batch statistics, gradients flow through them.

        Raises:
            InputError: the output is not a single tensor, or a batch is too small for its own statistics.
            ScoreError: the output is not finite; names the first such layer.
        """
        weights = with_twins(self.model, weights)
        with seen_through(self.statistics):
            found = functional_call(self.model, weights, (inputs,))
        if not isinstance(found, Tensor):
            raise InputError(
                f"the model returns {type(found).__name__}; scoring wants one tensor of outputs; random and "
                "magnitude do not run the model"
            )
        again = seen_through(self.statistics)
        check_finite(found, self.model, lambda: functional_call(self.model, weights, (inputs,)), again)
        return found

    def gradients(
        self, weights: dict[str, Tensor], outputs: Tensor | Sequence[Tensor], leaves: Iterable[Tensor],
        cotangents: Tensor | Sequence[Tensor] | None = None, **options: bool,
    ) -> list[Tensor]:  # fmt: skip
        """Return ``torch.autograd.grad`` of :meth:`output` for these weights; zeros where nothing depends on a leaf.

        If the model re-runs parts of its forward (gradient checkpointing), they see the same weights and BatchNorm.

        Raises:
            InputError: a BatchNorm is re-run and ``statistics`` are constants.
        """
        by = list(leaves)
        found = backward(
            self.model, weights, self._seen_again,
            lambda: torch.autograd.grad(outputs, by, cotangents, materialize_grads=True, **options),
        )  # fmt: skip
        return list(found)

    def constants(self) -> Constants | None:
        """Return the constant statistics for path methods; None = the stored ones.

        Those of the batches cost one forward per batch, see :meth:`measured`.
        """
        if self.statistics == "batch":
            return self.measured()
        return self.statistics if isinstance(self.statistics, Constants) else None

    def measured(self) -> Constants:
        """Return the mean statistics of the batches through the current model; one forward per batch.

        Raises:
            InputError: a batch is too small for its own statistics.
            ScoreError: the output is not finite; names the first such layer.
        """

        @torch.no_grad()
        def of_batch(batch: Batch) -> Statistic:
            with Norms(record=True) as norms:
                found = self.model(batch.inputs)
            check_finite(found, self.model, lambda: self.model(batch.inputs), norms.again())
            return norms.sums(len(batch.inputs))

        return pooled(*self.scaled_total(of_batch))

    def leaves(self) -> dict[str, Tensor]:
        """Return the weights as new leaf tensors that require gradients."""
        return {name: w.detach().requires_grad_() for name, w in self.weights.items()}

    def _seen_again(self) -> ExitStack:
        stack = ExitStack()
        stack.enter_context(no_autocast())
        stack.enter_context(OutOfTurn() if isinstance(self.statistics, Constants) else seen_through(self.statistics))
        return stack

    def _walk(self) -> Iterator[Batch]:
        before, now = list(self._seen), []
        for number, batch in enumerate(self.batches):
            inputs, targets = self._usable(batch)
            now.append((_fingerprint(inputs), None if targets is None else _fingerprint(targets)))
            if before and now[-1] != (before[number] if number < len(before) else None):
                raise _shuffled()
            # prime stride, so that draws do not coincide with those of the next seed's batches
            yield Batch(inputs, targets, torch.Generator().manual_seed(self.seed + 7919 * (number + 1)))
        if not now:
            raise _nothing()
        if before and len(now) != len(before):
            raise _shuffled()
        self._seen[:] = now

    def _usable(self, batch: Any) -> tuple[Tensor, Tensor | None]:
        inputs, targets = checked(batch)
        refuse_half(inputs, *self.weights.values())
        return inputs, targets


def _fingerprint(x: Tensor) -> tuple[tuple[int, ...], int]:
    """Return a fingerprint that tells whether a loader yields another tensor: bits as integers, times position.

    Computed on the tensor's device; integer sums do not depend on their order.
    """
    flat = x.detach().contiguous().view(-1)
    bits = flat.view(torch.int32) if x.element_size() % 4 == 0 else flat.view(torch.uint8).int()
    places = torch.arange(1, len(bits) + 1, dtype=torch.int32, device=x.device)
    return tuple(x.shape), int((bits * places).sum())


def _add(total: Statistic, found: Iterable[Statistic]) -> None:
    for statistic in found:
        for name, value in statistic.items():
            old = total.get(name)
            if old is not None and old.tensor.shape != value.tensor.shape:
                raise InputError("the batches have images of different sizes; give one size")
            if old is not None and old.exponent == value.exponent:
                old.tensor.add_(value.tensor)  # float32 converts to float64 exactly
                continue
            total[name] = Scaled(value.tensor.to(torch.float64, copy=True), value.exponent).plus(old)


def checked(batch: Any) -> tuple[Tensor, Tensor | None]:
    """Return the inputs and the targets (None if there are none) of a batch.

    Raises:
        InputError: the batch is neither inputs nor an (inputs, targets) pair of tensors of equal length, or its inputs
            are empty, not floating-point, or not finite.
    """
    parts = batch if isinstance(batch, (tuple, list)) else (batch,)
    if not 1 <= len(parts) <= 2 or not all(isinstance(x, Tensor) for x in parts):
        what = "without tensors" if not isinstance(batch, (tuple, list)) else f"of {len(parts)}"
        raise InputError(f"a batch is {type(batch).__name__} {what}; give pairs of tensors (inputs, targets)")
    inputs, targets = parts[0], parts[1] if len(parts) == 2 else None
    if not inputs.is_floating_point():
        raise InputError(f"inputs have dtype {inputs.dtype}; give normalised floats (N, 3, H, W)")
    if not len(inputs):
        raise InputError("a batch has no inputs; give at least one")
    if targets is not None and len(inputs) != len(targets):
        raise InputError(f"a batch has {len(inputs)} inputs and {len(targets)} targets; give as many")
    if not bool(torch.isfinite(inputs).all()):
        raise InputError("a batch has inputs that are nan or infinite; look at the images and their normalisation")
    return inputs, targets


def _nothing() -> InputError:
    return InputError("the batches yield nothing; give an iterable that can be walked more than once")


def _shuffled() -> InputError:
    return InputError(
        "the batches were different when walked again, which this method does; turn shuffling and random augmentation "
        "off, or give a list of batches"
    )
