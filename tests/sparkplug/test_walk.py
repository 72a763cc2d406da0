"""Where an edge node connects next, and when."""

from __future__ import annotations

import pytest

from tests.sparkplug.helpers import MS, T0, S
from uns.errors import LocalProtocolError
from uns.sparkplug.walk import (
    DOUBLE_PAUSE_MAX_MS,
    DOUBLE_PAUSE_MS,
    WALK_RULES,
    BrokerWalk,
    SessionEnd,
)

END = SessionEnd


def walk(brokers: int = 2, **options) -> BrokerWalk:
    return BrokerWalk(brokers, **{"jitter": lambda n: n - 1, **options})


def session(made: BrokerWalk, end: SessionEnd, *, lasted_ms: int, at: int = T0) -> int:
    made.receive_connected(at)
    return made.receive_end(end, at + lasted_ms * MS)


def test_every_end_has_a_rule():
    assert set(WALK_RULES) == set(SessionEnd)


@pytest.mark.tck(
    "tck-id-operational-behavior-edge-node-termination-host-offline-reconnect",
    "tck-id-operational-behavior-primary-application-state-with-multiple-servers-walk",
)
@pytest.mark.parametrize(
    ("end", "moves"),
    [
        (END.NOT_REACHED, True),
        (END.HOST_OFFLINE, True),
        (END.HOST_SILENT, True),
        (END.LOST, False),
        (END.TAKEN_OVER, False),
        (END.CLOCK_SET_BACK, False),
        (END.FAILED, False),
    ],
)
def test_the_walk_goes_to_the_next_broker_where_the_host_is_not(end, moves):
    made = walk()
    session(made, end, lasted_ms=60_000)
    assert made.broker == int(moves)


def test_the_walk_begins_again_after_the_last_broker():
    made = walk(3)
    visited = []
    for _ in range(4):
        made.receive_end(END.NOT_REACHED, T0)
        visited.append(made.broker)
    assert visited == [1, 2, 0, 1]


def test_the_pause_doubles_once_per_round_up_to_its_maximum():
    assert [walk(1).receive_end(END.NOT_REACHED, T0)] == [500]
    one, two = walk(1), walk(2)
    assert [one.receive_end(END.NOT_REACHED, T0) for _ in range(6)] == [500, 1000, 2000, 4000, 5000, 5000]
    assert [two.receive_end(END.NOT_REACHED, T0) for _ in range(6)] == [500, 500, 1000, 1000, 2000, 2000]


def test_the_pause_stays_inside_what_births_may_wait_for_the_primary_host():
    made = walk(1, pause_max_ms=700)
    assert [made.receive_end(END.HOST_SILENT, T0) for _ in range(4)] == [500, 700, 700, 700]
    assert walk(1, pause_max_ms=100).receive_end(END.NOT_REACHED, T0) == 100


def test_the_pause_has_jitter_between_its_half_and_its_whole():
    assert walk(1, jitter=lambda _: 0).receive_end(END.NOT_REACHED, T0) == 250
    assert walk(1, jitter=lambda n: n - 1).receive_end(END.NOT_REACHED, T0) == 500


@pytest.mark.parametrize(("lasted_ms", "pause_ms"), [(9_999, 4000), (10_000, 500)])
def test_a_steady_session_begins_the_back_off_anew(lasted_ms, pause_ms):
    made = walk(1)
    for _ in range(3):
        made.receive_end(END.NOT_REACHED, T0)
    assert session(made, END.LOST, lasted_ms=lasted_ms) == pause_ms


def test_a_clock_that_was_set_back_costs_the_shortest_pause():
    made = walk(1)
    for _ in range(3):
        made.receive_end(END.NOT_REACHED, T0)
    assert session(made, END.CLOCK_SET_BACK, lasted_ms=5) == 500


def test_a_broker_that_ends_every_session_soon_is_left():
    made = walk(2)
    ends = []
    for _ in range(4):
        session(made, END.LOST, lasted_ms=100)
        ends.append(made.broker)
    assert ends[:3] == [0, 0, 1]


def test_no_broker_is_no_walk():
    with pytest.raises(LocalProtocolError):
        walk(0)


# ── a second client with the same identity ───────────────────────────────────────────────────────────────────────


def test_two_takeovers_within_a_minute_make_a_double():
    made = walk(1)
    session(made, END.TAKEN_OVER, lasted_ms=5_000)
    assert not made.has_double
    session(made, END.TAKEN_OVER, lasted_ms=5_000, at=T0 + 50 * S)
    assert made.has_double
    other = walk(1)
    session(other, END.TAKEN_OVER, lasted_ms=5_000)
    session(other, END.TAKEN_OVER, lasted_ms=5_000, at=T0 + 61 * S)
    assert not other.has_double  # one an hour is somebody who restarts something


def test_two_connections_that_end_soon_want_a_proof():
    """MQTT 3.1.1 does not say why; a bad line looks the same."""
    made = walk(1)
    session(made, END.LOST, lasted_ms=500)
    assert not made.wants_proof
    session(made, END.LOST, lasted_ms=1_999)
    assert (made.wants_proof, made.has_double) == (True, False)
    made.receive_proof(found=True)
    assert (made.wants_proof, made.has_double) == (False, True)


def test_a_proof_that_nobody_is_there_is_no_double_and_none_to_be_had_makes_one_likely():
    made, other = walk(1), walk(1)
    for at in range(3):
        for one, found in ((made, False), (other, None)):
            session(one, END.LOST, lasted_ms=500, at=T0 + at * S)
            if one.wants_proof:
                one.receive_proof(found=found)
            assert one.has_double is (one is other and at == 2)


@pytest.mark.parametrize(
    ("end", "lasted_ms"), [(END.LOST, 2_000), (END.HOST_OFFLINE, 10), (END.CLOCK_SET_BACK, 10), (END.FAILED, 10)]
)
def test_other_ends_want_no_proof(end, lasted_ms):
    made = walk(1)
    session(made, END.LOST, lasted_ms=500)
    session(made, end, lasted_ms=lasted_ms)
    assert not made.wants_proof


def test_a_broker_that_is_away_in_between_is_no_double():
    made = walk(1)
    session(made, END.LOST, lasted_ms=500)
    made.receive_end(END.NOT_REACHED, T0)
    session(made, END.LOST, lasted_ms=500)
    assert not made.wants_proof


def test_a_node_with_a_double_comes_back_seldom_and_ever_more_so():
    made = walk(1)
    made.receive_proof(found=True)
    pauses = [made.pause_for_double_ms() for _ in range(5)]
    assert pauses[:2] == [DOUBLE_PAUSE_MS, 2 * DOUBLE_PAUSE_MS]
    assert pauses[-1] == DOUBLE_PAUSE_MAX_MS
    assert DOUBLE_PAUSE_MS // 2 >= 60_000 // 3, "at most 3 CONNECTs a minute"


def test_a_minute_without_takeover_ends_the_alarm():
    made = walk(1)
    made.receive_proof(found=True)
    assert made.next_deadline_ns() is None
    made.receive_connected(T0)
    assert made.next_deadline_ns() == T0 + 60 * S
    made.receive_timer(T0 + 59 * S)
    assert made.has_double
    made.receive_timer(T0 + 60 * S)
    assert not made.has_double


def test_two_nodes_of_one_name_do_not_flap():
    """Each CONNECT ends the other's connection. Both obey the rules: the alarm comes soon, and reconnects get rare."""
    walks = [walk(1, jitter=lambda n: n // 3), walk(1, jitter=lambda n: n // 2)]
    due: dict[int, int] = {0: T0, 1: T0 + S}  # when each connects
    holder: int | None = None
    connects: dict[int, list[int]] = {0: [], 1: []}
    alarms: dict[int, int] = {}
    now = T0
    while now < T0 + 600 * S:
        who = min(due, key=due.__getitem__)
        now = due.pop(who)
        connects[who].append(now)
        walks[who].receive_connected(now)
        if holder is not None:
            loser = walks[holder]
            pause_ms = loser.receive_end(END.LOST, now)
            if loser.wants_proof:  # it is true: the other one is online
                loser.receive_proof(found=True)
            if loser.has_double:
                pause_ms = loser.pause_for_double_ms()
                alarms.setdefault(holder, now)
            due[holder] = now + pause_ms * MS
        holder = who
        if not due:
            break
    assert min(alarms.values()) <= T0 + 30 * S
    for times in connects.values():
        for start in times:
            assert sum(start <= at < start + 60 * S for at in times) <= 4
    assert sum(len(times) for times in connects.values()) < 40
