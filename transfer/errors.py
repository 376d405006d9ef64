"""The errors for what goes wrong during a run; what the user can mend before it is an ``InputError``."""

import sys

from checkpoints.errors import one_line


class RunError(RuntimeError):
    """A run cannot go on; what was finished is kept. The message is one line."""

    def __init__(self, message: object = "") -> None:
        super().__init__(one_line(str(message)))


class ScoreError(RunError):
    """A method gave scores that cannot rank the weights."""


class TrainingError(RunError):
    """Training cannot go on."""


def out_of_memory(error: BaseException) -> bool:
    """Say whether an error is for a full device or a full memory; for the latter torch has no class of its own."""
    torch = sys.modules.get("torch")  # not imported for it
    full = torch is not None and isinstance(error, torch.OutOfMemoryError)
    return full or isinstance(error, MemoryError) or "DefaultCPUAllocator" in str(error)
