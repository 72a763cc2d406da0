"""What a client says when it connects and subscribes: MQTT 3.1.1 and 5 packets, read off the wire."""

from __future__ import annotations

import msgspec

from uns.errors import RemoteProtocolError
from uns.sparkplug.state import decode_state, state_topic
from uns.sparkplug.topics import EdgeNodeDescriptor, MessageType

__all__ = ["ConnectPacket", "edge_connect_faults", "host_connect_faults", "read_connects"]


class ConnectPacket(msgspec.Struct):
    """A CONNECT, and the SUBSCRIBEs that followed it on the same connection."""

    protocol_level: int
    clean_session: bool
    keep_alive_s: int
    client_id: str
    will_topic: str | None = None
    will_payload: bytes = b""
    will_qos: int | None = None
    will_retain: bool | None = None
    subscriptions: dict[str, int] = {}


def read_connects(streams: dict[int, bytearray]) -> list[ConnectPacket]:
    """One for each connection whose CONNECT came whole, in the order of the connections."""
    found = []
    for stream in streams.values():
        packets = list(_packets(bytes(stream)))
        if packets and packets[0][0] >> 4 == 1:
            connect = _connect(packets[0][1])
            for head, body in packets[1:]:
                if head >> 4 == 8:
                    connect.subscriptions |= _subscriptions(body, connect.protocol_level)
            found.append(connect)
    return found


def edge_connect_faults(connect: ConnectPacket, edge_node: EdgeNodeDescriptor) -> set[str]:
    """The tck-ids that an edge node's CONNECT and SUBSCRIBE break; no other client can see them."""
    found = set()
    if not connect.clean_session:
        found.add("tck-id-principles-persistence-clean-session-311")
    if connect.will_topic != edge_node.topic(MessageType.NDEATH):
        found.add("tck-id-message-flow-edge-node-birth-publish-will-message-topic")
    if connect.will_qos != 1:
        found.add("tck-id-payloads-ndeath-will-message-qos")
    if connect.will_retain:
        found.add("tck-id-payloads-ndeath-will-message-retain")
    if _granted(connect, edge_node.topic(MessageType.NCMD)) != 1:
        found.add("tck-id-message-flow-edge-node-ncmd-subscribe")
    return found


def host_connect_faults(connect: ConnectPacket, host_id: str) -> set[str]:
    """The same of a host application."""
    found = set()
    if not connect.clean_session:
        found.add("tck-id-message-flow-phid-sparkplug-clean-session-311")
    if _granted(connect, state_topic(host_id)) is None:
        found.add("tck-id-payloads-state-subscribe")
    if connect.will_topic != state_topic(host_id):
        return found | {"tck-id-payloads-state-will-message"}
    if connect.will_qos != 1:
        found.add("tck-id-payloads-state-will-message-qos")
    if not connect.will_retain:
        found.add("tck-id-payloads-state-will-message-retain")
    try:
        if decode_state(connect.will_payload).online:
            found.add("tck-id-payloads-state-will-message-payload")
    except RemoteProtocolError:
        found.add("tck-id-payloads-state-will-message-payload")
    return found


def _granted(connect: ConnectPacket, topic: str) -> int | None:
    """The highest QoS asked for on filters that hold this topic."""
    levels = topic.split("/")

    def holds(topic_filter: str) -> bool:
        parts = topic_filter.split("/")
        if parts[-1] == "#":
            parts = parts[:-1]
        elif len(parts) != len(levels):
            return False
        return len(parts) <= len(levels) and all(p in {"+", level} for p, level in zip(parts, levels, strict=False))

    return max((qos for topic_filter, qos in connect.subscriptions.items() if holds(topic_filter)), default=None)


def _packets(data: bytes):
    position = 0
    while position + 2 <= len(data):
        head, length, start = data[position], 0, position + 1
        for shift in range(0, 28, 7):
            if start >= len(data):
                return
            digit, start = data[start], start + 1
            length |= (digit & 0x7F) << shift
            if digit < 0x80:
                break
        if start + length > len(data):
            return
        yield head, data[start : start + length]
        position = start + length


class _Reader:
    def __init__(self, data: bytes) -> None:
        self.data, self.position = data, 0

    def number(self, size: int) -> int:
        self.position += size
        return int.from_bytes(self.data[self.position - size : self.position], "big")

    def chunk(self) -> bytes:
        size = self.number(2)
        self.position += size
        return self.data[self.position - size : self.position]

    def skip_properties(self, level: int) -> None:
        if level == 5:
            self.position += self.number(1)  # below 128 in everything that is read here


def _connect(body: bytes) -> ConnectPacket:
    reader = _Reader(body)
    reader.chunk()
    level, flags, keep_alive_s = reader.number(1), reader.number(1), reader.number(2)
    reader.skip_properties(level)
    packet = ConnectPacket(level, bool(flags & 2), keep_alive_s, reader.chunk().decode())
    if flags & 4:
        reader.skip_properties(level)
        packet.will_topic, packet.will_payload = reader.chunk().decode(), reader.chunk()
        packet.will_qos, packet.will_retain = flags >> 3 & 3, bool(flags & 0x20)
    return packet


def _subscriptions(body: bytes, level: int) -> dict[str, int]:
    reader = _Reader(body)
    reader.number(2)
    reader.skip_properties(level)
    found = {}
    while reader.position < len(body):
        topic_filter = reader.chunk().decode()
        found[topic_filter] = reader.number(1) & 3
    return found
