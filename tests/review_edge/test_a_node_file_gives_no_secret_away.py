"""What stands before the @ of an address may be a password; and what is missing is told before it is needed."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_nodes.node_file import lint_node
from tests.edge_nodes.nodes import modbus_node, opcua_node, write

SECRET = "hunter2"


@pytest.mark.parametrize(
    "node",
    [
        opcua_node('level: {node: "i=1"}', url=f"opc.tcp://user:{SECRET}@10.0.0.1:4840", equipment="tank1"),
        modbus_node(
            "level: {register: holding:40001, format: float32}",
            url=f"modbus+tcp://user:{SECRET}@10.0.0.1:502",
            equipment="tank1",
        ),
        opcua_node('level: {node: "i=1"}', broker=f"mqtt://user:{SECRET}@10.0.0.1", equipment="tank1"),
    ],
)
def test_credentials_in_an_address_are_refused_and_not_shown(tmp_path: Path, node: str) -> None:
    findings = lint_node(write(tmp_path, node))
    assert any(finding.rule == "url" for finding in findings)
    assert not any(SECRET in str(finding) for finding in findings)


@pytest.mark.parametrize(
    ("source", "key"),
    [
        ("username: user\npassword_file: nowhere.txt", "nowhere.txt"),
        ("security: {policy: Basic256Sha256, trust: trust, cert_file: c.der, key_file: k.pem}", "c.der"),
    ],
)
def test_files_that_an_opc_ua_source_needs_are_looked_for(tmp_path: Path, source: str, key: str) -> None:
    findings = lint_node(write(tmp_path, opcua_node('level: {node: "i=1"}', source=source, equipment="tank1")))
    assert any(finding.rule == "file" and key in str(finding) for finding in findings)


@pytest.mark.parametrize(
    ("source", "file"),
    [
        ("username: user\npassword_file: plc.password", "plc.password"),
        ("security: {policy: Basic256Sha256, trust: trust, cert_file: gw.der, key_file: gw.pem}", "gw.pem"),
    ],
)
@pytest.mark.parametrize("rights", [0o640, 0o604])
def test_secrets_of_an_opc_ua_source_that_others_can_read_are_refused(
    tmp_path: Path, source: str, file: str, rights: int
) -> None:
    for name in ("plc.password", "gw.der", "gw.pem"):
        (tmp_path / name).write_text(SECRET)
        (tmp_path / name).chmod(0o600)
    node = opcua_node('level: {node: "i=1"}', source=source, equipment="tank1")
    assert not [finding for finding in lint_node(write(tmp_path, node)) if finding.rule == "secret"]
    (tmp_path / file).chmod(rights)
    (finding,) = (one for one in lint_node(write(tmp_path, node)) if one.rule == "secret")
    assert f"chmod 600 {tmp_path / file}" in str(finding)
    assert SECRET not in str(finding)
