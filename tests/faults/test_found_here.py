"""The smallest form of what the fault tests found, so that it is found again in milliseconds."""

from __future__ import annotations

import sqlite3

from edge_nodes.store import waiting_orphans
from uns.enrichment.samples import Provenance
from uns.namespace.model import TopicTree
from uns.runtime.intake import DeviceReader
from uns.sparkplug.metrics import BirthPayload, DataPayload
from uns.sparkplug.rebirths import RebirthLimiter, no_jitter
from uns.sparkplug.topics import EdgeNodeDescriptor


def test_a_store_that_a_first_run_is_just_making_has_no_orphans(tmp_path):
    file = tmp_path / "store.db"
    connection = sqlite3.connect(file)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.close()
    assert waiting_orphans(file, identity="acme.dallas/gw-1", names=[]) == {}


def test_data_without_metrics_is_no_sample_of_anything():
    tree = TopicTree(enterprise="acme", sites={}, classes={}, equipment={}, context={}, contract_hash="")
    birth = BirthPayload(timestamp_ms=1, seq=0, bd_seq=None, metrics=[], rejected=[])
    reader = DeviceReader(tree, EdgeNodeDescriptor("acme.dallas", "foreign"), None, birth, ours=False)
    data = DataPayload(timestamp_ms=1, seq=1, bindings=[], values=[], times_ms=[])
    work = reader.read_data(data, PROVENANCE)
    assert (work.batches, work.samples) == ([], 0)


def test_a_new_session_waits_no_longer_for_what_earlier_ones_asked():
    """A broker that was restarted five times in a minute: the fifth session waited a minute for its rebirth."""
    limiter = RebirthLimiter(interval_min_ms=10_000, interval_max_ms=300_000, per_second_max=10, jitter=no_jitter)
    node, now_ns = EdgeNodeDescriptor("acme.dallas", "gw-1"), 0
    for session in range(5):
        limiter.receive_session(node, f"session {session}")
        limiter.ask(node, "unknown_session", now_ns)
        due_ns = limiter.next_deadline_ns()
        assert due_ns is not None
        assert due_ns - now_ns <= 10_000 * 1_000_000
        now_ns = due_ns
        assert limiter.take_due(now_ns)


PROVENANCE = Provenance(
    group_id="acme.dallas",
    edge_node_id="foreign",
    device_id=None,
    session="",
    bd_seq=0,
    seq=1,
    historical=False,
    received_at_ns=1,
    raw_position=1,
)
