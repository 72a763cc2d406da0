"""One read from the socket may hold the end of one session and the begin of the next: each keeps what is its own."""

from __future__ import annotations

import pytest

from tests.runtime.test_receiver import Host
from tests.sparkplug.helpers import NODE, Peer
from uns.sparkplug.topics import MessageType


@pytest.fixture
def host(tmp_path) -> Host:
    return Host(tmp_path)


def two_sessions(host: Host) -> tuple[Peer, Peer]:
    one, two = host.another(NODE), host.another(NODE)
    one.bd_seq, two.session_id, two.bd_seq = 1, "session-2", 2
    return one, two


def test_births_of_two_sessions_in_one_batch_keep_their_bd_seq(host):
    for peer in two_sessions(host):
        peer.nbirth()
        peer.dbirth()
    group = host.receiver.receive(host.wire.take(), 1)
    assert [(one.session, one.bd_seq) for one in group.births] == [
        ("session-1", 1),
        ("session-1", 1),
        ("session-2", 2),
        ("session-2", 2),
    ]
    assert [item.work.provenance.bd_seq for item in group.items] == [1, 1, 2, 2]


def test_data_that_cannot_be_read_stays_with_its_session(host):
    one, two = two_sessions(host)
    one.nbirth()
    one.send(MessageType.NDATA, b"\xff")
    two.nbirth()
    group = host.receiver.receive(host.wire.take(), 1)
    provenance = [item.work.provenance for item in group.items]
    assert [(one.session, one.bd_seq) for one in provenance] == [("session-1", 1), ("session-1", 1), ("session-2", 2)]


def test_a_hole_that_closes_hides_no_new_one(host):
    """A late message of the window before, a loss, and a message that overtook its mark: the count alone is right."""
    host.peer.nbirth()
    host.receive(host.wire.take())
    first, late, third = host.said(3)
    (refused,) = host.receive([first, third, host.mark(3)])
    _lost, fifth, of_the_next = host.said(3)
    (confirm,) = host.receive([late, fifth, of_the_next, host.mark(2)])
    assert (refused.ok, confirm.ok) == (False, False)


def test_a_hole_that_was_given_up_hides_no_new_one(host):
    host.peer.nbirth()
    host.receive(host.wire.take())
    first, _lost = host.said(2)
    (third,) = host.said(1)
    (refused,) = host.receive([first, third, host.mark(3)])
    host.session.receive_timer(2**62)  # the reorder timeout is over
    first, _lost, third, of_the_next = host.said(4)
    (confirm,) = host.receive([first, third, of_the_next, host.mark(3)])
    assert (refused.ok, confirm.ok) == (False, False)
