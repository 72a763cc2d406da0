"""Builders that default everything a test is not about."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from uns.sparkplug import codec
from uns.sparkplug.aliases import AliasTable
from uns.sparkplug.datatypes import DataType, Value
from uns.sparkplug.edge import EdgeNodeSession
from uns.sparkplug.host import HostSession
from uns.sparkplug.messages import HeldBirths, Message, NodeBirth, Publish
from uns.sparkplug.metrics import BD_SEQ, REBIRTH, SESSION_METRIC, BirthMetric, DataBatch, MetricBinding, MetricValue
from uns.sparkplug.sequences import SEQ_MODULUS
from uns.sparkplug.state import HostState, encode_state
from uns.sparkplug.topics import EdgeNodeDescriptor, MessageType

MS = 1_000_000
S = 1_000_000_000
T0_MS = 1_700_000_000_000
T0 = T0_MS * MS
NODE = EdgeNodeDescriptor("acme.dallas", "gw-reaction-1")
HOST_ID = "uns-host-1"
STATE_TOPIC = f"spBv1.0/STATE/{HOST_ID}"


def metric(
    name: str = "temperature", datatype: DataType = DataType.DOUBLE, value: MetricValue = 1.5, **more
) -> BirthMetric:
    return BirthMetric(name=name, datatype=datatype, value=value, **more)


def table_of(*metrics: BirthMetric) -> AliasTable:
    return AliasTable(metrics)


def batch_of(bindings: Iterable[MetricBinding], values: Iterable[MetricValue], times_ms=None, **more) -> DataBatch:
    bindings, values = list(bindings), list(values)
    times = [T0_MS + i for i in range(len(values))] if times_ms is None else list(times_ms)
    return DataBatch(bindings=bindings, values=values, times_ms=times, **more)


def published(session: EdgeNodeSession | HostSession) -> list[Message]:
    return [action.message for action in session.actions() if isinstance(action, Publish)]


# ── edge ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def edge_session(**options) -> EdgeNodeSession:
    return EdgeNodeSession(NODE, **options)


def subscribed_edge(*, bd_seq=7, session_id="session-1", now_ns=T0, **options) -> EdgeNodeSession:
    session = edge_session(**options)
    session.connect(bd_seq=bd_seq, session_id=session_id, now_ns=now_ns)
    session.receive_connected(now_ns)
    session.receive_subscribed(now_ns)
    return session


def node_birth(*, metrics=None, devices=None) -> NodeBirth:
    return NodeBirth(
        metrics=[metric("uptime", DataType.UINT32, 5)] if metrics is None else metrics,
        devices={"reactor4": [metric("temperature"), metric("pressure")]} if devices is None else devices,
    )


def online_edge(*, birth=None, now_ns=T0, **options) -> EdgeNodeSession:
    session = subscribed_edge(now_ns=now_ns, **options)
    session.birth(birth or node_birth(), now_ns)
    session.actions()
    session.events()
    return session


def rebirth_command(value: Value = True) -> bytes:
    return codec.encode_command([metric(REBIRTH, DataType.BOOLEAN, value)], timestamp_ms=T0_MS)


def state_payload(*, online=True, timestamp=T0_MS) -> bytes:
    return encode_state(HostState(online, timestamp))


# ── host ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def online_host(*, now_ns=T0, **options) -> HostSession:
    session = HostSession(HOST_ID, **{"jitter": lambda span: 0, **options})
    session.connect(now_ns)
    session.receive_connected(now_ns)
    session.receive_subscribed(now_ns)
    session.actions()
    session.events()
    return session


class Peer:
    """An edge node made of payloads, which can also break rules."""

    def __init__(self, host: HostSession, *, session_id="session-1", bd_seq: int | None = 7, node=NODE) -> None:
        self.host, self.session_id, self.bd_seq, self.node = host, session_id, bd_seq, node
        self.seq = 0
        self.time_ms = T0_MS - 1  # of each payload; each birth is a ms later
        self.tables: dict[str | None, AliasTable] = {}

    def send(self, message_type: MessageType, payload: bytes, *, device=None, retain=False, now_ns=T0, raw=None):
        topic = self.node.topic(message_type, device)
        self.host.receive_message(topic, payload, retain=retain, now_ns=now_ns, raw=raw)
        return self.host.events()

    def next_seq(self, seq=None) -> int:
        self.seq = (self.seq + 1) % SEQ_MODULUS if seq is None else seq
        return self.seq

    def birth_payload(self, metrics=None, *, seq: int | None = 0) -> bytes:
        listed = [metric("uptime", DataType.UINT32, 5, alias=1)] if metrics is None else list(metrics)
        if self.session_id:
            listed.insert(0, metric(SESSION_METRIC, DataType.STRING, self.session_id))
        if self.bd_seq is not None:
            listed.insert(0, metric(BD_SEQ, DataType.INT64, self.bd_seq))
        self.tables[None] = AliasTable(listed)
        self.time_ms += 1
        return codec.encode_birth(listed, timestamp_ms=self.time_ms, seq=seq)

    def nbirth(self, metrics=None, *, seq: int | None = 0, **more):
        self.seq = seq or 0
        return self.send(MessageType.NBIRTH, self.birth_payload(metrics, seq=seq), **more)

    def device_payload(self, device, metrics=None, *, seq=None) -> bytes:
        listed = [metric("temperature", alias=10)] if metrics is None else list(metrics)
        self.tables[device] = AliasTable(listed)
        return codec.encode_birth(listed, timestamp_ms=self.time_ms, seq=self.next_seq(seq))

    def dbirth(self, device="reactor4", metrics=None, *, seq=None, **more):
        return self.send(MessageType.DBIRTH, self.device_payload(device, metrics, seq=seq), device=device, **more)

    def data(self, device=None, *, value=None, seq=None, **more):
        binding = next(b for b in reversed(self.tables[device].by_name.values()))
        value = value if value is not None else 6 if device is None else 2.5
        payload = codec.encode_data(batch_of([binding], [value]), timestamp_ms=self.time_ms, seq=self.next_seq(seq))
        message_type = MessageType.NDATA if device is None else MessageType.DDATA
        return self.send(message_type, payload, device=device, **more)

    def ndeath(self, bd_seq: int | None = -1, **more):
        given = self.bd_seq if bd_seq == -1 else bd_seq
        payload = b"" if given is None else codec.encode_death(given)
        return self.send(MessageType.NDEATH, payload, **more)

    def ddeath(self, device="reactor4", *, seq=None, **more):
        payload = codec.encode_empty(self.time_ms, self.next_seq(seq))
        return self.send(MessageType.DDEATH, payload, device=device, **more)


def kinds(events) -> list[str]:
    return [type(event).__name__ for event in events]


def rebirths(session: HostSession) -> list[str]:
    """Topics of the rebirth requests among the actions."""
    return [message.topic for message in published(session) if "/NCMD/" in message.topic]


def born(host, **options) -> Peer:
    """A peer whose node and device ``reactor4`` are born."""
    peer = Peer(host, **options)
    peer.nbirth()
    peer.dbirth()
    return peer


def held_births(*, session_id="session-1", bd_seq=7) -> HeldBirths:
    peer = Peer(online_host(), session_id=session_id, bd_seq=bd_seq)
    return HeldBirths(
        NODE,
        session_id or f"foreign:bd{bd_seq}",
        bd_seq,
        peer.birth_payload(),
        {"reactor4": peer.device_payload("reactor4")},
    )


def state_of(message: Message) -> dict[str, Any]:
    assert (message.topic, message.qos, message.retain) == (STATE_TOPIC, 1, True)
    found: dict[str, Any] = json.loads(message.payload)
    return found
