"""Options of imp (iterative magnitude pruning), which trains in every round: :mod:`transfer.training.imp`."""

import math
from collections.abc import Mapping
from typing import Any, Literal

from checkpoints.errors import InputError
from transfer.pruning.saliency import check_options

_A_ROUND = 0.2  # fraction of the remaining weights pruned per round (Frankle 2019)
_NEAR = 0.02  # part of a round: the papers' sparsities are those of whole rounds, rounded (98.20 % is 1 - 0.8^18)


def default_rounds(sparsity: float) -> int:
    """Return how many rounds of about 20 % reach a sparsity."""
    return max(1, math.ceil(math.log1p(-sparsity) / math.log1p(-_A_ROUND) - _NEAR))


def check(options: Mapping[str, Any], allocation: str, epochs: int) -> None:
    """Validate the settings of :func:`imp`.

    Raises:
        InputError: a setting is invalid; states what is allowed.
    """
    check_options("imp", rewinding, options)
    plan = rewinding(**options)
    if allocation != "global":
        raise InputError(f"prune.allocation is {allocation!r}; imp has one threshold for all layers: give global")
    if epochs < 1:
        raise InputError("imp trains in each round; give train.epochs of 1 or more")
    if plan["rewind"] < 0 or (plan["rewind"] and plan["rewind_to"] == "learning-rate"):
        raise InputError(
            f"option rewind of 'imp' is {plan['rewind']}; give an optimizer step from 0 on, and 0 with "
            "rewind_to=learning-rate"
        )


def check_rewind(options: Mapping[str, Any], epochs: int, steps: int) -> None:
    """Check that training reaches the rewind step; ``steps`` is the number per epoch, which depends on the data.

    Raises:
        InputError: training does not reach it; states what is allowed.
    """
    rewind = rewinding(**options)["rewind"]
    if rewind >= epochs * steps:
        raise InputError(
            f"option rewind of 'imp' is {rewind}; give an optimizer step below {epochs * steps} "
            f"({epochs} epochs of {steps} steps)"
        )


def rewinding(*, rewind: int = 0, rewind_to: Literal["weights", "learning-rate"] = "weights") -> dict[str, Any]:
    """Return the options of imp.

    Args:
        rewind: optimizer step, below epochs × steps per epoch, whose weights each round rewinds to; 0 = the pretrained
            ones.
        rewind_to: "weights" of that step, with its learning rate; or "learning-rate": restart the schedule only and
            keep the trained weights (Renda 2020).
    """
    return {"rewind": rewind, "rewind_to": rewind_to}
