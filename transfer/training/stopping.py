"""Decide when to save and when to stop, by signals and the clock, identically on all processes."""

import signal
import threading
import time
from types import FrameType
from typing import Any

import torch
from accelerate import Accelerator

SAME = 1.0  # seconds in which repeated signals count as one: clusters signal each process, launchers forward it
BETWEEN = 1.0  # seconds between two synchronisations
MOST = 100  # maximum steps between them


def stopped(number: int) -> BaseException:
    """Return the exception that ends the program after a signal.

    KeyboardInterrupt for Ctrl-C, else SystemExit with code 128 + ``number``.
    """
    return KeyboardInterrupt() if number == signal.SIGINT else SystemExit(128 + number)


class Signals:
    """Record SIGTERM and SIGINT while entered; a second one, more than a second later, stops immediately.

    Records nothing outside the main thread, where Python allows no handlers. A signal that the program ignores stays
    ignored.
    """

    def __init__(self) -> None:
        self.received = 0
        self._at = 0.0
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "Signals":
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                if signal.getsignal(number) not in (signal.SIG_IGN, None):
                    self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if not self.received:
            self.received, self._at = number, now
        elif now - self._at > SAME:
            raise stopped(number)


class Pulse:
    """Decides after each step whether to stop and whether to save: one answer for all processes, at the same step.

    A single process checks its signals and its clock. Several synchronise about once a second (every step if steps are
    longer, at least every 100 steps): a signal to any of them counts, the clock is the main process's.
    """

    def __init__(self, accelerator: Accelerator, signals: Signals, save_minutes: float) -> None:
        self._accelerator, self._signals, self._wait = accelerator, signals, save_minutes * 60
        self.saved()
        self.restart()

    def saved(self) -> None:
        """Restart the countdown to the next save."""
        self._last = time.monotonic()

    def restart(self) -> None:
        """Synchronise at the next step, because steps will take a different time."""
        self._steps, self._every, self._asked = 0, 1, time.monotonic()

    def beat(self) -> tuple[int, bool]:
        """Return the signal to stop for (0 if none), and whether it is time to save."""
        now = time.monotonic()
        number, late = self._signals.received, now - self._last >= self._wait
        if self._accelerator.num_processes == 1:
            return number, late
        self._steps += 1
        if self._steps < self._every:
            return 0, False
        every = min(max(int(self._steps * BETWEEN / max(now - self._asked, 1e-9)), 1), MOST)
        mine = torch.tensor([[number, int(late), every]], device=self._accelerator.device)
        rows = self._accelerator.gather(mine).tolist()
        self._steps, self._every, self._asked = 0, rows[0][2], now
        return max(row[0] for row in rows), bool(rows[0][1])
