"""BatchNorm that uses the statistics of the batch needs more than one value a channel."""

from collections.abc import Iterator
from contextlib import contextmanager

from checkpoints.errors import InputError


@contextmanager
def enough_samples(advice: str) -> Iterator[None]:
    """Turn torch's complaint of a batch that is too small for its statistics into an ``InputError`` with advice.

    Any other error passes.
    """
    try:
        yield
    except ValueError as error:
        if "Expected more than 1 value per channel" not in str(error):
            raise
        raise InputError(f"{advice} ({error})") from error
