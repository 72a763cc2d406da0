"""Sparkplug topics, parsed once at the door (specification 4.1, 4.2; tck-id-topic-structure-*)."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from uns.errors import LocalProtocolError, RemoteProtocolError

__all__ = [
    "ID_BYTES_MAX",
    "NAMESPACE",
    "DeviceDescriptor",
    "DeviceTopic",
    "EdgeNodeDescriptor",
    "MessageType",
    "NodeTopic",
    "StateTopic",
    "Topic",
    "check_id",
    "is_id_too_long",
    "parse_topic",
    "unfit_character",
]

NAMESPACE = "spBv1.0"  # tck-id-topic-structure-namespace-a
ID_BYTES_MAX = 256
_FORBIDDEN = frozenset("+/#")
# Lines that end where a reader does not expect it, and text that is shown in another order than it stands.
_STEERS_TEXT = frozenset("\u2028\u2029\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


class MessageType(StrEnum):
    """The message types of the namespace; STATE has a topic form of its own."""

    NBIRTH = "NBIRTH"
    NDATA = "NDATA"
    NDEATH = "NDEATH"
    NCMD = "NCMD"
    DBIRTH = "DBIRTH"
    DDATA = "DDATA"
    DDEATH = "DDEATH"
    DCMD = "DCMD"


_NODE_TYPES = {m.value: m for m in MessageType if m.value.startswith("N")}
_DEVICE_TYPES = {m.value: m for m in MessageType if m.value.startswith("D")}


class EdgeNodeDescriptor(msgspec.Struct, frozen=True, order=True):
    """Group and edge node id: the name of one edge node in the installation (tck-id-intro-edge-node-id-uniqueness)."""

    group_id: str
    edge_node_id: str

    def __str__(self) -> str:
        return f"{self.group_id}/{self.edge_node_id}"

    def topic(self, message_type: MessageType, device_id: str | None = None) -> str:
        """The topic of a message of this node, or of one of its devices."""
        if (message_type in _DEVICE_TYPES) != (device_id is not None):
            raise LocalProtocolError(
                f"{message_type} and device id {device_id!r} do not go together",
                expected="a device id with D… types, none with N… types",
            )
        base = f"{NAMESPACE}/{self.group_id}/{message_type.value}/{self.edge_node_id}"
        return base if device_id is None else f"{base}/{device_id}"


class DeviceDescriptor(msgspec.Struct, frozen=True, order=True):
    """A device under its edge node."""

    edge_node: EdgeNodeDescriptor
    device_id: str

    def __str__(self) -> str:
        return f"{self.edge_node}/{self.device_id}"


class NodeTopic(msgspec.Struct, frozen=True):
    """``spBv1.0/group_id/N…/edge_node_id``."""

    message_type: MessageType
    edge_node: EdgeNodeDescriptor

    def __str__(self) -> str:
        return self.edge_node.topic(self.message_type)


class DeviceTopic(msgspec.Struct, frozen=True):
    """``spBv1.0/group_id/D…/edge_node_id/device_id``."""

    message_type: MessageType
    edge_node: EdgeNodeDescriptor
    device_id: str

    def __str__(self) -> str:
        return self.edge_node.topic(self.message_type, self.device_id)


class StateTopic(msgspec.Struct, frozen=True):
    """``spBv1.0/STATE/sparkplug_host_id`` (tck-id-host-topic-phid-birth-topic)."""

    sparkplug_host_id: str

    def __str__(self) -> str:
        return f"{NAMESPACE}/STATE/{self.sparkplug_host_id}"


Topic = NodeTopic | DeviceTopic | StateTopic


def parse_topic(topic: str) -> Topic:
    """Read a topic of the Sparkplug namespace; raise :class:`RemoteProtocolError` for any other."""
    levels = topic.split("/")
    if levels[0] != NAMESPACE:
        raise RemoteProtocolError(
            "not a Sparkplug B topic",
            where=topic,
            expected=f"{NAMESPACE}/…",
            tck_id="tck-id-topic-structure-namespace-a",
        )
    if not all(levels):
        raise RemoteProtocolError("empty topic level", where=topic, tck_id="tck-id-topic-structure")
    if len(levels) == 3 and levels[1] == "STATE":
        return StateTopic(levels[2])
    if len(levels) == 4 and (node_type := _NODE_TYPES.get(levels[2])) is not None and levels[1] != "STATE":
        return NodeTopic(node_type, EdgeNodeDescriptor(levels[1], levels[3]))
    if len(levels) == 5 and (device_type := _DEVICE_TYPES.get(levels[2])) is not None and levels[1] != "STATE":
        return DeviceTopic(device_type, EdgeNodeDescriptor(levels[1], levels[3]), levels[4])
    raise RemoteProtocolError(
        "unknown message type or wrong number of levels",
        where=topic,
        expected="group_id/N…/edge_node_id, group_id/D…/edge_node_id/device_id or STATE/host_id",
        tck_id="tck-id-topic-structure",
    )


def is_id_too_long(topic: str) -> bool:
    """Whether a topic names an id beyond ``ID_BYTES_MAX``: what a host keeps of peers in memory is bounded by it.

    Not a rule of :func:`parse_topic`: what was logged is read again by its topic, whatever the bound is then.
    """
    if len(topic) <= ID_BYTES_MAX // 4:  # no character has more than 4 bytes
        return False
    return any(len(level) * 4 > ID_BYTES_MAX and len(level.encode()) > ID_BYTES_MAX for level in topic.split("/"))


def unfit_character(topic: str) -> str | None:
    """The first character of a received topic that no id of a plant has: it could rewrite a terminal or a log.

    MQTT 1.5.3: surrogates and U+0000 are no UTF-8 of a topic, and control characters and non-characters should not be
    there. As with the length, :func:`parse_topic` does not ask.
    """
    if topic.isprintable():
        return None
    for character in topic:
        code = ord(character)
        if (
            code < 0x20
            or 0x7F <= code < 0xA0
            or 0xD800 <= code < 0xE000
            or 0xFDD0 <= code < 0xFDF0
            or code & 0xFFFE == 0xFFFE
            or character in _STEERS_TEXT
        ):
            return f"U+{code:04X}"
    return None


def check_id(text: str, *, what: str) -> str:
    """Give back ``text`` if it may serve as a group, edge node, device or host id, else raise.

    tck-id-topic-structure-namespace-valid-group-id and its siblings; ``STATE`` as a group would collide
    with host topics.
    """
    if (
        not text
        or len(text.encode()) > ID_BYTES_MAX
        or any(c in _FORBIDDEN or ord(c) < 0x20 or ord(c) == 0x7F for c in text)
    ):
        raise LocalProtocolError(
            f"{what} {text!r} cannot stand in a topic",
            expected=f"1 to {ID_BYTES_MAX} bytes without + / # or control characters",
        )
    if what == "group_id" and text == "STATE":
        raise LocalProtocolError("group_id 'STATE' collides with host topics", expected="another name")
    return text
