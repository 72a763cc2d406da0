from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from uns.sparkplug.reorder import LATE_WINDOW, Arrival, SeqTracker

IN_ORDER, AHEAD, LATE, REPEATED = Arrival.IN_ORDER, Arrival.AHEAD, Arrival.LATE, Arrival.REPEATED


@pytest.mark.parametrize(
    ("start", "numbers", "arrivals", "gap"),
    [
        (5, [6, 7, 8], [IN_ORDER] * 3, False),
        (253, [254, 255, 0, 1], [IN_ORDER] * 4, False),  # payloads-ndata-seq-inc: 255, then 0
        (5, [6, 8, 7, 9], [IN_ORDER, AHEAD, LATE, IN_ORDER], False),  # one gap, filled: not three
        (5, [6, 8, 9], [IN_ORDER, AHEAD, AHEAD], True),
        (5, [8, 7, 6, 9], [AHEAD, LATE, LATE, IN_ORDER], False),
        (5, [6, 6, 7], [IN_ORDER, REPEATED, IN_ORDER], False),
        (5, [8, 8], [AHEAD, REPEATED], True),
        (5, [6, 200], [IN_ORDER, AHEAD], True),  # a long gap is a gap
        (5, [6, 7 - LATE_WINDOW], [IN_ORDER, REPEATED], False),
        (255, [0, 255, 1], [IN_ORDER, REPEATED, IN_ORDER], False),
        (254, [0, 255, 1], [AHEAD, LATE, IN_ORDER], False),
        (255, [None, 1], [IN_ORDER, IN_ORDER], False),  # proto3 peers cannot write 0
        (5, [None, 6], [IN_ORDER, IN_ORDER], False),
        (5, [8, None], [AHEAD, AHEAD], True),
        (None, [77, 78], [IN_ORDER, IN_ORDER], False),
        (5, [262, 7], [IN_ORDER, IN_ORDER], False),  # beyond 255: taken modulo
    ],
)
def test_arrivals(start, numbers, arrivals, gap):
    tracker = SeqTracker()
    tracker.start(start)
    assert [tracker.receive(number) for number in numbers] == arrivals
    assert tracker.has_gap is gap


def test_giving_up_goes_on_after_the_newest():
    tracker = SeqTracker()
    tracker.start(253)
    for number in (255, 1):
        tracker.receive(number)
    tracker.give_up()
    assert (tracker.has_gap, tracker.expected) == (False, 2)
    tracker.give_up()
    assert tracker.expected == 2


def test_a_number_that_is_over_begins_anew_with_another_message():
    tracker = SeqTracker()
    tracker.start(0)
    for number in range(1, 11):
        tracker.receive(number, 100 + number)
    assert tracker.receive(10, 110) is REPEATED
    assert (tracker.receive(3, 203), tracker.holes, tracker.expected) == (Arrival.RENUMBERED, 1, 4)
    assert [tracker.receive(number, 200 + number) for number in (4, 3, 5)] == [IN_ORDER, REPEATED, IN_ORDER]


@given(st.integers(0, 255), st.integers(0, 255))
def test_at_most_one_message_is_renumbered_wherever_numbers_go_on(before, after):
    """Nothing that is new is taken for repeated, so that what counts new messages is stuck nowhere."""
    tracker = SeqTracker()
    tracker.start(0)
    for step in range(40):
        tracker.receive(before + step, step)
    arrivals = [tracker.receive(after + step, 1_000 + step) for step in range(40)]
    assert REPEATED not in arrivals
    assert arrivals.count(Arrival.RENUMBERED) <= 1


@given(st.integers(0, 255), st.randoms())
def test_any_shuffle_within_the_window_ends_without_a_gap(start, chance):
    numbers = [(start + 1 + i) % 256 for i in range(10 * LATE_WINDOW)]
    tracker = SeqTracker()
    tracker.start(start)
    for index in range(0, len(numbers), LATE_WINDOW):
        block = numbers[index : index + LATE_WINDOW]
        chance.shuffle(block)
        for number in block:
            assert tracker.receive(number) is not Arrival.REPEATED
        assert not tracker.has_gap
