"""A small MQTT 3.1.1 broker that keeps the rules, but for the faults it is told to have."""

from __future__ import annotations

import asyncio
import contextlib
import struct
from types import TracebackType
from typing import Self

__all__ = ["FaultyBroker"]


class _Client:
    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self.writer = writer
        self.id = ""
        self.will: tuple[str, bytes, int, bool] | None = None
        self.filters: dict[str, int] = {}
        self.held: list[bytes] = []
        self.five = False

    def send(self, head: int, body: bytes) -> None:
        size, made = len(body), b""
        while True:
            size, byte = size >> 7, size & 0x7F
            made += bytes([byte | 0x80 if size else byte])
            if not size:
                break
        with contextlib.suppress(OSError):
            self.writer.write(bytes([head]) + made + body)


class FaultyBroker:
    """``faults`` names what it does wrong; see where each is used."""

    def __init__(self, *faults: str) -> None:
        self.faults = set(faults)
        self.retained: dict[str, tuple[bytes, int]] = {}
        self.clients: dict[str, _Client] = {}
        self.published: set[str] = set()
        self._packet_id = 0

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"mqtt://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self._server.close()
        for client in self.clients.values():
            client.writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        client = _Client(writer)
        clean = False
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, ConnectionAbortedError, TimeoutError):
            clean = await self._talk(client, reader)
        if self.clients.get(client.id) is client:
            del self.clients[client.id]
        if client.will is not None and "no_will" not in self.faults and (not clean or "will_always" in self.faults):
            topic, payload, qos, retain = client.will
            self._publish(topic, payload, 0 if "will_qos_0" in self.faults else qos, retain and self._keeps_wills)
        writer.close()

    @property
    def _keeps_wills(self) -> bool:
        return "will_not_kept" not in self.faults

    async def _talk(self, client: _Client, reader: asyncio.StreamReader) -> bool:
        """Until the connection ends; True after a DISCONNECT."""
        keep_alive: float | None = None
        while True:
            async with asyncio.timeout(keep_alive):
                head = (await reader.readexactly(1))[0]
                size = shift = 0
                while True:
                    byte = (await reader.readexactly(1))[0]
                    size |= (byte & 0x7F) << shift
                    shift += 7
                    if byte < 0x80:
                        break
                packet = await reader.readexactly(size)
            match head >> 4:
                case 1:
                    client.five = packet[6] == 5
                    if (client.five and "five" not in self.faults) or "refuses" in self.faults:
                        client.send(0x20, b"\0\x84\0" if client.five else b"\0\x01")
                        return True
                    if not self._is_welcome(client, packet):
                        return True
                    keep_alive = self._connect(client, packet)
                case 3:
                    if not self._receive(client, head, packet):
                        return True
                case 8:
                    if not self._subscribe(client, packet):
                        return True
                case 14:
                    return True
                case _:
                    pass

    def restart(self) -> None:
        """Forget what a broker without persistence forgets."""
        if "forgets" in self.faults:
            self.retained.clear()

    def _is_welcome(self, client: _Client, packet: bytes) -> bool:
        if "second_refused" not in self.faults:
            return True
        start = 13 if client.five else 12
        name = packet[start : start + struct.unpack_from(">H", packet, start - 2)[0]].decode()
        if name in self.clients:
            client.send(0x20, b"\0\x02\0" if client.five else b"\0\x02")
        return name not in self.clients

    def _connect(self, client: _Client, packet: bytes) -> float | None:
        flags, keep_alive = packet[7], struct.unpack_from(">H", packet, 8)[0]
        texts, position = [], 11 if client.five else 10
        while position < len(packet):
            length = struct.unpack_from(">H", packet, position)[0]
            texts.append(packet[position + 2 : position + 2 + length])
            position += 2 + length
        client.id = texts[0].decode()
        if flags & 4:
            client.will = (texts[1].decode(), texts[2], flags >> 3 & 3, bool(flags & 0x20))
        old = self.clients.get(client.id)
        if old is not None and "no_takeover" not in self.faults:
            old.writer.transport.abort()
        self.clients[client.id] = client
        client.send(0x20, b"\0\0\0" if client.five else b"\0\0")
        for name, (payload, kept) in self.retained.items():
            if "leaks" in self.faults:
                self._deliver(client, name, payload, kept, retain=True)
            for other in self.clients.values() if "leaks_again" in self.faults else ():
                if name in other.filters:
                    self._deliver(other, name, payload, kept, retain=True)
        return keep_alive * 1.5 if keep_alive < 30 and "no_keep_alive" not in self.faults else None

    def _subscribe(self, client: _Client, packet: bytes) -> bool:
        position, codes = 3 if client.five else 2, b""
        while position < len(packet):
            length = struct.unpack_from(">H", packet, position)[0]
            name, qos = packet[position + 2 : position + 2 + length].decode(), packet[position + 2 + length]
            position += 3 + length
            if name.startswith("$share/") and "share_cuts" in self.faults:
                return False
            if not name.startswith("spBv1.0/") and "cuts_strangers" in self.faults:
                return False
            refused = "subscribe_refused" in self.faults or ("share_refused" in self.faults and name[0] == "$")
            codes += b"\x80" if refused else bytes([qos])
            if not refused:
                client.filters[name.split("/", 2)[2] if name[0] == "$" and "share_all" in self.faults else name] = qos
        client.send(0x90, packet[: 3 if client.five else 2] + codes)
        for name, qos in client.filters.items():
            if name in self.retained and "no_retained" not in self.faults:
                payload, kept = self.retained[name]
                self._deliver(client, name, payload, min(qos, kept), retain=True)
        return True

    def _receive(self, client: _Client, head: int, packet: bytes) -> bool:
        length, qos = struct.unpack_from(">H", packet)[0], head >> 1 & 3
        topic = packet[2 : 2 + length].decode()
        payload = packet[2 + length + (2 if qos else 0) + client.five :]
        if qos:
            client.send(0x40, packet[2 + length : 4 + length])
        if (" " in topic and "space_cuts" in self.faults) or (len(payload) > 100_000 and "small" in self.faults):
            return False
        if len(payload) > 500_000 and "medium" in self.faults:
            return True
        if "denies" not in self.faults:
            self._publish(topic, payload, qos, bool(head & 1))
        return True

    def _publish(self, topic: str, payload: bytes, qos: int, retain: bool) -> None:
        self.published.add(topic)
        if retain and payload:
            self.retained[topic] = (payload, qos)
        elif retain and "no_delete" not in self.faults:
            self.retained.pop(topic, None)
        for client in list(self.clients.values()):
            if topic in client.filters:
                self._deliver(client, topic, payload, min(qos, client.filters[topic]), retain=False)

    def _deliver(self, client: _Client, topic: str, payload: bytes, qos: int, *, retain: bool) -> None:
        if client.five and "mute" in self.faults:
            return
        if topic.endswith("/queue") and int(payload[:8]) >= 100 and self.faults & {"queue_drops", "queue_cuts"}:
            if "queue_cuts" in self.faults:
                client.writer.transport.abort()
            return
        qos = 1 if "raises_qos" in self.faults else 0 if "lowers_qos" in self.faults else qos
        body = struct.pack(">H", len(topic.encode())) + topic.encode()
        if qos:
            self._packet_id = self._packet_id % 65535 + 1
            body += struct.pack(">H", self._packet_id)
        packet = body + (b"\0" if client.five else b"") + payload
        if "drops" in self.faults and topic.endswith("/order") and payload == b"17":
            return
        if "overtakes" in self.faults and topic.endswith("/order") and payload == b"17":
            client.held.append(packet)
            return
        client.send(0x30 | qos << 1 | retain, packet)
        for held in client.held:
            client.send(0x30, held)
        client.held.clear()
