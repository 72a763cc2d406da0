"""A host whose clock is set back, and deaths that no bdSeq can be held against."""

from __future__ import annotations

from tests.sparkplug.helpers import NODE, T0, Peer, S, online_host, published
from uns.sparkplug.topics import MessageType

HOUR = 3600 * S
REBIRTH_TOPIC = NODE.topic(MessageType.NCMD)


def test_a_clock_set_back_does_not_stretch_the_reorder_timeout():
    host = online_host()
    peer = Peer(host)
    peer.nbirth()
    peer.device_payload("reactor4")  # its DBIRTH is lost
    peer.data("reactor4", now_ns=T0)
    assert host.next_deadline_ns() == T0 + 5 * S
    peer.data("reactor4", now_ns=T0 - HOUR)
    host.receive_timer(T0 - HOUR + 5 * S)
    host.receive_timer(T0 - HOUR + 7 * S)
    assert [message.topic for message in published(host)] == [REBIRTH_TOPIC]


def test_a_clock_set_back_does_not_stretch_the_wait_for_the_births_of_devices():
    host = online_host()
    peer = Peer(host)
    peer.nbirth()
    peer.dbirth()
    peer.nbirth()  # a rebirth whose DBIRTH is lost, and then silence of this node
    Peer(host, node=type(NODE)("acme.dallas", "other")).nbirth(now_ns=T0 - HOUR)
    host.receive_timer(T0 - HOUR + 7 * S)
    assert [message.topic for message in published(host)] == [REBIRTH_TOPIC]


def test_a_clock_set_back_does_not_stretch_the_wait_of_rebirth_requests():
    host = online_host(jitter=lambda span: span - 1)
    host.receive_message(NODE.topic(MessageType.NDATA), b"", retain=False, now_ns=T0)
    assert published(host) == []
    Peer(host, node=type(NODE)("acme.dallas", "other")).nbirth(now_ns=T0 - HOUR)
    host.receive_timer(T0 - HOUR + 3 * S)
    assert [message.topic for message in published(host)] == [REBIRTH_TOPIC]


def test_a_death_ends_a_session_whose_birth_had_no_bd_seq():
    """Nothing tells it from a late will; but a node that is shown as alive for ever is the worse error of the two."""
    host = online_host()
    peer = Peer(host, session_id="", bd_seq=None)
    peer.nbirth()
    peer.ndeath(3)
    assert not host.nodes[NODE].online
    assert host.counters["late_deaths_ignored"] == 0


def test_a_death_of_a_node_that_was_never_born_is_late():
    host = online_host()
    Peer(host).ndeath(3)
    assert host.counters["late_deaths_ignored"] == 1


def test_a_device_birth_that_comes_twice_wakes_no_device_that_died_in_between():
    """No DATA of it would follow, so that nothing would ever tell that it is gone."""
    host = online_host()
    peer = Peer(host)
    peer.nbirth()
    birth = peer.device_payload("reactor4")
    peer.send(MessageType.DBIRTH, birth, device="reactor4")
    peer.ddeath()
    assert peer.send(MessageType.DBIRTH, birth, device="reactor4") == []
    assert not host.nodes[NODE].devices["reactor4"].online
    assert host.counters["repeated"] == 1
    assert [type(event).__name__ for event in peer.dbirth()] == ["DeviceBorn"]
