"""The one error for what a user gave and can mend."""


class InputError(ValueError):
    """What the user gave cannot be used; the message is one line: what, got, allowed, how to fix."""


def near(name: str, known: list[str], *, most: int = 3) -> str:
    """Say which of the ``known`` names resemble ``name``, else list them (20 at most): the tail of an error
    line.
    """
    from difflib import get_close_matches

    close = get_close_matches(name, known, n=most, cutoff=0.5)
    if close:
        return f"did you mean {' or '.join(close)}?"
    return f"known: {', '.join(known[:20])}" + (f", … ({len(known)} in all)" if len(known) > 20 else "")
