"""Numbers that are over and come again with other messages: a birth, or nearly 256 messages, did not arrive."""

from __future__ import annotations

from tests.sparkplug.helpers import NODE, T0, Peer, S, kinds, online_host, rebirths
from uns.sparkplug.messages import DataReceived


def talking(host, **options) -> Peer:
    """A peer that has said ten things since its birth."""
    peer = Peer(host, **options)
    peer.nbirth()
    for value in range(10):
        peer.data(value=value)
    host.lost_since_mark(NODE)
    return peer


def test_data_after_a_rebirth_that_was_lost_counts_and_is_no_repetition():
    """Else no mark could be confirmed until the numbers are past where they were."""
    host = online_host()
    peer = talking(host)
    first, second, third = (peer.data(value=value, seq=seq)[0] for value, seq in ((20, 1), (21, 2), (22, 3)))
    assert [type(event) for event in (first, second, third)] == [DataReceived] * 3
    assert (first.late, second.late, third.late) == (False, False, False)
    assert host.lost_since_mark(NODE)  # once: the mark behind it is refused
    assert not host.lost_since_mark(NODE)


def test_a_number_again_with_another_message_asks_for_a_rebirth():
    host = online_host()
    talking(host).data(value=20, seq=2)
    host.receive_timer(T0 + 2 * S)
    assert len(rebirths(host)) == 1


def test_data_behind_a_loss_of_nearly_all_numbers_counts():
    host = online_host()
    peer = talking(host)
    assert [peer.data(value=value, seq=seq)[0].late for value, seq in ((20, 5), (21, 6))] == [False, False]


def test_data_from_before_what_was_heard_of_a_session_is_no_repetition():
    """Of what came before the birth nothing is known: it may be new as well."""
    host = online_host()
    peer = Peer(host)
    peer.nbirth()
    peer.data(value=1)
    assert not peer.data(value=2, seq=250)[0].late
    assert host.lost_since_mark(NODE)


def test_the_same_message_again_is_a_repetition_and_no_cause_for_a_rebirth():
    host = online_host()
    peer = talking(host)
    again = peer.data(value=4, seq=5)[0]
    assert again.late
    assert not host.lost_since_mark(NODE)
    assert host.next_deadline_ns() is None


def test_a_device_that_died_is_born_by_a_number_that_is_over():
    """The node was born again unheard in between; its DBIRTH is no copy of an old one."""
    host = online_host()
    peer = Peer(host)
    peer.nbirth()
    peer.dbirth()
    peer.ddeath()
    peer.data(value=7)
    assert "DeviceBorn" in kinds(peer.dbirth(seq=2))
    assert host.nodes[NODE].devices["reactor4"].online


def test_numbers_of_foreign_devices_that_count_by_themselves_ask_for_nothing():
    host = online_host()
    peer = talking(host, session_id="")
    assert peer.data(value=20, seq=5)[0].late
    assert host.counters["repeated"] == 1


def test_a_repetition_is_told_by_its_bytes_after_the_reorder_timeout_too():
    host = online_host()
    peer = talking(host)
    peer.data(value=20, seq=13)
    host.receive_timer(T0 + 5 * S)
    host.events()
    assert peer.data(value=20, seq=13)[0].late
    assert not peer.data(value=30, seq=13)[0].late


def test_a_foreign_node_whose_answer_to_a_request_was_lost_is_asked_again():
    """Its numbers begin anew, and look like repeated ones."""
    host = online_host()
    peer = talking(host, session_id="")
    host.request_rebirth(NODE, "request", T0)
    assert len(rebirths(host)) == 1
    peer.birth_payload()  # lost
    peer.data(value=20, seq=5, now_ns=T0 + S)
    host.receive_timer(T0 + 10 * S)
    assert host.counters["rebirth_requests_missed_birth"] == 1
    peer.nbirth(now_ns=T0 + 11 * S)
    peer.data(value=20, seq=1, now_ns=T0 + 11 * S)
    peer.data(value=30, seq=1, now_ns=T0 + 11 * S)
    host.receive_timer(T0 + 60 * S)
    assert host.counters["rebirth_requests_missed_birth"] == 1
