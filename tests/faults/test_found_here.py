"""The smallest form of what the fault tests found, so that it is found again in milliseconds."""

from __future__ import annotations

import sqlite3

from edge_nodes.store import waiting_orphans


def test_a_store_that_a_first_run_is_just_making_has_no_orphans(tmp_path):
    file = tmp_path / "store.db"
    connection = sqlite3.connect(file)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.close()
    assert waiting_orphans(file, identity="acme.dallas/gw-1", names=[]) == {}
