"""Errors raised during a run; problems that users can fix beforehand are ``InputError``."""

from checkpoints.errors import one_line


class RunError(RuntimeError):
    """The run cannot continue; completed work is kept. The message is one line."""

    def __init__(self, message: object = "") -> None:
        super().__init__(one_line(str(message)))


class ScoreError(RunError):
    """A method returned scores that cannot rank the weights."""


class TrainingError(RunError):
    """Training cannot continue."""
