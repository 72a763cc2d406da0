"""Faults of a host."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from tests.conformance.faults_edge import level, of_metric, patched, without_disconnect
from tests.conformance.planting import (
    Fault,
    Plant,
    actions,
    forgiving,
    in_payload,
    in_state,
    on_wire,
    replaced,
    subscribed,
    told,
    will,
)
from uns.enrichment.live import PvBoard
from uns.namespace import classes, lint
from uns.runtime.host.announcements import Announcer
from uns.sparkplug import Disconnect, HostSession, Publish, Subscribe
from uns.sparkplug.messages import Action, DeviceDied, Message, NodeDied
from uns.sparkplug.reorder import SeqTracker

__all__ = ["FAULTS"]


def text_of_2_2(payload: bytes) -> bytes:
    """As STATE was before version 3."""
    return b"OFFLINE" if b"false" in payload else b"ONLINE"


def stamped(by_ms: int) -> Any:
    """An edit of the time in STATE."""
    return lambda body: body.update(timestamp=body["timestamp"] + by_ms)


def as_text(body: dict[str, Any]) -> None:
    body["timestamp"] = str(body["timestamp"])


def will_stamped(by_ms: int) -> Plant:
    """The Will has another time."""
    return will("STATE", payload=lambda payload: payload.replace(b'p":17', f'p":{17 + by_ms}'.encode()))


def only_last(asked: list[Action]) -> list[Action]:
    """STATE after DISCONNECT."""
    return sorted(asked, key=lambda action: not isinstance(action, Disconnect))


def never(kind: type) -> Plant:
    """The host does not tell of it."""

    def plant(monkeypatch: pytest.MonkeyPatch) -> None:
        real = HostSession.events
        monkeypatch.setattr(
            HostSession, "events", lambda self: [event for event in real(self) if not isinstance(event, kind)]
        )

    return plant


def after_messages(of: str, change: Any) -> Plant:
    """What the host knows of nodes is put back after messages of this kind."""

    def plant(monkeypatch: pytest.MonkeyPatch) -> None:
        real: Any = HostSession.receive_message

        def receive(self: HostSession, topic: str, payload: bytes, **named: Any) -> None:
            real(self, topic, payload, **named)
            if f"/{of}/" in topic:
                for node in self.nodes.values():
                    change(node)

        monkeypatch.setattr(HostSession, "receive_message", receive)

    return plant


def devices_online(node: Any) -> None:
    for device in node.devices.values():
        device.online = True


def shows_the_time_of_the_announcement(monkeypatch: pytest.MonkeyPatch) -> None:
    real: Any = Announcer._set

    def show(self: Announcer, *what: Any, since_ns: int | None = None) -> None:
        real(self, *what, since_ns=self._now_ns())

    monkeypatch.setattr(Announcer, "_set", show)


def devices_since_receipt(node: Any) -> None:
    for device in node.devices.values():
        device.since_ns += 1_000_000_000


def stamped_by_the_payload(node: Any) -> None:
    node.since_ns = 0


def passed_over(kind: str) -> Plant:
    """Messages of this kind are not read."""
    return told(HostSession, lambda topic, payload: None if f"/{kind}/" in topic else (topic, payload))


def one_timestamp_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """The timestamp of STATE is one of the class: of all brokers."""
    shared = {"ms": 0}
    monkeypatch.setattr(
        HostSession,
        "_timestamp_ms",
        property(lambda self: shared["ms"], lambda self, ms: shared.update(ms=ms)),
        raising=False,
    )


def same_timestamp_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """The timestamp of the first CONNECT serves all."""

    def keep(self: Any, ms: int) -> None:
        if ms:
            self.__dict__.setdefault("kept_ms", ms)

    kept = property(lambda self: self.__dict__.get("kept_ms", 0), keep)
    monkeypatch.setattr(HostSession, "_timestamp_ms", kept, raising=False)


def born_before_the_suback(monkeypatch: pytest.MonkeyPatch) -> None:
    connected: Any = HostSession.receive_connected
    subscribed_: Any = HostSession.receive_subscribed

    def receive_connected(self: HostSession, now_ns: int) -> None:
        connected(self, now_ns)
        subscribed_(self, now_ns)

    monkeypatch.setattr(HostSession, "receive_connected", receive_connected)
    monkeypatch.setattr(HostSession, "receive_subscribed", lambda self, now_ns: None)


def born_before_the_subscriptions(asked: list[Action]) -> list[Action]:
    """A STATE goes out before them."""
    early: list[Action] = [
        Publish(Message(topic, b"{}"))
        for action in asked
        if isinstance(action, Subscribe)
        for topic, _ in action.filters[1:2]
    ]
    return [*early, *asked]


def born_in_the_first_session_only() -> Plant:
    """Later sessions begin without STATE."""

    def plant(monkeypatch: pytest.MonkeyPatch) -> None:
        count = itertools.count()
        on_wire("STATE", lambda message: None if b"true" in message.payload and next(count) else message)(monkeypatch)

    return plant


def default_reorder_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    real: Any = HostSession.__init__

    def make(self: HostSession, *arguments: Any, reorder_timeout_ms: int = 5000, **named: Any) -> None:
        real(self, *arguments, **named)

    monkeypatch.setattr(HostSession, "__init__", make)


STATE = (
    Fault(
        "host-topic-phid-death-required host-topic-phid-death-topic"
        " operational-behavior-host-application-connect-will"
        " operational-behavior-host-application-connect-will-topic payloads-state-will-message",
        will("STATE", topic="spBv1.0/STATE/another"),
    ),
    Fault(
        "host-topic-phid-death-qos operational-behavior-host-application-connect-will-qos"
        " payloads-state-will-message-qos",
        will("STATE", qos=0),
    ),
    Fault(
        "host-topic-phid-death-retain operational-behavior-host-application-connect-will-retained"
        " payloads-state-will-message-retain",
        will("STATE", retain=False),
    ),
    Fault(
        "host-topic-phid-death-payload operational-behavior-host-application-connect-will-payload"
        " payloads-state-will-message-payload",
        will("STATE", payload=text_of_2_2),
    ),
    Fault(
        "host-topic-phid-death-payload operational-behavior-host-application-connect-will-payload"
        " payloads-state-will-message-payload",
        will("STATE", payload=lambda payload: payload.replace(b"false", b"true")),
    ),
    Fault("host-topic-phid-death-payload-timestamp-connect", will_stamped(1)),
    Fault(
        "host-topic-phid-birth-payload-timestamp host-topic-phid-death-payload-timestamp-connect", same_timestamp_again
    ),
    Fault("operational-behavior-host-application-multi-server-timestamp", one_timestamp_for_all),
    Fault(
        "host-topic-phid-birth-sub-required message-flow-phid-sparkplug-subscription payloads-state-subscribe",
        subscribed(lambda filters: tuple(one for one in filters if "STATE" not in one[0])),
    ),
    Fault(
        "host-topic-phid-birth-sub-required message-flow-phid-sparkplug-subscription",
        subscribed(lambda filters: tuple(one for one in filters if "#" not in one[0])),
    ),
    Fault("message-flow-phid-sparkplug-subscription", actions(born_before_the_subscriptions)),
    Fault(
        "host-topic-phid-birth-required message-flow-phid-sparkplug-state-publish"
        " operational-behavior-host-application-connect-birth",
        born_before_the_suback,
    ),
    Fault(
        "host-topic-phid-birth-message principles-birth-certificates-order",
        on_wire("STATE", lambda message: [Message("spBv1.0/STATE/uns-host-1", b'{"online": false}'), message]),
    ),
    Fault(
        "host-topic-phid-birth-required message-flow-phid-sparkplug-state-publish host-topic-phid-birth-message"
        " operational-behavior-host-application-connect-birth conformance-primary-host components-ph-state"
        " intro-sparkplug-host-state operational-behavior-primary-application-state-with-multiple-servers-state",
        on_wire("STATE", lambda message: None if b"true" in message.payload else message),
    ),
    Fault(
        "operational-behavior-primary-application-state-with-multiple-servers-state", born_in_the_first_session_only()
    ),
    Fault(
        "host-topic-phid-birth-topic operational-behavior-host-application-connect-birth-topic"
        " operational-behavior-host-application-death-topic",
        on_wire("STATE", level(2, "another")),
    ),
    Fault(
        "host-topic-phid-birth-qos operational-behavior-host-application-connect-birth-qos payloads-state-birth"
        " operational-behavior-host-application-death-qos",
        on_wire("STATE", replaced(qos=0)),
    ),
    Fault(
        "host-topic-phid-birth-retain operational-behavior-host-application-connect-birth-retained"
        " payloads-state-birth operational-behavior-host-application-death-retained",
        on_wire("STATE", replaced(retain=False)),
    ),
    Fault(
        "host-topic-phid-birth-payload message-flow-phid-sparkplug-state-publish-payload payloads-state-birth-payload"
        " operational-behavior-host-application-connect-birth-payload"
        " operational-behavior-host-application-death-payload",
        on_wire("STATE", replaced(payload=text_of_2_2)),
    ),
    Fault(
        "host-topic-phid-birth-payload message-flow-phid-sparkplug-state-publish-payload payloads-state-birth-payload"
        " operational-behavior-host-application-connect-birth-payload",
        in_state(as_text, online=True),
    ),
    Fault(
        "host-topic-phid-birth-payload-timestamp message-flow-phid-sparkplug-state-publish-payload-timestamp"
        " message-flow-phid-sparkplug-state-publish-payload payloads-state-birth-payload"
        " operational-behavior-host-application-connect-birth-payload",
        in_state(stamped(1), online=True),
    ),
    Fault("operational-behavior-host-application-death-payload", in_state(as_text, online=False)),
    Fault(
        "host-topic-phid-death-payload-timestamp-disconnect-clean operational-behavior-host-application-death-payload",
        in_state(stamped(-1000), online=False),
    ),
    Fault(
        "components-ph-state conformance-primary-host intro-sparkplug-host-state"
        " operational-behavior-host-application-termination"
        " host-topic-phid-death-payload-timestamp-disconnect-with-no-disconnect-packet",
        on_wire("STATE", lambda message: None if b"false" in message.payload else message),
    ),
    Fault("operational-behavior-host-application-termination", actions(only_last)),
    Fault("operational-behavior-host-application-disconnect-intentional", actions(without_disconnect)),
    Fault(
        "message-flow-hid-sparkplug-state-message-delivered operational-behavior-host-application-host-id",
        passed_over("STATE"),
    ),
    Fault("message-flow-hid-sparkplug-state-message-delivered", in_state(stamped(1), online=True)),
)

_COMMANDS = {"NCMD": ("ncmd", "gw-reaction-1[^/]"), "DCMD": ("dcmd", "gw-reaction-1/")}
COMMANDS = tuple(
    fault
    for kind, (name, where) in _COMMANDS.items()
    for fault in (
        Fault(
            f"topics-{name}-topic operational-behavior-data-commands-{name}-verb",
            on_wire(kind, replaced(topic=lambda topic, kind=kind: topic.replace(kind, "XCMD"))),
        ),
        Fault(f"topics-{name}-topic", on_wire(kind, level(3, "gw-2"))),
        Fault(f"topics-{name}-mqtt payloads-{name}-qos", on_wire(kind, replaced(qos=1))),
        Fault(f"topics-{name}-mqtt payloads-{name}-retain", on_wire(kind, replaced(retain=True))),
        Fault(
            f"topics-{name}-timestamp payloads-{name}-timestamp",
            in_payload(kind, lambda wire: wire.ClearField("timestamp")),
        ),
        Fault(f"payloads-{name}-seq", in_payload(kind, lambda wire: setattr(wire, "seq", 0))),
        Fault(
            f"topics-{name}-payload operational-behavior-data-commands-{name}-metric-name",
            in_payload(kind, lambda wire: setattr(wire.metrics[0], "alias", 1)),
        ),
        Fault(f"topics-{name}-payload", in_payload(kind, lambda wire: wire.metrics.add(name="more", int_value=1))),
        Fault(
            f"operational-behavior-data-commands-{name}-metric-value",
            in_payload(kind, lambda wire: setattr(wire.metrics[0], "string_value", "7.5")),
        ),
        Fault(
            f"operational-behavior-data-commands-{name}-metric-name",
            forgiving(HostSession, "publish_command", f"{where}.*a metric of its birth"),
        ),
        Fault(
            f"operational-behavior-data-commands-{name}-metric-value",
            forgiving(HostSession, "publish_command", f"{where}.*its datatype there"),
        ),
        Fault("payloads-name-cmd-requirement", in_payload(kind, lambda wire: wire.metrics[0].ClearField("timestamp"))),
    )
)

REBIRTHS = (
    Fault(
        "operational-behavior-data-commands-ncmd-rebirth-verb",
        on_wire("NCMD", replaced(topic=lambda topic: topic.replace("NCMD", "DCMD") + "/d")),
    ),
    Fault(
        "operational-behavior-data-commands-ncmd-rebirth-name",
        in_payload("NCMD", of_metric("Node Control/Rebirth", name="Node Control/Refresh")),
    ),
    Fault(
        "operational-behavior-data-commands-ncmd-rebirth-value",
        in_payload("NCMD", of_metric("Node Control/Rebirth", boolean_value=False)),
    ),
    Fault("operational-behavior-host-reordering-start", patched(HostSession, "next_deadline_ns", lambda self: None)),
    Fault(
        "operational-behavior-host-reordering-rebirth", patched(HostSession, "receive_timer", lambda self, now_ns: None)
    ),
    Fault("operational-behavior-host-reordering-param", default_reorder_timeout),
    Fault("operational-behavior-host-reordering-success", patched(SeqTracker, "has_gap", property(lambda self: True))),
)

DEATHS = (
    Fault(
        "operational-behavior-edge-node-termination-host-action-ndeath-node-offline"
        " operational-behavior-edge-node-termination-host-action-ndeath-node-tags-stale"
        " operational-behavior-edge-node-termination-host-action-ndeath-devices-tags-stale",
        passed_over("NDEATH"),
    ),
    Fault(
        "operational-behavior-edge-node-termination-host-action-ndeath-node-offline",
        after_messages("NDEATH", stamped_by_the_payload),
    ),
    Fault(
        "operational-behavior-edge-node-termination-host-action-ndeath-devices-offline",
        after_messages("NDEATH", devices_online),
    ),
    Fault(
        "operational-behavior-edge-node-termination-host-action-ndeath-node-tags-stale"
        " operational-behavior-edge-node-termination-host-action-ndeath-devices-tags-stale",
        never(NodeDied),
    ),
    Fault(
        "operational-behavior-edge-node-termination-host-action-ndeath-node-tags-stale"
        " operational-behavior-edge-node-termination-host-action-ndeath-devices-tags-stale",
        patched(PvBoard, "mark_stale", lambda self, edge_node, device_id=None, **why: 2),
    ),
    Fault(
        "operational-behavior-edge-node-termination-host-action-ddeath-devices-offline",
        after_messages("DDEATH", devices_online),
    ),
    Fault(
        "operational-behavior-edge-node-termination-host-action-ddeath-devices-offline",
        after_messages("DDEATH", devices_since_receipt),
    ),
    Fault(
        "operational-behavior-edge-node-termination-host-action-ddeath-devices-offline"
        " operational-behavior-edge-node-termination-host-action-ndeath-devices-offline"
        " operational-behavior-edge-node-termination-host-action-ndeath-node-offline",
        shows_the_time_of_the_announcement,
    ),
    Fault("operational-behavior-edge-node-termination-host-action-ddeath-devices-tags-stale", never(DeviceDied)),
    Fault(
        "topic-structure-namespace-duplicate-device-id-across-edge-node",
        told(HostSession, lambda topic, payload: (topic.replace("gw-2", "gw-1"), payload)),
    ),
)

NAMES = (
    Fault("case-sensitivity-sparkplug-ids", patched(lint, "_check_unique", lambda draft, findings: None)),
    Fault("case-sensitivity-metric-names", patched(classes, "_check_together", lambda *arguments: None)),
    Fault(
        "intro-edge-node-id-uniqueness payloads-nbirth-edge-node-descriptor"
        " topic-structure-namespace-unique-edge-node-descriptor",
        patched(lint, "_check_gateways", lambda draft, findings: None),
    ),
)

FAULTS = (*STATE, *COMMANDS, *REBIRTHS, *DEATHS, *NAMES)
