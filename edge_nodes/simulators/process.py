"""How a simulator behaves as a process: first line of stdout is JSON and says where it listens; SIGTERM ends it clean.

Nobody has to sleep and hope: whoever started it reads one line and knows the port.
"""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress

__all__ = ["free_port", "run_until_signalled", "say", "wait"]

LOOPBACK = "127.0.0.1"


def say(**fields: object) -> None:
    """Write one JSON line to stdout, now."""
    sys.stdout.write(json.dumps(fields, separators=(",", ":")) + "\n")
    sys.stdout.flush()


def free_port() -> int:
    """A port of loopback that nobody uses at this moment."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        port: int = probe.getsockname()[1]
        return port


def run_until_signalled(serve: Callable[[asyncio.Event], Awaitable[None]]) -> int:
    """Run ``serve(stop)`` until it returns or a SIGTERM or SIGINT sets ``stop``; the exit code."""

    async def main() -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        await serve(stop)

    with suppress(BrokenPipeError):  # whoever started us is gone
        asyncio.run(main())
    return 0


async def wait(stop: asyncio.Event, seconds: float) -> None:
    """Wait ``seconds``, or less if ``stop`` is set meanwhile."""
    with suppress(TimeoutError):
        async with asyncio.timeout(max(0.0, seconds)):
            await stop.wait()
