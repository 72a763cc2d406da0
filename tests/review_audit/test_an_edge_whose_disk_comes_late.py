"""A gateway goes on without its audit log; the anchor that came meanwhile is held against it as soon as it is open."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from edge_nodes.audit import EdgeAudit, audit_path
from tests.edge_nodes.nodes import load, opcua_node
from tests.review_audit.stores import NOW_NS
from uns.adapters.sqlite.audit_log import AuditQuery, AuditReader
from uns.audit.events import ANCHOR_ABSENT, MISMATCH

WIRING = 'count: {node: "nsu=urn:plc4;s=Count"}'
FOREIGN = json.dumps(
    {"schema": "uns1.audit_anchor/1", "component": "acme.dallas/gw-1", "log": "f" * 32, "number": 900,
     "hash": "0" * 64, "at": "2026-06-03T19:32:00Z"}
).encode()  # fmt: skip


async def test_an_anchor_that_comes_before_the_file_is_open_is_not_missed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("edge_nodes.audit.RETRY_S", 0.05)
    config = load(tmp_path, opcua_node(WIRING, broker="mqtt://127.0.0.1:1", url="opc.tcp://127.0.0.1:1"))
    path = audit_path(config.store.path)
    path.mkdir(parents=True)  # nobody can open that
    audit = EdgeAudit(config, "hash", wall_ns=lambda: NOW_NS, wake=lambda: None)
    running = asyncio.create_task(audit.run())
    await asyncio.sleep(0.1)
    audit.connected()
    await audit.receive(FOREIGN)
    path.rmdir()
    async with asyncio.timeout(10):
        while audit.anchor is None:
            await asyncio.sleep(0.05)
    running.cancel()
    await asyncio.wait([running])
    audit.close()
    with AuditReader(path) as reader:
        actions = [entry.action for entry in reader.find(AuditQuery())]
    assert MISMATCH in actions
    assert ANCHOR_ABSENT not in actions
