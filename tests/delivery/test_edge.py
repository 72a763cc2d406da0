from __future__ import annotations

import pytest

from uns.delivery.edge import (
    Confirmed,
    DeleteRows,
    EdgeDelivery,
    PublishMark,
    Recovered,
    Refused,
    RestartHistory,
    Starved,
    Unanswered,
)
from uns.delivery.messages import DIGEST_MODULUS, Confirm, Mark
from uns.errors import LocalProtocolError

MS = 1_000_000
SESSION = "session-1"


def an_edge(*, head: int = 100, **options) -> EdgeDelivery:
    edge = EdgeDelivery(host_id="host-1", **options)
    edge.session_started(SESSION, head=head, now_ns=0)
    return edge


def send(edge: EdgeDelivery, *, live: int = 0, history: int = 0, messages: int = 1, now_ms: int = 0) -> None:
    """Hand over so many rows of each cursor."""
    if live:
        start = edge.live_position
        edge.sent("live", from_id=start, next_id=start + live, messages=messages, now_ns=now_ms * MS)
    if history:
        start = edge.history_position
        edge.sent("history", from_id=start, next_id=start + history, messages=messages, now_ns=now_ms * MS)


def marks(edge: EdgeDelivery) -> list[Mark]:
    return [action.mark for action in edge.actions() if isinstance(action, PublishMark)]


def deletions(edge: EdgeDelivery) -> list[tuple[int, int]]:
    return [(a.from_id, a.below_id) for a in edge.actions() if isinstance(a, DeleteRows)]


def answer(edge: EdgeDelivery, n: int, *, ok: bool = True, now_ms: int = 0, session: str = SESSION) -> None:
    edge.receive_confirm(Confirm(session=session, n=n, ok=ok), now_ms * MS)


def refuse_next(edge: EdgeDelivery, n: int, *, now_ms: int = 0) -> None:
    """One window with one live row, marked and refused."""
    send(edge, live=1, now_ms=now_ms)
    edge.receive_timer((now_ms + 500) * MS)
    answer(edge, n, ok=False, now_ms=now_ms + 500)


class TestWhenAMarkIsMade:
    def test_after_the_interval_since_the_first_unmarked_message(self):
        edge = an_edge()
        send(edge, live=3, messages=2, now_ms=10)
        assert edge.next_deadline_ns() == 510 * MS
        edge.receive_timer(509 * MS)
        assert marks(edge) == []
        edge.receive_timer(510 * MS)
        assert marks(edge) == [
            Mark(session=SESSION, host="host-1", n=1, repeat=False, cursor="live", mark=103, messages=2)
        ]

    def test_at_once_after_mark_messages_max(self):
        edge = an_edge(mark_messages_max=5)
        send(edge, live=9, messages=4)
        assert marks(edge) == []
        send(edge, live=1)
        assert [(m.mark, m.messages) for m in marks(edge)] == [(110, 5)]

    def test_at_once_when_history_reached_its_end(self):
        edge = an_edge(head=7)
        send(edge, history=6)
        assert marks(edge) == []
        send(edge, history=1)
        assert [(m.cursor, m.mark, m.messages) for m in marks(edge)] == [("history", 7, 2)]

    def test_at_once_when_the_store_has_no_more_history(self):
        edge = an_edge(head=7)
        send(edge, history=3)
        edge.history_exhausted(0)
        assert [(m.cursor, m.mark) for m in marks(edge)] == [("history", 7)]
        assert not edge.may_send_history(0)

    def test_never_for_nothing(self):
        edge = an_edge()
        edge.receive_timer(10_000 * MS)
        edge.history_exhausted(10_000 * MS)
        assert edge.actions() == []
        assert edge.next_deadline_ns() is None

    def test_one_at_a_time(self):
        edge = an_edge(mark_messages_max=1)
        send(edge, live=1)
        send(edge, live=1, now_ms=1)
        edge.receive_timer(4_000 * MS)
        assert [m.n for m in marks(edge)] == [1]
        answer(edge, 1, now_ms=4_000)
        assert [(m.n, m.messages) for m in marks(edge)] == [(2, 1)]

    def test_its_count_covers_both_cursors(self):
        edge = an_edge()
        send(edge, live=1, history=5, messages=3)
        edge.receive_timer(500 * MS)
        assert [m.messages for m in marks(edge)] == [6]

    def test_n_starts_at_one_in_each_session(self):
        edge = an_edge(mark_messages_max=1)
        send(edge, live=1)
        edge.session_ended()
        edge.actions()
        edge.session_started("session-2", head=101, now_ns=0)
        send(edge, live=1)
        assert [(m.session, m.n, m.messages) for m in marks(edge)] == [("session-2", 1, 1)]


class TestConfirmation:
    def test_frees_the_rows_of_both_cursors_below_the_mark(self):
        edge = an_edge(head=100)
        send(edge, live=3, history=40)
        edge.receive_timer(500 * MS)
        send(edge, live=2, now_ms=501)
        edge.actions()
        answer(edge, 1)
        assert deletions(edge) == [(0, 40), (100, 103)]
        assert edge.events() == [Confirmed(1)]

    def test_does_not_free_twice(self):
        edge = an_edge(head=0, mark_messages_max=1)
        for n in (1, 2):
            send(edge, live=10)
            edge.actions()
            answer(edge, n)
        assert deletions(edge) == [(10, 20)]

    def test_with_history_at_its_end_touches_no_live_row(self):
        edge = an_edge(head=5, mark_messages_max=1_000)
        send(edge, history=5)
        send(edge, live=4)
        edge.actions()
        answer(edge, 1)
        assert deletions(edge) == [(0, 5)]  # the live rows went out behind the mark

    @pytest.mark.parametrize(("n", "session"), [(0, SESSION), (2, SESSION), (1, "session-0"), (-1, SESSION)])
    def test_for_another_mark_or_session_says_nothing(self, n, session):
        edge = an_edge(mark_messages_max=1)
        send(edge, live=1)
        edge.actions()
        answer(edge, n, session=session)
        answer(edge, n, ok=False, session=session)
        assert edge.actions() == []
        assert edge.events() == []
        assert edge.waiting_for_answer

    def test_of_an_answered_mark_is_ignored(self):
        edge = an_edge(mark_messages_max=1)
        send(edge, live=1)
        answer(edge, 1)
        edge.actions()
        answer(edge, 1, ok=False)
        assert edge.actions() == []

    def test_after_the_session_ended_is_ignored(self):
        edge = an_edge(mark_messages_max=1)
        send(edge, live=1)
        edge.session_ended()
        edge.actions()
        answer(edge, 1)
        assert edge.actions() == []


class TestTheEndOfASession:
    def test_a_mark_that_did_not_leave_is_void_what_was_confirmed_is_deleted(self):
        edge = an_edge(mark_messages_max=1)
        send(edge, live=1)
        edge.actions()
        send(edge, live=1)
        answer(edge, 1)  # and mark 2 is due at once
        edge.session_ended()
        assert edge.actions() == [DeleteRows(100, 101)]


class TestRefusal:
    def test_turns_live_rows_before_the_mark_into_history(self):
        edge = an_edge(head=100)
        send(edge, live=3)
        edge.receive_timer(500 * MS)
        send(edge, live=2, now_ms=501)
        edge.actions()
        answer(edge, 1, ok=False)
        assert edge.actions() == [RestartHistory()]
        assert (edge.live_start, edge.live_position, edge.history_position) == (103, 105, 0)

    def test_sends_all_unconfirmed_history_again(self):
        edge = an_edge(head=100, mark_messages_max=1)
        send(edge, history=10)
        answer(edge, 1)
        send(edge, history=10)
        send(edge, history=5)  # in flight behind the mark
        edge.actions()
        answer(edge, 2, ok=False)
        assert edge.history_position == 10

    def test_with_history_in_flight_the_next_mark_frees_only_what_went_out_after_the_restart(self):
        edge = an_edge(head=100)
        send(edge, history=30)
        edge.receive_timer(500 * MS)  # mark 1 covers [0, 30)
        send(edge, history=20, now_ms=501)  # [30, 50) behind it
        answer(edge, 1, ok=False, now_ms=502)
        edge.actions()
        send(edge, history=8, now_ms=503)
        edge.receive_timer(1_100 * MS)
        assert [(m.n, m.mark, m.messages) for m in marks(edge)] == [(2, 8, 2)]
        answer(edge, 2)
        assert deletions(edge) == [(0, 8)]

    def test_rows_read_ahead_of_the_restart_are_refused(self):
        edge = an_edge(head=100, mark_messages_max=1)
        send(edge, history=10)
        answer(edge, 1, ok=False)
        with pytest.raises(LocalProtocolError, match="present position"):
            edge.sent("history", from_id=10, next_id=20, messages=1, now_ns=0)


class TestSilence:
    def test_repeats_the_same_mark_and_nothing_else(self):
        edge = an_edge()
        send(edge, live=1)
        edge.receive_timer(500 * MS)
        (first,) = marks(edge)
        send(edge, live=4, now_ms=600)
        assert edge.next_deadline_ns() == 5_500 * MS
        edge.receive_timer(5_500 * MS)
        edge.receive_timer(10_500 * MS)
        repeats = marks(edge)
        assert [m.repeat for m in repeats] == [True, True]
        assert [(m.n, m.mark, m.messages) for m in repeats] == [(first.n, first.mark, first.messages)] * 2
        assert edge.events() == [Unanswered(1, 1), Unanswered(1, 2)]

    def test_lets_history_wait_and_live_go_on(self):
        edge = an_edge()
        send(edge, live=1)
        edge.receive_timer(500 * MS)
        assert edge.may_send_history(5_499 * MS)
        assert not edge.may_send_history(5_500 * MS)
        edge.receive_timer(5_500 * MS)
        assert not edge.may_send_history(5_501 * MS)
        send(edge, live=1, now_ms=5_502)

    def test_paces_history_behind_an_unanswered_mark(self):
        edge = an_edge(mark_messages_max=3)
        send(edge, history=3, messages=3)
        assert edge.may_send_history(0)
        send(edge, history=3, messages=3)
        assert not edge.may_send_history(0)
        answer(edge, 1)
        assert edge.may_send_history(0)

    def test_a_refusal_narrows_the_window_of_history(self):
        edge = an_edge(mark_messages_max=80)
        assert edge.history_room(0) == 80
        send(edge, history=1)
        edge.receive_timer(500 * MS)
        answer(edge, 1, ok=False)
        assert edge.history_room(0) == 20
        send(edge, history=1, messages=19)
        assert edge.history_room(0) == 1
        edge.actions()
        send(edge, history=1)
        assert [m.messages for m in marks(edge)] == [20]

    def test_confirmations_of_full_windows_widen_it_again(self):
        edge = an_edge(mark_messages_max=80)
        send(edge, history=1)
        edge.receive_timer(500 * MS)
        answer(edge, 1, ok=False)
        rooms = []
        for n in range(2, 20):
            send(edge, history=1, messages=edge.history_room(0))
            answer(edge, n)
            rooms.append(edge.history_room(0))
        assert rooms[:3] == [25, 30, 35]
        assert rooms[-1] == 80

    def test_a_narrow_window_does_not_hurry_the_marks_of_live(self):
        edge = an_edge(mark_messages_max=80)
        send(edge, history=1)
        edge.receive_timer(500 * MS)
        answer(edge, 1, ok=False)
        edge.actions()
        send(edge, live=1, messages=30)
        assert marks(edge) == []

    def test_after_a_refused_repetition_the_lost_window_is_closed_at_once_and_without_history(self):
        edge = an_edge()
        send(edge, live=1)
        edge.receive_timer(500 * MS)
        send(edge, live=1, now_ms=600)
        edge.receive_timer(5_500 * MS)
        edge.actions()
        answer(edge, 1, ok=False, now_ms=5_510)
        assert [(m.n, m.messages) for m in marks(edge)] == [(2, 1)]
        assert not edge.may_send_history(5_510 * MS)
        answer(edge, 2, ok=False, now_ms=5_520)
        assert edge.may_send_history(5_520 * MS)
        assert [e.running for e in edge.events() if isinstance(e, Refused)] == [1, 1]

    def test_a_confirmation_of_a_repeated_mark_is_good(self):
        edge = an_edge(head=0)
        send(edge, live=1)
        edge.receive_timer(500 * MS)
        edge.receive_timer(5_500 * MS)
        edge.actions()
        answer(edge, 1, now_ms=5_510)
        assert deletions(edge) == [(0, 1)]


class TestBackOff:
    def test_begins_with_the_third_refusal_in_a_row(self):
        edge = an_edge()
        for n in (1, 2):
            refuse_next(edge, n)
            assert edge.may_send_history(500 * MS)
        refuse_next(edge, 3)
        assert not edge.may_send_history(500 * MS)
        assert [e for e in edge.events() if isinstance(e, Starved)] == [
            Starved("DATA does not arrive: check the broker's ACL")
        ]
        assert edge.starved

    def test_doubles_up_to_five_minutes(self):
        edge = an_edge()
        rests = []
        for n in range(1, 15):
            refuse_next(edge, n)
            deadline = edge.next_deadline_ns()
            if deadline is not None:
                rests.append(deadline // MS - 500)
        assert rests == [5_000, 10_000, 20_000, 40_000, 80_000, 160_000, *[300_000] * 6]

    def test_then_probes_with_one_history_message(self):
        edge = an_edge()
        for n in (1, 2, 3):
            refuse_next(edge, n)
        edge.receive_timer(5_500 * MS)
        assert edge.may_send_history(5_500 * MS)
        assert edge.next_deadline_ns() is None
        send(edge, history=1, now_ms=5_500)
        assert not edge.may_send_history(5_500 * MS)
        edge.receive_timer(6_000 * MS)
        answer(edge, 4, ok=False, now_ms=6_000)
        assert not edge.may_send_history(15_999 * MS)
        assert edge.may_send_history(16_000 * MS)

    def test_ends_with_one_confirmation(self):
        edge = an_edge()
        for n in (1, 2, 3):
            refuse_next(edge, n)
        send(edge, live=1, now_ms=600)
        edge.receive_timer(1_100 * MS)
        edge.events()
        answer(edge, 4, now_ms=1_100)
        assert edge.events() == [Confirmed(4), Recovered()]
        assert edge.may_send_history(1_100 * MS)
        refuse_next(edge, 5, now_ms=1_200)
        assert not edge.starved

    def test_outlives_a_reconnect_but_looks_again_soon(self):
        edge = an_edge()
        for n in range(1, 12):
            refuse_next(edge, n)
        edge.session_ended()
        edge.session_started("session-2", head=200, now_ns=1_000 * MS)
        assert edge.starved
        assert not edge.may_send_history(5_999 * MS)
        assert edge.may_send_history(6_000 * MS)


class TestLevels:
    def test_broker_takes_the_puback(self):
        edge = an_edge(head=0, level="broker", mark_messages_max=1)
        send(edge, live=2)
        edge.actions()
        edge.receive_puback(2, 0)
        answer(edge, 1)
        answer(edge, 1, ok=False)
        assert edge.actions() == []
        edge.receive_puback(1, 0)
        assert deletions(edge) == [(0, 2)]

    def test_host_takes_no_puback(self):
        edge = an_edge(mark_messages_max=1)
        send(edge, live=2)
        edge.actions()
        edge.receive_puback(1, 0)
        assert edge.actions() == []

    def test_none_deletes_what_is_handed_over_and_marks_nothing(self):
        edge = an_edge(level="none", mark_messages_max=1)
        send(edge, live=2, history=5)
        edge.receive_timer(60_000 * MS)
        assert edge.actions() == [DeleteRows(100, 102), DeleteRows(0, 5)]

    def test_none_has_no_window_for_history(self):
        edge = an_edge(level="none", mark_messages_max=2)
        while edge.may_send_history(0):
            send(edge, history=1)
        assert edge.history_position == 100


class TestMisuse:
    def test_nothing_is_sent_outside_a_session(self):
        edge = EdgeDelivery(host_id="host-1")
        assert not edge.may_send_history(0)
        with pytest.raises(LocalProtocolError, match="outside a session"):
            send(edge, live=1)

    def test_rows_without_a_message_would_be_deleted_unsent(self):
        edge = an_edge()
        with pytest.raises(LocalProtocolError, match="0 messages"):
            send(edge, live=1, messages=0)

    def test_history_may_not_reach_into_live_rows(self):
        edge = an_edge(head=5)
        with pytest.raises(LocalProtocolError, match="reach into live"):
            send(edge, history=6)

    @pytest.mark.parametrize(("from_id", "next_id"), [(99, 101), (101, 102), (100, 99)])
    def test_live_rows_continue_where_the_last_ended(self, from_id, next_id):
        edge = an_edge(head=100)
        with pytest.raises(LocalProtocolError):
            edge.sent("live", from_id=from_id, next_id=next_id, messages=1, now_ns=0)

    def test_a_refused_call_changes_nothing(self):
        edge = an_edge(head=5)
        with pytest.raises(LocalProtocolError):
            send(edge, history=6)
        assert edge.history_position == 0
        assert edge.next_deadline_ns() is None


class TestTheDigestOfAMark:
    def test_it_is_the_sum_over_both_cursors_and_begins_anew(self):
        edge = an_edge()
        edge.sent("live", from_id=100, next_id=101, messages=1, digest=DIGEST_MODULUS - 1, now_ns=0)
        edge.sent("history", from_id=0, next_id=5, messages=2, digest=8, now_ns=0)
        edge.receive_timer(500 * MS)
        answer(edge, 1, now_ms=500)
        edge.sent("live", from_id=101, next_id=102, messages=1, digest=3, now_ns=500 * MS)
        edge.receive_timer(1_000 * MS)
        assert [mark.digest for mark in marks(edge)] == [7, 3]

    def test_a_caller_that_does_not_say_leaves_it_out_for_that_mark(self):
        edge = an_edge()
        edge.sent("live", from_id=100, next_id=101, messages=1, digest=5, now_ns=0)
        send(edge, live=1)
        edge.receive_timer(500 * MS)
        answer(edge, 1, now_ms=500)
        edge.sent("live", from_id=102, next_id=103, messages=1, digest=3, now_ns=500 * MS)
        edge.receive_timer(1_000 * MS)
        assert [mark.digest for mark in marks(edge)] == [None, 3]

    def test_a_repetition_has_that_of_the_mark(self):
        edge = an_edge()
        edge.sent("live", from_id=100, next_id=101, messages=1, digest=5, now_ns=0)
        edge.receive_timer(500 * MS)
        edge.sent("live", from_id=101, next_id=102, messages=1, digest=9, now_ns=600 * MS)
        edge.receive_timer(5_500 * MS)
        assert [(mark.n, mark.repeat, mark.digest) for mark in marks(edge)] == [(1, False, 5), (1, True, 5)]


class TestTheWindowOfHistory:
    def test_live_messages_do_not_fill_it(self):
        """Else a small window, and live rows that always come just behind the mark, keep history waiting for ever."""
        edge = an_edge(head=10_000)
        edge._window = 1
        for n in range(1, 30):
            send(edge, live=20, messages=20, now_ms=n * 1_000)  # what was committed together goes before history
            room = edge.history_room(n * 1_000 * MS)
            assert room > 0
            send(edge, history=room, messages=room, now_ms=n * 1_000)
            edge.receive_timer((n * 1_000 + 500) * MS)
            answer(edge, n, now_ms=n * 1_000 + 500)
        assert edge._window == 200, "and a confirmed full window widens it"

    def test_its_bounds_are_one_message_and_mark_messages_max(self):
        edge = an_edge(head=10_000, mark_messages_max=7)
        windows = []
        for n, ok in enumerate([False] * 3 + [True] * 8, start=1):
            now_ms = n * 1_000_000
            while not edge.waiting_for_answer:
                send(edge, history=1, now_ms=now_ms)
                edge.receive_timer((now_ms + 500 * edge.starved) * MS)  # which has but one message to send
            answer(edge, n, ok=ok, now_ms=now_ms + 500)
            windows.append(edge._window)
        assert windows == [1, 1, 1, 2, 3, 4, 5, 6, 7, 7, 7]

    def test_a_full_one_is_marked_at_once_whatever_live_sent(self):
        edge = an_edge(mark_messages_max=10)
        edge._window = 2
        send(edge, live=1)
        send(edge, history=1)
        assert marks(edge) == []
        send(edge, history=1)
        assert [mark.messages for mark in marks(edge)] == [3]


class TestStarvedAndRecoveredAgainAndAgain:
    def test_each_is_told_once_a_time_and_history_goes_on_after_each(self):
        edge = an_edge(head=10_000)
        told, n, now_ms = [], 0, 0
        for _ in range(5):
            for ok in (False, False, False, False, True):
                n, now_ms = n + 1, now_ms + 400_000
                send(edge, live=1, now_ms=now_ms)
                edge.receive_timer((now_ms + 500) * MS)
                answer(edge, n, ok=ok, now_ms=now_ms + 500)
            told += [type(event).__name__ for event in edge.events() if isinstance(event, Starved | Recovered)]
            assert edge.history_room((now_ms + 500) * MS) > 0
        assert told == ["Starved", "Recovered"] * 5

    def test_a_starved_node_that_connects_anew_does_not_wait_for_the_rest_of_its_longest_rest(self):
        edge = an_edge(head=10_000)
        for n in range(1, 12):
            refuse_next(edge, n, now_ms=n * 1_000)
        edge.session_ended()
        edge.session_started("session-2", head=20_000, now_ns=20_000 * MS)
        assert edge.history_room(25_000 * MS) == 1
        send(edge, history=1, now_ms=25_000)
        edge.receive_timer(25_500 * MS)
        answer(edge, 1, session="session-2", now_ms=25_600)
        assert (edge.starved, edge.history_room(25_600 * MS) >= 1) == (False, True)
