"""``uns audit`` over a store on disk: what it prints, and the code that it ends with."""

from __future__ import annotations

import json
import sqlite3
import time
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.adapters.sqlite.test_audit_log import FactsTold, filled, job, tamper
from tests.audit.builders import event
from tests.servers import free_port
from uns.adapters.sqlite.record_log import RecordLog
from uns.audit.events import MISMATCH
from uns.cli.main import main


@pytest.fixture
def store(tmp_path: Path) -> Path:
    with closing(RecordLog(tmp_path / "records.db")) as records:
        filled(records)
    return tmp_path


class Ended:
    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err

    @property
    def document(self) -> Any:
        return json.loads(self.out)


@pytest.fixture
def uns(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    for name in ("UNS_STORE", "UNS_BROKER"):
        monkeypatch.delenv(name, raising=False)

    def run(*words: str | Path) -> Ended:
        code = 0
        try:
            main(["audit", *map(str, words)])
        except SystemExit as ended:
            code = ended.code if isinstance(ended.code, int) else 0
        captured = capsys.readouterr()
        return Ended(code, captured.out, captured.err)

    return run


def test_a_whole_log_is_fine_and_says_what_vouches_for_it(uns, store: Path):
    ended = uns("verify", "--store", store)
    assert ended.code == 0
    assert "all 10 entries are as they were written; no anchor from outside was given" in ended.out
    saved = store / "saved.jsonl"
    assert uns("anchor", "--store", store, "--save", saved).code == 0
    ended = uns("verify", "--store", store / "records.db", "--anchor", saved)
    assert ended.code == 0
    assert "an anchor from outside vouches for 10 of them" in ended.out
    assert uns("verify", "--store", store, "--json").document["ok"] is True


def test_the_first_bad_record_is_named_with_what_stands_there(uns, store: Path):
    tamper(store / "records.db", "UPDATE audit_log SET actor = 'nobody' WHERE number > 6")
    ended = uns("verify", "--store", store)
    assert ended.code == 1
    assert "error: changed: entry 7 is not what was written" in ended.out
    assert "nobody" in ended.out
    assert "6 entries before it are good" in ended.out
    document = uns("verify", "--store", store, "--json").document
    assert (document["first_bad"]["number"], document["good"]) == (7, 6)


def test_anchors_are_added_to_a_file_line_by_line(uns, store: Path):
    saved = store / "saved.jsonl"
    uns("anchor", "--store", store, "--save", saved)
    with closing(RecordLog(store / "records.db")) as records:
        records.audit.append([event()])
    uns("anchor", "--store", store, "--save", saved)
    assert [json.loads(line)["number"] for line in saved.read_text().splitlines()] == [10, 11]
    assert uns("verify", "--store", store, "--anchor", saved).code == 0


def test_a_recorded_mismatch_is_an_error_until_it_is_known(uns, store: Path):
    with closing(RecordLog(store / "records.db")) as records:
        records.audit.append([event(action=MISMATCH)])
    ended = uns("verify", "--store", store)
    assert ended.code == 1
    assert "then give --known 11" in ended.out
    assert uns("verify", "--store", store, "--known", "11").code == 0


def test_entries_are_listed_by_who_what_and_when(uns, store: Path):
    ended = uns("list", "--store", store, "--action", "fact.", "--actor", "op-17", "--json")
    (entry,) = [json.loads(line) for line in ended.out.splitlines()]
    assert (entry["number"], entry["actor"], entry["detail"]["reason"]) == (6, "op-17", "typed wrong")
    ended = uns("list", "--store", store, "--subject", "mes/1@2")
    assert "typed wrong" in ended.out
    assert len(ended.out.splitlines()) == 1
    assert len(uns("list", "--store", store, "--limit", "2").out.splitlines()) == 2
    assert uns("list", "--store", store, "--since", "1h").out == "", "these entries are of another year"
    assert len(uns("list", "--store", store, "--until", "2027-01-01T00:00:00Z").out.splitlines()) == 10
    assert len(uns("list", "--store", store, "--since", "1970-01-01T00:00:00+00:00").out.splitlines()) == 10


END = datetime(2100, 1, 1, tzinfo=UTC)


def test_what_is_about_an_order_is_found_in_every_message_of_its_facts(uns, tmp_path: Path):
    store = tmp_path / "records.db"
    with closing(RecordLog(store)) as records:
        told = FactsTold(records)
        told.tell(job("start-9", work_order='WO-"9"'), job("elsewhere", work_order="WO-8"))
        told.tell(job("start-9", work_order='WO-"9"', source_rev="2", reason="typed wrong", valid_to=END))
        told.tell(job("start-9", work_order="WO-7", source_rev="3"))
        records.audit.append([event(action="bridge.dead", subject="mes/0815", detail={"because": 'WO-"9" is locked'})])
    found = uns("list", "--store", store, "--about", 'WO-"9"').out
    subjects = [line.split("  ")[-2] for line in found.splitlines()]
    assert subjects == ["mes/start-9@1", "mes/start-9@2", "mes/start-9@3", "mes/0815"]
    assert 'valid_to null → "2100-01-01T00:00:00Z"' in found
    assert 'after revision "1", because "typed wrong"' in found
    assert r'work_order "WO-\"9\"" → "WO-7"' in found
    assert uns("list", "--store", store, "--about", "WO-1234").out == ""


def test_a_posting_is_shown_by_what_it_said(uns, store: Path):
    detail = {
        "attempts": 0,
        "kind": "performance",
        "receipt": "0815.xml",
        "subject": "WO-9/10: good 2 C62",
    }
    with closing(RecordLog(store / "records.db")) as records:
        records.audit.append([event(action="bridge.delivered", subject="mes/0815", detail=detail)])
    assert "performance, WO-9/10: good 2 C62, 0815.xml" in uns("list", "--store", store, "--limit", "1").out


def test_what_others_wrote_does_not_steer_the_terminal(uns, store: Path):
    with closing(RecordLog(store / "records.db")) as records:
        records.audit.append([event(actor="\x1b[2Jclean\nslate", subject="\u202egnirts")])
    line = uns("list", "--store", store, "--limit", "1").out
    assert "\x1b" not in line
    assert "\u202e" not in line
    assert len(line.splitlines()) == 1


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("verify", "--store", "nowhere"), "there is no such store"),
        (("verify", "--anchor", "nowhere.jsonl"), "the anchors cannot be read"),
        (("list", "--since", "yesterday"), "'yesterday' is no time"),
        (("list", "--since", "2026-06-03T19:00:00"), "with a zone"),
        (("verify", "--broker", "http://x"), "mqtt"),
        (("verify", "--broker", "mqtt://127.0.0.1:1", "--cert-file", "x"), "key"),
    ],
)
def test_a_mistake_of_the_user_is_said_and_ends_with_2(uns, store: Path, monkeypatch, words, says: str):
    monkeypatch.chdir(store)
    store_words = () if "--store" in words else ("--store", store)
    ended = uns(*words, *store_words)
    assert ended.code == 2
    assert says in ended.err
    assert "Traceback" not in ended.err


@pytest.mark.parametrize("text", ["", "{}\n", "no json\n", '{"schema": "uns1.audit_anchor/1"}\n', "[" * 100_000])
def test_a_file_that_holds_no_anchors_is_said(uns, store: Path, text: str):
    file = store / "saved.jsonl"
    file.write_text(text)
    ended = uns("verify", "--store", store, "--anchor", file)
    assert ended.code == 2
    assert str(file) in ended.err


def test_a_store_without_a_log_and_a_file_that_is_no_store_are_told_apart(uns, tmp_path: Path):
    sqlite3.connect(tmp_path / "records.db").close()
    ended = uns("verify", "--store", tmp_path)
    assert (ended.code, "no audit log" in ended.err) == (2, True)
    (tmp_path / "text.db").write_text("this is no database, and it is long enough to be read as a header, is it not")
    ended = uns("verify", "--store", tmp_path / "text.db")
    assert ended.code == 1
    assert "not a readable database" in ended.err


def test_a_broker_that_does_not_answer_ends_with_3(uns, store: Path):
    ended = uns("verify", "--store", store, "--broker", f"mqtt://127.0.0.1:{free_port()}")
    assert ended.code == 3
    assert "no connection to the broker" in ended.err


def test_a_table_that_somebody_made_anew_with_anything_in_it_is_judged_not_tripped_over(uns, store: Path):
    with closing(sqlite3.connect(store / "records.db", isolation_level=None)) as connection:
        connection.execute("CREATE TABLE kept AS SELECT * FROM audit_log")
        connection.execute("DROP TABLE audit_log")
        connection.execute("CREATE TABLE audit_log AS SELECT * FROM kept")
        connection.execute("UPDATE audit_log SET actor = x'00ff', detail = NULL, at_ns = 'noon' WHERE number = 4")
        connection.execute("INSERT INTO audit_log SELECT * FROM kept WHERE number = 6")
    ended = uns("verify", "--store", store)
    assert ended.code == 1
    assert "entry 4" in ended.out


def test_a_row_that_has_no_number_is_counted(uns, store: Path):
    with closing(sqlite3.connect(store / "records.db", isolation_level=None)) as connection:
        connection.execute("CREATE TABLE kept AS SELECT * FROM audit_log")
        connection.execute("DROP TABLE audit_log")
        connection.execute("CREATE TABLE audit_log AS SELECT * FROM kept")
        connection.execute(
            "INSERT INTO audit_log SELECT 'eleven', at_ns, component, actor, action, subject, detail, "
            "previous, hash FROM kept WHERE number = 6"
        )
    ended = uns("verify", "--store", store)
    assert ended.code == 1
    assert "11 rows are in the log, 10 of them have a place" in ended.out


def test_progress_is_told_where_it_takes_long(uns, store: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("uns.runtime.audit_check._PROGRESS_EVERY", 3)
    monkeypatch.setattr("uns.cli.audit._PROGRESS_EVERY_S", 0.0)
    ended = uns("verify", "--store", store)
    assert "verified 3 of 10" in ended.err
    assert "verified 9 of 10" in ended.err


def test_a_copy_on_a_disk_that_cannot_be_written_is_verified(uns, store: Path):
    copy = store / "evidence"
    copy.mkdir()
    (copy / "records.db").write_bytes((store / "records.db").read_bytes())
    copy.chmod(0o500)
    try:
        assert uns("verify", "--store", copy).code == 0
    finally:
        copy.chmod(0o700)


@pytest.mark.long
def test_a_million_entries_are_verified_in_reasonable_time(uns, tmp_path: Path):
    with closing(RecordLog(tmp_path / "records.db")) as records:
        for _ in range(100):
            records.audit.append([event(n) for n in range(10_000)])
    began = time.monotonic()
    assert uns("verify", "--store", tmp_path).code == 0
    assert time.monotonic() - began < 60
