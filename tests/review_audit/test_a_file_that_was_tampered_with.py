"""Whatever somebody does to the file, `verify` names the first record that is not as it was written."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.review_audit.stores import FIRST_FACT, LIFE, NOW_NS, accept, fact, insert_fact, lived, row_of, tamper
from uns.adapters.sqlite.database import Database
from uns.adapters.sqlite.record_log import RecordLog
from uns.adapters.sqlite.record_schema import MIGRATIONS
from uns.audit.verification import Verification
from uns.runtime.audit_check import verify_store


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return lived(tmp_path / "records.db", *(fact(number) for number in range(10)))


def assert_named(found: Verification, kind: str, number: int | None) -> None:
    assert not found.ok
    assert found.first_bad is not None
    assert (found.first_bad.kind, found.first_bad.number) == (kind, number), found.findings


def test_a_log_that_nobody_touched_is_fine(store: Path):
    assert verify_store(store).ok


@pytest.mark.parametrize(
    "script",
    [
        "DROP TABLE facts",
        "ALTER TABLE facts RENAME TO away; CREATE VIEW facts AS SELECT * FROM away",
    ],
)
def test_facts_that_are_gone_as_a_whole_are_missed(store: Path, script: str):
    tamper(store, script)
    assert_named(verify_store(store), "differs", FIRST_FACT)


@pytest.mark.parametrize("text", ["x'ff41'", "x'eda080'", "x'c3'"])
def test_text_that_no_decoder_takes_is_a_change_of_its_entry(store: Path, text: str):
    tamper(store, f"UPDATE audit_log SET detail = CAST({text} AS TEXT) WHERE number = 7")
    assert_named(verify_store(store), "changed", 7)


def test_a_fact_that_no_decoder_takes_differs_from_its_entry(store: Path):
    tamper(store, "UPDATE facts SET body = CAST(x'ff41' AS TEXT) WHERE id = 'mes:2'")
    assert_named(verify_store(store), "differs", FIRST_FACT + 2)


def test_an_entry_before_the_first_number_is_named_itself(store: Path):
    tamper(
        store,
        "INSERT INTO audit_log SELECT -5, at_ns, component, actor, action, subject, detail, previous, hash "
        "FROM audit_log WHERE number = 7",
    )
    assert_named(verify_store(store), "inserted", -5)


def test_a_second_beginning_hides_no_fact_that_was_put_in(store: Path):
    """Without its memory a component begins the log again; what it counts then stands for nothing."""
    with Database(store, kind="record log", migrations=MIGRATIONS) as database, database.transaction() as connection:
        connection.execute("DELETE FROM meta WHERE key = 'audit_state'")
    log = RecordLog(store)
    log.audit.start(LIFE, NOW_NS)
    log.close()
    assert verify_store(store).ok, "nothing of it is wrong"
    with Database(store, kind="record log", migrations=MIGRATIONS) as database, database.transaction() as connection:
        for number in range(100, 110):
            insert_fact(connection, row_of(fact(number)))
    assert_named(verify_store(store), "differs", None)


@pytest.mark.parametrize("reason", ["x" * 40_000, '"' * 20_000, "\x01" * 6_000, "é" * 40_000])
def test_a_fact_with_a_long_reason_is_no_false_alarm(store: Path, reason: str):
    accept(store, fact(50, reason=reason))
    assert verify_store(store).findings == []


@pytest.mark.parametrize("name", ["100%41", "a#b", "a?b", "a b", "ü"])
def test_a_store_may_have_any_path(tmp_path: Path, name: str):
    (tmp_path / name).mkdir()
    store = lived(tmp_path / name / "records.db", fact(1))
    assert verify_store(store).ok
    assert [path.name for path in tmp_path.iterdir()] == [name]
