"""A bridge's audit log: what was posted, given up and decided, in its books; and its anchor at the broker."""

from __future__ import annotations

import asyncio
import hashlib
import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.servers import mosquitto
from uns.adapters.logs import get_logger
from uns.adapters.mqtt import BrokerAddress
from uns.adapters.sqlite.audit_log import AuditQuery, AuditReader
from uns.adapters.sqlite.bridge_store import BridgeStore
from uns.audit.chain import AuditEntry
from uns.audit.events import Life
from uns.bridges.port import OutboundItem
from uns.bridges.rules import RetryPolicy, Settled
from uns.runtime.audit import AuditTrail
from uns.runtime.audit_check import retained_anchor, verify_store
from uns.runtime.bridge.anchors import AnchorKeeper
from uns.runtime.bridge.bridge_file import lint_bridge, load_bridge
from uns.runtime.bridge.config import BridgeConfig
from uns.runtime.bridge.runner import RunnerLimits

MINUTE = 60_000_000_000
LIFE = Life(component="history", actor="uns", release="0.1.0", configuration={})


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "history.bridge.db"


def opened(path: Path, **settings: Any) -> BridgeStore:
    store = BridgeStore(path, **settings)
    store.claim("history")
    return store


def item(key: str, *, body: bytes = b"<doc/>", kind: str = "performance", position: int = 0) -> OutboundItem:
    return OutboundItem(
        key=key, kind=kind, body=body, subject=f"about {key}", first_position=position, last_position=position
    )


def put(store: BridgeStore, *items: OutboundItem) -> list[int]:
    store.take_in(items, progress=None, state={}, now_ns=1)
    return [stored.id for stored in store.due(2, limit=100, wait_max_ns=10)]


def entries(path: Path, **query: Any) -> list[AuditEntry]:
    with AuditReader(path) as reader:
        return list(reader.find(AuditQuery(**query)))


def detail_of(entry: AuditEntry) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(entry.detail)
    return found


DEAD = Settled(state="dead", error_class="business", reason="closed period", next_step="open it", attempts=1)


def test_a_delivery_and_a_dead_letter_are_entries_with_what_was_posted(path: Path):
    with closing(opened(path)) as store:
        first, second, third = put(store, item("a"), item("b", body=b"<b/>"), item("c"))
        waiting = Settled(state="waiting", reason="locked", attempts=1)
        store.settle([(first, Settled(state="delivered", receipt="4711")), (second, DEAD), (third, waiting)], 5)
        assert store.audit.head.number == 2
    delivered, dead = entries(path)
    assert (delivered.actor, delivered.action, delivered.subject) == ("bridge:history", "bridge.delivered", "history/a")
    assert detail_of(delivered)["receipt"] == "4711"
    assert (dead.action, detail_of(dead)["because"], detail_of(dead)["error_class"]) == (
        "bridge.dead",
        "closed period",
        "business",
    )
    assert detail_of(dead)["sha256"] == hashlib.sha256(b"<b/>").hexdigest()
    assert verify_store(path).ok


def test_what_a_person_decides_bears_their_name_and_reason(path: Path):
    with closing(opened(path)) as store:
        store.settle([(id_, DEAD) for id_ in put(store, item("a"), item("b"))], 5)
    with closing(BridgeStore(path)) as command:  # as `uns dlq` does: it claims nothing
        command.retry("a", actor="op-17", now_ns=6)
        command.drop("b", actor="op-18", reason="posted by hand", now_ns=7)
    retried, dropped = entries(path, action="dead_letter.")
    assert (retried.actor, retried.action, retried.subject) == ("op-17", "dead_letter.retry", "history/a")
    assert (dropped.actor, detail_of(dropped)["reason"]) == ("op-18", "posted by hand")
    assert {entry.component for entry in entries(path)} == {"history"}


def test_copies_of_the_log_are_told_as_a_sum_a_minute(path: Path):
    with closing(opened(path, audit_sums=True)) as store:
        items = [item(f"log:{n}", kind="log_range", position=n) for n in range(1, 11)]
        ids = put(store, *items)
        for n, id_ in enumerate(ids[:9]):
            store.settle([(id_, Settled(state="delivered"))], MINUTE + n)
        assert entries(path) == []
        store.settle([(ids[9], DEAD)], MINUTE + 10)
        assert [entry.action for entry in entries(path)] == ["bridge.dead"], "trouble is told one by one"
        store.audit.write_sums(2 * MINUTE)
        total = entries(path)[-1]
        assert (total.action, detail_of(total)["items"]) == ("bridge.delivered.sum", 9)
        assert detail_of(total)["positions"] == [1, 9]
        assert detail_of(total)["keys"] == ["log:1", "log:9"]
        store.audit.write_sums(9 * MINUTE, everything=True)
        assert len(entries(path)) == 2


def test_a_sum_outlives_a_kill(path: Path):
    with closing(opened(path, audit_sums=True)) as store:
        (id_,) = put(store, item("log:1", kind="log_range"))
        store.settle([(id_, Settled(state="delivered"))], MINUTE)
    with closing(opened(path, audit_sums=True)) as store:
        store.audit.write_sums(2 * MINUTE)
    assert detail_of(entries(path)[0])["items"] == 1


def test_a_target_that_was_restored_and_a_document_that_came_in_are_entries(path: Path):
    with closing(opened(path)) as store:
        store.rewind(40, expected=90, now_ns=5)
        store.see_document(b"\x01" * 32, "orders.xml", 5)
        store.finish_document(
            b"\x01" * 32, bod_id="B1", readable=True, orders=[("o1", 1, b"{}")], counters={"orders": 1}, now_ns=6
        )
    rewound, taken = entries(path)
    assert (rewound.action, detail_of(rewound)) == ("bridge.rewound", {"target": 40, "ours": 90})
    assert (taken.action, taken.subject, detail_of(taken)["orders"]) == ("document.taken", "history/orders.xml", 1)


def test_decisions_of_an_earlier_release_are_taken_into_the_chain(path: Path):
    opened(path).close()
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for table in ("audit_log", "audit_head", "audit_sums"):
            connection.execute(f"DROP TABLE {table}")
        connection.execute(
            "CREATE TABLE audit_events (id INTEGER PRIMARY KEY AUTOINCREMENT, at_ns INTEGER NOT NULL, "
            "actor TEXT NOT NULL, action TEXT NOT NULL, subject TEXT NOT NULL, detail TEXT NOT NULL) STRICT"
        )
        connection.execute(
            "INSERT INTO audit_events VALUES (1, 5, 'op-17', 'dead_letter.drop', 'history/a', '{\"reason\":\"x\"}')"
        )
        connection.execute("UPDATE meta SET value = 2 WHERE key = 'schema'")
    with closing(opened(path)):
        (entry,) = entries(path)
    assert (entry.actor, entry.at_ns, detail_of(entry)) == ("op-17", 5, {"adopted": True, "reason": "x"})
    assert verify_store(path).ok


def test_the_anchor_file_of_a_bridge_is_named_in_its_file(tmp_path: Path):
    file = tmp_path / "bridge.yaml"
    text = "uns: 1\nbridge: history\nkind: postgres\nhost: {store: host}\ntarget: {database: plant}\n"
    file.write_text(text + "audit: {anchor: elsewhere/history.json}\n")
    assert load_bridge(file).anchor_file == tmp_path / "elsewhere/history.json"
    file.write_text(text + "audit: {anker: x}\n")
    assert any("anker" in finding for finding in lint_bridge(file))


@pytest.mark.integration
async def test_a_bridge_anchors_its_log_at_its_broker_and_follows_what_commands_write(tmp_path: Path, path: Path):
    with mosquitto(tmp_path) as broker, closing(opened(path)) as store:
        address = BrokerAddress(url=broker.url)
        config = BridgeConfig(
            file=path, name="history", kind="postgres", host_store=path, store=path, store_bytes_max=1, target=None,
            retry=RetryPolicy(), limits=RunnerLimits(), grace_ns=0, dry_run=False, broker=address,
        )  # fmt: skip
        keeper = AnchorKeeper(config, None, log=get_logger("bridge"))

        async def blocking(call: Any) -> Any:
            return call()

        trail = AuditTrail(store.audit, LIFE, blocking=blocking, log=get_logger("audit"), show=keeper.show, shared=True)
        keeper.watch(trail.watch)
        await trail.start()
        tasks = [asyncio.create_task(trail.run()), asyncio.create_task(keeper.run())]
        try:

            async def until_anchored() -> None:
                async with asyncio.timeout(15):
                    while True:
                        found = await retained_anchor(address, "history")
                        if found.anchor is not None and found.anchor.number == entries(path)[-1].number:
                            assert verify_store(path, at_broker=found).ok
                            return

            await until_anchored()
            store.settle([(id_, DEAD) for id_ in put(store, item("a"))], 5)
            with closing(BridgeStore(path)) as command:
                command.retry("a", actor="op-17", now_ns=6)
            await until_anchored()
            await trail.stop()
            await keeper.drained()
            await until_anchored()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
    assert [entry.action for entry in entries(path)][-1] == "component.stopped"
