"""The audit log of a gateway: commands, settings, starts and stops, beside its store and anchored at its broker."""

from __future__ import annotations

import contextlib
import json
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from edge_nodes.audit import audit_path
from tests.edge_nodes.gateway import confirming_host, gateway
from tests.edge_nodes.nodes import load, opcua_node
from tests.servers import eventually, mosquitto
from uns.adapters.broker import free_port
from uns.adapters.mqtt import BrokerAddress, MqttConnection
from uns.adapters.sqlite.audit_log import AuditQuery, AuditReader
from uns.audit.chain import AuditEntry
from uns.errors import ConfigurationError
from uns.runtime.audit_check import retained_anchor, verify_store
from uns.sparkplug import codec
from uns.sparkplug.datatypes import DataType
from uns.sparkplug.messages import Message
from uns.sparkplug.metrics import REBIRTH, BirthMetric

pytestmark = pytest.mark.integration

WIRING = 'count: {node: "nsu=urn:plc4;s=Count"}'
COMPONENT = "acme.dallas/gw-1"


def entries(store: Path, **query: Any) -> list[AuditEntry]:
    with contextlib.suppress(ConfigurationError), AuditReader(audit_path(store)) as reader:
        return list(reader.find(AuditQuery(**query)))
    return []


def detail_of(entry: AuditEntry) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(entry.detail)
    return found


async def command(address: BrokerAddress, topic: str, name: str, datatype: DataType, value: Any) -> None:
    payload = codec.encode_command([BirthMetric(name=name, datatype=datatype, value=value)], timestamp_ms=1)
    async with MqttConnection(address, client_id="somebody") as connection:
        await connection.publish_acknowledged(Message(topic, payload, qos=1))


async def test_what_a_gateway_is_told_is_written_down_and_anchored(tmp_path: Path) -> None:
    with mosquitto(tmp_path) as broker:
        address = BrokerAddress(url=broker.url)
        plc = f"opc.tcp://127.0.0.1:{free_port()}"
        config = load(tmp_path, opcua_node(WIRING, broker=broker.url, url=plc))
        store = config.store.path
        async with confirming_host(broker.url), gateway(config) as edge:
            await eventually(lambda: edge.stats["online"], what="it is online")
            topic = "spBv1.0/acme.dallas/NCMD/gw-1"
            await command(address, topic, "temperature", DataType.FLOAT, 250.0)
            await eventually(lambda: entries(store, action="command.refused"), what="the refusal is written down")
            await command(address, topic, REBIRTH, DataType.BOOLEAN, True)
            await eventually(lambda: entries(store, action="command.executed"), what="the rebirth is written down")
            edge.runtime.audit.dropped(17, "drop_oldest")
            await eventually(lambda: entries(store, action="store.dropped"), what="the loss is written down")
        refused = entries(store, action="command.refused")[0]
        assert (refused.subject, detail_of(refused)["metrics"]) == (COMPONENT, ["temperature"])
        anchor = await retained_anchor(address, COMPONENT)
        assert anchor.anchor is not None
        assert anchor.anchor.number == entries(store)[-1].number, "a clean stop leaves the newest anchor behind"
        assert entries(store)[-1].action == "component.stopped"
        assert verify_store(audit_path(store), at_broker=anchor).ok

        changed = load(tmp_path, opcua_node(WIRING, broker=broker.url, url=plc, source="sampling: 20ms"))
        async with gateway(changed) as edge:
            await eventually(lambda: entries(store, action="configuration.changed"), what="the change is written down")
        (change,) = entries(store, action="configuration.changed")
        assert set(detail_of(change)["changed"]) == {"source plc"}
        assert verify_store(audit_path(store)).ok


async def test_a_gateway_that_cannot_write_its_audit_log_goes_on(tmp_path: Path) -> None:
    with mosquitto(tmp_path) as broker:
        config = load(tmp_path, opcua_node(WIRING, broker=broker.url, url=f"opc.tcp://127.0.0.1:{free_port()}"))
        audit_path(config.store.path).mkdir(parents=True)
        async with gateway(config) as edge:
            await eventually(lambda: edge.stats["online"], what="it is online all the same")


async def test_a_clock_that_was_set_is_written_down_with_both_times_and_the_session_it_ended(tmp_path: Path) -> None:
    offset_ns = 0
    with mosquitto(tmp_path) as broker:
        config = load(tmp_path, opcua_node(WIRING, broker=broker.url, url=f"opc.tcp://127.0.0.1:{free_port()}"))
        async with confirming_host(broker.url), gateway(config) as edge:
            publisher = edge.runtime.publisher
            publisher._clock.wall_ns = lambda: time.time_ns() + offset_ns
            await eventually(lambda: edge.stats["online"], what="it is online")
            offset_ns = 3_600_000_000_000
            await eventually(lambda: edge.stats["clock_steps"] == 1, what="the step forward")
            session = publisher._session.session_id
            offset_ns = 0
            await eventually(
                lambda: edge.stats["clock_set_back"] == 1 and edge.stats["births"] == 2, what="a new session"
            )
            store = config.store.path
            await eventually(lambda: entries(store, action="clock.set_back"), what="the step back is written down")
        ((forward,), (back,)) = entries(store, action="clock.set_forward"), entries(store, action="clock.set_back")
        told, kept = detail_of(back), detail_of(forward)
        assert told["session_ended"] == session
        assert "session_ended" not in kept
        assert told["seconds"] == pytest.approx(-3600, abs=5)
        assert kept["seconds"] == pytest.approx(3600, abs=5)
        stepped = datetime.fromisoformat(told["to"]) - datetime.fromisoformat(told["from"])
        assert stepped.total_seconds() == pytest.approx(told["seconds"], abs=0.01)
        assert verify_store(audit_path(store)).ok
