"""Real servers for tests, one place for all: how to get one, and what to say where it is not installed."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from uns.adapters.broker import MosquittoProcess, find_mosquitto, free_port

__all__ = ["eventually", "free_port", "mosquitto", "require_mosquitto"]

_HINT = "mosquitto is not installed; `apt-get install mosquitto` runs these tests too"


def require_mosquitto() -> None:
    """Skip with one helpful line where mosquitto is absent; fail where it must not be (UNS_REQUIRE_MOSQUITTO=1)."""
    if find_mosquitto() is None:
        if os.environ.get("UNS_REQUIRE_MOSQUITTO") == "1":
            pytest.fail(f"UNS_REQUIRE_MOSQUITTO=1, but {_HINT}")
        pytest.skip(_HINT)


def mosquitto(
    directory: Path,
    *,
    port: int = 0,
    settings: tuple[str, ...] = (),
    acl: str | None = None,
    listener: tuple[str, ...] = (),
) -> MosquittoProcess:
    """A mosquitto on a free port, not yet started: use it with ``with``, or ``start()`` and ``stop()``."""
    require_mosquitto()
    return MosquittoProcess(port=port, directory=directory / "mosquitto", settings=settings, acl=acl, listener=listener)


async def eventually(condition: Callable[[], object], *, timeout_s: float = 20.0, what: str = "") -> None:
    """Wait until ``condition()`` is true; fail with ``what`` at the deadline. Never a sleep that hopes."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail(f"not within {timeout_s} s: {what or condition}")
        await asyncio.sleep(0.01)
