"""A tiny MQTT client that may misbehave: it never pings by itself, cuts the connection, stops reading, says 3.1.1 or 5.

For ``uns broker check`` alone, which has to see what a broker does to such a client. Frames are made and read by hand,
because a good client library hides exactly this. Nothing of the product speaks through it.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import struct
from typing import Self

import msgspec

from uns.adapters.broker_address import BrokerAddress, parse_broker_url, tls_context
from uns.adapters.mqtt.hints import next_step
from uns.errors import ConnectionLost, UnreachableError

__all__ = ["CONNECT_TIMEOUT_S", "MQTT_3_1_1", "MQTT_5", "RawMessage", "RawMqtt", "RawWill"]

MQTT_3_1_1 = 4
MQTT_5 = 5
CONNECT_TIMEOUT_S = 5.0
_PACKET_BYTES_MAX = 4 << 20
_ANSWER_TIMEOUT_S = 5.0

_CONNACK, _PUBLISH, _PUBACK, _SUBACK = 2, 3, 4, 9
# Properties of CONNACK in MQTT 5: their number, name and form.
_PROPERTIES: dict[int, tuple[str, str]] = {
    0x11: ("session_expiry_interval", ">I"),
    0x12: ("assigned_client_id", "text"),
    0x13: ("server_keep_alive", ">H"),
    0x15: ("authentication_method", "text"),
    0x16: ("authentication_data", "text"),
    0x1A: ("response_information", "text"),
    0x1C: ("server_reference", "text"),
    0x1F: ("reason", "text"),
    0x21: ("receive_maximum", ">H"),
    0x22: ("topic_alias_maximum", ">H"),
    0x24: ("maximum_qos", "B"),
    0x25: ("retain_available", "B"),
    0x26: ("user_property", "pair"),
    0x27: ("maximum_packet_size", ">I"),
    0x28: ("wildcard_subscription_available", "B"),
    0x29: ("subscription_identifiers_available", "B"),
    0x2A: ("shared_subscription_available", "B"),
}


class RawWill(msgspec.Struct, frozen=True):
    """What the broker is to send when the client is gone."""

    topic: str
    payload: bytes
    qos: int = 1
    retain: bool = False


class RawMessage(msgspec.Struct, frozen=True):
    """A PUBLISH as it came."""

    topic: str
    payload: bytes
    qos: int
    retain: bool


class RawMqtt:
    """One connection. ``open`` gives it after CONNACK; ``code`` says whether the broker took it (0)."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, version: int, client_id: str, where: str
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._version = version
        self._where = where
        self._packet_id = 0
        self._messages: asyncio.Queue[RawMessage] = asyncio.Queue()
        self._answers: asyncio.Queue[tuple[int, bytes]] = asyncio.Queue()
        self._task: asyncio.Task[None] | None = None
        self._gone = asyncio.Event()
        self.client_id = client_id
        self.code = -1
        self.properties: dict[str, int | str] = {}
        self.only: str | None = None  # messages of other topics are counted as strays and not kept
        self.strays = 0

    # --- opening and ending --------------------------------------------------------------------------------------

    @classmethod
    async def open(  # noqa: D102 - see the class
        cls,
        address: BrokerAddress,
        *,
        client_id: str,
        version: int = MQTT_3_1_1,
        will: RawWill | None = None,
        keep_alive_s: int = 60,
        receive_buffer_bytes: int | None = None,
    ) -> Self:
        host, port, secure = parse_broker_url(address.url)
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                reader, writer = await _open(host, port, address if secure else None, receive_buffer_bytes)
        except (OSError, TimeoutError) as error:
            reason = str(error) or "timed out"
            raise UnreachableError(
                f"no connection to the broker: {reason}", where=address.url, next_step=next_step(reason, address)
            ) from error
        made = cls(reader, writer, version=version, client_id=client_id, where=address.url)
        try:
            await made._connect(address, will, keep_alive_s)
        except BaseException:
            made.cut()
            raise
        return made

    async def _connect(self, address: BrokerAddress, will: RawWill | None, keep_alive_s: int) -> None:
        password = address.password()
        flags = 0x02  # clean session
        body = _text(self.client_id)
        if will is not None:
            flags |= 0x04 | will.qos << 3 | will.retain << 5
            body += (b"\0" if self._version == MQTT_5 else b"") + _text(will.topic) + _sized(will.payload)
        if address.username is not None:
            flags |= 0x80
            body += _text(address.username)
        if password is not None:
            flags |= 0x40
            body += _text(password)
        head = _text("MQTT") + bytes([self._version, flags]) + struct.pack(">H", keep_alive_s)
        self._send(0x10, head + (b"\0" if self._version == MQTT_5 else b"") + body)
        try:
            async with asyncio.timeout(_ANSWER_TIMEOUT_S):
                kind, packet = await self._read_packet()
        except (OSError, TimeoutError, asyncio.IncompleteReadError) as error:
            reason = "the broker ended the connection before it answered CONNECT"
            if isinstance(error, TimeoutError):
                reason = "timed out: the broker does not answer CONNECT"
            elif isinstance(error, ssl.SSLError):  # TLS 1.3 tells a client of its certificate as late as here
                reason += f": {error}"
            raise ConnectionLost(reason, where=self._where, next_step=next_step(reason, address)) from error
        if kind >> 4 != _CONNACK or len(packet) < 2:
            raise ConnectionLost(f"the broker answers CONNECT with packet type {kind >> 4}", where=self._where)
        self.code = packet[1]
        if self._version == MQTT_5 and self.code < 0x80:
            self.properties = _read_properties(packet, 2)
        if self.code == 0:
            self._task = asyncio.create_task(self._read())

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.disconnect()

    async def disconnect(self) -> None:
        """DISCONNECT, then close: no Will is sent."""
        if not self._gone.is_set() and not self._writer.is_closing():
            with contextlib.suppress(OSError):
                self._send(0xE0, b"")
                await self._writer.drain()
        self._writer.close()
        await self._end_task()

    def cut(self) -> None:
        """End the connection with a RST and no DISCONNECT, as a power cut does."""
        raw = self._writer.get_extra_info("socket")
        if raw is not None:
            with contextlib.suppress(OSError):
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort()
        if self._task is not None:
            self._task.cancel()

    async def _end_task(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    # --- talking -------------------------------------------------------------------------------------------------

    async def subscribe(self, *filters: tuple[str, int]) -> list[int]:
        """The granted QoS of each filter; 0x80 and more is a refusal."""
        self._packet_id += 1
        body = struct.pack(">H", self._packet_id) + (b"\0" if self._version == MQTT_5 else b"")
        body += b"".join(_text(name) + bytes([qos]) for name, qos in filters)
        self._send(0x82, body)
        packet = await self._answer(_SUBACK)
        start = 2 + (1 + packet[2] if self._version == MQTT_5 else 0)
        return list(packet[start:])

    def publish_now(self, topic: str, payload: bytes, *, qos: int = 0, retain: bool = False) -> None:
        """Write a PUBLISH; nothing is awaited."""
        body = _text(topic)
        if qos:
            self._packet_id = self._packet_id % 65535 + 1
            body += struct.pack(">H", self._packet_id)
        body += b"\0" if self._version == MQTT_5 else b""
        self._send(0x30 | qos << 1 | retain, body + payload)

    async def publish(self, topic: str, payload: bytes, *, qos: int = 1, retain: bool = False) -> int:
        """Publish; at QoS 1 wait for the PUBACK and give back its reason code (0 in MQTT 3.1.1)."""
        self.publish_now(topic, payload, qos=qos, retain=retain)
        await self.drain()
        if not qos:
            return 0
        packet = await self._answer(_PUBACK)
        return packet[2] if len(packet) > 2 else 0

    async def drain(self) -> None:
        """Wait until the socket has taken what was written."""
        try:
            await self._writer.drain()
        except OSError as error:
            raise ConnectionLost(f"the broker ended the connection: {error}", where=self._where) from error

    async def receive(self, timeout_s: float) -> RawMessage | None:
        """The next message, or None if none comes in that time."""
        try:
            async with asyncio.timeout(timeout_s):
                return await self._messages.get()
        except TimeoutError:
            return None

    async def receive_all(self, quiet_s: float, count_max: int = 1_000_000) -> list[RawMessage]:
        """Messages until none has come for ``quiet_s``, or there are ``count_max``."""
        found: list[RawMessage] = []
        while len(found) < count_max and (message := await self.receive(quiet_s)) is not None:
            found.append(message)
        return found

    async def gone(self, timeout_s: float) -> bool:
        """Whether the broker ends the connection in that time."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._gone.wait()
        return self._gone.is_set()

    @property
    def is_gone(self) -> bool:
        """Whether the broker has ended the connection."""
        return self._gone.is_set()

    def pause(self) -> None:
        """Read nothing any more: TCP holds the broker back."""
        self._writer.transport.pause_reading()  # type: ignore[attr-defined]

    def resume(self) -> None:
        """Read again."""
        self._writer.transport.resume_reading()  # type: ignore[attr-defined]

    # --- frames --------------------------------------------------------------------------------------------------

    def _send(self, head: int, body: bytes) -> None:
        self._writer.write(bytes([head]) + _length(len(body)) + body)

    async def _answer(self, kind: int) -> bytes:
        try:
            async with asyncio.timeout(_ANSWER_TIMEOUT_S):
                while True:
                    answer, packet = await self._answers.get()
                    if answer == kind:
                        return packet
                    if answer < 0:
                        self._answers.put_nowait((-1, b""))
                        raise ConnectionLost("the broker ended the connection", where=self._where)
        except TimeoutError as error:
            raise ConnectionLost(
                f"no answer of packet type {kind} within {_ANSWER_TIMEOUT_S:g} s", where=self._where
            ) from error

    async def _read(self) -> None:
        try:
            while True:
                head, packet = await self._read_packet()
                if head >> 4 == _PUBLISH:
                    self._take(head, packet)
                else:
                    self._answers.put_nowait((head >> 4, packet))
        except (OSError, asyncio.IncompleteReadError, ValueError, IndexError, struct.error):
            pass
        finally:
            self._gone.set()
            self._answers.put_nowait((-1, b""))

    async def _read_packet(self) -> tuple[int, bytes]:
        head = (await self._reader.readexactly(1))[0]
        size = shift = 0
        while True:
            byte = (await self._reader.readexactly(1))[0]
            size |= (byte & 0x7F) << shift
            if byte < 0x80:
                break
            shift += 7
            if shift > 21:
                raise ValueError("packet length")
        if size > _PACKET_BYTES_MAX:
            raise ValueError("packet length")
        return head, await self._reader.readexactly(size)

    def _take(self, head: int, packet: bytes) -> None:
        qos = head >> 1 & 3
        size = struct.unpack_from(">H", packet)[0]
        topic = packet[2 : 2 + size].decode(errors="replace")
        position = 2 + size
        if qos:
            packet_id = packet[position : position + 2]
            position += 2
            self._send(0x40 if qos == 1 else 0x50, packet_id)
        if self._version == MQTT_5:
            length, position = _number(packet, position)
            position += length
        if self.only is not None and topic != self.only:
            self.strays += 1
            return
        self._messages.put_nowait(RawMessage(topic, packet[position:], qos, bool(head & 1)))


async def _open(
    host: str, port: int, secure: BrokerAddress | None, receive_buffer_bytes: int | None
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    loop = asyncio.get_running_loop()
    context = None if secure is None else tls_context(secure)
    name = host if context is not None else None
    if receive_buffer_bytes is None:
        return await asyncio.open_connection(host, port, ssl=context, server_hostname=name)
    family, kind, protocol, _, place = (await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM))[0]
    raw = socket.socket(family, kind, protocol)
    try:
        raw.setblocking(False)
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer_bytes)  # before connect: it sets the window
        await loop.sock_connect(raw, place)
        return await asyncio.open_connection(sock=raw, ssl=context, server_hostname=name, limit=receive_buffer_bytes)
    except BaseException:
        raw.close()
        raise


def _sized(payload: bytes) -> bytes:
    return struct.pack(">H", len(payload)) + payload


def _text(text: str) -> bytes:
    return _sized(text.encode())


def _length(size: int) -> bytes:
    made = b""
    while True:
        size, byte = size >> 7, size & 0x7F
        made += bytes([byte | 0x80 if size else byte])
        if not size:
            return made


def _number(packet: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = packet[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80 or shift > 21:
            return value, position
        shift += 7


def _read_properties(packet: bytes, position: int) -> dict[str, int | str]:
    """What a broker of MQTT 5 says of itself; ends at a property that the standard does not have."""
    found: dict[str, int | str] = {}
    if position >= len(packet):
        return found
    length, position = _number(packet, position)
    end = min(len(packet), position + length)
    while position < end and packet[position] in _PROPERTIES:
        name, form = _PROPERTIES[packet[position]]
        position += 1
        if form in {"text", "pair"}:
            for _ in range(2 if form == "pair" else 1):
                size = struct.unpack_from(">H", packet, position)[0]
                found[name] = packet[position + 2 : position + 2 + size].decode(errors="replace")
                position += 2 + size
        else:
            found[name] = struct.unpack_from(form, packet, position)[0]
            position += struct.calcsize(form)
    return found
