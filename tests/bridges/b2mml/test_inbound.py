from __future__ import annotations

import os
from pathlib import Path

import msgspec
import pytest

from tests.bridges.b2mml.builders import V0600, job, request, schedule
from tests.bridges.b2mml.inbound import ARRIVED_NS, Inbox
from tests.servers import eventually
from uns.adapters.sqlite.bridge_store import BridgeStore
from uns.bridges.b2mml.schedule import read_schedule
from uns.context.records import JobOrder
from uns.errors import StorageFullError

LATER = "2026-06-03T12:30:00Z"


@pytest.fixture
def inbox(tmp_path: Path):
    return Inbox(tmp_path)


async def gone(inbox: Inbox) -> None:
    await eventually(lambda: not inbox.waiting(), what="the inbox is empty")


async def test_orders_of_a_file_are_told_and_the_file_is_archived(inbox: Inbox) -> None:
    async with inbox.running():
        inbox.drop(schedule(request(job("a"), job("b"))))
        await gone(inbox)
    assert sorted(inbox.host.jobs) == ["a", "b"]
    assert inbox.archived() == ["order.xml"]
    assert inbox.quarantined() == []
    assert inbox.store.counts().counters["facts_accepted"] == 2


async def test_what_an_order_said_is_kept_for_its_performance(inbox: Inbox) -> None:
    async with inbox.running():
        inbox.drop(schedule(request(job("a"))))
        await gone(inbox)
    body = inbox.store.order("WO-1|a")
    assert body is not None
    order = msgspec.json.decode(body, type=JobOrder)
    assert (order.schedule, order.material, order.work_master) == ("S-7", "FG-77", "RCP-7")


async def test_a_late_older_statement_does_not_replace_what_is_kept(inbox: Inbox) -> None:
    async with inbox.running():
        inbox.drop(schedule(request(job("a", material="NEW")), created=LATER), "2.xml")
        await gone(inbox)
        inbox.drop(schedule(request(job("a", material="OLD"))), "1.xml")
        await gone(inbox)
    order = msgspec.json.decode(inbox.store.order("WO-1|a") or b"", type=JobOrder)
    assert order.material == "NEW"
    assert len(inbox.host.store.history("erp", "WO-1|a")) == 2
    assert inbox.host.store.current()[0].source_rev == order.source_rev
    assert inbox.quarantined() == []


async def test_an_unreadable_file_lies_in_quarantine_with_what_where_and_what_to_do(inbox: Inbox) -> None:
    async with inbox.running():
        inbox.drop(schedule(request(job("a"), job("b")))[:-120])
        await gone(inbox)
    assert inbox.quarantined() == ["order.xml", "order.xml.report.txt"]
    assert inbox.host.told == []
    report = inbox.report()
    assert "Nothing of this document was taken." in report
    assert "order.xml:" in report
    assert "send the whole file again" in report


async def test_an_order_that_the_host_refuses_stands_in_the_report_and_the_others_go_in(inbox: Inbox) -> None:
    inbox.host.refuses = {"b"}
    async with inbox.running():
        inbox.drop(schedule(request(job("a"), job("b"), job("c"))))
        await gone(inbox)
    assert sorted(inbox.host.jobs) == ["a", "c"]
    assert inbox.quarantined() == ["order.xml", "order.xml.report.txt"]
    report = inbox.report()
    assert "2 orders were taken, 1 not" in report
    assert "the host does not take job 'b': not this one; ask" in report


async def test_unknown_equipment_and_material_are_refused_alone(tmp_path: Path) -> None:
    inbox = Inbox(tmp_path, materials={"FG-77"})
    async with inbox.running():
        inbox.drop(schedule(request(job("a", equipment="reactr4"), job("b", material="XX"), job("c"))))
        await gone(inbox)
    assert sorted(inbox.host.jobs) == ["c"]
    report = inbox.report()
    assert "1 order was taken, 2 not" in report
    assert "did you mean 'reactor4'?" in report
    assert "material 'XX' is not known here" in report


async def test_older_versions_are_read_and_their_violations_lie_beside_the_archived_file(inbox: Inbox) -> None:
    async with inbox.running():
        inbox.drop(schedule(released="", namespace=V0600))
        await gone(inbox)
    assert inbox.archived() == ["order.xml", "order.xml.report.txt"]
    assert "has no releaseID, which B2MML requires" in inbox.report()
    assert "read nevertheless" in inbox.report()


async def test_while_the_host_is_away_the_file_waits_and_then_goes_on_where_it_was(inbox: Inbox) -> None:
    inbox.host.away_after = 3
    async with inbox.running() as folder:
        inbox.drop(schedule(request(*(job(f"j{n}") for n in range(10)))))
        await eventually(lambda: "does not answer" in folder.trouble, what="it says why it waits")
        assert inbox.waiting() == ["order.xml"]
        inbox.host.away_after = None
        await gone(inbox)
        await eventually(lambda: folder.trouble == "", what="it waits no more")
    assert [fact.job_order for fact in inbox.host.told] == [f"j{n}" for n in range(10)]


async def test_a_duplicate_gets_the_same_answer_and_changes_nothing(inbox: Inbox) -> None:
    async with inbox.running():
        for name in ("1.xml", "2.xml"):
            inbox.drop(schedule(), name)
            await gone(inbox)
    assert len(inbox.host.told) == 2
    assert inbox.host.told[0] == inbox.host.told[1]
    assert inbox.host.store.facts_known == 1
    assert inbox.archived() == ["1.xml", "2.xml"]


async def test_a_document_without_date_is_the_same_statement_whenever_it_comes_again(inbox: Inbox) -> None:
    for name, seconds in (("1.xml", 0), ("2.xml", 3600)):
        inbox.now_ns = ARRIVED_NS + seconds * 1_000_000_000
        async with inbox.running():  # a new process each time
            inbox.drop(schedule(created=""), name)
            os.utime(inbox.folder / name, ns=(inbox.now_ns, inbox.now_ns))
            await gone(inbox)
    assert inbox.host.told[0] == inbox.host.told[1]
    assert inbox.host.store.facts_known == 1


async def test_a_bod_id_that_comes_again_with_other_content_is_reported(inbox: Inbox) -> None:
    async with inbox.running():
        inbox.drop(schedule(), "1.xml")
        await gone(inbox)
        inbox.drop(schedule(request(job("other"))), "2.xml")
        await gone(inbox)
    assert "BODID 'b-1' was that of '1.xml' too" in inbox.report()
    assert len(inbox.host.jobs) == 2


async def test_a_document_of_a_clock_that_ran_ahead_may_come_again(inbox: Inbox) -> None:
    body = schedule(created="2026-06-09T12:00:00Z")
    async with inbox.running():
        inbox.drop(body, "1.xml")
        await gone(inbox)
        assert inbox.host.told == []
        inbox.now_ns += 6 * 86_400 * 1_000_000_000
        inbox.drop(body, "2.xml")
        os.utime(inbox.folder / "2.xml", ns=(inbox.now_ns, inbox.now_ns))
        await gone(inbox)
    assert len(inbox.host.told) == 1


async def test_books_that_are_full_leave_the_file_where_it_is(inbox: Inbox, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise StorageFullError("the disk is full", next_step="free space")

    async with inbox.running() as folder:
        with monkeypatch.context() as patched:
            patched.setattr(BridgeStore, "see_document", full)
            inbox.drop(schedule())
            await eventually(lambda: "disk is full" in folder.trouble, what="it says so")
            assert inbox.waiting() == ["order.xml"]
        await gone(inbox)
    assert inbox.archived() == ["order.xml"]


async def test_a_bug_sets_its_file_aside_and_no_other(inbox: Inbox, monkeypatch: pytest.MonkeyPatch) -> None:
    def buggy(body: bytes, *args: object, file: str, **kwargs: object) -> object:
        if file == "1.xml":
            raise RuntimeError("a bug")
        return read_schedule(body, *args, file=file, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr("uns.runtime.bridge.b2mml_intake.read_schedule", buggy)
    async with inbox.running():
        inbox.drop(schedule(), "1.xml")
        inbox.drop(schedule(), "2.xml")
        await gone(inbox)
    assert inbox.archived() == ["2.xml"]
    assert "report it with this file" in inbox.report()


async def test_an_archive_that_cannot_be_used_now_does_not_tell_the_orders_again(inbox: Inbox) -> None:
    async with inbox.running() as folder:
        (inbox.folder / "archive").write_text("a file where a folder should be")
        inbox.drop(schedule())
        await eventually(lambda: "archive" in folder.trouble, what="it says so")
        assert len(inbox.host.told) == 1
        (inbox.folder / "archive").unlink()
        await gone(inbox)
    assert len(inbox.host.told) == 1


async def test_what_nobody_sends_any_more_is_forgotten(inbox: Inbox) -> None:
    async with inbox.running():
        inbox.drop(schedule(request(job("a"), job("b"))))
        await gone(inbox)
    store = inbox.store
    assert store.forget_inbound(ARRIVED_NS - 1) == 0
    assert store.forget_inbound(ARRIVED_NS + 86_400 * 10**9) == 3  # a document, two orders
    assert store.order("WO-1|a") is None
