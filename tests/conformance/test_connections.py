"""How our clients connect: clean sessions, and what a gateway does not do yet (the ledger says `not met`)."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest

from edge_nodes.node_file import lint_node
from tests.edge_nodes.nodes import opcua_node, write
from uns.adapters.mqtt import MqttConnection


@pytest.mark.tck(
    "tck-id-principles-persistence-clean-session-311", "tck-id-message-flow-phid-sparkplug-clean-session-311"
)
def test_connections_are_clean_by_default():
    assert inspect.signature(MqttConnection).parameters["clean_session"].default is True


@pytest.mark.tck(
    "tck-id-operational-behavior-edge-node-termination-host-offline-reconnect",
    "tck-id-operational-behavior-primary-application-state-with-multiple-servers-walk",
)
def test_not_met_a_gateway_knows_one_broker(tmp_path: Path):
    one = opcua_node('temperature: {node: "nsu=urn:plc4;s=R4.Temp"}')
    assert lint_node(write(tmp_path, one)) == []
    two = one.replace("{url: mqtt://127.0.0.1:1883}", "[{url: mqtt://127.0.0.1:1883}, {url: mqtt://127.0.0.1:1884}]")
    assert two != one
    assert any("broker" in str(finding) for finding in lint_node(write(tmp_path, two)))
