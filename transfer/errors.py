"""Errors raised during a run; problems that users can fix beforehand are ``InputError``."""

import sys

from checkpoints.errors import one_line


class RunError(RuntimeError):
    """The run cannot continue; completed work is kept. The message is one line."""

    def __init__(self, message: object = "") -> None:
        super().__init__(one_line(str(message)))


class ScoreError(RunError):
    """A method returned scores that cannot rank the weights."""


class TrainingError(RunError):
    """Training cannot continue."""


def out_of_memory(error: BaseException) -> bool:
    """Return whether an error is due to full device or host memory; torch has no class for the latter."""
    torch = sys.modules.get("torch")  # looked up only if imported already
    full = torch is not None and isinstance(error, torch.OutOfMemoryError)
    return full or isinstance(error, MemoryError) or "DefaultCPUAllocator" in str(error)
