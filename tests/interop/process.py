"""A peer's program as a process: one JSON object a line, in and out.

A request ``{"do": …}`` is answered by one line ``{"ok": …}`` or ``{"error": …}``. What the peer receives it tells as
``{"event": …}`` whenever it comes. See any ``peers/*/peer.*`` for the requests.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any, Self

from tests.interop.values import from_text
from uns.sparkplug.datatypes import DataType
from uns.sparkplug.metrics import MetricValue

__all__ = ["PeerProcess", "PeerRefusedError", "decoded"]

START_S = 60
ANSWER_S = 30
_LINE_BYTES_MAX = 8 << 20


class PeerRefusedError(Exception):
    """The peer's library raised."""


class PeerProcess:
    """Use with ``async with``; ``kill()`` ends it as a crash does."""

    def __init__(self, command: list[str]) -> None:
        self._command = command
        self._answers: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._tail: list[str] = []
        self.events: list[dict[str, Any]] = []

    async def __aenter__(self) -> Self:
        self._process = await asyncio.create_subprocess_exec(
            *self._command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            limit=_LINE_BYTES_MAX,
        )
        self._readers = [asyncio.create_task(self._read()), asyncio.create_task(self._read_errors())]
        async with asyncio.timeout(START_S):
            await self._answers.get()  # its first line says that it is there
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.kill()

    async def ask(self, do: str, **more: Any) -> Any:
        """Send a request, and wait for its answer."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"do": do, **more}).encode() + b"\n")
        async with asyncio.timeout(ANSWER_S):
            answer = await self._answers.get()
        if "ok" not in answer:
            raise PeerRefusedError(answer.get("error") or f"it ended: {' / '.join(self._tail[-5:])}")
        return answer["ok"]

    async def kill(self) -> None:
        """SIGKILL: no DISCONNECT, so the broker sends its Will."""
        if self._process.returncode is None:
            self._process.kill()
        await self._process.wait()
        await asyncio.gather(*self._readers)

    def messages(self, kind: str | None = None) -> list[dict[str, Any]]:
        """What it received, of one message type."""
        return [e for e in self.events if e["event"] == "message" and kind in {None, e["type"]}]

    async def _read(self) -> None:
        assert self._process.stdout is not None
        while line := await self._process.stdout.readline():
            try:
                said = json.loads(line)
            except ValueError:  # libraries print
                self._tail.append(line.decode(errors="replace").rstrip())
                continue
            if "event" in said:
                self.events.append(said)
            else:
                self._answers.put_nowait(said)
        self._answers.put_nowait({})

    async def _read_errors(self) -> None:
        assert self._process.stderr is not None
        while line := await self._process.stderr.readline():
            self._tail.append(line.decode(errors="replace").rstrip())


def decoded(
    metrics: list[dict[str, Any]], types: dict[str, DataType], names: dict[int, str] | None = None
) -> dict[str, MetricValue]:
    """By name, the values as the peer decoded them; ``names`` by alias, for a peer that leaves the name to its caller.

    What has no name then is left out.
    """
    found = {}
    for metric in metrics:
        name = metric.get("name") or (names or {}).get(int(metric.get("alias") or 0))
        if name in types:
            found[name] = from_text(types[name], metric.get("value"))
    return found
