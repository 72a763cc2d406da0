from __future__ import annotations

import random

import pytest

from tests.sparkplug.helpers import MS, NODE, T0, S
from uns.errors import LocalProtocolError
from uns.sparkplug.rebirths import RebirthLimiter, no_jitter
from uns.sparkplug.topics import EdgeNodeDescriptor


def limiter(**options):
    return RebirthLimiter(
        **{
            "interval_min_ms": 10_000,
            "interval_max_ms": 300_000,
            "per_second_max": 10,
            "jitter": no_jitter,
            **options,
        }
    )


def sent_times(subject, *, until_s, cause="unknown_metric", every_s=1):
    """Ask all the time and note when a request goes out, in seconds."""
    times = []
    for second in range(0, until_s, every_s):
        subject.ask(NODE, cause, T0 + second * S)
        times += [second for _ in subject.take_due(T0 + second * S)]
    return times


def test_interval_doubles_up_to_its_maximum_while_causes_keep_coming():
    assert sent_times(limiter(), until_s=1600) == [0, 10, 30, 70, 150, 310, 610, 910, 1210, 1510]


def test_interval_falls_back_after_a_quiet_time():
    subject = limiter()
    assert sent_times(subject, until_s=100) == [0, 10, 30, 70]
    later = T0 + 1000 * S
    for second, due in ((0, 1), (9, 0), (10, 1)):
        subject.ask(NODE, "malformed", later + second * S)
        assert len(subject.take_due(later + second * S)) == due


def test_causes_that_come_while_one_waits_add_nothing():
    subject = limiter()
    subject.ask(NODE, "host_start", T0, delay_ns=5 * S)
    for _ in range(1000):
        subject.ask(NODE, "unknown_session", T0, delay_ns=2 * S)
    assert subject.next_deadline_ns() == T0 + 2 * S
    assert subject.take_due(T0 + 60 * S) == [(NODE, "host_start")]
    assert subject.take_due(T0 + 60 * S) == []
    assert subject.next_deadline_ns() is None


def test_number_per_second_holds_over_all_nodes():
    subject = limiter()
    nodes = [EdgeNodeDescriptor("g", f"e{i}") for i in range(200)]
    for node in nodes:
        subject.ask(node, "host_start", T0)
    times = []
    now = T0
    while (deadline := subject.next_deadline_ns()) is not None:
        now = max(now, deadline)
        times += [(now - T0) / S for _ in subject.take_due(now)]
    assert len(times) == 200
    assert all(sum(start <= t < start + 1 for t in times) <= 20 for start in range(20))  # a burst of 10, then 10/s
    assert 18.9 <= max(times) <= 19.1


def test_number_per_second_holds_however_often_the_host_looks():
    """It looks at each message that comes."""
    subject = limiter()
    for i in range(200):
        subject.ask(EdgeNodeDescriptor("g", f"e{i}"), "host_start", T0)
    sent = [len(subject.take_due(T0 + look * MS)) for look in range(1000)]
    assert sum(sent) == 19  # a burst of 10, then one each 100 ms


def test_jitter_spreads_requests():
    chance = random.Random(1)
    subject = limiter(jitter=chance.randrange, per_second_max=1000)
    for i in range(100):
        subject.ask(EdgeNodeDescriptor("g", f"e{i}"), "host_start", T0, spread_ns=10 * S)
    sizes = [len(subject.take_due(T0 + second * S)) for second in range(1, 11)]
    assert sum(sizes) == 100
    assert all(size > 0 for size in sizes)


def test_birth_cancels_what_waits():
    subject = limiter()
    subject.ask(NODE, "unknown_session", T0, delay_ns=S)
    subject.cancel(NODE)
    assert subject.next_deadline_ns() is None
    assert subject.take_due(T0 + 5 * S) == []


def test_cancelling_some_causes_leaves_the_others():
    subject = limiter()
    subject.ask(NODE, "host_start", T0, delay_ns=S)
    subject.ask(NODE, "missed_birth", T0, delay_ns=S)
    subject.cancel(NODE, ("host_start", "unknown_session"))
    assert subject.take_due(T0 + S) == [(NODE, "missed_birth")]
    subject.cancel(EdgeNodeDescriptor("g", "never heard of"))


def test_clock_that_steps_back_silences_neither_node_nor_host():
    subject = limiter()
    subject.ask(NODE, "malformed", T0)
    assert len(subject.take_due(T0)) == 1
    past = T0 - 3600 * S
    subject.ask(NODE, "malformed", past)
    assert len(subject.take_due(past + 10 * S)) == 1
    other = EdgeNodeDescriptor("g", "other")
    subject.ask(other, "malformed", past + 10 * S)
    assert len(subject.take_due(past + 11 * S + 100 * MS)) == 1


def test_lost_connection_forgets_what_waits_and_keeps_the_limits():
    subject = limiter()
    subject.ask(NODE, "malformed", T0)
    subject.take_due(T0)
    subject.ask(NODE, "malformed", T0)
    subject.cancel_all()
    assert subject.next_deadline_ns() is None
    subject.ask(NODE, "host_start", T0 + S)
    assert subject.next_deadline_ns() == T0 + 10 * S


def test_what_waits_is_bounded_by_the_nodes_however_often_one_is_asked_and_born():
    subject = limiter()
    subject.ask(NODE, "malformed", T0)
    subject.take_due(T0)
    for step in range(10_000):
        subject.ask(NODE, "malformed", T0 + step)
        subject.cancel(NODE)
    assert len(subject._queue) < 100
    subject.ask(NODE, "malformed", T0 + 1)
    assert subject.next_deadline_ns() == T0 + 10 * S
    assert subject.take_due(T0 + 10 * S) == [(NODE, "malformed")]


def test_a_foreign_node_that_raises_its_bd_seq_at_each_rebirth_makes_no_storm():
    """Its births look like new sessions, and its DATA asks again each time."""
    subject = limiter()
    sent = 0
    for second in range(100):
        subject.ask(NODE, "unknown_metric", T0 + second * S)
        for _ in subject.take_due(T0 + second * S):
            sent += 1
            subject.receive_session(NODE, f"foreign:bd{sent}", ours=False)
    assert sent == 10


def test_a_host_that_only_looks_on_asks_nobody():
    subject = limiter(per_second_max=0)
    assert sent_times(subject, until_s=600) == []
    assert subject.next_deadline_ns() is None


@pytest.mark.parametrize(
    "limits",
    [{"per_second_max": -1}, {"interval_min_ms": -1}, {"interval_max_ms": -1}],
    ids=lambda limits: next(iter(limits)),
)
def test_limits_below_zero_are_said(limits):
    with pytest.raises(LocalProtocolError, match="expected 0 or more"):
        limiter(**limits)


@pytest.mark.parametrize("before", ["session-1", None])
def test_the_session_that_answers_is_none_that_began_anew(before):
    """It was born before it was ever asked, or never heard of: either way it has been asked just now."""
    subject = limiter()
    if before is not None:
        subject.receive_session(NODE, before)
    subject.ask(NODE, "host_start", T0)
    assert subject.take_due(T0) == [(NODE, "host_start")]
    subject.receive_session(NODE, "session-1")
    subject.ask(NODE, "missed_birth", T0 + S)
    assert subject.next_deadline_ns() == T0 + 10 * S
    subject.receive_session(NODE, "session-2")
    subject.ask(NODE, "missed_birth", T0 + S, delay_ns=S)
    subject.ask(NODE, "missed_birth", T0 + S)
    assert subject.next_deadline_ns() == T0 + S
