"""A user-space TCP fault proxy, seeded, for tests against real servers. Needs no privileges.

    async with FaultProxy("127.0.0.1", broker.port, seed=7) as proxy:
        …connect to proxy.port…
        proxy.freeze()              nothing passes, no FIN, no RST: as a dead route
        proxy.freeze("up")          one way only ("up": client to server)
        proxy.thaw()
        proxy.fin() / proxy.rst()   end every connection, in order or hard
        proxy.cut_after(1234)       end the connection after so many more bytes, mid-packet if it so falls
        proxy.cut_randomly(1, 9000) the same with a seeded number, for every connection from now on
        proxy.throttle(20_000)      bytes per second and direction
        proxy.delay(0.05, 0.02)     seconds, and seeded jitter; order is kept
        await proxy.refuse()        connection refused, until `await proxy.accept()`
        proxy.swallow()             accept and stay silent
        proxy.clear()               no more faults for what comes

Counters say what happened: ``connections``, ``refused`` is the kernel's, ``cuts``, ``bytes_up``, ``bytes_down``.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import struct
from collections.abc import Callable
from typing import Literal, Self

__all__ = ["Direction", "FaultProxy", "How"]

Direction = Literal["up", "down"]
How = Literal["fin", "rst"]
CHUNK_BYTES = 16_384


class _Link:
    """One client and its connection to the server."""

    def __init__(self, client: asyncio.StreamWriter, number: int) -> None:
        self.client = client
        self.number = number
        self.server: asyncio.StreamWriter | None = None
        self.cut_at: dict[Direction, int] = {}  # bytes still to pass in that direction
        self.cut_how: How = "rst"

    def writers(self) -> list[asyncio.StreamWriter]:
        return [self.client] if self.server is None else [self.client, self.server]


class FaultProxy:
    """Forwards TCP to one server and misbehaves on demand. ``seed`` fixes every random number it draws.

    ``tap`` is shown what came in: number of the connection (from 1), direction, bytes.
    """

    def __init__(
        self,
        host: str,
        port: int,
        *,
        seed: int = 0,
        listen_port: int = 0,
        tap: Callable[[int, Direction, bytes], None] | None = None,
    ) -> None:
        self._tap = tap
        self._target = (host, port)
        self._random = random.Random(seed)
        self._listen_port = listen_port
        self._server: asyncio.Server | None = None
        self._links: set[_Link] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._gates: dict[Direction, asyncio.Event] = {"up": asyncio.Event(), "down": asyncio.Event()}
        self.clear()
        self.connections = 0
        self.cuts = 0
        self.bytes_up = 0
        self.bytes_down = 0

    @property
    def port(self) -> int:
        """Where clients connect; stays the same over :meth:`refuse` and :meth:`accept`."""
        return self._listen_port

    @property
    def url(self) -> str:
        """The same for MQTT clients."""
        return f"mqtt://127.0.0.1:{self._listen_port}"

    @property
    def open_connections(self) -> int:
        return len(self._links)

    async def __aenter__(self) -> Self:
        await self.accept()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.refuse()
        self.rst()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # Faults

    def clear(self) -> None:
        """No fault from now on; connections that are open stay so."""
        self._bytes_per_second: float | None = None
        self._delay_s = 0.0
        self._jitter_s = 0.0
        self._cut_range: tuple[int, int, Direction, How | None] | None = None
        self._swallowing = False
        for link in self._links:
            link.cut_at.clear()
        self.thaw()

    def freeze(self, direction: Direction | None = None) -> None:
        """Pass nothing (in one direction, or in both), and say nothing: neither FIN nor RST."""
        for name, gate in self._gates.items():
            if direction in (None, name):
                gate.clear()

    def thaw(self) -> None:
        """Go on, with all that was held back."""
        for gate in self._gates.values():
            gate.set()

    def fin(self) -> None:
        """End every connection in order."""
        for link in list(self._links):
            self._end(link, "fin")

    def rst(self) -> None:
        """End every connection hard."""
        for link in list(self._links):
            self._end(link, "rst")

    def cut_after(self, count: int, *, direction: Direction = "up", how: How = "rst") -> None:
        """End each connection that is open now after ``count`` more bytes in that direction."""
        for link in self._links:
            link.cut_at[direction] = count
            link.cut_how = how

    def cut_randomly(self, at_least: int, at_most: int, *, direction: Direction = "up", how: How | None = None) -> None:
        """Give every connection from now on a seeded number of bytes to live; ``how`` None draws FIN or RST, too."""
        self._cut_range = (at_least, at_most, direction, how)

    def throttle(self, bytes_per_second: float) -> None:
        """Limit each direction of each connection."""
        self._bytes_per_second = bytes_per_second

    def delay(self, seconds: float, jitter_s: float = 0.0) -> None:
        """Hold every chunk back for so long; nothing overtakes."""
        self._delay_s = seconds
        self._jitter_s = jitter_s

    def swallow(self) -> None:
        """Accept new connections and never say or forward anything."""
        self._swallowing = True

    async def refuse(self) -> None:
        """Stop listening: new connections are refused by the kernel. Open ones go on."""
        if self._server is not None:
            self._server.close()
            self._server = None

    async def accept(self) -> None:
        """Listen again, on the same port."""
        if self._server is None:
            self._server = await asyncio.start_server(self._serve, "127.0.0.1", self._listen_port)
            self._listen_port = self._server.sockets[0].getsockname()[1]

    # The way of the bytes

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.connections += 1
        link = _Link(writer, self.connections)
        self._links.add(link)
        if self._cut_range is not None:
            at_least, at_most, direction, how = self._cut_range
            link.cut_at[direction] = self._random.randint(at_least, at_most)
            if how is None:
                how = "fin" if self._random.random() < 0.5 else "rst"
            link.cut_how = how
        try:
            if self._swallowing:
                await asyncio.Event().wait()
            server_reader, link.server = await asyncio.open_connection(*self._target)
            up = asyncio.ensure_future(self._pump(link, reader, link.server, "up"))
            down = asyncio.ensure_future(self._pump(link, server_reader, writer, "down"))
            try:
                await asyncio.wait((up, down), return_when=asyncio.FIRST_COMPLETED)
            finally:
                for pump in (up, down):
                    pump.cancel()
                await asyncio.gather(up, down, return_exceptions=True)
        except OSError:
            pass  # the server refuses: so do we
        except asyncio.CancelledError:
            pass  # the test is over
        finally:
            self._end(link, "fin")
            self._tasks.discard(task)

    async def _pump(
        self, link: _Link, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, direction: Direction
    ) -> None:
        with contextlib.suppress(OSError):
            while True:
                data = await reader.read(CHUNK_BYTES)
                if self._tap is not None:
                    self._tap(link.number, direction, data)
                if self._delay_s:
                    await asyncio.sleep(self._delay_s + self._random.uniform(0, self._jitter_s))
                await self._gates[direction].wait()  # FIN is held back by a freeze as well
                if not data:
                    return
                left = link.cut_at.get(direction)
                if left is not None:
                    data = data[:left]
                    link.cut_at[direction] = left - len(data)
                if self._bytes_per_second:
                    await self._write_slowly(writer, data, direction)
                else:
                    self._write(writer, data, direction)
                    await writer.drain()
                if left is not None and link.cut_at.get(direction) == 0:
                    self.cuts += 1
                    self._end(link, link.cut_how)
                    return

    async def _write_slowly(self, writer: asyncio.StreamWriter, data: bytes, direction: Direction) -> None:
        while data:
            rate = self._bytes_per_second
            piece = data if not rate else data[: max(1, int(rate / 50))]
            self._write(writer, piece, direction)
            await writer.drain()
            data = data[len(piece) :]
            if rate:
                await asyncio.sleep(len(piece) / rate)
            await self._gates[direction].wait()

    def _write(self, writer: asyncio.StreamWriter, data: bytes, direction: Direction) -> None:
        writer.write(data)
        if direction == "up":
            self.bytes_up += len(data)
        else:
            self.bytes_down += len(data)

    def _end(self, link: _Link, how: How) -> None:
        self._links.discard(link)
        for writer in link.writers():
            if writer.transport.is_closing():
                continue
            if how == "rst":
                raw = writer.get_extra_info("socket")
                with contextlib.suppress(OSError):
                    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                writer.transport.abort()
            else:
                writer.close()
