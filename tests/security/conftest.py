"""A server on this machine, shared with the tests of downloads; no waiting between attempts."""

from __future__ import annotations

import pytest

from tests.checkpoints.conftest import site

__all__ = ["site"]


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("checkpoints.download.PAUSE", 0.0)
