"""The BatchNorm statistics used for scoring.

Fine-tuning runs BatchNorm on batch statistics, which divide out the scale of a channel; the stored statistics belong to
the pretraining images and the unpruned network. The statistics used for scoring are therefore an option:

* ``batch``: those of the real mini-batches through the network as currently masked. Methods that differentiate outputs
  or a loss normalise each mini-batch by its own statistics and differentiate through them; path methods use constants:
  the batch means and biased variances averaged over the mini-batches, weighted by their number of images.
* ``warmup``: the same averages over the pruning set, measured once on the unpruned network and constant in every round
  (Gollini Navarrete 2026).
* ``running``: the stored ones.

The model's own statistics are not modified: ``F.batch_norm`` is intercepted and given others. A BatchNorm that is
called several times per forward has separate statistics for each call, as in training.
"""

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from checkpoints.errors import InputError, near
from transfer.pruning.eval_mode import enough_samples
from transfer.pruning.scaled import Scaled

Statistics = Literal["batch", "warmup", "running"]
STATISTICS: tuple[str, ...] = get_args(Statistics)


@dataclass(frozen=True)
class Constants:
    """Mean and biased variance, (C,) float64, of each BatchNorm call of a forward, in call order."""

    norms: tuple[tuple[Tensor, Tensor], ...]


class Norms(TorchFunctionMode):
    """Make BatchNorm use batch statistics or constants during one forward, whatever the model has stored.

    With ``record``, ``found`` collects the mean and biased variance of each call.
    """

    def __init__(self, constants: Constants | None = None, *, record: bool = False) -> None:
        super().__init__()
        self.constants, self.record, self.calls = constants, record, 0
        self.found: list[tuple[Tensor, Tensor]] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is not F.batch_norm:
            return func(*args, **(kwargs or {}))
        self.calls += 1
        norm = self._with_batch if self.constants is None else self._with_constants
        return norm(*args, **(kwargs or {}))

    def _with_constants(
        self, input: Tensor, running_mean: Any, running_var: Any, weight: Tensor | None = None,
        bias: Tensor | None = None, training: bool = False, momentum: float = 0.1, eps: float = 1e-5,
    ) -> Tensor:  # fmt: skip
        assert self.constants is not None
        if self.calls > len(self.constants.norms):
            raise InputError(
                f"the forward has more BatchNorm calls than the {len(self.constants.norms)} whose statistics were "
                "taken; give statistics='running' for a model whose forward changes"
            )
        dtype = input.dtype if weight is None else weight.dtype
        mean, var = (x.to(input.device, dtype) for x in self.constants.norms[self.calls - 1])
        return F.batch_norm(input, mean, var, weight, bias, False, momentum, eps)

    def _with_batch(
        self, input: Tensor, running_mean: Any, running_var: Any, weight: Tensor | None = None,
        bias: Tensor | None = None, training: bool = False, momentum: float = 0.1, eps: float = 1e-5,
    ) -> Tensor:  # fmt: skip
        mean = var = None
        if self.record:
            dtype = torch.promote_types(input.dtype, torch.float32)  # under autocast the input is 16-bit
            mean, var = torch.zeros(2, input.shape[1], dtype=dtype, device=input.device).unbind()
        with enough_samples(
            "scoring with the statistics of the batch needs more than one value per channel; give larger batches "
            "(prune.batch), or statistics='running'"
        ):
            out = F.batch_norm(input, mean, var, weight, bias, True, 1.0, eps)
        if mean is not None and var is not None:
            values = input.numel() // input.shape[1]
            self.found.append((mean, var * ((values - 1) / values)))  # torch stores the unbiased variance
        return out

    def again(self) -> "Norms":
        """Return an equivalent, non-recording instance for another forward."""
        return Norms(self.constants)

    def sums(self, samples: int) -> dict[str, Scaled]:
        """Return the recorded statistics times the number of samples, as a statistic to sum over batches."""
        parts = [x for pair in self.found for x in pair]
        return {f"norm {i}": Scaled(x.to(torch.float64) * samples) for i, x in enumerate(parts)}


class OutOfTurn(TorchFunctionMode):
    """Reject BatchNorm when only part of a forward is re-run: constants are identified by call order in the whole."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is F.batch_norm:
            raise InputError(
                "the model runs a BatchNorm again in its backward (gradient checkpointing), which has no warmed-up "
                "statistics then; give statistics='batch' or 'running', or turn checkpointing off to score"
            )
        return func(*args, **(kwargs or {}))


def pooled(sums: Mapping[str, Scaled], samples: int) -> Constants:
    """Return the mean over all samples from the :meth:`Norms.sums` summed over batches."""
    parts = [x.at(0) / samples for name, x in sums.items() if name.startswith("norm ")]
    return Constants(tuple(zip(parts[::2], parts[1::2], strict=True)))


def seen_through(statistics: str | Constants) -> AbstractContextManager[Any]:
    """Return a context for one forward with "batch", constant or "running" BatchNorm statistics."""
    if isinstance(statistics, Constants):
        return Norms(statistics)
    return Norms() if statistics == "batch" else nullcontext()


def check(statistics: str | Constants | None) -> None:
    """Reject unknown statistics.

    Raises:
        InputError: the statistics are unknown; lists the known ones.
    """
    if statistics is not None and not isinstance(statistics, Constants) and statistics not in STATISTICS:
        raise InputError(f"unknown statistics {statistics!r}; {near(str(statistics), list(STATISTICS))}")
