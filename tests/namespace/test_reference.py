"""The reference documents name every key, level and unit there is, and their files load."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from edge_nodes.modbus.config import MODBUS_KEYS
from edge_nodes.node_file import load_node
from edge_nodes.opcua.config import OPCUA_KEYS
from uns.namespace import classes, loader
from uns.namespace.levels import PLACEABLE
from uns.namespace.units import UNITS
from uns.sparkplug.datatypes import SCALARS

ROOT = Path(__file__).resolve().parents[2]
TREE = (ROOT / "docs" / "reference" / "topic-tree.md").read_text()
NODE = (ROOT / "docs" / "reference" / "node-file.md").read_text()


def keys_read_in(module_file: str | None) -> set[str]:
    """Every word in quotes that a reader takes as a key: ``own.text("unit", …)``."""
    assert module_file is not None
    reads = r'\.(?:text|texts|integer|number|numbers|boolean|choice|duration_ns|size_bytes|fields|entries)\(\s*"(\w+)"'
    return set(re.findall(reads, Path(module_file).read_text()))


@pytest.mark.parametrize("key", sorted(keys_read_in(classes.__file__) | keys_read_in(loader.__file__)))
def test_every_key_of_a_tree_is_described(key):
    assert re.search(rf"`([\w.]+[.`, ]+)*{key}`|\.{key}`", TREE)


def test_every_level_type_and_unit_is_described():
    assert not [level for level in PLACEABLE if level.value not in TREE]
    assert not [code for code, unit in UNITS.items() if f"| `{code}` | {unit.symbol} | {unit.name} |" not in TREE]
    spans = {"Int16", "Int32", "UInt16", "UInt32"}  # within "Int8 … Int64"
    assert not [t for t in SCALARS if t.label not in TREE and t.label not in spans]


@pytest.mark.parametrize("key", sorted({*OPCUA_KEYS, *MODBUS_KEYS}))
def test_every_key_of_a_source_is_described(key):
    assert f"`{key}`" in NODE


def test_the_node_file_of_the_reference_loads(tmp_path):
    text, brokers = re.findall(r"```yaml\n(.*?)```", NODE, re.DOTALL)
    (tmp_path / "topic_tree.yaml").write_text((ROOT / "topic_tree.yaml").read_text())
    (tmp_path / "gw.node.yaml").write_text(text)
    assert load_node(tmp_path / "gw.node.yaml").gateway == "gw-reaction-1"
    (tmp_path / "ca.pem").write_text("")
    (tmp_path / "gw.node.yaml").write_text(re.sub(r"^broker: .*\n", brokers, text, flags=re.MULTILINE))
    assert len(load_node(tmp_path / "gw.node.yaml").brokers) == 2


@pytest.mark.parametrize("name", ["gw-reaction-1", "gw-energy"])
def test_the_example_gateways_load_and_together_feed_each_metric_once(name):
    plant = ROOT / "examples" / "plant"
    configs = {path.name: load_node(path) for path in plant.glob("*.node.yaml")}
    fed = [metric.key for config in configs.values() for metric in config.metrics]
    assert len(fed) == len(set(fed))
    config = configs[f"{name}.node.yaml"]
    declared = {
        (e.id, metric)
        for e in config.tree.equipment.values()
        if e.class_name is not None
        for metric in config.tree.classes[e.class_name].metrics
    }
    assert set(fed) == declared
