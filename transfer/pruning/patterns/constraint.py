"""What selection needs to know of a pattern."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping

from torch import Tensor

from checkpoints.errors import InputError
from transfer.pruning.patterns.channels import Channels

Selection = Callable[[Mapping[str, Tensor], Mapping[str, Tensor], int], dict[str, Tensor]]
"""(scores, masks, number kept) → masks, as :func:`transfer.pruning.selection.select`."""


class Constraint(ABC):
    """A pattern over the weights of a model, which selection keeps to."""

    def __init__(self, axes: Mapping[str, Channels]):
        self._axes = axes

    @abstractmethod
    def choose(
        self, scores: Mapping[str, Tensor], masks: Mapping[str, Tensor], keep: int, free: Selection
    ) -> dict[str, Tensor]:
        """Select within the pattern.

        Args:
            scores: finite float64 scores by parameter name; also of some of the layers alone.
            masks: bool masks of the same names and shapes; True = kept so far.
            keep: number of weights to keep, at most the number kept so far.
            free: the selection without a pattern.
        """

    @abstractmethod
    def fitting(self, keep: int) -> int:
        """Return how many weights are kept where ``keep`` are wanted."""

    @abstractmethod
    def room(self, masks: Mapping[str, Tensor]) -> int:
        """Return the most weights that may stay of those that the masks keep."""

    @abstractmethod
    def check(self, keep: int, sparsity: float) -> None:
        """Check that the pattern allows ``keep`` weights of a model of which nothing is pruned.

        Raises:
            InputError: it does not; states the allowed sparsity.
        """

    def check_begin(self, masks: Mapping[str, Tensor], keep: int) -> None:
        """Check that ``keep`` weights may stay of those that the masks of an earlier round keep.

        Raises:
            InputError: the masks were made without this pattern.
        """
        if self.room(masks) < self.fitting(keep):
            raise InputError(
                f"begin has masks that leave pattern {self} no choice of {keep} weights; give masks of a pruning with "
                "this pattern, or start from the first round"
            )
