"""Floods cost a bounded number of entries, and nothing goes uncounted."""

from __future__ import annotations

from tests.audit.builders import START_NS, event
from uns.audit.coalescing import OTHERS, SUBJECTS_MAX, Coalescer

SECOND = 1_000_000_000


def at(second: float, *, action: str = "fact.refused", subject: str = "mes/x") -> object:
    return event(at_ns=START_NS + int(second * SECOND), action=action, subject=subject)


def test_the_first_of_a_minute_are_written_and_the_rest_is_one_sum():
    coalescer = Coalescer("uns-host-1", entries_max=3)
    written = [coalescer.receive(at(n / 100)) for n in range(10)]  # type: ignore[arg-type]
    assert [found is not None for found in written] == [True] * 3 + [False] * 7
    assert coalescer.due(START_NS + 59 * SECOND) == []
    (total,) = coalescer.due(START_NS + 60 * SECOND)
    assert (total.action, total.subject, total.actor) == ("fact.refused.more", "7 more", "uns-host-1")
    assert total.detail["subjects"] == {"mes/x": 7}
    assert coalescer.due(START_NS + 120 * SECOND) == []


def test_a_minute_without_a_flood_leaves_no_sum():
    coalescer = Coalescer("uns-host-1")
    assert coalescer.receive(at(0)) is not None  # type: ignore[arg-type]
    assert not coalescer.waits
    assert coalescer.due(START_NS + 60 * SECOND) == []


def test_each_action_has_a_minute_of_its_own():
    coalescer = Coalescer("uns-host-1", entries_max=1)
    assert coalescer.receive(at(0)) is not None  # type: ignore[arg-type]
    assert coalescer.receive(at(0, action="command.sent")) is not None  # type: ignore[arg-type]
    assert coalescer.receive(at(1, action="command.sent")) is None  # type: ignore[arg-type]
    assert [total.action for total in coalescer.due(START_NS + 60 * SECOND)] == ["command.sent.more"]


def test_a_sum_names_a_bounded_number_of_subjects():
    coalescer = Coalescer("uns-host-1", entries_max=0)
    for n in range(SUBJECTS_MAX + 50):
        coalescer.receive(at(0, subject=f"s{n}"))  # type: ignore[arg-type]
    (total,) = coalescer.due(START_NS, everything=True)
    assert total.detail["count"] == SUBJECTS_MAX + 50
    assert total.detail["subjects"][OTHERS] == 50
    assert len(total.detail["subjects"]) == SUBJECTS_MAX + 1


def test_a_clock_that_steps_back_ends_the_minute():
    coalescer = Coalescer("uns-host-1", entries_max=0)
    coalescer.receive(at(100))  # type: ignore[arg-type]
    assert len(coalescer.due(START_NS)) == 1
