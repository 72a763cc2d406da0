"""Documents are taken as a receiver takes them: each key once, and what is there is never written over."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest

from examples.nist_day_performances import take_documents
from uns.bridges.b2mml import write_performance
from uns.context.records import JobResponse, Quantity
from uns.runtime.performances import Performances


@pytest.fixture
def out(tmp_path: Path) -> Path:
    folder = tmp_path / "out"
    folder.mkdir()
    return folder


def taken(made: Path, out: Path, good: int, *, minute: int = 0) -> tuple[int, int]:
    made.mkdir()
    response = JobResponse(
        response_id="key-1",
        job_order="WO-81/0010",
        work_order="WO-81",
        published_at=datetime(2026, 6, 3, 12, minute, tzinfo=UTC),
        good=Quantity(value=Decimal(good), unit="C62"),
    )
    (made / "key-1.xml").write_bytes(write_performance(response, sender="uns"))
    documents = Performances(made)
    documents.look()
    return take_documents(documents.written, out)


def test_a_key_is_booked_once_though_it_is_written_at_another_time(tmp_path: Path, out: Path) -> None:
    assert taken(tmp_path / "first", out, 2) == (1, 0)
    booked = (out / "key-1.xml").read_bytes()
    assert taken(tmp_path / "second", out, 2, minute=5) == (0, 0)
    assert [(path.name, path.read_bytes()) for path in out.iterdir()] == [("key-1.xml", booked)]


def test_a_key_that_says_something_else_is_noticed_and_not_taken(tmp_path: Path, out: Path) -> None:
    taken(tmp_path / "first", out, 2)
    booked = (out / "key-1.xml").read_bytes()
    assert taken(tmp_path / "second", out, 3) == (0, 1)
    assert (out / "key-1.xml").read_bytes() == booked
