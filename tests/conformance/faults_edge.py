"""Faults of an edge node."""

from __future__ import annotations

import unicodedata
from typing import Any

import pytest

from edge_nodes.reduction import Reducer, Reduction
from edge_nodes.store import EdgeStore
from schemas.sparkplug_b_pb2 import Payload
from tests.conformance.planting import (
    Fault,
    Plant,
    actions,
    edited,
    in_payload,
    on_wire,
    replaced,
    subscribed,
    table,
    told,
    will,
)
from uns.sparkplug import Disconnect, EdgeNodeSession, MessageType, codec, edge
from uns.sparkplug.messages import Action, Message
from uns.sparkplug.sequences import SEQ_MODULUS
from uns.sparkplug.state import StateMemory
from uns.sparkplug.topics import EdgeNodeDescriptor, check_id
from uns.sparkplug.transitions import EDGE_TRANSITIONS, EdgeInput, EdgeState
from uns.sparkplug.walk import BrokerWalk

__all__ = ["FAULTS"]

_E, _I = EdgeState, EdgeInput
BIRTHS, DATA = "NBIRTH DBIRTH", "NDATA DDATA"
OF_NODE = "NBIRTH NDATA NDEATH"
OF_DEVICES = "DBIRTH DDATA DDEATH"


def patched(target: Any, name: str, value: object) -> Plant:
    """The product has another function there."""
    return lambda monkeypatch: monkeypatch.setattr(target, name, value)


def metric_of(wire: Any, name: str) -> Any:
    return next(metric for metric in wire.metrics if metric.name == name)


def of_metric(name: str, /, **fields: Any) -> Any:
    """An edit of one metric of a payload."""

    def edit(wire: Any) -> None:
        for metric in wire.metrics:
            if metric.name == name:
                for field, value in fields.items():
                    setattr(metric, field, value)

    return edit


def of_all(change: Any) -> Any:
    """An edit of all metrics of a payload."""
    return lambda wire: [change(metric) for metric in wire.metrics]


def without(name: str) -> Any:
    """An edit that leaves one metric out."""

    def edit(wire: Any) -> None:
        kept = [metric for metric in wire.metrics if metric.name != name]
        del wire.metrics[:]
        wire.metrics.extend(kept)

    return edit


def reversed_metrics(wire: Any) -> None:
    turned = list(reversed(wire.metrics))
    del wire.metrics[:]
    wire.metrics.extend(turned)


def level(number: int, text: str) -> Any:
    """Another text at one level of the topic."""

    def change(topic: str) -> str:
        levels = topic.split("/")
        levels[number] = text
        return "/".join(levels)

    return replaced(topic=change)


def ascii_only(topic: str) -> str:
    return unicodedata.normalize("NFKD", topic).encode("ascii", "ignore").decode()


def later_by(number: int) -> Any:
    """An edit that adds to the time of the payload."""
    return lambda wire: setattr(wire, "timestamp", wire.timestamp + number)


def seq_of_255_stays(wire: Any) -> None:
    wire.seq = min(wire.seq, 254)


def disconnect_first(asked: list[Action]) -> list[Action]:
    return sorted(asked, key=lambda action: not isinstance(action, Disconnect))


def without_disconnect(asked: list[Action]) -> list[Action]:
    return [action for action in asked if not isinstance(action, Disconnect)]


def data_before(message: Message) -> list[Message]:
    """Data of the node between its birth and those of its devices."""
    data = Payload(timestamp=Payload.FromString(message.payload).timestamp, seq=0).SerializeToString()
    return [message, Message(message.topic.replace("NBIRTH", "NDATA"), data)]


def nothing_is_reduced(monkeypatch: pytest.MonkeyPatch) -> None:
    real = Reducer.__init__

    def make(self: Reducer, reductions: Any, **named: Any) -> None:
        real(self, {metric: Reduction(enabled=False) for metric in reductions}, **named)

    monkeypatch.setattr(Reducer, "__init__", make)


def stays_at_its_broker(monkeypatch: pytest.MonkeyPatch) -> None:
    real = BrokerWalk.receive_end

    def receive_end(self: BrokerWalk, *arguments: Any) -> int:
        before = self.broker
        pause_ms = real(self, *arguments)
        self.broker = before
        return pause_ms

    monkeypatch.setattr(BrokerWalk, "receive_end", receive_end)


def topic_otherwise(change: Any) -> Plant:
    """Topics of node and devices are made in another way."""

    def plant(monkeypatch: pytest.MonkeyPatch) -> None:
        real = EdgeNodeDescriptor.topic

        def topic(self: EdgeNodeDescriptor, message_type: MessageType, device_id: str | None = None) -> str:
            text: str = change(real(self, message_type, device_id))
            return text

        monkeypatch.setattr(EdgeNodeDescriptor, "topic", topic)

    return plant


def device_level(change: Any) -> Plant:
    """Whether there is a level of the device."""

    def plant(monkeypatch: pytest.MonkeyPatch) -> None:
        def topic(self: EdgeNodeDescriptor, message_type: MessageType, device_id: str | None = None) -> str:
            of_device = message_type.value.startswith("D")
            base = f"spBv1.0/{self.group_id}/{message_type.value}/{self.edge_node_id}"
            given: str = change(base, device_id or "x", of_device)
            return given

        monkeypatch.setattr(EdgeNodeDescriptor, "topic", topic)

    return plant


def states(change: Any) -> Plant:
    """STATE of hosts is seen otherwise; ``change`` takes topic and payload."""
    return told(
        EdgeNodeSession, lambda topic, payload: change(topic, payload) if "/STATE/" in topic else (topic, payload)
    )


def takes_id(what: str, character: str) -> Plant:
    """Ids of one kind are taken with a character that no topic level may have."""
    real = check_id

    def check(text: str, *, what: str, kind: str = what) -> str:
        return text if what == kind and character in text else real(text, what=what)

    return patched(edge, "check_id", check)


def no_offline(topic: str, payload: bytes) -> tuple[str, bytes] | None:
    return None if b"false" in payload else (topic, payload)


def always_online(topic: str, payload: bytes) -> tuple[str, bytes]:
    return topic, payload.replace(b"false", b"true")


def other_bd_seq(wire: Any) -> None:
    for metric in wire.metrics:
        if metric.name == "bdSeq":
            metric.long_value += 1


def rising_bd_seq() -> Plant:
    """The bdSeq of each NBIRTH is one more: of a rebirth, too."""

    def plant(monkeypatch: pytest.MonkeyPatch) -> None:
        count = iter(range(1000))
        in_payload(
            "NBIRTH",
            lambda wire: of_metric("bdSeq", long_value=metric_of(wire, "bdSeq").long_value + next(count))(wire),
        )(monkeypatch)

    return plant


WILLS = (
    Fault(
        "message-flow-edge-node-birth-publish-will-message payloads-ndeath-will-message topics-ndeath-topic"
        " message-flow-edge-node-birth-publish-will-message-topic",
        will("NDEATH", topic="spBv1.0/acme.dallas/NBIRTH/gw-1"),
    ),
    Fault("message-flow-edge-node-birth-publish-will-message-payload", will("NDEATH", payload=b"OFFLINE")),
    Fault(
        "message-flow-edge-node-birth-publish-will-message-payload-bdSeq payloads-ndeath-bdseq"
        " topics-nbirth-bdseq-matching",
        will("NDEATH", payload=edited(other_bd_seq)),
    ),
    Fault(
        "message-flow-edge-node-birth-publish-will-message-payload-bdSeq",
        will("NDEATH", payload=edited(of_metric("bdSeq", datatype=8))),
    ),
    Fault(
        "message-flow-edge-node-birth-publish-will-message-payload-bdSeq topics-nbirth-bdseq-increment",
        patched(EdgeStore, "next_bd_seq", lambda self: 0),
    ),
    Fault(
        "message-flow-edge-node-birth-publish-will-message-qos payloads-ndeath-will-message-qos", will("NDEATH", qos=0)
    ),
    Fault(
        "message-flow-edge-node-birth-publish-will-message-will-retained payloads-ndeath-will-message-retain",
        will("NDEATH", retain=True),
    ),
    Fault(
        "topics-ndeath-payload", will("NDEATH", payload=edited(lambda wire: wire.metrics.add(name="more", int_value=1)))
    ),
    Fault(
        "payloads-ndeath-seq topics-ndeath-seq", will("NDEATH", payload=edited(lambda wire: setattr(wire, "seq", 0)))
    ),
)

DEATHS = (
    Fault("topics-ndeath-topic", on_wire("NDEATH", level(3, "gw-2"))),
    Fault("payloads-ndeath-seq topics-ndeath-seq", in_payload("NDEATH", lambda wire: setattr(wire, "seq", 3))),
    Fault(
        "payloads-ndeath-seq topics-ndeath-seq topics-ndeath-payload",
        patched(codec, "encode_death", lambda bd_seq: codec.encode_birth([], timestamp_ms=1, seq=bd_seq)),
    ),
    Fault(
        "operational-behavior-edge-node-intentional-disconnect-ndeath payloads-ndeath-will-message-publisher",
        on_wire("NDEATH", lambda message: None),
    ),
    Fault("payloads-ndeath-will-message-publisher-disconnect-mqtt311", actions(disconnect_first)),
    Fault("operational-behavior-edge-node-intentional-disconnect-packet", actions(without_disconnect)),
    Fault(
        "operational-behavior-device-ddeath topic-structure-namespace-unique-device-id",
        on_wire("DDEATH", lambda message: None),
    ),
    Fault("operational-behavior-device-ddeath", on_wire("DDEATH", level(4, "d2"))),
    Fault("topics-ddeath-topic", on_wire("DDEATH", level(3, "gw-2"))),
    Fault("topics-ddeath-mqtt", on_wire("DDEATH", replaced(qos=1))),
    Fault("topics-ddeath-mqtt", on_wire("DDEATH", replaced(retain=True))),
    Fault("payloads-ddeath-timestamp", in_payload("DDEATH", lambda wire: wire.ClearField("timestamp"))),
    Fault("payloads-ddeath-timestamp", in_payload("DDEATH", later_by(-1))),
    Fault(
        "payloads-ddeath-seq payloads-ddeath-seq-number topics-ddeath-seq-num payloads-ddeath-seq-inc",
        in_payload("DDEATH", lambda wire: wire.ClearField("seq")),
    ),
    Fault(
        "topics-ddeath-seq-num payloads-ddeath-seq-inc",
        in_payload("DDEATH", lambda wire: setattr(wire, "seq", (wire.seq + 7) % SEQ_MODULUS)),
    ),
)

NODE_BIRTHS = (
    Fault(
        "topics-nbirth-topic message-flow-edge-node-birth-publish-nbirth-topic",
        on_wire("NBIRTH", level(1, "acme.austin")),
    ),
    Fault(
        "topics-nbirth-mqtt payloads-nbirth-qos message-flow-edge-node-birth-publish-nbirth-qos",
        on_wire("NBIRTH", replaced(qos=1)),
    ),
    Fault(
        "topics-nbirth-mqtt payloads-nbirth-retain message-flow-edge-node-birth-publish-nbirth-retained",
        on_wire("NBIRTH", replaced(retain=True)),
    ),
    Fault(
        "message-flow-edge-node-birth-publish-nbirth-payload", on_wire("NBIRTH", replaced(payload=b'{"online": true}'))
    ),
    Fault("topics-nbirth-seq-num", in_payload("NBIRTH", lambda wire: setattr(wire, "seq", 1))),
    Fault(
        "payloads-nbirth-seq payloads-sequence-num-req-nbirth message-flow-edge-node-birth-publish-nbirth-payload-seq",
        in_payload("NBIRTH", lambda wire: wire.ClearField("seq")),
    ),
    Fault(
        "payloads-nbirth-seq payloads-sequence-num-req-nbirth message-flow-edge-node-birth-publish-nbirth-payload-seq",
        in_payload("NBIRTH", lambda wire: setattr(wire, "seq", 256)),
    ),
    Fault(
        "topics-nbirth-timestamp payloads-nbirth-timestamp",
        in_payload("NBIRTH", lambda wire: wire.ClearField("timestamp")),
    ),
    Fault(
        "topics-nbirth-timestamp payloads-nbirth-timestamp payloads-timestamp-in-UTC", in_payload("NBIRTH", later_by(1))
    ),
    Fault("topics-nbirth-bdseq-included payloads-nbirth-bdseq", in_payload("NBIRTH", without("bdSeq"))),
    Fault(
        "topics-nbirth-bdseq-matching message-flow-edge-node-birth-publish-nbirth-payload-bdSeq payloads-ndeath-bdseq",
        in_payload("NBIRTH", other_bd_seq),
    ),
    Fault(
        "message-flow-edge-node-birth-publish-nbirth-payload-bdSeq",
        in_payload("NBIRTH", of_metric("bdSeq", datatype=8)),
    ),
    Fault("payloads-nbirth-bdseq-repeat operational-behavior-data-commands-rebirth-action-3", rising_bd_seq()),
    Fault(
        "topics-nbirth-rebirth-metric payloads-nbirth-rebirth-req operational-behavior-data-commands-rebirth-name",
        in_payload("NBIRTH", of_metric("Node Control/Rebirth", name="Node Control/Reboot")),
    ),
    Fault(
        "operational-behavior-data-commands-rebirth-name-aliases",
        in_payload("NBIRTH", of_metric("Node Control/Rebirth", alias=77)),
    ),
    Fault(
        "operational-behavior-data-commands-rebirth-datatype topics-nbirth-rebirth-metric",
        in_payload("NBIRTH", of_metric("Node Control/Rebirth", datatype=3)),
    ),
    Fault(
        "operational-behavior-data-commands-rebirth-value topics-nbirth-rebirth-metric payloads-nbirth-rebirth-req",
        in_payload("NBIRTH", of_metric("Node Control/Rebirth", boolean_value=True)),
    ),
    Fault("topics-nbirth-metrics", in_payload("NBIRTH", of_metric("load", name=""))),
    Fault("topics-nbirth-metrics", in_payload("NBIRTH", of_all(lambda metric: metric.ClearField("datatype")))),
    Fault("topics-nbirth-metrics", in_payload("NBIRTH", of_all(lambda metric: metric.ClearField("double_value")))),
    Fault("operational-behavior-data-publish-nbirth-values", in_payload("NBIRTH", of_metric("load", double_value=0))),
    Fault(
        "operational-behavior-data-publish-nbirth-values", in_payload("NBIRTH", of_metric("unknown", double_value=0))
    ),
    Fault("operational-behavior-data-publish-nbirth-order", in_payload("NBIRTH", reversed_metrics)),
    Fault(
        "operational-behavior-data-publish-nbirth-values", in_payload(BIRTHS, of_all(lambda m: m.ClearField("is_null")))
    ),
    Fault(
        "principles-birth-certificates-order",
        on_wire("NBIRTH", lambda message: [Message(message.topic.replace("NBIRTH", "NDATA"), b""), message]),
    ),
    Fault("payloads-metric-datatype-value", in_payload("NBIRTH", of_metric("load", datatype=99))),
)

DEVICE_BIRTHS = (
    Fault("topics-dbirth-topic message-flow-device-birth-publish-dbirth-topic", on_wire("DBIRTH", level(4, "d9"))),
    Fault("message-flow-device-birth-publish-dbirth-match-edge-node-topic", on_wire("DBIRTH", level(3, "gw-2"))),
    Fault(
        "topics-dbirth-mqtt payloads-dbirth-qos message-flow-device-birth-publish-dbirth-qos",
        on_wire("DBIRTH", replaced(qos=1)),
    ),
    Fault(
        "topics-dbirth-mqtt payloads-dbirth-retain message-flow-device-birth-publish-dbirth-retained",
        on_wire("DBIRTH", replaced(retain=True)),
    ),
    Fault("message-flow-device-birth-publish-dbirth-payload", on_wire("DBIRTH", replaced(payload=b"\xff"))),
    Fault("payloads-dbirth-seq topics-dbirth-seq", in_payload("DBIRTH", lambda wire: wire.ClearField("seq"))),
    Fault(
        "topics-dbirth-seq payloads-dbirth-seq-inc message-flow-device-birth-publish-dbirth-payload-seq",
        in_payload("DBIRTH", lambda wire: setattr(wire, "seq", 0)),
    ),
    Fault(
        "topics-dbirth-timestamp payloads-dbirth-timestamp",
        in_payload("DBIRTH", lambda wire: wire.ClearField("timestamp")),
    ),
    Fault("topics-dbirth-timestamp payloads-dbirth-timestamp", in_payload("DBIRTH", later_by(1))),
    Fault("topics-dbirth-metrics", in_payload("DBIRTH", of_metric("t", name=""))),
    Fault("topics-dbirth-metrics", in_payload("DBIRTH", of_all(lambda metric: metric.ClearField("datatype")))),
    Fault("topics-dbirth-metrics", in_payload("DBIRTH", of_all(lambda metric: metric.ClearField("double_value")))),
    Fault("operational-behavior-data-publish-dbirth-values", in_payload("DBIRTH", of_metric("t", double_value=0))),
    Fault(
        "operational-behavior-data-publish-dbirth-values",
        in_payload("DBIRTH", of_all(lambda m: m.ClearField("is_null"))),
    ),
    Fault("payloads-dbirth-order", on_wire("NBIRTH", data_before)),
    Fault(
        "operational-behavior-data-commands-rebirth-action-2 payloads-dbirth-order",
        on_wire("DBIRTH", lambda message: None),
    ),
    Fault(
        "topic-structure-namespace-device-id-associated-message-types",
        on_wire(OF_DEVICES, replaced(topic=lambda topic: topic.rpartition("/")[0])),
    ),
)

_SEQ = {"NDATA": "ndata", "DDATA": "ddata"}
DATA_FAULTS = tuple(
    fault
    for kind, name in _SEQ.items()
    for fault in (
        Fault(f"topics-{name}-topic", on_wire(kind, level(3, "gw-2"))),
        Fault(f"topics-{name}-mqtt payloads-{name}-qos", on_wire(kind, replaced(qos=1))),
        Fault(f"topics-{name}-mqtt payloads-{name}-retain", on_wire(kind, replaced(retain=True))),
        Fault(
            f"topics-{name}-timestamp payloads-{name}-timestamp",
            in_payload(kind, lambda wire: wire.ClearField("timestamp")),
        ),
        Fault(f"topics-{name}-timestamp payloads-{name}-timestamp", in_payload(kind, later_by(1))),
        Fault(
            f"payloads-{name}-seq payloads-sequence-num-always-included",
            in_payload(kind, lambda wire: wire.ClearField("seq")),
        ),
        Fault(
            f"topics-{name}-seq-num payloads-{name}-seq-inc",
            in_payload(kind, lambda wire: setattr(wire, "seq", (wire.seq + 1) % SEQ_MODULUS)),
        ),
        Fault("payloads-metric-timestamp-in-UTC", in_payload(kind, of_all(lambda m: setattr(m, "timestamp", 1)))),
        Fault(
            "payloads-name-birth-data-requirement",
            in_payload(kind, of_all(lambda metric: metric.ClearField("timestamp"))),
        ),
    )
)

SENT = (
    Fault("payloads-sequence-num-incrementing", in_payload(f"{DATA} DBIRTH DDEATH", seq_of_255_stays)),
    Fault(
        "payloads-timestamp-in-UTC",
        in_payload(f"{BIRTHS} {DATA}", lambda w: setattr(w, "timestamp", w.timestamp // 1000)),
    ),
    Fault("payloads-name-birth-data-requirement", in_payload(BIRTHS, of_all(lambda m: m.ClearField("timestamp")))),
    Fault(
        "operational-behavior-data-publish-nbirth-order operational-behavior-data-publish-dbirth-order",
        patched(edge, "in_time_order", lambda batch: batch),
    ),
    Fault(
        "operational-behavior-data-publish-dbirth operational-behavior-data-publish-nbirth"
        " topics-dbirth-metric-reqs topics-nbirth-metric-reqs",
        patched(edge, "check_bindings", lambda batch, known: None),
    ),
    Fault(
        "operational-behavior-data-publish-dbirth-change operational-behavior-data-publish-nbirth-change"
        " principles-rbe-recommended topics-ddata-payload topics-ndata-payload",
        nothing_is_reduced,
    ),
)

STATES = (
    Fault(
        "message-flow-edge-node-birth-publish-connect",
        table(EDGE_TRANSITIONS, (_E.SUBSCRIBING, _I.BIRTH, _E.ONLINE), (_E.CONNECTING, _I.BIRTH, _E.ONLINE)),
    ),
    Fault(
        "message-flow-edge-node-birth-publish-phid-wait operational-behavior-edge-node-birth-sequence-wait",
        table(EDGE_TRANSITIONS, (_E.WAITING_FOR_HOST, _I.BIRTH, _E.ONLINE)),
    ),
    Fault(
        "message-flow-edge-node-birth-publish-phid-wait-id",
        states(lambda topic, payload: (topic.replace("/other", "/uns-host-1"), payload)),
    ),
    Fault("message-flow-edge-node-birth-publish-phid-wait-online", states(always_online)),
    Fault(
        "message-flow-edge-node-birth-publish-phid-wait-timestamp"
        " operational-behavior-edge-node-termination-host-offline-timestamp",
        patched(StateMemory, "accept", lambda self, state: True),
    ),
    Fault(
        "message-flow-edge-node-birth-publish-phid-offline operational-behavior-edge-node-termination-host-offline"
        " operational-behavior-primary-application-state-with-multiple-servers-walk",
        states(no_offline),
    ),
    Fault("message-flow-edge-node-birth-publish-phid-offline", on_wire("NDEATH", lambda message: None)),
    Fault(
        "operational-behavior-edge-node-termination-host-offline-reconnect"
        " operational-behavior-primary-application-state-with-multiple-servers-walk",
        stays_at_its_broker,
    ),
    Fault(
        "message-flow-device-birth-publish-nbirth-wait payloads-ddata-order payloads-ndata-order",
        table(EDGE_TRANSITIONS, (_E.BIRTH_DUE, _I.PUBLISH, _E.ONLINE)),
    ),
    Fault(
        "operational-behavior-data-commands-rebirth-action-1 payloads-ddata-order payloads-ndata-order",
        table(EDGE_TRANSITIONS, (_E.REBIRTH_DUE, _I.PUBLISH, _E.REBIRTH_DUE)),
    ),
    Fault(
        "operational-behavior-primary-application-state-with-multiple-servers-single-server",
        table(EDGE_TRANSITIONS, *((state, _I.CONNECT, _E.CONNECTING) for state in EdgeState)),
    ),
    Fault(
        "message-flow-edge-node-ncmd-subscribe",
        subscribed(lambda filters: tuple(one for one in filters if "/NCMD/" not in one[0])),
    ),
    Fault("message-flow-edge-node-ncmd-subscribe", subscribed(lambda filters: ((filters[0][0], 0), *filters[1:]))),
    Fault(
        "message-flow-device-dcmd-subscribe",
        subscribed(lambda filters: tuple(one for one in filters if "/DCMD/" not in one[0])),
    ),
    Fault(
        "operational-behavior-primary-application-state-with-multiple-servers-state-subs",
        subscribed(lambda filters: tuple(one for one in filters if "/STATE/" not in one[0])),
    ),
)

NAMES = (
    *(
        fault
        for name, what in (("group-id", "group_id"), ("edge-node-id", "edge_node_id"), ("device-id", "device_id"))
        for fault in (
            Fault(f"intro-{name}-chars", takes_id(what, "\0")),
            Fault(f"topic-structure-namespace-valid-{name}", takes_id(what, "/")),
            Fault(f"topic-structure-namespace-valid-{name}", takes_id(what, "+")),
            Fault(f"topic-structure-namespace-valid-{name}", takes_id(what, "#")),
        )
    ),
    Fault("intro-group-id-string", on_wire(f"{OF_NODE} {OF_DEVICES}", level(1, "Werk"))),
    Fault("intro-edge-node-id-string", on_wire(OF_NODE, replaced(topic=ascii_only))),
    Fault("intro-device-id-string", on_wire(OF_DEVICES, replaced(topic=ascii_only))),
    Fault("topic-structure-namespace-a", topic_otherwise(lambda topic: topic.replace("spBv1.0", "spAv1.0"))),
    Fault("topic-structure", topic_otherwise(lambda topic: "/".join(topic.split("/")[i] for i in (0, 2, 1, 3)))),
    Fault(
        "topic-structure-namespace-device-id-associated-message-types",
        device_level(lambda base, device, of_device: base),
    ),
    Fault(
        "topic-structure-namespace-device-id-non-associated-message-types",
        device_level(lambda base, device, of_device: f"{base}/{device}"),
    ),
    Fault("payloads-alias-uniqueness", patched(EdgeNodeSession, "_alias", lambda self, *of: 300)),
    Fault(
        "intro-edge-node-id-uniqueness payloads-nbirth-edge-node-descriptor"
        " topic-structure-namespace-unique-edge-node-descriptor",
        patched(edge, "client_id_of", lambda descriptor: f"edge:{id(object())}:{descriptor.group_id}"),
    ),
)

FAULTS = (*WILLS, *DEATHS, *NODE_BIRTHS, *DEVICE_BIRTHS, *DATA_FAULTS, *SENT, *STATES, *NAMES)
