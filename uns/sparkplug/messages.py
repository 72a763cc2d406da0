"""What sessions say: actions for the adapter to carry out, events for the application to look at.

Actions must be carried out in order. An adapter that cannot carry one out drops the connection and reports it.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from uns.sparkplug.metrics import BirthMetric, BirthPayload, DataPayload, RejectedMetric
from uns.sparkplug.topics import EdgeNodeDescriptor

__all__ = [
    "Action",
    "BirthDue",
    "CommandIgnored",
    "CommandReceived",
    "ConformanceWarning",
    "Connect",
    "DataReceived",
    "DataUnreadable",
    "DeviceBorn",
    "DeviceDied",
    "Disconnect",
    "EdgeEvent",
    "HeldBirths",
    "HostAwaited",
    "HostEvent",
    "HostStateChanged",
    "HostStateHealed",
    "Message",
    "NodeBirth",
    "NodeBorn",
    "NodeDied",
    "NodeForgotten",
    "NodeResumed",
    "Offline",
    "Online",
    "OtherMessage",
    "Publish",
    "RebirthCause",
    "RebirthRequested",
    "Subscribe",
    "UnreadableReason",
    "Violation",
]


class Message(msgspec.Struct, frozen=True):
    """One MQTT message to be sent."""

    topic: str
    payload: bytes
    qos: int = 0
    retain: bool = False


# ── actions ──────────────────────────────────────────────────────────────────────────────────────────────────────


class Connect(msgspec.Struct, frozen=True):
    """Open a connection with a new client object: clean session, this will and no other."""

    client_id: str
    will: Message


class Subscribe(msgspec.Struct, frozen=True):
    """Subscribe to (topic filter, QoS) pairs; report with ``receive_subscribed`` when all are granted."""

    filters: tuple[tuple[str, int], ...]


class Publish(msgspec.Struct, frozen=True):
    """Write this message to the connection."""

    message: Message


class Disconnect(msgspec.Struct, frozen=True):
    """Write out everything before it, send DISCONNECT, and close."""


Action = Connect | Subscribe | Publish | Disconnect


# ── edge: what the application hands over ────────────────────────────────────────────────────────────────────────


class NodeBirth(msgspec.Struct):
    """Everything the node can say in this session (tck-id-topics-nbirth-metric-reqs).

    Without bdSeq, Node Control/Rebirth and uns/session: the session adds those, and the aliases.
    """

    metrics: list[BirthMetric] = []
    devices: dict[str, list[BirthMetric]] = {}


# ── edge: events ─────────────────────────────────────────────────────────────────────────────────────────────────


class BirthDue(msgspec.Struct, frozen=True):
    """Call ``birth`` now; until then the old birth stands, and on a new connection no data may go out."""

    reason: Literal["connected", "primary_host", "host_waived", "rebirth"]


class Online(msgspec.Struct, frozen=True):
    """NBIRTH and DBIRTHs are among the actions; data may follow."""

    session_id: str
    reborn: bool  # a birth of this session went before


class Offline(msgspec.Struct, frozen=True):
    """The session is over, told once: when the connection was lost, or when leaving was decided.

    In the latter case NDEATH and Disconnect are among the actions; ``receive_disconnected`` then says nothing more.
    """

    reason: Literal["connection_lost", "closed", "primary_host_offline", "primary_host_silent", "clock_set_back"]


class CommandReceived(msgspec.Struct, frozen=True):
    """NCMD (``device_id`` None) or DCMD, without Node Control/Rebirth, which the session answers itself."""

    device_id: str | None
    metrics: list[BirthMetric]
    rejected: list[RejectedMetric]


class CommandIgnored(msgspec.Struct, frozen=True):
    """A command that was not carried out, and why."""

    topic: str
    reason: str


class HostStateChanged(msgspec.Struct, frozen=True):
    """The primary host went online or offline."""

    online: bool
    timestamp_ms: int


class HostAwaited(msgspec.Struct, frozen=True):
    """No STATE said in time that the primary host is online; this is what is done about it."""

    then: Literal["wait", "leave", "publish"]


class OtherMessage(msgspec.Struct, frozen=True):
    """A message on a topic that is none of Sparkplug's; the application asked for it by an extra filter."""

    topic: str
    payload: bytes
    retain: bool = False
    raw: object = None


EdgeEvent = (
    BirthDue | Online | Offline | CommandReceived | CommandIgnored | HostStateChanged | HostAwaited | OtherMessage
)


# ── host: what the application hands over ────────────────────────────────────────────────────────────────────────


class HeldBirths(msgspec.Struct):
    """The newest births of one edge node as the store kept them over a restart of the host."""

    edge_node: EdgeNodeDescriptor
    session_id: str
    bd_seq: int  # as NodeBorn told it: -1 for a birth without one
    birth: bytes  # the NBIRTH payload
    devices: dict[str, bytes]  # device id to DBIRTH payload


# ── host: events, in order of arrival ────────────────────────────────────────────────────────────────────────────

RebirthCause = Literal[
    "host_start",
    "unknown_session",
    "missed_birth",
    "reorder_timeout",
    "unknown_metric",
    "malformed",
    "birth_refused",
    "after_death",
    "request",
]

UnreadableReason = Literal["unknown_session", "no_birth", "unknown_metric", "malformed"]


class NodeBorn(msgspec.Struct, kw_only=True):
    """An NBIRTH was accepted. ``first`` is false for a rebirth of a session whose birth was held."""

    edge_node: EdgeNodeDescriptor
    session_id: str
    bd_seq: int
    birth: BirthPayload
    payload: bytes
    first: bool
    ours: bool
    raw: object = None


class NodeResumed(msgspec.Struct, kw_only=True):
    """A session was named after a CONNECT of the host, and its births were held: it is known and online again."""

    edge_node: EdgeNodeDescriptor
    session_id: str
    bd_seq: int
    birth: BirthPayload
    devices: dict[str, BirthPayload]
    ours: bool = True


class DeviceBorn(msgspec.Struct, kw_only=True):
    """A DBIRTH of a known session was accepted."""

    edge_node: EdgeNodeDescriptor
    device_id: str
    session_id: str
    bd_seq: int
    birth: BirthPayload
    payload: bytes
    ours: bool
    raw: object = None


class DataReceived(msgspec.Struct, kw_only=True):
    """NDATA (``device_id`` None) or DDATA of a known session, at once and as it came.

    ``in_order`` is false while a message before it is missing: record it, but let no state follow from it yet.
    """

    edge_node: EdgeNodeDescriptor
    device_id: str | None
    session_id: str
    bd_seq: int
    data: DataPayload
    in_order: bool
    ours: bool
    payload: bytes
    # It came twice, or later than what was sent after it: no count of messages may rest on it.
    late: bool = False
    raw: object = None


class DataUnreadable(msgspec.Struct, kw_only=True):
    """DATA that was not decoded.

    ``malformed`` is final: it is rejected and counts as received. For the other reasons a birth is wanting: it does
    not count, so that a node of ours sends its rows again.
    """

    edge_node: EdgeNodeDescriptor
    device_id: str | None
    reason: UnreadableReason
    payload: bytes
    session_id: str  # whose births were held when it came
    bd_seq: int
    ours: bool
    text: str = ""
    raw: object = None


class NodeDied(msgspec.Struct, kw_only=True):
    """The node and all its devices are offline, and what they said is stale since ``since_ns`` (time of receipt)."""

    edge_node: EdgeNodeDescriptor
    session_id: str
    reason: Literal["ndeath", "superseded", "host_disconnected", "birth_refused"]
    since_ns: int
    raw: object = None


class NodeForgotten(msgspec.Struct, frozen=True):
    """A node that is not online gave way to another: drop what is kept for it in memory. It may come again."""

    edge_node: EdgeNodeDescriptor


class DeviceDied(msgspec.Struct, kw_only=True):
    """The device is offline; what it said is stale since ``timestamp_ms`` of its DDEATH."""

    edge_node: EdgeNodeDescriptor
    device_id: str
    session_id: str
    reason: Literal["ddeath", "rebirth_without_it", "birth_refused"]
    timestamp_ms: int | None
    since_ns: int
    raw: object = None


class HostStateHealed(msgspec.Struct, frozen=True):
    """Somebody spoiled our retained STATE; it was written again. ``reconnecting``: with a new connection, too."""

    text: str
    reconnecting: bool


class RebirthRequested(msgspec.Struct, frozen=True):
    """An NCMD with Node Control/Rebirth is among the actions."""

    edge_node: EdgeNodeDescriptor
    cause: RebirthCause


class ConformanceWarning(msgspec.Struct, frozen=True):
    """A peer broke a rule and was forgiven. Reported once per node and rule; ``HostSession.warnings`` counts all."""

    edge_node: EdgeNodeDescriptor | None
    tck_id: str
    text: str


class Violation(msgspec.Struct, frozen=True):
    """A message that could not be used at all, and was dropped; ``HostSession.violations`` counts them."""

    edge_node: EdgeNodeDescriptor | None
    topic: str
    text: str
    tck_id: str = ""
    payload: bytes = b""
    raw: object = None


HostEvent = (
    NodeBorn
    | NodeResumed
    | DeviceBorn
    | DataReceived
    | DataUnreadable
    | NodeDied
    | NodeForgotten
    | DeviceDied
    | HostStateHealed
    | RebirthRequested
    | ConformanceWarning
    | Violation
    | OtherMessage
)
