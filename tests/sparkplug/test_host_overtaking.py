"""What comes behind a birth and was sent before it, or before its birth and was sent behind it: time and bdSeq tell."""

from __future__ import annotations

import pytest

from schemas.sparkplug_b_pb2 import Payload
from tests.sparkplug.helpers import MS, NODE, T0, T0_MS, Peer, S, batch_of, born, kinds, metric, online_host, rebirths
from uns.sparkplug import codec
from uns.sparkplug.messages import NodeDied, RebirthRequested
from uns.sparkplug.topics import MessageType

SESSIONS = ["session-1", ""]  # of ours, and of a foreign node


def causes(events) -> list[str]:
    return [event.cause for event in events if isinstance(event, RebirthRequested)]


def timers(host, *, until_s: int, now_ns: int = T0):
    """Run all timers; what the host told."""
    while (deadline := host.next_deadline_ns()) is not None and deadline <= now_ns + until_s * S:
        host.receive_timer(deadline)
    return host.events()


@pytest.mark.parametrize("session_id", SESSIONS)
def test_a_device_whose_dbirth_overtook_the_nbirth_is_asked_for_though_nothing_follows(session_id):
    host = online_host()
    peer = Peer(host, session_id=session_id)
    node_birth = peer.birth_payload()
    assert kinds(peer.dbirth()) == ["RebirthRequested"]  # lost on its way
    assert "NodeBorn" in kinds(peer.send(MessageType.NBIRTH, node_birth))
    assert causes(timers(host, until_s=60)) == ["missed_birth"]
    assert host.counters["before_birth"] == 1


def test_a_dbirth_that_passed_by_before_a_rebirth_is_no_dbirth_of_it():
    host = online_host()
    peer = Peer(host)
    peer.birth_payload()
    peer.dbirth()
    peer.nbirth()
    peer.dbirth(seq=1)
    assert causes(timers(host, until_s=60)) == []


def test_a_dbirth_of_the_next_session_is_none_of_this_one():
    """Aliases of our edge sessions end in the bdSeq."""
    host = online_host()
    one = Peer(host, session_id="session-1", bd_seq=7)
    one.nbirth([metric("uptime", alias=256 + 7)])
    other = Peer(host, session_id="session-2", bd_seq=8)
    node_birth = other.birth_payload([metric("uptime", alias=256 + 8)])
    assert kinds(other.dbirth("a", [metric("m", alias=512 + 8)])) == ["RebirthRequested"]  # lost on its way
    assert kinds(other.send(MessageType.NBIRTH, node_birth)) == ["NodeDied", "NodeBorn"]
    assert causes(timers(host, until_s=60)) == ["missed_birth"]


@pytest.mark.parametrize("session_id", SESSIONS)
def test_a_node_whose_ndeath_overtook_its_nbirth_is_dead_when_it_does_not_answer(session_id):
    host = online_host()
    peer = Peer(host, session_id=session_id)
    peer.ndeath(raw="the message")
    events = [*peer.nbirth(now_ns=T0 + S), *timers(host, until_s=60)]
    assert causes(events) == ["after_death"]
    told = [event for event in events if isinstance(event, NodeDied)]
    assert [(event.reason, event.raw) for event in told] == [("ndeath", "the message")]
    assert not host.nodes[NODE].online


@pytest.mark.parametrize("answers", ["nbirth", "data"])
def test_a_node_that_takes_a_bd_seq_again_lives_on(answers):
    """Some do not count connections that came to nothing."""
    host = online_host()
    peer = Peer(host, session_id="")
    peer.ndeath()
    assert causes(peer.nbirth(now_ns=T0 + S)) == ["after_death"]
    getattr(peer, answers)(now_ns=T0 + 7 * S)
    assert causes(timers(host, until_s=60)) == []
    assert host.nodes[NODE].online


def test_an_ndeath_of_long_ago_says_nothing_of_a_birth():
    host = online_host()
    peer = Peer(host)
    peer.ndeath()
    peer.nbirth(now_ns=T0 + 6 * S)
    assert timers(host, until_s=60) == []
    assert host.nodes[NODE].online


def test_few_deaths_are_remembered():
    host = online_host()
    peer = Peer(host)
    for bd_seq in range(100):
        peer.ndeath(bd_seq)
    assert list(host.nodes[NODE].deaths) == [98, 99]


@pytest.mark.parametrize("session_id", SESSIONS)
def test_an_nbirth_that_comes_twice_is_one(session_id):
    host = online_host()
    peer = Peer(host, session_id=session_id)
    node_birth = peer.birth_payload()
    peer.send(MessageType.NBIRTH, node_birth)
    peer.dbirth()
    assert kinds(peer.send(MessageType.NBIRTH, node_birth)) == []
    assert host.nodes[NODE].devices["reactor4"].online
    peer.ndeath()
    assert kinds(peer.send(MessageType.NBIRTH, node_birth)) == []
    assert not host.nodes[NODE].online
    assert host.counters["late_births_ignored"] == 2


def test_a_foreign_node_without_seq_may_stamp_what_follows_its_birth_with_older_times():
    """Some stamp a payload with the time of its samples: without a number that says the same, that is no disorder."""
    host = online_host()
    peer = Peer(host, session_id="")
    peer.nbirth()
    peer.time_ms -= 60_000
    device_birth = Payload.FromString(peer.device_payload("reactor4"))
    device_birth.ClearField("seq")
    assert "DeviceBorn" in kinds(
        peer.send(MessageType.DBIRTH, device_birth.SerializeToString(), device="reactor4", now_ns=T0 + S)
    )
    data = Payload(timestamp=peer.time_ms - 1)
    data.metrics.add(alias=10, timestamp=peer.time_ms - 1, double_value=1.0)
    assert kinds(peer.send(MessageType.DDATA, data.SerializeToString(), device="reactor4")) == ["DataReceived"]


def test_a_node_without_a_clock_is_born_again_at_once():
    """It says 0 of every birth: nothing tells the next one from a copy."""
    host = online_host()
    peer = Peer(host, session_id="")
    peer.time_ms = -1  # each birth is a ms later
    node_birth = peer.birth_payload()
    assert "NodeBorn" in kinds(peer.send(MessageType.NBIRTH, node_birth))
    peer.ndeath()
    assert "NodeBorn" in kinds(peer.send(MessageType.NBIRTH, node_birth))
    assert host.nodes[NODE].online


@pytest.mark.parametrize("after_s", [1, 60])
def test_an_nbirth_and_a_mark_of_a_session_that_is_over_take_nothing_from_the_next(after_s):
    host = online_host()
    old = Peer(host)
    old_birth = old.birth_payload()
    old.send(MessageType.NBIRTH, old_birth)
    between = Peer(host, session_id="session-b", bd_seq=7)
    between.time_ms += 1
    between.nbirth()
    new = Peer(host, session_id="session-2", bd_seq=8)
    new.time_ms += 2
    new.nbirth()
    now_ns = T0 + after_s * S
    assert kinds(new.send(MessageType.NBIRTH, old_birth, now_ns=now_ns)) == []
    assert not host.name_session(NODE, "session-1", now_ns)
    assert host.events() == []
    assert kinds(new.data(now_ns=now_ns)) == ["DataReceived"]
    assert host.counters["late_marks_ignored"] == 1


def test_a_new_session_whose_clock_was_set_back_is_born():
    host = online_host()
    born(host)
    new = Peer(host, session_id="session-2", bd_seq=8)
    new.time_ms -= 3_600_000
    assert kinds(new.nbirth(now_ns=T0 + S)) == ["NodeDied", "NodeBorn"]


@pytest.mark.parametrize("kind", ["DBIRTH", "DDEATH", "DDATA"])
@pytest.mark.parametrize("session_id", SESSIONS)
def test_what_was_sent_before_a_rebirth_and_comes_behind_it_asks_for_nothing(session_id, kind):
    host = online_host()
    peer = born(host, session_id=session_id)
    for _ in range(30):
        peer.data()
    payloads = {
        "DBIRTH": lambda: codec.encode_birth([metric("other", alias=10)], timestamp_ms=peer.time_ms, seq=40),
        "DDEATH": lambda: codec.encode_empty(peer.time_ms, 40),
        "DDATA": lambda: codec.encode_empty(peer.time_ms, 40),
    }
    late = payloads[kind]()
    peer.nbirth()
    peer.dbirth(seq=1)
    events = peer.send(MessageType[kind], late, device="reactor4", now_ns=T0 + S)
    told = "DataReceived" if session_id else "DataUnreadable"
    assert kinds(events) == ([told] if kind == "DDATA" else [])
    assert host.nodes[NODE].devices["reactor4"].online
    assert timers(host, until_s=60) == []
    assert kinds(peer.data(now_ns=T0 + 2 * S)) == ["DataReceived"]


def test_data_behind_a_dbirth_that_gave_its_alias_to_another_metric_is_not_read_with_it():
    host = online_host()
    peer = Peer(host, session_id="")
    peer.nbirth()
    peer.dbirth("a", [metric("one", alias=10)])
    batch = batch_of(peer.tables["a"].by_name.values(), [1.0])
    late = codec.encode_data(batch, timestamp_ms=T0_MS, seq=2)
    peer.time_ms += 1
    peer.ddeath("a", seq=3)
    peer.dbirth("a", [metric("other", alias=10)], seq=4)
    events = peer.send(MessageType.DDATA, late, device="a", now_ns=T0 + 500 * MS)
    assert [(event.reason) for event in events] == ["no_birth"]
    assert timers(host, until_s=60) == []


def test_what_was_missing_when_the_host_was_cut_off_is_asked_for_when_its_session_is_named():
    """It may have been the death of a device."""
    host = online_host(mark_wait_ms=0)
    peer = born(host)
    peer.data(seq=5)
    host.receive_disconnected(T0)
    host.connect(T0)
    host.receive_connected(T0)
    host.receive_subscribed(T0)
    host.events()
    host.actions()
    assert host.name_session(NODE, "session-1", T0)
    timers(host, until_s=5)
    assert len(rebirths(host)) == 1
    assert host.counters["rebirth_requests_missed_birth"] == 1


def test_two_births_that_were_overtaken_by_all_their_dbirths_are_asked_for():
    host = online_host()
    peer = Peer(host)
    births = [(peer.birth_payload(), peer.device_payload("a", seq=1)) for _ in range(2)]
    for _, device in reversed(births):
        peer.send(MessageType.DBIRTH, device, device="a")
    for node, _ in births:
        peer.send(MessageType.NBIRTH, node)
    assert causes(timers(host, until_s=60)) == ["missed_birth"]


def test_a_session_whose_ndeath_overtook_its_rebirth_is_dead_when_it_does_not_answer():
    host = online_host()
    peer = born(host)
    peer.ndeath()
    assert causes(peer.nbirth(now_ns=T0 + S)) == ["after_death"]
    timers(host, until_s=60)
    assert not host.nodes[NODE].online


def test_a_copy_from_a_foreign_node_does_not_end_the_order_of_its_messages():
    host = online_host()
    peer = Peer(host, session_id="")
    peer.nbirth()
    late, twice = peer.device_payload("a"), peer.device_payload("b")
    peer.ddeath("a")
    for payload in (twice, twice):
        peer.send(MessageType.DBIRTH, payload, device="b")
    peer.send(MessageType.DBIRTH, late, device="a")
    assert [name for name, device in host.nodes[NODE].devices.items() if device.online] == ["b"]
    peer.ddeath("b")
    assert kinds(peer.send(MessageType.DBIRTH, twice, device="b")) == []
