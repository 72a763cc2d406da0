"""The smallest form of what the fault tests found, so that it is found again in milliseconds."""

from __future__ import annotations

import sqlite3

from edge_nodes.store import waiting_orphans
from uns.enrichment.samples import Provenance
from uns.namespace.model import TopicTree
from uns.runtime.intake import DeviceReader
from uns.sparkplug.metrics import BirthPayload, DataPayload
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
