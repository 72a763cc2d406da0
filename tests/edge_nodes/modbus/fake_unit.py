"""A Modbus TCP server that misbehaves on demand. What is not in its dictionaries is an illegal address."""

from __future__ import annotations

import asyncio
import contextlib
import struct
from typing import Literal

__all__ = ["FakeUnit", "Mode"]

Mode = Literal["ok", "silent", "late", "garbage", "short", "gateway", "busy", "close"]


class FakeUnit:
    """Listens on a free port of loopback."""

    def __init__(self, holding: dict[int, int], *, coils: dict[int, int] | None = None, unit_id: int = 1) -> None:
        self.holding = holding
        self.coils = coils or {}
        self.unit_id = unit_id
        self.mode: Mode = "ok"
        self.late_s = 0.3
        self.silent_offsets: set[int] = set()  # requests for these are not answered
        self.requests: list[tuple[int, int, int]] = []  # function, offset, count
        self._writers: set[asyncio.StreamWriter] = set()

    async def __aenter__(self) -> FakeUnit:  # noqa: PYI034
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", getattr(self, "port", 0))
        self.port: int = self._server.sockets[0].getsockname()[1]
        self.url = f"modbus+tcp://127.0.0.1:{self.port}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for writer in (leaving := list(self._writers)):
            writer.close()
        for writer in leaving:
            with contextlib.suppress(ConnectionError):  # the other side was faster
                await writer.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            while True:
                transaction, _, length, unit = struct.unpack(">HHHB", await reader.readexactly(7))
                function, offset, count = struct.unpack(">BHH", await reader.readexactly(length - 1))
                self.requests.append((function, offset, count))
                if self.mode == "silent" or offset in self.silent_offsets:
                    continue
                if self.mode == "close":
                    break
                if self.mode == "late":
                    await asyncio.sleep(self.late_s)
                answer = self._answer(function, offset, count)
                writer.write(struct.pack(">HHHB", transaction, 0, len(answer) + 1, unit) + answer)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self._writers.discard(writer)
            writer.close()

    def _answer(self, function: int, offset: int, count: int) -> bytes:
        if self.mode == "gateway":
            return bytes((function | 0x80, 11))
        if self.mode == "busy":
            return bytes((function | 0x80, 6))
        table = self.holding if function in (3, 4) else self.coils
        if any(address not in table for address in range(offset, offset + count)):
            return bytes((function | 0x80, 2))
        values = [table[address] for address in range(offset, offset + count)]
        if self.mode == "garbage":
            return b"\x2b\x0e\x01\x00\xff"
        if self.mode == "short":
            values = values[:-1]
        if function in (3, 4):
            return struct.pack(f">BB{len(values)}H", function, 2 * len(values), *values)
        packed = sum(bit << i for i, bit in enumerate(values)).to_bytes((len(values) + 7) // 8, "little")
        return bytes((function, len(packed))) + packed
