"""A broker on this machine, as a process of its own: ``python -m uns.runtime.broker embedded|mosquitto [--port N]``.

The first line of stdout says where it listens: ``{"ready":true,"url":"mqtt://127.0.0.1:…"}``. SIGTERM ends it.
``uns broker`` is the same for people.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

import msgspec

from uns.adapters.broker import EmbeddedBroker, MosquittoProcess
from uns.errors import UnsError

__all__ = ["BrokerKind", "main", "serve_broker"]

BrokerKind = Literal["embedded", "mosquitto"]


async def serve_broker(
    kind: BrokerKind, *, port: int, directory: Path | None = None, ready: Callable[[str], None]
) -> None:
    """Run a broker on loopback until SIGTERM or Ctrl-C; ``ready`` gets its URL. Port 0 is any free one."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    broker = MosquittoProcess(port=port, directory=directory) if kind == "mosquitto" else EmbeddedBroker(port=port)
    async with broker:
        ready(broker.url)
        await stop.wait()


def _say_ready(url: str) -> None:
    sys.stdout.write(msgspec.json.encode({"ready": True, "url": url}).decode() + "\n")
    sys.stdout.flush()


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse the arguments and serve."""
    parser = argparse.ArgumentParser(prog="python -m uns.runtime.broker", description=__doc__)
    parser.add_argument("kind", choices=("embedded", "mosquitto"))
    parser.add_argument("--port", type=int, default=0, help="0: any free port, told on the first line")
    parser.add_argument("--directory", type=Path, default=None, help="where mosquitto keeps its configuration and log")
    options = parser.parse_args(arguments)
    try:
        asyncio.run(serve_broker(options.kind, port=options.port, directory=options.directory, ready=_say_ready))
    except UnsError as error:
        sys.stderr.write(f"{error}\n")
        return 3
    return 0


if __name__ == "__main__":
    sys.exit(main())
