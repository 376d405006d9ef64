"""The error for input that the user can correct, and what other errors say."""

import re
import sys

LONGEST = 2000  # characters of a line; what a file says of itself may be megabytes


class InputError(ValueError):
    """The user's input cannot be used; the message is one line: what, got, allowed, how to fix.

    The line stays single, printable and short, whatever names a foreign file puts into it.
    """

    def __init__(self, message: object = "") -> None:
        super().__init__(one_line(str(message)))


def one_line(text: str) -> str:
    """Join the lines of a text, escape control characters, and cut it at LONGEST characters."""
    line = re.sub(r"\s*[\r\n]\s*", " ", text.strip())
    line = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in line[: LONGEST + 1])
    return line if len(line) <= LONGEST else f"{line[: LONGEST - 1]}…"


def reason(error: BaseException) -> str:
    """Return the first line of what an exception says, at most 150 characters; its class if it says nothing."""
    return (str(error).strip() or type(error).__name__).splitlines()[0][:150]


def out_of_memory(error: BaseException) -> bool:
    """Return whether an error is due to full device or host memory; torch has no class for the latter."""
    torch = sys.modules.get("torch")  # looked up only if imported already
    full = torch is not None and isinstance(error, torch.OutOfMemoryError)
    return full or isinstance(error, MemoryError) or "DefaultCPUAllocator" in str(error)


def near(name: str, known: list[str], *, most: int = 3) -> str:
    """Return the end of an error line: the ``known`` names that resemble ``name`` (in any case), else all of them."""
    from difflib import get_close_matches

    lower = {each.lower(): each for each in reversed(known)}  # of two that differ in case the first
    few = len(known) <= 40
    close = [lower[key] for key in get_close_matches(name.lower(), list(lower), n=most, cutoff=0.5 if few else 0.3)]
    if close:
        return f"did you mean {' or '.join(close)}?"
    return f"known: {', '.join(known)}" if few else f"known: {', '.join(known[:5])}, … ({len(known)} in all)"
