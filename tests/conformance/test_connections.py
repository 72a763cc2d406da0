"""How our clients connect: clean sessions."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from asyncua import ua

from tests.edge_nodes.gateway import Plc, confirming_host, gateway
from tests.edge_nodes.nodes import load, opcua_node
from tests.runtime.plants import plant
from tests.servers import eventually, mosquitto
from uns.adapters.broker import MosquittoProcess
from uns.adapters.mqtt import BrokerAddress, MqttConnection
from uns.sparkplug.edge_rules import client_id_of

pytestmark = pytest.mark.integration

WIRING = 'count: {node: "nsu=urn:plc4;s=Count"}'
# What mosquitto notes of a CONNECT: the name of the client, then its protocol level and its Clean Session flag.
CONNECTED = re.compile(r"New client connected from \S+ as (\S+) \(p([25]), c([01]),")


def connects(broker: MosquittoProcess, *, level: str = "2") -> dict[str, set[str]]:
    """The Clean Session flags of all CONNECTs of a protocol level by client. Its log is whole when it has ended."""
    flags: dict[str, set[str]] = {}
    for client, spoken, flag in CONNECTED.findall(broker.log_file.read_text(encoding="utf-8")):
        if spoken == level:
            flags.setdefault(client, set()).add(flag)
    return flags


@pytest.mark.tck("tck-id-principles-persistence-clean-session-311")
async def test_a_gateway_connects_with_a_clean_session(tmp_path: Path):
    with mosquitto(tmp_path) as broker:
        async with Plc({"Count": (0, ua.VariantType.UInt32)}) as plc:
            config = load(tmp_path, opcua_node(WIRING, broker=broker.url, url=plc.url))
            async with confirming_host(broker.url), gateway(config) as edge:
                await eventually(lambda: edge.stats["online"])
    assert connects(broker)[client_id_of(config.edge_node)] == {"1"}


@pytest.mark.tck("tck-id-message-flow-phid-sparkplug-clean-session-311")
async def test_a_host_connects_with_a_clean_session(tmp_path: Path):
    with mosquitto(tmp_path) as broker:
        async with plant(tmp_path, broker.url) as made:
            await made.start_host()  # until it is connected
    assert connects(broker)["host:uns-host-1"] == {"1"}


@pytest.mark.tck("tck-id-message-flow-phid-sparkplug-clean-session-50")
async def test_a_host_of_mqtt_5_starts_clean_and_leaves_no_session_behind(tmp_path: Path):
    with mosquitto(tmp_path) as broker:
        address = BrokerAddress(url=broker.url, mqtt5=True)
        async with plant(tmp_path, broker.url) as made:
            await made.start_host(broker=address)
            await made.crash_host()
            async with MqttConnection(address, client_id="host:uns-host-1", clean_session=False) as after:
                assert not after.session_present
    assert connects(broker, level="5")["host:uns-host-1"] == {"1", "0"}  # the host's, and the look at what it left
    assert "host:uns-host-1" not in connects(broker)
