"""The audit log in its database: in the transaction of what it tells of, and held against it."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.audit.builders import event
from tests.enrichment.builders import Host, fact
from uns.adapters.sqlite.audit_log import AuditQuery, AuditReader
from uns.adapters.sqlite.record_log import RecordLog
from uns.adapters.sqlite.record_schema import MIGRATIONS
from uns.audit.chain import Anchor, AuditEntry, Head, anchor_of
from uns.audit.events import Life, fact_accepted
from uns.audit.verification import Verification, Verifier
from uns.context.facts import Fact
from uns.enrichment.plan import RecordPlan
from uns.errors import ConfigurationError, StorageError

LIFE = Life(component="uns-host-1", actor="uns", release="0.1.0", configuration={"contract_hash": "aa", "store": "var"})
SECOND = 1_000_000_000


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "records.db"


@pytest.fixture
def records(path: Path):
    with closing(RecordLog(path)) as opened:
        yield opened


def entries_of(path: Path) -> list[AuditEntry]:
    with AuditReader(path) as reader:
        return list(reader.entries(to=reader.snapshot().last))


def actions_of(path: Path) -> list[str]:
    return [entry.action for entry in entries_of(path)]


def verified(path: Path, *anchors: Anchor, known: tuple[int, ...] = ()) -> Verification:
    with AuditReader(path) as reader:
        snapshot = reader.snapshot()
        verifier, facts = Verifier(snapshot.head, anchors=anchors, known=known), reader.fact_rows()
        for entry in reader.entries(to=snapshot.last):
            if verifier.receive(entry):
                facts.receive(entry, verifier)
        facts.finish(snapshot.facts or 0, verifier)
        return verifier.finish()


def tamper(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for name in ("audit_log_is_not_changed", "audit_log_is_not_shortened"):
            connection.execute(f"DROP TRIGGER IF EXISTS {name}")
        for statement in statements:
            connection.execute(statement)


def job(name: str, **fields: Any) -> Fact:
    return fact("job", id=name, **fields)


class FactsTold:
    """Facts through a real enricher into the log, each with its entry."""

    def __init__(self, records: RecordLog) -> None:
        self.records = records
        self.host = Host()
        self.enricher = self.host.enricher
        self.joined = 0

    def tell(self, *facts: Fact, now_ns: int = SECOND) -> None:
        pairs = []
        for one in facts:
            history = self.enricher.store.history(one.source, one.id)
            assert self.enricher.receive_fact(one, now_ns).accepted
            pairs.append((one, history[-1] if history else None))
        plan = self.enricher.drain()
        events = [fact_accepted(one, before, row, now_ns) for (one, before), row in zip(pairs, plan.facts, strict=True)]
        self.joined += 1
        self.records.commit(plan, joined=self.joined, audit=events)
        self.enricher.committed()


# ── writing ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_plan_and_its_entries_are_one_transaction(records: RecordLog, path: Path):
    records.audit.start(LIFE, SECOND)
    before = records.audit.head
    broken = RecordPlan(facts=[("only", "two")])  # type: ignore[list-item]
    with pytest.raises(StorageError):
        records.commit(broken, joined=1, audit=[event()])
    assert records.audit.head == before
    assert len(entries_of(path)) == before.number
    records.commit(RecordPlan(), joined=1, audit=[event(), event(2)])
    assert records.audit.head.number == before.number + 2
    assert verified(path).ok


def test_the_first_start_tells_that_the_log_begins_and_what_was_there(records: RecordLog, path: Path):
    told = FactsTold(records)
    plan_without_audit = told.enricher
    plan_without_audit.receive_fact(job("1"), SECOND)
    records.commit(plan_without_audit.drain(), joined=1)
    records.audit.start(LIFE, 2 * SECOND)
    assert actions_of(path) == ["audit.begun", "component.started", "configuration.set"]
    begun = msgspec.json.decode(entries_of(path)[0].detail)
    assert begun["before"] == {"facts": 1}
    assert begun["log"] == records.audit.head.log
    assert verified(path).ok, "a fact from before the log has no entry, and is no finding"


def test_a_start_after_a_clean_stop_tells_no_more_than_that_it_started(records: RecordLog, path: Path):
    records.audit.start(LIFE, SECOND)
    records.audit.stop(LIFE, 2 * SECOND, drained=True)
    records.audit.start(LIFE, 3 * SECOND)
    assert actions_of(path)[3:] == ["component.stopped", "component.started"]


def test_a_start_after_a_kill_says_so(records: RecordLog, path: Path):
    records.audit.start(LIFE, SECOND)
    records.audit.start(LIFE, 3 * SECOND)
    assert actions_of(path)[3:] == ["component.stopped_unclean", "component.started"]


def test_what_changed_between_two_lives_is_told_with_old_and_new(records: RecordLog, path: Path):
    records.audit.start(LIFE, SECOND)
    records.audit.stop(LIFE, 2 * SECOND)
    changed = msgspec.structs.replace(LIFE, release="0.2.0", configuration={"contract_hash": "bb", "store": "var"})
    records.audit.start(changed, 3 * SECOND)
    entry = entries_of(path)[-1]
    assert entry.action == "configuration.changed"
    assert msgspec.json.decode(entry.detail)["changed"] == {
        "contract_hash": ["aa", "bb"],
        "release": ["0.1.0", "0.2.0"],
    }


def test_a_migrated_store_says_so_at_the_next_start(records: RecordLog, path: Path):
    records.audit.start(LIFE, SECOND)
    records.audit.stop(LIFE, 2 * SECOND)
    newest = MIGRATIONS[-1].version
    tamper(
        path,
        f"""UPDATE meta SET value = replace(value, '"schema":{newest}', '"schema":4') WHERE key = 'audit_state'""",
    )
    records.audit.start(LIFE, 3 * SECOND)
    assert "store.migrated" in actions_of(path)


def test_two_logs_are_never_the_same(tmp_path: Path):
    heads = set()
    for name in ("a", "b"):
        with closing(RecordLog(tmp_path / f"{name}.db")) as made:
            heads.add(made.audit.head.log)
    assert len(heads) == 2


def test_entries_are_neither_changed_nor_deleted_by_mistake(records: RecordLog, path: Path):
    records.audit.start(LIFE, SECOND)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for statement in ("UPDATE audit_log SET actor = 'x'", "DELETE FROM audit_log"):
            with pytest.raises(sqlite3.IntegrityError, match="an audit entry is never"):
                connection.execute(statement)


def test_a_log_goes_on_after_it_was_closed(path: Path):
    for second in range(1, 4):
        with closing(RecordLog(path)) as records:
            records.audit.start(LIFE, second * SECOND)
            records.audit.append([event(second)])
            records.audit.stop(LIFE, second * SECOND + 1)
    found = verified(path)
    assert found.ok
    assert found.entries == 3 + 2 + 2 * 3


# ── reading ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_log_is_verified_while_it_is_written(records: RecordLog, path: Path):
    records.audit.start(LIFE, SECOND)
    with AuditReader(path) as reader:
        snapshot = reader.snapshot()
        verifier = Verifier(snapshot.head)
        for entry in reader.entries(to=snapshot.last):
            records.audit.append([event()])
            verifier.receive(entry)
        assert verifier.finish().ok
    assert verified(path).ok


def test_pages_give_every_entry_once(records: RecordLog, path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("uns.adapters.sqlite.audit_log._PAGE", 3)
    records.audit.append([event(n) for n in range(1, 11)])
    assert [entry.number for entry in entries_of(path)] == list(range(1, 11))


@pytest.mark.parametrize(
    ("query", "numbers"),
    [
        (AuditQuery(), [1, 2, 3]),
        (AuditQuery(actor="op"), [1, 3]),
        (AuditQuery(action="fact."), [1, 2]),
        (AuditQuery(action="fact.refused"), [2]),
        (AuditQuery(subject="WO-2"), [2]),
        (AuditQuery(since_ns=2 * SECOND), [2, 3]),
        (AuditQuery(until_ns=2 * SECOND), [1]),
        (AuditQuery(after=2), [3]),
        (AuditQuery(actor="nobody"), []),
        (AuditQuery(subject="100%"), []),
    ],
)
def test_entries_are_found_by_who_what_and_when(records: RecordLog, path: Path, query: AuditQuery, numbers: list[int]):
    records.audit.append(
        [
            event(1, at_ns=SECOND, actor="op-17", action="fact.accepted"),
            event(2, at_ns=2 * SECOND, actor="mes", action="fact.refused"),
            event(3, at_ns=3 * SECOND, actor="op-18", action="dead_letter.drop"),
        ]
    )
    with AuditReader(path) as reader:
        assert [entry.number for entry in reader.find(query)] == numbers


def test_a_store_without_an_audit_log_is_told_from_one_that_is_not_there(tmp_path: Path):
    with pytest.raises(ConfigurationError, match="no such store"):
        AuditReader(tmp_path / "records.db")
    sqlite3.connect(tmp_path / "other.db").close()
    with pytest.raises(ConfigurationError, match="no audit log"):
        AuditReader(tmp_path / "other.db")


# ── tampering with the file ──────────────────────────────────────────────────────────────────────────────────────────


def filled(records: RecordLog) -> tuple[Head, Anchor]:
    records.audit.start(LIFE, SECOND)
    told = FactsTold(records)
    told.tell(job("1"), job("2"))
    told.tell(job("1", source_rev="2", reason="typed wrong", by="op-17"))
    records.audit.append([event(n) for n in range(1, 5)])
    head = records.audit.head
    return head, anchor_of(head, LIFE.component, 2 * SECOND)


def test_what_nobody_touched_is_fine_and_says_who_changed_which_fact(records: RecordLog, path: Path):
    _, anchor = filled(records)
    found = verified(path, anchor)
    assert (found.ok, found.anchored, found.findings) == (True, 10, [])
    entry = entries_of(path)[5]
    detail = msgspec.json.decode(entry.detail)
    assert (entry.actor, entry.subject, entry.action) == ("op-17", "mes/1@2", "fact.accepted")
    assert (detail["rev"], detail["before"], detail["reason"]) == (2, {"rev": 1, "source_rev": "1"}, "typed wrong")


COPY = """INSERT INTO audit_log SELECT {}, at_ns, component, actor, action, subject, detail, previous, hash
    FROM audit_log WHERE number = 9"""
CASES: dict[str, tuple[str, str, int]] = {
    "actor": ("UPDATE audit_log SET actor = 'nobody' WHERE number = 6", "changed", 6),
    "time": ("UPDATE audit_log SET at_ns = at_ns - 1 WHERE number = 4", "changed", 4),
    "hash": ("UPDATE audit_log SET hash = 'ff' WHERE number = 10", "changed", 10),
    "deleted": ("DELETE FROM audit_log WHERE number = 5", "missing", 5),
    "cut": ("DELETE FROM audit_log WHERE number > 7", "truncated", 8),
    "emptied": ("DELETE FROM audit_log", "truncated", 1),
    "put in": (
        COPY.format(11),
        "inserted",
        11,
    ),
    "below": (
        COPY.format(-5),
        "inserted",
        -5,
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_a_changed_file_is_seen_and_the_first_bad_entry_named(records: RecordLog, path: Path, name: str):
    statement, kind, number = CASES[name]
    _, anchor = filled(records)
    tamper(path, statement)
    for anchors in ((), (anchor,)):
        found = verified(path, *anchors)
        assert not found.ok
        assert found.first_bad is not None
        assert (found.first_bad.kind, found.first_bad.number) == (kind, number), found.findings


def test_a_log_cut_with_its_head_is_seen_by_the_anchor(records: RecordLog, path: Path):
    _, anchor = filled(records)
    tamper(
        path,
        "DELETE FROM facts WHERE source_rev = '2'",
        "DELETE FROM audit_log WHERE number > 5",
        "UPDATE audit_head SET number = 5, hash = (SELECT hash FROM audit_log WHERE number = 5)",
    )
    assert verified(path).ok
    found = verified(path, anchor)
    assert found.first_bad is not None
    assert (found.first_bad.kind, found.first_bad.number) == ("truncated", 6)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE facts SET body = replace(body, 'typed wrong', 'as planned') WHERE source_rev = '2'",
        "UPDATE facts SET valid_from_ns = valid_from_ns + 1 WHERE source_rev = '2'",
        "UPDATE facts SET known_at_ns = known_at_ns + 1 WHERE source_rev = '2'",
        "DELETE FROM facts WHERE source_rev = '2'",
    ],
)
def test_a_fact_that_is_not_as_it_was_accepted_is_named(records: RecordLog, path: Path, statement: str):
    filled(records)
    tamper(path, statement)
    found = verified(path)
    assert found.first_bad is not None
    assert (found.first_bad.kind, found.first_bad.number) == ("differs", 6)
    assert "mes/1@2" in found.first_bad.text


def test_a_fact_that_no_entry_speaks_of_is_named(records: RecordLog, path: Path):
    filled(records)
    tamper(
        path,
        "INSERT INTO facts SELECT source, id, '3', 3, kind, equipment, action, valid_from_ns, valid_to_ns, "
        "known_at_ns, body, hash FROM facts WHERE source_rev = '2'",
    )
    found = verified(path)
    assert found.first_bad is not None
    assert (found.first_bad.kind, found.first_bad.number) == ("differs", None)
    assert "1 facts" in found.first_bad.text
    assert "mes/1@3" in found.first_bad.text


def test_many_differences_are_counted_beyond_a_bound(records: RecordLog, path: Path):
    records.audit.start(LIFE, SECOND)
    FactsTold(records).tell(*(job(str(n)) for n in range(150)))
    tamper(path, "UPDATE facts SET known_at_ns = 0")
    found = verified(path)
    assert len(found.findings) == 100
    assert found.untold >= 50
