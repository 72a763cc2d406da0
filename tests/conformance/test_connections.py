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
from uns.sparkplug.edge_rules import client_id_of

pytestmark = pytest.mark.integration

WIRING = 'count: {node: "nsu=urn:plc4;s=Count"}'
# What mosquitto notes of a CONNECT: the name of the client, then its protocol level and its Clean Session flag.
CONNECTED = re.compile(r"New client connected from \S+ as (\S+) \(p2, c([01]),")


def connects(broker: MosquittoProcess) -> dict[str, set[str]]:
    """The Clean Session flags of all CONNECTs by client. Its log is whole when it has ended."""
    flags: dict[str, set[str]] = {}
    for client, flag in CONNECTED.findall(broker.log_file.read_text(encoding="utf-8")):
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
