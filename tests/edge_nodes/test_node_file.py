"""node.yaml: what is read from it, and every mistake with its place and next step."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_nodes.modbus.config import ModbusConfig
from edge_nodes.node_file import lint_node, load_node
from edge_nodes.opcua.config import NodeAddress, OpcUaConfig, parse_node_address
from edge_nodes.wiring import TimeLimits
from tests.edge_nodes.nodes import TREE, load, modbus_node, opcua_node, write
from uns.errors import ConfigurationError

TEMPERATURE = 'temperature: {node: "nsu=urn:plc4;s=R4.Temp"}'
ENERGY = "energy: {register: holding:40012, format: uint32, order: CDAB, scale: 0.1}"


def findings(tmp_path: Path, node: str, tree: str = TREE) -> str:
    return "\n".join(str(f) for f in lint_node(write(tmp_path, node, tree)))


def test_an_opcua_gateway(tmp_path: Path) -> None:
    config = load(
        tmp_path,
        opcua_node(
            f"{TEMPERATURE}\npressure: {{path: Objects/Reactor4/Pressure}}",
            source="trigger: status_value_timestamp\nreduction: off\nlimits: unlimited\nqueue_size: 7\npublishing: 1s",
        ),
    )
    (source,) = config.sources
    assert isinstance(source, OpcUaConfig)
    assert str(config.edge_node) == "acme.dallas/gw-1"
    assert (source.trigger, source.queue_size, source.publishing_ms) == ("status_value_timestamp", 7, 1000)
    assert (source.options.reduction, source.options.limits) == (False, TimeLimits(-1, -1))
    assert [point.address for _, point in source.points] == ["nsu=urn:plc4;s=R4.Temp", "Objects/Reactor4/Pressure"]
    assert [wiring.key for wiring in config.metrics] == [("reactor4", "temperature"), ("reactor4", "pressure")]
    assert config.warnings == ()


def test_a_modbus_gateway(tmp_path: Path) -> None:
    config = load(tmp_path, modbus_node(ENERGY, source="unit_id: 3\nevery: 250ms"))
    (source,) = config.sources
    assert isinstance(source, ModbusConfig)
    assert (source.host, source.port, source.modbus_unit_id, source.every_ms) == ("127.0.0.1", 502, 3, 250)
    ((_, point),) = source.points
    assert (point.offset, point.order, point.scale) == (11, "CDAB", 0.1)
    assert config.metrics[0].address == "holding:40012 uint32 CDAB x 0.1"


def test_paths_are_relative_to_the_node_file(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").touch()
    config = load(
        tmp_path,
        opcua_node(TEMPERATURE).replace("{url: mqtt://127.0.0.1:1883}", "{url: mqtts://b:8883, ca_file: ca.pem}"),
    )
    assert config.broker.ca_file == str(tmp_path / "ca.pem")
    assert config.store.path == tmp_path / "gw-1.db"


def test_broker_and_store_of_the_command_line_win(tmp_path: Path) -> None:
    path = write(tmp_path, opcua_node(TEMPERATURE))
    config = load_node(path, broker="mqtt://elsewhere:1884", store=tmp_path / "x.db")
    assert config.broker.url == "mqtt://elsewhere:1884"
    assert config.store.path == tmp_path / "x.db"


def several(*brokers: str, top: str = "delivery: {level: host}") -> str:
    made = opcua_node(TEMPERATURE, broker="BROKER", top=top)
    return made.replace("broker: {url: BROKER}", f"brokers: [{', '.join(brokers)}]")


def test_brokers_are_tried_in_their_order(tmp_path: Path) -> None:
    one, two = "{url: mqtt://a, username: u}", "{url: mqtt://b:1884, mqtt: 5}"
    config = load(tmp_path, several(one, two, top="primary_host: h\nprimary_host_wait: 5s"))
    assert [(b.url, b.username, b.mqtt5) for b in config.brokers] == [
        ("mqtt://a", "u", False),
        ("mqtt://b:1884", None, True),
    ]
    assert (config.primary_host_wait_ms, config.when_host_silent) == (5_000, "leave")
    assert load(tmp_path, opcua_node(TEMPERATURE, top="primary_host: h")).when_host_silent == "wait"
    alone = load_node(write(tmp_path, several(one, two)), broker="mqtt://elsewhere:1884")
    assert [b.url for b in alone.brokers] == ["mqtt://elsewhere:1884"]


@pytest.mark.parametrize(
    ("node", "rule", "step"),
    [
        (several(), "brokers", "list 1 to 16"),
        (several("{url: mqtt://a}", "{url: mqtt://a}"), "brokers", "keep one"),
        (several("{url: http://a}"), "url", "mqtt://host"),
        (several("mqtt://a"), "wrong-value", "mappings in the list"),
        (several("{username: a}"), "missing-key", "broker 1 lacks 'url'"),
        (several("{url: mqtt://a, mqtt: 4}"), "wrong-value", "3.1.1, 5"),
        (several("{url: mqtt://a}", top="broker: {url: mqtt://b}"), "brokers", "put all into `brokers:`"),
        (opcua_node(TEMPERATURE, top="primary_host_wait: 5s"), "primary-host", "primary_host:"),
        (opcua_node(TEMPERATURE, top="primary_host: h\nwhen_host_silent: go"), "wrong-value", "next_broker"),
    ],
)
def test_mistakes_in_brokers(tmp_path: Path, node: str, rule: str, step: str) -> None:
    found = findings(tmp_path, node)
    assert f": {rule}: " in found
    assert step in found


def test_limits_may_be_given_one_by_one(tmp_path: Path) -> None:
    config = load(tmp_path, opcua_node(TEMPERATURE, source="limits: {past_max: 7d, future_max: 10s}"))
    assert config.sources[0].options.limits == TimeLimits(7 * 86_400_000, 10_000)


@pytest.mark.parametrize(
    ("metrics", "rule", "step"),
    [
        ('temprature: {node: "i=1"}', "unknown-metric", "did you mean 'temperature'?"),
        ("temperature: {}", "address", "such as"),
        ('temperature: {node: "i=1", path: Objects/X}', "address", "either"),
        ('temperature: {node: "ns=2;s=T"}', "node", "namespace indexes change"),
        ("temperature: {node: R4.Temp}", "node", "nsu=urn:plc4;s=R4.Temp"),
        ('temperature: {node: "i=4294967296"}', "node", "identifier"),
        ("temperature: {path: Objects//X}", "path", "root"),
        ('temperature: {node: "i=1", type: Float}', "unknown-key", "known are"),
        ('temperature: {node: "i=1"}\ntemperature: {node: "i=2"}', "duplicate-key", "keep one"),
    ],
)
def test_mistakes_in_opcua_wiring(tmp_path: Path, metrics: str, rule: str, step: str) -> None:
    found = findings(tmp_path, opcua_node(metrics))
    assert f": {rule}: " in found
    assert step in found


@pytest.mark.parametrize(
    ("metrics", "rule", "step"),
    [
        ("count: {register: holding:40001, format: float32}", "format", "float registers fit Float, Double"),
        ("count: {register: holding:40001, format: uint32, scale: 0.1}", "scale", "declare the metric as Double"),
        ("phase: {register: holding:40001, format: string(4), scale: 2}", "scale", "remove `scale:`"),
        ("phase: {register: holding:40001, format: uint16}", "format", "Int16"),
        ("open: {register: holding:40001, format: int16}", "format", "Int16"),
        ("since: {register: holding:40001, format: uint64}", "format", "Float"),
        ("energy: {register: holding:40001, format: unit32}", "format", "did you mean 'uint32'?"),
        ("energy: {register: holding:40001}", "format", "lacks 'format'"),
        ("energy: {format: uint32}", "missing-key", "add `register: holding:40001`"),
        ("energy: {register: holding:1, format: uint32}", "register", "holding:#1"),
        ("energy: {register: holding:465536, format: uint32}", "register", "last register"),
        ("open: {register: coil:1, format: uint16}", "format", "leave the format out"),
        ("open: {register: coil:1, bit: 2}", "bit", "has none"),
        ("energy: {register: holding:40001, format: uint32, order: ABDC}", "wrong-value", "ABCD"),
        ("energy: {register: holding:40001, format: uint32, scale: 0}", "scale", "same"),
    ],
)
def test_mistakes_in_modbus_wiring(tmp_path: Path, metrics: str, rule: str, step: str) -> None:
    found = findings(tmp_path, modbus_node(metrics))
    assert f": {rule}: " in found
    assert step in found


def test_a_register_wider_than_its_metric_is_a_warning(tmp_path: Path) -> None:
    node = modbus_node("small: {register: holding:40001, format: int32}")
    assert "warning: format" in findings(tmp_path, node)
    assert len(load_node(tmp_path / "node.yaml").warnings) == 1


@pytest.mark.parametrize(
    ("old", "new", "rule", "step"),
    [
        ("gateway: gw-1", "gateway: gw-11", "unknown-gateway", "did you mean 'gw-1'?"),
        ("reactor4:", "reactor5:", "unknown-equipment", "did you mean 'reactor4'?"),
        ("reactor4:", "other:", "not-my-equipment", "add 'gw-1' to its `gateways:`"),
        ("kind: opcua", "kind: opcau", "wrong-value", "did you mean 'opcua'?"),
        ("kind: opcua", "kind: opcua\n    unit_id: 3", "unknown-key", "a opcua source has no 'unit_id'"),
        ("opc.tcp://127.0.0.1:4840", "127.0.0.1:4840", "url", "opc.tcp://host:4840"),
        ("mqtt://127.0.0.1:1883", "http://x", "url", "mqtt"),
        ("broker: {url: mqtt://127.0.0.1:1883}", "broker: {ca_file: no.pem}", "file", "no.pem"),
        ("uns: 1", "uns: 2", "version", "uns: 1"),
        ("level: host", "level: hots", "wrong-value", "did you mean 'host'?"),
        ("tree: topic_tree.yaml", "tree: nowhere.yaml", "tree", "nowhere.yaml"),
        ("sources:", "store: {bytes_max: 2}\nsources:", "wrong-value", "2GB"),
        ("sources:", "store: {when_full: drop}\nsources:", "wrong-value", "drop_oldest"),
        ("sources:", "store: {path: nowhere/s.db}\nsources:", "store", "make it first"),
        ("sources:", "primary_host: a/b\nsources:", "id", "cannot stand in a topic"),
    ],
)
def test_mistakes_elsewhere(tmp_path: Path, old: str, new: str, rule: str, step: str) -> None:
    found = findings(tmp_path, opcua_node(TEMPERATURE).replace(old, new, 1))
    assert f": {rule}: " in found
    assert step in found


def test_every_finding_has_its_place(tmp_path: Path) -> None:
    found = findings(tmp_path, modbus_node("count: {register: holding:40001, format: float32}"))
    assert f"{tmp_path}/node.yaml:12:50: format:" in found


def test_a_metric_has_one_source(tmp_path: Path) -> None:
    node = opcua_node(TEMPERATURE)
    second = node[node.index("  plc:") :].replace("plc:", "plc2:")
    assert "source 'plc' feeds it in line" in findings(tmp_path, node + second)


def test_all_findings_are_told_at_once(tmp_path: Path) -> None:
    node = opcua_node("temprature: {node: x}\npresure: {node: y}").replace("mqtt://", "http://")
    with pytest.raises(ConfigurationError) as caught:
        load_node(write(tmp_path, node))
    assert len(caught.value.findings) == 3


def test_security_wants_trust_and_a_certificate(tmp_path: Path) -> None:
    found = findings(tmp_path, opcua_node(TEMPERATURE, source="security: {policy: Basic256Sha256}"))
    assert all(f"wants `{key}:`" in found for key in ("trust", "cert_file", "key_file"))


def test_a_plain_connection_across_the_network_is_a_warning_unless_it_is_meant(tmp_path: Path) -> None:
    remote = opcua_node(TEMPERATURE, url="opc.tcp://10.0.4.17:4840")
    assert "warning: insecure" in findings(tmp_path, remote)
    meant = opcua_node(TEMPERATURE, url="opc.tcp://10.0.4.17:4840", source="security: {insecure: true}")
    assert findings(tmp_path, meant) == ""


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("i=2258", NodeAddress(None, "i", "2258")),
        ("nsu=urn:plc4;s=R4;x=1.Temp", NodeAddress("urn:plc4", "s", "R4;x=1.Temp")),
        ("nsu=http://a/b;g=09087e75-8e5e-499b-954f-f2a9603db28a", None),
        ("nsu=urn:a;b=00ff", NodeAddress("urn:a", "b", "00ff")),
    ],
)
def test_node_addresses_read_and_print_alike(text: str, expected: NodeAddress | None) -> None:
    found = parse_node_address(text)
    assert str(found) == text
    assert expected is None or found == expected


@pytest.mark.parametrize("text", ["", "R4.Temp", "i=x", "g=1", "b=0", "nsu=;s=", "nsu=urn:a"])
def test_what_is_no_node_address(text: str) -> None:
    with pytest.raises(ValueError, match=r"nsu=|identifier"):
        parse_node_address(text)
