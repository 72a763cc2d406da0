"""Every CONNECT of an edge node as it went over the wire, read from the Will that it carries."""

from __future__ import annotations

from tests.proxy import Direction
from uns.sparkplug.codec import decode_death

__all__ = ["ConnectWatch"]

CONNECT = 0x10
CONNECT_FLAGS_AT, WILL_FLAG = 7, 0x04
HEADER_BYTES = 10  # "MQTT", its length, level, flags, keep-alive: MQTT 3.1.1 has nothing else before the client id


class ConnectWatch:
    """A tap for the fault proxy that keeps the bdSeq of each CONNECT, in order."""

    def __init__(self) -> None:
        self.bd_seqs: list[int | None] = []
        self.without_will = 0  # no session: an edge node that asks whether another one has its name
        self._heads: dict[int, bytes] = {}

    def __call__(self, connection: int, direction: Direction, data: bytes) -> None:
        if direction != "up" or connection < 0 or self._heads.get(connection) == b"":
            return
        head = self._heads.get(connection, b"") + data
        packet = first_packet(head)
        if packet is not None:
            if packet[CONNECT_FLAGS_AT] & WILL_FLAG:
                self.bd_seqs.append(will_bd_seq(packet))
            else:
                self.without_will += 1
            head = b""  # all that matters of this connection is seen
        self._heads[connection] = head


def first_packet(data: bytes) -> bytes | None:
    """The body of the first packet, which must be a CONNECT; None while it is not complete."""
    length, shift = 0, 0
    for at, byte in enumerate(data[1:5], start=1):
        length |= (byte & 0x7F) << shift
        shift += 7
        if not byte & 0x80:
            assert data[0] == CONNECT, f"a connection began with {data[:8]!r}"
            body = data[at + 1 :]
            return body[:length] if len(body) >= length else None
    return None


def will_bd_seq(connect: bytes) -> int | None:
    """What the NDEATH in the Will says."""
    fields = []
    rest = connect[HEADER_BYTES:]
    for _ in ("client id", "will topic", "will payload"):
        size = int.from_bytes(rest[:2], "big")
        fields.append(rest[2 : 2 + size])
        rest = rest[2 + size :]
    return decode_death(fields[2])
