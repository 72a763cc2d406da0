"""Births and deaths that arrive in another order than they were sent: the order of sending, told by seq, decides."""

from __future__ import annotations

from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.sparkplug.helpers import NODE, T0, T0_MS, Peer, S, kinds, metric, online_host
from uns.sparkplug import codec
from uns.sparkplug.datatypes import DataType
from uns.sparkplug.host import HostBounds
from uns.sparkplug.messages import DeviceDied
from uns.sparkplug.metrics import BirthMetric
from uns.sparkplug.reorder import LATE_WINDOW
from uns.sparkplug.topics import MessageType

SESSIONS = ["session-1", ""]  # of ours, and of a foreign node
Sent = tuple[MessageType, str | None, bytes]


def birth_numbered(number: int) -> list[BirthMetric]:
    return [metric(f"metric {number}", alias=number)]


def messages_of(steps: list[tuple[str, str]], *, first_seq: int = 1, at_ms: int = T0_MS) -> list[Sent]:
    """What a node sends behind its NBIRTH: each step is a kind and a device; each DBIRTH has a metric of its own."""
    sent: list[Sent] = []
    for number, (kind, device) in enumerate(steps):
        seq = (first_seq + number) % 256
        if kind == "DBIRTH":
            payload = codec.encode_birth(birth_numbered(number), timestamp_ms=at_ms + number, seq=seq)
        else:
            payload = codec.encode_empty(at_ms + number, seq)
        sent.append((MessageType[kind], None if kind == "NDATA" else device, payload))
    return sent


def host_after(messages: list[Sent], *, session_id: str, nbirth_seq: int = 0, **options):
    host = online_host(**options)
    peer = Peer(host, session_id=session_id)
    peer.nbirth(seq=nbirth_seq)
    events = [event for kind, device, payload in messages for event in peer.send(kind, payload, device=device)]
    return host, events


def picture(host) -> dict[str, tuple[str, ...]]:
    """The devices that are online, each with the metrics that are in force."""
    devices = host.nodes[NODE].devices
    return {name: tuple(device.table.by_name) for name, device in devices.items() if device.online}


STEPS = st.lists(
    st.tuples(st.sampled_from(["DBIRTH", "DBIRTH", "DDEATH", "DDATA", "NDATA"]), st.sampled_from(["a", "b"])),
    min_size=1,
    max_size=4 * LATE_WINDOW,
)


@pytest.mark.parametrize("session_id", SESSIONS)
@given(steps=STEPS, chance=st.randoms(), nbirth_seq=st.integers(0, 255))
def test_any_order_of_arrival_within_the_window_ends_as_the_order_of_sending(session_id, steps, chance, nbirth_seq):
    messages = messages_of(steps, first_seq=nbirth_seq + 1)
    shuffled: list[Sent] = []
    for start in range(0, len(messages), LATE_WINDOW):
        block = messages[start : start + LATE_WINDOW]
        chance.shuffle(block)
        shuffled += block
    as_sent, _ = host_after(messages, session_id=session_id, nbirth_seq=nbirth_seq)
    as_arrived, _ = host_after(shuffled, session_id=session_id, nbirth_seq=nbirth_seq)
    assert picture(as_arrived) == picture(as_sent)
    assert not as_arrived.nodes[NODE].tracker.has_gap


@pytest.mark.parametrize("session_id", SESSIONS)
def test_every_order_of_a_birth_its_death_and_the_next_birth(session_id):
    sent = messages_of([("DBIRTH", "a"), ("DDEATH", "a"), ("DBIRTH", "a"), ("DDATA", "a")])
    for arrived in permutations(sent):
        assert picture(host_after(list(arrived), session_id=session_id)[0]) == {"a": ("metric 2",)}


@pytest.mark.parametrize("session_id", SESSIONS)
def test_a_ddeath_that_overtakes_its_dbirth_is_obeyed_and_both_are_told(session_id):
    birth, death = messages_of([("DBIRTH", "a"), ("DDEATH", "a")])
    host, events = host_after([death, birth], session_id=session_id)
    told = [event for event in events if type(event).__name__ in {"DeviceBorn", "DeviceDied"}]
    assert kinds(told) == ["DeviceBorn", "DeviceDied"]
    assert isinstance(told[1], DeviceDied)
    assert (told[1].reason, told[1].timestamp_ms) == ("ddeath", T0_MS + 1)
    assert host.counters["overtaken"] == 1
    host.receive_timer(T0 + 60 * S)
    assert host.counters["gaps_closed"] == 1
    assert host.counters["rebirth_requests_reorder_timeout"] == 0


def test_a_dbirth_that_is_refused_and_was_overtaken_takes_nothing_from_the_one_in_force():
    large = codec.encode_birth([metric(f"m{i}") for i in range(10)], timestamp_ms=T0_MS, seq=1)
    newer = messages_of([("DBIRTH", "a")], first_seq=2)[0]
    bounds = HostBounds(metrics_per_node_max=9)
    host, _ = host_after([newer, (MessageType.DBIRTH, "a", large)], session_id="", bounds=bounds)
    assert picture(host) == {"a": ("metric 0",)}


def test_a_ddeath_that_comes_twice_takes_no_device_that_was_born_again():
    birth, death, again = messages_of([("DBIRTH", "a"), ("DDEATH", "a"), ("DBIRTH", "a")])
    host, _ = host_after([birth, death, again, death, birth], session_id="session-1")
    assert picture(host) == {"a": ("metric 2",)}


def test_devices_of_foreign_nodes_that_count_by_themselves_live_in_the_order_of_arrival():
    def one(kind: str, device: str, seq: int, number: int) -> Sent:
        return messages_of([("NDATA", "")] * number + [(kind, device)], first_seq=seq - number)[-1]

    arrived = [one("DBIRTH", "a", 0, 0), one("DBIRTH", "b", 0, 1), one("NDATA", "", 5, 2), one("DDEATH", "a", 4, 3)]
    host, _ = host_after([*arrived, one("DBIRTH", "a", 1, 4)], session_id="")
    assert picture(host) == {"b": ("metric 1",), "a": ("metric 4",)}


def test_a_foreign_node_whose_numbers_go_down_lives_by_its_timestamps():
    dbirth = messages_of([("DBIRTH", "a")], first_seq=100)[0]
    ddeath = messages_of([("DDEATH", "a")], first_seq=50, at_ms=T0_MS + 9)[0]
    host, _ = host_after([dbirth, ddeath], session_id="")
    assert picture(host) == {}


def test_what_is_remembered_of_a_gap_goes_with_it():
    sent = messages_of([("DBIRTH", "a"), ("DDEATH", "a"), ("NDATA", "")])
    host, _ = host_after([sent[1], sent[0], sent[2]], session_id="")
    assert not host.nodes[NODE].turns


def test_a_dbirth_that_a_refused_one_overtook_is_passed_over():
    old, _ = messages_of([("DBIRTH", "a"), ("NDATA", "")])
    large = codec.encode_birth([metric(f"m{i}") for i in range(10)], timestamp_ms=T0_MS, seq=2)
    bounds = HostBounds(metrics_per_node_max=9)
    host, events = host_after([(MessageType.DBIRTH, "a", large), old], session_id="", bounds=bounds)
    assert "DeviceDied" not in kinds(events)
    assert picture(host) == {}


def test_a_ddeath_too_long_to_be_remembered_is_obeyed_all_the_same():
    birth, _ = messages_of([("DBIRTH", "a"), ("DDEATH", "a")])
    death = codec.encode_birth([metric("why", DataType.STRING, "x" * 2000)], timestamp_ms=T0_MS + 1, seq=2)
    host, events = host_after([(MessageType.DDEATH, "a", death), birth], session_id="session-1")
    assert "DeviceBorn" not in kinds(events)
    assert picture(host) == {}


def test_what_is_remembered_of_a_gap_goes_with_the_session_and_with_the_timeout():
    overtaking = messages_of([("DBIRTH", "a"), ("DDEATH", "a")])[1]
    host, _ = host_after([overtaking], session_id="session-1")
    assert host.nodes[NODE].turns
    host.receive_timer(T0 + 60 * S)
    assert not host.nodes[NODE].turns
    host, _ = host_after([overtaking], session_id="session-1")
    host.receive_disconnected(T0)
    assert not host.nodes[NODE].turns


def test_a_device_that_a_rebirth_left_out_is_told_dead_though_a_gap_was_open_when_its_birth_was_due():
    host = online_host()
    peer = Peer(host)
    peer.nbirth()
    peer.dbirth("a")
    peer.nbirth()
    peer.data(seq=2, now_ns=T0 + 3 * S)
    host.receive_timer(T0 + 5 * S)
    peer.ddeath("b", seq=1, now_ns=T0 + 6 * S)
    assert host.counters["gaps_closed"] == 1
    host.receive_timer(T0 + 60 * S)
    assert [(event.device_id, event.reason) for event in host.events() if isinstance(event, DeviceDied)] == [
        ("a", "rebirth_without_it")
    ]
