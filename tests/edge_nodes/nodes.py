"""Trees and node files for tests; everything that a test is not about has a default."""

from __future__ import annotations

from pathlib import Path

from edge_nodes.node_file import NodeConfig, load_node

__all__ = ["TREE", "load", "modbus_node", "opcua_node", "write"]

TREE = """\
uns: 1
enterprise: acme
classes:
  Reactor:
    metrics:
      temperature: {type: Float, unit: CEL, range: [-20, 250]}
      pressure: {type: Double, deadband: 0.5}
      count: {type: UInt32}
      big: {type: UInt64}
      small: {type: Int16}
      phase: {type: String}
      open: {type: Boolean}
      since: {type: DateTime}
      energy: {type: Double, unit: KWH}
  Folder:
    metrics:
      level: {type: Float}
sites:
  dallas:
    time_zone: America/Chicago
    equipment:
      reactor4: {level: Unit, class: Reactor, gateways: [gw-1]}
      tank1: {level: Unit, class: Folder, gateways: [gw-1]}
      other: {level: Unit, class: Folder, gateways: [gw-2]}
"""


def opcua_node(
    metrics: str,
    *,
    broker: str = "mqtt://127.0.0.1:1883",
    url: str = "opc.tcp://127.0.0.1:4840",
    source: str = "",
    top: str = "delivery: {level: host, mark_interval: 50ms}",
    equipment: str = "reactor4",
) -> str:
    """A node file with one OPC UA source; ``metrics`` are lines of one equipment."""
    lines = "\n".join(f"        {line.strip()}" for line in metrics.strip().splitlines())
    extra = "".join(f"    {line.strip()}\n" for line in source.strip().splitlines())
    return (
        f"uns: 1\ngateway: gw-1\ntree: topic_tree.yaml\nbroker: {{url: {broker}}}\n{top}\n"
        f"sources:\n  plc:\n    kind: opcua\n    url: {url}\n{extra}    equipment:\n      {equipment}:\n{lines}\n"
    )


def modbus_node(
    metrics: str,
    *,
    broker: str = "mqtt://127.0.0.1:1883",
    url: str = "modbus+tcp://127.0.0.1:502",
    source: str = "",
    top: str = "delivery: {level: host, mark_interval: 50ms}",
    equipment: str = "reactor4",
) -> str:
    """The same with one Modbus source."""
    return opcua_node(metrics, broker=broker, url=url, source=source, top=top, equipment=equipment).replace(
        "kind: opcua", "kind: modbus"
    )


def write(directory: Path, node: str, tree: str = TREE) -> Path:
    """Put the files into ``directory``; gives the node file."""
    (directory / "topic_tree.yaml").write_text(tree)
    path = directory / "node.yaml"
    path.write_text(node)
    return path


def load(directory: Path, node: str, tree: str = TREE) -> NodeConfig:
    """Write the files and read them."""
    return load_node(write(directory, node, tree))
