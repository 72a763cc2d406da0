"""What stands in for a part that needs a disk says the same as that part."""

from __future__ import annotations

import random
from pathlib import Path

from tests.simulation.join import HostStore
from uns.adapters.sqlite.raw_log import RawBirth, RawLog, RawMessage
from uns.sparkplug.topics import EdgeNodeDescriptor

NODES = [EdgeNodeDescriptor("g", "a"), EdgeNodeDescriptor("g", "b")]


def test_the_raw_log_in_memory_gives_back_the_same_births(tmp_path: Path):
    rng = random.Random(4)
    log, store = RawLog(tmp_path / "raw.db"), HostStore()
    session = dict.fromkeys(NODES, "s0")
    for position in range(1, 120):
        node, device = rng.choice(NODES), rng.choice((None, "d1", "d2"))
        if device is None:
            session[node] = f"s{rng.randrange(3)}"
        payload = None if rng.random() < 0.3 else b"%d" % position
        message = RawMessage(position, position, str(node), session[node], 0, payload or b"")
        birth = RawBirth(position, position, node, device, session[node], None if payload is None else 3, payload)
        log.append([message], [birth])
        store.append([message], [birth], [])
        somewhere = rng.randrange(position + 2)
        assert store.births_until(somewhere) == log.births_until(somewhere)
        held = {(h.edge_node, h.session_id, h.bd_seq, h.birth): h.devices for h in store.held()}
        assert held == {(h.edge_node, h.session, h.bd_seq, h.payload): h.devices for h in log.held()}
        assert store.head == log.head()
    log.close()
