"""Faults that only tests with servers can see."""

from __future__ import annotations

from typing import Any

import pytest
from amqtt.broker import Broker, BrokerContext

from tests.conformance.faults_edge import patched
from tests.conformance.planting import Fault, Plant
from uns.adapters import broker
from uns.adapters.mqtt import MqttConnection
from uns.enrichment.live import PvBoard

__all__ = ["FAULTS", "LONG", "SLOW"]

# Where these see a fault they wait for their full time; their requirements are also held by tests without servers.
SLOW = {
    "tests/edge_nodes/test_brokers.py::test_a_primary_host_that_is_offline_here_is_looked_for_at_the_next_broker",
    "tests/edge_nodes/test_brokers.py::test_two_gateways_of_one_name_say_so_and_do_not_flap",
    "tests/edge_nodes/test_run.py::test_a_killed_edge_goes_on_from_its_store",
    "tests/edge_nodes/test_run.py::test_a_rebirth_shows_the_last_stored_samples",
    "tests/runtime/test_stale.py::test_a_ddeath_says_since_when_an_ndeath_counts_from_its_receipt",
}
# Its test waits for a Will that never comes.
LONG = "tck-id-payloads-ndeath-will-message-publisher-disconnect-mqtt50"


async def _nothing(*arguments: Any, **named: Any) -> None:
    """Where something should happen."""


def broadcast(*, data: bytes | None = None, qos: int | None = None) -> Plant:
    """The broker changes messages of clients before it hands them on."""

    def plant(monkeypatch: pytest.MonkeyPatch) -> None:
        real: Any = Broker._broadcast_message

        async def hand_on(self: Broker, session: Any, topic: str, payload: bytes, *more: Any) -> None:
            await real(self, session, topic, payload if data is None else data, *(more if qos is None else (qos,)))

        monkeypatch.setattr(Broker, "_broadcast_message", hand_on)

    return plant


def nothing_gets_stale(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither by the death itself nor by the look at who is there."""
    monkeypatch.setattr(PvBoard, "mark_stale", lambda self, edge_node, device_id=None, **why: 0)
    monkeypatch.setattr(PvBoard, "follow", lambda self, live, **more: None)


def keeps_its_session(monkeypatch: pytest.MonkeyPatch) -> None:
    real: Any = MqttConnection.__init__

    def make(self: MqttConnection, *arguments: Any, **named: Any) -> None:
        real(self, *arguments, **{**named, "clean_session": False})

    monkeypatch.setattr(MqttConnection, "__init__", make)


def leaves_without_its_will(monkeypatch: pytest.MonkeyPatch) -> None:
    real: Any = MqttConnection.disconnect

    async def disconnect(self: MqttConnection, *, with_will: bool = False, **named: Any) -> None:
        await real(self, **named)

    monkeypatch.setattr(MqttConnection, "disconnect", disconnect)


_STALE = "operational-behavior-edge-node-termination-host-action"
FAULTS = (
    Fault(
        "conformance-mqtt-aware-store conformance-mqtt-aware-nbirth-mqtt-retain"
        " conformance-mqtt-aware-dbirth-mqtt-retain",
        patched(BrokerContext, "retain_message", _nothing),
    ),
    Fault(
        "conformance-mqtt-aware-nbirth-mqtt-topic conformance-mqtt-aware-dbirth-mqtt-topic",
        patched(broker, "CERTIFICATES_TOPIC", "$sparkplug/births"),
    ),
    Fault("conformance-mqtt-aware-nbirth-mqtt-topic", patched(broker, "_is_birth", lambda topic: "DBIRTH" in topic)),
    Fault("conformance-mqtt-aware-dbirth-mqtt-topic", patched(broker, "_is_birth", lambda topic: "NBIRTH" in topic)),
    Fault("conformance-mqtt-aware-ndeath-timestamp", broadcast(data=b"\x08\x01")),
    Fault("conformance-mqtt-qos1", broadcast(qos=0)),
    Fault("message-flow-phid-sparkplug-clean-session-311 principles-persistence-clean-session-311", keeps_its_session),
    Fault("message-flow-phid-sparkplug-clean-session-50 principles-persistence-clean-session-50", keeps_its_session),
    Fault("message-flow-phid-sparkplug-clean-session-50", keeps_its_session),
    Fault("payloads-ndeath-will-message-publisher-disconnect-mqtt50", leaves_without_its_will),
    Fault(
        f"{_STALE}-ndeath-node-tags-stale {_STALE}-ndeath-devices-tags-stale {_STALE}-ddeath-devices-tags-stale",
        nothing_gets_stale,
    ),
)
