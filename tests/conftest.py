"""What the tests of the command line share."""

import signal
import sys
import warnings
from collections.abc import Callable, Iterator

import pytest

# a shell that starts the tests in the background lets Ctrl-C be ignored, in them and in the processes they start
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def command(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Iterator[Callable[..., tuple[int, str, str]]]:
    """Run ``transfer ...`` in this process, where torch is loaded already, and put back what it sets."""
    from transfer import cli

    before, shown = signal.getsignal(signal.SIGTERM), warnings.showwarning
    monkeypatch.setattr(sys, "argv", ["transfer"])

    def run(*words: str) -> tuple[int, str, str]:
        capfd.readouterr()
        code = 0
        try:
            cli.main(words)
        except SystemExit as left:
            code = int(left.code or 0)
        return code, *capfd.readouterr()

    yield run
    signal.signal(signal.SIGTERM, before)
    warnings.showwarning = shown
