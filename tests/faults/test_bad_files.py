"""A broken tree or node file: exit code 2, one clear message that says where, no traceback."""

from __future__ import annotations

import subprocess

import pytest

from tests.faults.process import REPOSITORY, python_module

pytestmark = pytest.mark.integration

TREE = """\
uns: 1
enterprise: acme
classes:
  Reactor:
    metrics:
      temperature: {type: Float}
sites:
  dallas:
    time_zone: America/Chicago
    equipment:
      reactor4: {level: Unit, class: Reactor, gateways: [gw-1]}
"""
NODE = """\
uns: 1
gateway: gw-1
tree: topic_tree.yaml
broker: {url: mqtt://127.0.0.1:1}
sources:
  plc:
    kind: opcua
    url: opc.tcp://127.0.0.1:1
    equipment:
      reactor4:
        temperature: {node: "nsu=urn:plc;s=T"}
"""


def run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=30, check=False)


def assert_one_clear_message(done: subprocess.CompletedProcess[str], *, where: str, about: str) -> None:
    said = done.stdout + done.stderr
    assert done.returncode == 2, said
    assert "Traceback" not in said
    assert where in said
    assert about in said
    assert len(said.strip().splitlines()) <= 6, said


@pytest.mark.parametrize(
    ("old", "new", "about"),
    [
        pytest.param("type: Float", "type: Flaot", "Flaot", id="unknown type"),
        pytest.param("class: Reactor", "class: Raector", "Raector", id="unknown class"),
        pytest.param("enterprise: acme\n", "", "enterprise", id="missing key"),
        pytest.param("    metrics:\n", "    metrics:\n    metrics:\n", "metrics", id="duplicate key"),
        pytest.param("uns: 1\n", "uns: 1\n\t- oops: [\n", "topic_tree.yaml:2", id="no YAML"),
        pytest.param(TREE, "", "topic_tree.yaml", id="empty file"),
        pytest.param(TREE, "\x00\x01", "topic_tree.yaml", id="binary"),
    ],
)
def test_a_broken_tree_stops_the_host_with_the_place_of_the_mistake(tmp_path, old, new, about):
    tree = tmp_path / "topic_tree.yaml"
    tree.write_text(TREE.replace(old, new, 1))
    done = run(
        *python_module("uns", "host", "run", "--tree", str(tree), "--broker", "mqtt://127.0.0.1:1"),
        *("--store", str(tmp_path / "store"), "--host-id", "h1"),
    )
    assert_one_clear_message(done, where="topic_tree.yaml", about=about)


@pytest.mark.parametrize(
    ("old", "new", "about"),
    [
        pytest.param("kind: opcua", "kind: opcau", "opcau", id="unknown kind"),
        pytest.param("temperature:", "temprature:", "temprature", id="unknown metric"),
        pytest.param("reactor4:", "reactor5:", "reactor5", id="unknown equipment"),
        pytest.param("gateway: gw-1", "gateway: gw-9", "gw-9", id="unknown gateway"),
        pytest.param("mqtt://127.0.0.1:1", "http://127.0.0.1", "http://127.0.0.1", id="no broker URL"),
        pytest.param("tree: topic_tree.yaml", "tree: nowhere.yaml", "nowhere.yaml", id="no such tree"),
        pytest.param("sources:", "sourcse:", "sourcse", id="unknown key"),
        pytest.param(NODE, "[", "node.yaml", id="no YAML"),
    ],
)
@pytest.mark.parametrize("command", ["run", "check"])
def test_a_broken_node_file_stops_the_edge_with_the_place_of_the_mistake(tmp_path, command, old, new, about):
    (tmp_path / "topic_tree.yaml").write_text(TREE)
    node = tmp_path / "node.yaml"
    node.write_text(NODE.replace(old, new, 1))
    done = run(*python_module("edge_nodes.cli", command, "--config", str(node)))
    assert_one_clear_message(done, where="node.yaml", about=about)
    assert not (tmp_path / "store.db").exists(), "a broken file left a store behind"


def test_a_missing_file_is_a_wrong_configuration(tmp_path):
    done = run(*python_module("edge_nodes.cli", "run", "--config", str(tmp_path / "nowhere.yaml")))
    assert_one_clear_message(done, where="nowhere.yaml", about="nowhere.yaml")
