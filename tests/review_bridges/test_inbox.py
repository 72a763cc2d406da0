"""What may lie in an inbox, and what happens to it while it is taken."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.bridges.b2mml.builders import job, request, schedule
from tests.bridges.b2mml.inbound import Inbox
from uns.context.facts import Fact, FactAnswer


async def until(condition: Callable[[], object], seconds: float = 5.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.01)


@pytest.fixture
def inbox(tmp_path: Path) -> Inbox:
    return Inbox(tmp_path)


async def test_a_file_that_takes_the_place_of_one_that_is_being_told_is_told_too(inbox: Inbox) -> None:
    inbox.host.away_after = 0
    inbox.drop(schedule(request(job("J1"))))
    async with inbox.running() as folder:
        await until(lambda: folder.trouble)
        tell = inbox.host.tell

        async def slow(fact: Fact) -> FactAnswer:
            inbox.host.tell = tell  # type: ignore[method-assign]
            inbox.host.away_after = None
            inbox.drop(schedule(request(job("J2"), work_order="WO-2")))  # the same name, while J1 is told
            return await tell(fact)

        inbox.host.tell = slow  # type: ignore[method-assign]
        await until(lambda: "order~2.xml" in inbox.archived())
    assert sorted(inbox.host.jobs) == ["J1", "J2"]
    texts = [path.read_text() for path in sorted(inbox.folder.glob("archive/*/*.xml"))]
    assert ["J1" in text for text in texts] == [True, False]
    assert inbox.waiting() == []


async def test_a_name_that_is_not_utf_8_keeps_no_order_out(inbox: Inbox) -> None:
    name = os.fsdecode(b"Auftr\xe4ge.xml")
    inbox.drop(schedule(), name=name)
    async with inbox.running():
        await until(lambda: inbox.archived() or inbox.quarantined())
    assert inbox.archived() == [name]
    assert len(inbox.host.jobs) == 1


@pytest.mark.parametrize("name", ["a\nb.xml", "..xml.xml", "x" * 250 + ".xml", "-rf.xml", "ä" * 120 + ".xml"])
async def test_strange_names_are_taken_as_others(inbox: Inbox, name: str) -> None:
    inbox.folder.joinpath(name).write_bytes(schedule())
    async with inbox.running():
        if name.startswith("."):
            await asyncio.sleep(0.1)
        else:
            await until(lambda: inbox.archived() or inbox.quarantined())
    assert len(inbox.host.jobs) == (0 if name.startswith(".") else 1)


async def test_links_and_folders_are_not_taken(inbox: Inbox, tmp_path: Path) -> None:
    secret = tmp_path / "secret.xml"
    secret.write_bytes(schedule())
    (inbox.folder / "link.xml").symlink_to(secret)
    (inbox.folder / "folder.xml").mkdir()
    os.mkfifo(inbox.folder / "pipe.xml")
    inbox.drop(schedule(request(job("J1"))), name="real.xml")
    async with inbox.running():
        await until(inbox.archived)
    assert secret.exists()
    assert sorted(inbox.host.jobs) == ["J1"]


async def test_an_end_at_the_end_of_the_calendar_keeps_no_other_order_out(inbox: Inbox) -> None:
    """What ERP systems write for an end that is open."""
    inbox.drop(schedule(request(job("J1", end="9999-12-31T23:59:59"), job("J2"))))
    async with inbox.running():
        await until(lambda: inbox.archived() or inbox.quarantined())
    assert "internal error" not in inbox.report()
    assert "J2" in inbox.host.jobs


async def test_orders_whose_ids_hold_the_separator_are_two(inbox: Inbox) -> None:
    inbox.drop(schedule(request(job("B|C"), work_order="A"), request(job("C"), work_order="A|B")))
    async with inbox.running():
        await until(lambda: inbox.archived() or inbox.quarantined())
    assert sorted(inbox.host.jobs) == ["B|C", "C"]


async def test_ids_that_are_too_long_together_are_refused_with_their_length(inbox: Inbox) -> None:
    inbox.drop(schedule(request(job("j" * 256), work_order="w" * 256)))
    async with inbox.running():
        await until(lambda: inbox.archived() or inbox.quarantined())
    assert "have 513 characters together; at most 256 are taken" in inbox.report()


async def test_an_undated_document_is_ordered_by_its_arrival_whatever_time_its_file_bears(inbox: Inbox) -> None:
    """Unpacked or copied with its times, a file may look older than what it corrects."""
    async with inbox.running():
        inbox.drop(schedule(request(job("J1", start="2026-06-03T19:00:00Z")), created=""), name="first.xml")
        await until(lambda: "first.xml" in inbox.archived())
        inbox.now_ns += 1_000_000_000
        part = inbox.folder / ".second.part"
        part.write_bytes(schedule(request(job("J1", start="2026-06-03T21:00:00Z")), created=""))
        os.utime(part, (1e9, 1e9))
        part.rename(inbox.folder / "second.xml")
        await until(lambda: "second.xml" in inbox.archived())
    (fact,) = inbox.host.store.current(kind="job")
    assert fact.valid_from == datetime(2026, 6, 3, 21, tzinfo=UTC)


async def test_while_the_books_are_away_files_wait(inbox: Inbox) -> None:
    async with inbox.running() as folder:
        inbox.drop(schedule(request(job("J1"))), name="first.xml")
        await until(lambda: "first.xml" in inbox.archived())
        books = inbox.directory / "bridge.db"
        books.rename(inbox.directory / "aside.db")
        inbox.drop(schedule(request(job("J2"), work_order="WO-2")), name="second.xml")
        await until(lambda: folder.trouble)
        assert "the books were deleted, moved or replaced" in folder.trouble
        assert inbox.waiting() == ["second.xml"]
        (inbox.directory / "aside.db").rename(books)
        await until(lambda: "second.xml" in inbox.archived())
    assert sorted(inbox.host.jobs) == ["J1", "J2"]


async def test_a_file_that_was_only_touched_while_it_was_told_is_put_away_once(inbox: Inbox) -> None:
    """Shares there are whose inodes and times do not stay."""
    tell = inbox.host.tell

    async def touching(fact: Fact) -> FactAnswer:
        os.utime(inbox.folder / "order.xml", (1e9, 1e9))
        return await tell(fact)

    inbox.host.tell = touching  # type: ignore[method-assign]
    inbox.drop(schedule())
    async with inbox.running():
        await until(inbox.archived)
        await asyncio.sleep(0.1)
    assert inbox.archived() == ["order.xml"]
    assert inbox.waiting() == []
