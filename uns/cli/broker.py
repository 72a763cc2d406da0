"""``uns broker``: a broker on this machine, to try things out."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from uns.errors import ConfigurationError

__all__ = ["register"]

BROKER_HELP = """Run a broker on 127.0.0.1 until Ctrl-C, for development and trying things out.

The embedded one needs nothing installed and keeps nothing; a plant runs mosquitto, EMQX or HiveMQ.

Examples:

  uns broker

  uns broker --kind mosquitto --port 1884
"""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("broker", help=BROKER_HELP)(broker)


def broker(
    kind: Annotated[str, typer.Option(help="embedded or mosquitto.")] = "embedded",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 is any free port.")] = 1883,
) -> None:
    """See BROKER_HELP."""
    from uns.runtime.broker import serve_broker

    if kind not in ("embedded", "mosquitto"):
        raise ConfigurationError(f"--kind {kind!r}", expected="embedded or mosquitto")
    asyncio.run(serve_broker("mosquitto" if kind == "mosquitto" else "embedded", port=port, ready=_tell))


def _tell(url: str) -> None:
    print(f"broker at {url}; Ctrl-C ends it", flush=True)
