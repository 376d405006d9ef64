"""The errors for what goes wrong during a run; what the user can mend before it is an ``InputError``."""

from checkpoints.errors import one_line


class RunError(RuntimeError):
    """A run cannot go on; what was finished is kept. The message is one line."""

    def __init__(self, message: object = "") -> None:
        super().__init__(one_line(str(message)))


class ScoreError(RunError):
    """A method gave scores that cannot rank the weights."""


class TrainingError(RunError):
    """Training cannot go on."""
