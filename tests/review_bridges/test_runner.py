"""A bridge under a clock that is set back, and books that are taken away."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.bridges.contract.harness import Work
from tests.bridges.fake import FakeBooks, FakeTarget, SampleMapping
from uns.bridges.port import Transient
from uns.bridges.rules import RetryPolicy

DAY_NS = 86_400 * 1_000_000_000
MS = 1_000_000


class Clock:
    def __init__(self) -> None:
        self.back_ns = 0

    def __call__(self) -> int:
        return time.time_ns() - self.back_ns


class FakeHarness:
    name = "fake"
    ordered = True
    positions_max = 1000
    kinds = frozenset({"transient", "business", "poison", "auth"})

    def __init__(self) -> None:
        self.books = FakeBooks()

    def bridge(self) -> tuple[SampleMapping, FakeTarget]:
        return SampleMapping(), FakeTarget(self.books)


@pytest.fixture
def work(tmp_path: Path) -> Iterator[Work]:
    made = Work(FakeHarness(), tmp_path)  # type: ignore[arg-type]
    yield made
    made.log.close()


async def test_a_clock_that_is_set_back_does_not_hold_back_what_waits_for_the_target(work: Work) -> None:
    clock, books = Clock(), work.harness.books  # type: ignore[attr-defined]
    books.trouble = Transient("the fake is down")
    work.log.write(1.0, 2.0)
    async with work.running(now_ns=clock):
        await work.until("it waits", state="paused")
        clock.back_ns = DAY_NS
        books.trouble = None
        await work.drained()
    assert books.values == [1.0, 2.0]


async def test_a_clock_that_is_set_back_does_not_hold_back_an_item_that_waits_alone(work: Work) -> None:
    clock, books = Clock(), work.harness.books  # type: ignore[attr-defined]
    books.refusals[2.0] = Transient("locked", whole_target=False)
    work.log.write(1.0, 2.0)
    async with work.running(now_ns=clock, retry=RetryPolicy(first_ns=500 * MS, max_ns=1000 * MS, attempts_max=9)):
        await work.until("it waits", state="running", waiting=1, in_doubt=0)
        clock.back_ns = DAY_NS
        books.refusals.clear()
        await work.drained()
    assert books.values == [1.0, 2.0]


async def test_books_that_are_taken_away_stop_delivery_until_they_are_back(work: Work) -> None:
    books = work.harness.books  # type: ignore[attr-defined]
    work.log.write(1.0, 2.0)
    async with work.running():
        await work.drained()
        elsewhere = work.directory / "elsewhere"
        elsewhere.mkdir()
        files = sorted(work.directory.glob("bridge.db*"))
        for file in files:
            file.rename(elsewhere / file.name)
        work.log.write(3.0)
        stats = await work.until("it says so", error_class="storage")
        assert "were deleted, moved or replaced" in stats.reason
        assert "put the file back" in stats.reason
        assert books.values == [1.0, 2.0]
        for file in files:
            (elsewhere / file.name).rename(file)
        await work.drained()
    async with work.running():
        await work.drained()
    assert books.values == [1.0, 2.0, 3.0]


async def test_a_record_log_that_is_taken_away_is_said_and_read_on_when_it_is_back(work: Work) -> None:
    books = work.harness.books  # type: ignore[attr-defined]
    work.log.write(1.0)
    async with work.running():
        await work.drained()
        aside = work.log.path.with_name("aside.db")
        work.log.path.rename(aside)
        stats = await work.until("it says so", error_class="storage")
        assert "the record log was deleted, moved or replaced" in stats.reason
        aside.rename(work.log.path)
        work.log.write(2.0)
        await work.drained()
    assert books.values == [1.0, 2.0]
