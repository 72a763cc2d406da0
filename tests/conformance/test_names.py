"""Names in an installation: of ids and metrics that differ, and of edge nodes that are one of a kind."""

from __future__ import annotations

import pytest

from tests.conformance.lives import START_MS
from uns.namespace.loader import lint_text
from uns.sparkplug import Connect, EdgeNodeDescriptor, EdgeNodeSession

TREE = """\
uns: 1
enterprise: acme
classes:
  Pump:
    metrics:
      flow: {type: Float, unit: MQH}
      METRIC: {type: Float, unit: MQH}
sites:
  dallas:
    time_zone: America/Chicago
    equipment:
      pump1: {level: Unit, class: Pump, gateways: [gw-1]}
      DEVICE: {level: Unit, class: Pump, gateways: [gw-1]}
      pump3: {level: Unit, class: Pump, gateways: [NODE]}
  GROUP:
    time_zone: America/Chicago
    equipment:
      pump4: {level: Unit, class: Pump, gateways: [OTHER]}
"""
NAMES = {"METRIC": "speed", "DEVICE": "pump2", "NODE": "gw-2", "GROUP": "austin", "OTHER": "gw-3"}


def findings(**names: str) -> set[tuple[str, str]]:
    """What ``uns tree lint`` says of it; no host and no gateway starts with a tree that has errors."""
    text = TREE
    for place, name in {**NAMES, **names}.items():
        text = text.replace(place, name)
    tree, found = lint_text(text)
    assert (tree is None) == any(finding.severity == "error" for finding in found)
    return {(finding.rule, finding.severity) for finding in found}


def test_a_tree_of_distinct_names_is_clean():
    assert findings() == set()


@pytest.mark.tck("tck-id-case-sensitivity-metric-names")
def test_metric_names_that_differ_in_case_alone_are_refused():
    assert findings(METRIC="FLOW") == {("case-only", "error")}


@pytest.mark.tck("tck-id-case-sensitivity-sparkplug-ids")
@pytest.mark.parametrize(
    ("place", "name", "severity"),
    [("GROUP", "Dallas", "error"), ("DEVICE", "Pump1", "error"), ("NODE", "GW-1", "warning")],
)
def test_ids_that_differ_in_case_alone_are_told(place, name, severity):
    assert ("case-only", severity) in findings(**{place: name})


@pytest.mark.tck(
    "tck-id-intro-edge-node-id-uniqueness",
    "tck-id-payloads-nbirth-edge-node-descriptor",
    "tck-id-topic-structure-namespace-unique-edge-node-descriptor",
)
def test_a_name_of_a_gateway_stands_for_one_edge_node_in_the_tree():
    assert findings(OTHER="gw-1") == {("gateway-site", "error")}


@pytest.mark.tck(
    "tck-id-intro-edge-node-id-uniqueness",
    "tck-id-payloads-nbirth-edge-node-descriptor",
    "tck-id-topic-structure-namespace-unique-edge-node-descriptor",
)
def test_of_one_edge_node_no_broker_keeps_two_connections():
    """They have one client id, so that the newer one ends the older; other nodes have others."""

    def client_id(group_id: str, edge_node_id: str) -> str:
        session = EdgeNodeSession(EdgeNodeDescriptor(group_id, edge_node_id))
        session.connect(bd_seq=0, session_id="s", now_ns=START_MS * 1_000_000)
        (connect,) = session.actions()
        assert isinstance(connect, Connect)
        return connect.client_id

    assert client_id("g", "n") == client_id("g", "n")
    assert len({client_id("g", "n"), client_id("g", "n2"), client_id("g2", "n"), client_id("g2", "n2")}) == 4
