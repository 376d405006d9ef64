"""What one process sees on its disk, told to all: no process depends on another's view of a shared disk."""

from collections.abc import Callable
from typing import TypeVar

from accelerate import Accelerator
from accelerate.utils import broadcast_object_list

T = TypeVar("T")


def from_main(look: Callable[[], T], accelerator: Accelerator) -> T:
    """Return on every process what ``look`` returns on the main one, which alone calls it.

    All wait for it. What it raises there is raised on all, so that none waits for a process that has left.
    """
    if accelerator.num_processes == 1:
        return look()
    told: tuple[T | None, Exception | None] = (None, None)
    if accelerator.is_main_process:
        try:
            told = (look(), None)
        except Exception as error:
            told = (None, error)
    answer, failure = broadcast_object_list([told])[0]
    if failure is not None:
        raise failure
    return answer
