"""The smallest form of what the fault tests found, so that it is found again in milliseconds."""

from __future__ import annotations

import sqlite3

from edge_nodes.store import waiting_orphans
from uns.delivery.edge import EdgeDelivery
from uns.delivery.messages import Confirm
from uns.enrichment.samples import Provenance
from uns.namespace.model import TopicTree
from uns.runtime.host.intake import DeviceReader
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
        for repeated in (False, True):
            limiter.ask(node, "unknown_session", now_ns)
            due_ns = limiter.next_deadline_ns()
            assert due_ns is not None
            assert due_ns - now_ns == (10_000 * 1_000_000 if repeated else 0)
            now_ns = due_ns
            assert limiter.take_due(now_ns)


def test_births_that_the_host_asked_for_end_the_back_off_of_history():
    """With a PLC that paused, nothing asked again: rows that were refused for want of births waited five minutes."""
    delivery = EdgeDelivery(host_id="h", history_backoff_ms=5_000)
    delivery.session_started("s", head=100, now_ns=0)
    for n in range(1, 9):
        assert delivery.history_room(n) or n > 3
        if n <= 3:
            delivery.sent("history", from_id=delivery.history_position, next_id=10, messages=1, now_ns=n)
        else:
            delivery.sent("live", from_id=delivery.live_position, next_id=100 + n, messages=1, now_ns=n)
        delivery.receive_timer(10**9 * n)
        delivery.receive_confirm(Confirm(session="s", n=n, ok=False), 10**9 * n)
    now_ns = 10**9 * 9
    assert not delivery.may_send_history(now_ns)
    delivery.reborn(now_ns)
    assert delivery.may_send_history(now_ns)


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
