"""The host's session, rule by rule; the tck-ids stand beside the tests that hold them."""

from __future__ import annotations

import pytest

from schemas.sparkplug_b_pb2 import Payload
from tests.sparkplug.helpers import (
    HOST_ID,
    MS,
    NODE,
    STATE_TOPIC,
    T0,
    T0_MS,
    Peer,
    S,
    born,
    held_births,
    kinds,
    metric,
    online_host,
    published,
    rebirths,
    state_of,
    state_payload,
)
from uns.errors import LocalProtocolError
from uns.sparkplug import codec
from uns.sparkplug.datatypes import DataType
from uns.sparkplug.host import HostSession
from uns.sparkplug.messages import (
    ConformanceWarning,
    Connect,
    DataReceived,
    DataUnreadable,
    DeviceDied,
    Disconnect,
    HeldBirths,
    HostStateHealed,
    NodeBorn,
    NodeDied,
    NodeResumed,
    OtherMessage,
    Publish,
    RebirthRequested,
    Subscribe,
    Violation,
)
from uns.sparkplug.metrics import REBIRTH
from uns.sparkplug.topics import MessageType
from uns.sparkplug.transitions import HostNodeState, HostSessionState


def restarted_host(*, held=None, **options):
    """A host that was born after it took in held births; and the peer whose births those are."""
    host = HostSession(HOST_ID, **{"jitter": lambda span: 0, **options})
    held = held or held_births()
    host.hold_births(held)
    host.connect(T0)
    host.receive_connected(T0)
    host.receive_subscribed(T0)
    host.actions(), host.events()
    peer = Peer(host, session_id=held.session_id, bd_seq=held.bd_seq)
    peer.birth_payload()
    peer.device_payload("reactor4")
    return host, peer


# ── the host's own session ───────────────────────────────────────────────────────────────────────────────────────


def test_connect_subscribe_birth():
    # payloads-state-will-message(-qos, -retain, -payload), host-topic-phid-birth-*, message-flow-phid-sparkplug-*
    host = HostSession(HOST_ID, jitter=lambda span: 0, extra_filters=[("uns1/_mark/#", 0)])
    host.connect(T0)
    (connect,) = host.actions()
    assert isinstance(connect, Connect)
    assert state_of(connect.will) == {"online": False, "timestamp": T0_MS}
    host.receive_connected(T0 + S)
    assert host.actions() == [Subscribe((("spBv1.0/#", 0), (STATE_TOPIC, 1), ("uns1/_mark/#", 0)))]
    host.receive_subscribed(T0 + 2 * S)
    (birth,) = published(host)  # host-topic-phid-birth-message: the first
    assert state_of(birth) == {"online": True, "timestamp": T0_MS}  # …-payload-timestamp: the will's
    assert host.state is HostSessionState.ONLINE


def test_close_publishes_offline_with_the_present_time_before_disconnect():
    # host-application-termination, -death-*, host-topic-phid-death-payload-timestamp-disconnect-clean
    host = online_host()
    host.close(T0 + 60 * S)
    death, disconnect = host.actions()
    assert isinstance(death, Publish)
    assert state_of(death.message) == {"online": False, "timestamp": T0_MS + 60_000}
    assert disconnect == Disconnect()
    host.receive_disconnected(T0 + 60 * S)
    host.connect(T0 + 60 * S)
    (connect,) = host.actions()
    assert isinstance(connect, Connect)
    assert state_of(connect.will)["timestamp"] > T0_MS + 60_000  # never equal to the death before


def test_every_connect_has_a_newer_timestamp_even_if_the_clock_stepped_back():
    host = online_host()
    host.receive_disconnected(T0)
    host.connect(T0 - 3600 * S)
    (connect,) = host.actions()
    assert isinstance(connect, Connect)
    assert state_of(connect.will)["timestamp"] == T0_MS + 1


@pytest.mark.tck("tck-id-message-flow-hid-sparkplug-state-message-delivered")
@pytest.mark.parametrize("timestamp", [0, T0_MS - 1, T0_MS])
def test_offline_state_of_ours_is_healed_with_the_same_timestamp(timestamp):
    # message-flow-hid-sparkplug-state-message-delivered
    host = online_host()
    host.receive_message(STATE_TOPIC, state_payload(online=False, timestamp=timestamp), retain=False, now_ns=T0 + S)
    (birth,) = published(host)
    assert state_of(birth) == {"online": True, "timestamp": T0_MS}
    (event,) = host.events()
    assert isinstance(event, HostStateHealed)
    assert not event.reconnecting


def test_offline_state_that_is_newer_is_healed_by_a_new_connect():
    host = online_host()
    newer = T0_MS + 50_000
    host.receive_message(STATE_TOPIC, state_payload(online=False, timestamp=newer), retain=False, now_ns=T0 + S)
    actions = host.actions()
    assert actions[-1] == Disconnect()
    assert [state_of(a.message)["online"] for a in actions[:-1] if isinstance(a, Publish)] == [True, False]
    (event,) = host.events()
    assert isinstance(event, HostStateHealed)
    assert event.reconnecting
    host.receive_disconnected(T0 + S)
    host.connect(T0 + S)
    (connect,) = host.actions()
    assert isinstance(connect, Connect)
    assert state_of(connect.will)["timestamp"] == newer + 1


def test_hostile_writer_of_our_state_makes_us_reconnect_seldom():
    host = online_host()
    for round_number in range(2):
        timestamp = T0_MS + 50_000 * (round_number + 1)
        host.receive_message(STATE_TOPIC, state_payload(online=False, timestamp=timestamp), retain=False, now_ns=T0)
        (event,) = host.events()
        assert isinstance(event, HostStateHealed)
        assert event.reconnecting is (round_number == 0)
        if event.reconnecting:
            host.receive_disconnected(T0)
            host.connect(T0)
            host.receive_connected(T0)
            host.receive_subscribed(T0)
            host.actions()


@pytest.mark.parametrize("payload", [b"", b"OFFLINE", b"\xff", b"{}"])
def test_state_that_was_deleted_or_overwritten_is_healed(payload):
    host = online_host()
    host.receive_message(STATE_TOPIC, payload, retain=False, now_ns=T0)
    assert state_of(published(host)[0]) == {"online": True, "timestamp": T0_MS}


def test_newer_retained_state_found_at_start_is_healed_by_a_new_connect():
    host = HostSession(HOST_ID, jitter=lambda span: 0)
    host.connect(T0)
    host.receive_connected(T0)
    host.receive_message(STATE_TOPIC, state_payload(online=False, timestamp=T0_MS + 5), retain=True, now_ns=T0)
    host.actions()
    host.receive_subscribed(T0)
    assert host.actions()[-1] == Disconnect()


def test_old_will_found_at_start_and_own_echo_are_no_events():
    host = online_host()
    host.receive_message(STATE_TOPIC, state_payload(online=False, timestamp=5), retain=True, now_ns=T0)
    host.receive_message(STATE_TOPIC, state_payload(), retain=False, now_ns=T0)
    host.receive_message("spBv1.0/STATE/other", state_payload(online=False), retain=False, now_ns=T0)
    assert host.events() == []


@pytest.mark.tck("tck-id-operational-behavior-host-application-host-id")
def test_our_id_used_by_another_host_is_told():  # operational-behavior-host-application-host-id
    host = online_host()
    host.receive_message(STATE_TOPIC, state_payload(timestamp=T0_MS + 9), retain=False, now_ns=T0)
    assert kinds(host.events()) == ["ConformanceWarning"]
    assert host.actions() == []


def test_older_online_state_is_overwritten():
    """Edge nodes that saw ours pass over an older one: retained, it would keep them waiting for ever."""
    host = online_host()
    host.receive_message(STATE_TOPIC, state_payload(timestamp=T0_MS - 5), retain=False, now_ns=T0)
    assert state_of(published(host)[0]) == {"online": True, "timestamp": T0_MS}
    (event,) = host.events()
    assert isinstance(event, HostStateHealed)
    assert not event.reconnecting


def test_two_hosts_with_one_id_do_not_answer_each_other_for_ever():
    older, newer = online_host(), online_host(now_ns=T0 + S)
    newer.receive_message(STATE_TOPIC, state_payload(timestamp=T0_MS), retain=False, now_ns=T0)
    (answer,) = published(newer)
    older.receive_message(STATE_TOPIC, answer.payload, retain=False, now_ns=T0)
    assert older.actions() == []


def test_own_death_is_not_healed():
    host = online_host()
    host.close(T0)
    host.actions()
    host.receive_message(STATE_TOPIC, state_payload(online=False), retain=False, now_ns=T0)
    assert host.actions() == []


def leaves_by_itself(host):
    newer = state_payload(online=False, timestamp=T0_MS + 50_000)
    host.receive_message(STATE_TOPIC, newer, retain=False, now_ns=T0 + S)


def leaves_when_told(host):
    host.close(T0 + S)


@pytest.mark.parametrize("leaves", [leaves_by_itself, leaves_when_told])
def test_nobody_is_online_at_a_host_that_leaves(leaves):
    """It reads nothing any more: an NDEATH that was received together with the reason to leave is passed over."""
    host = online_host()
    peer = born(host)
    leaves(host)
    assert host.state is HostSessionState.LEAVING
    (died,) = [event for event in host.events() if isinstance(event, NodeDied)]
    assert died.reason == "host_disconnected"
    assert peer.ndeath() == []
    node = host.nodes[NODE]
    assert (node.state, node.since_ns) == (HostNodeState.UNKNOWN, T0 + S)
    assert not any(device.online for device in node.devices.values())
    host.receive_disconnected(T0 + 2 * S)
    assert host.events() == []  # told once


def test_no_mark_names_a_session_at_a_host_that_leaves():
    """The DATA and the death that stand before the mark were passed over."""
    host = online_host()
    born(host)
    host.close(T0)
    assert not host.name_session(NODE, "session-1", T0)
    assert not host.nodes[NODE].online
    assert host.next_deadline_ns() is None


# ── births ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_births_make_node_and_device_known():
    host = online_host()
    peer = Peer(host)
    (event,) = peer.nbirth(raw="r1")
    assert isinstance(event, NodeBorn)
    assert (event.session_id, event.bd_seq, event.first, event.ours, event.raw) == ("session-1", 7, True, True, "r1")
    assert kinds(peer.dbirth()) == ["DeviceBorn"]
    node = host.nodes[NODE]
    assert (node.online, node.seq, node.devices["reactor4"].online) == (True, 1, True)


def test_rebirth_of_a_session_is_not_its_first_birth():
    host = online_host()
    peer = born(host)
    (event,) = peer.nbirth()
    assert isinstance(event, NodeBorn)
    assert not event.first
    assert not host.nodes[NODE].devices["reactor4"].online  # until it is born again
    assert kinds(peer.dbirth()) == ["DeviceBorn"]


@pytest.mark.parametrize(
    ("session_id", "bd_seq"), [("session-2", 8), ("session-2", 7), ("session-1", 8), ("", 7), ("", 8)]
)
def test_birth_with_another_session_or_bd_seq_is_an_implicit_death(session_id, bd_seq):
    host = online_host()
    born(host)
    died, new, *warned = Peer(host, session_id=session_id, bd_seq=bd_seq).nbirth()
    assert len(warned) == (bd_seq == 7)  # topics-nbirth-bdseq-increment
    assert isinstance(died, NodeDied)
    assert (died.session_id, died.reason) == ("session-1", "superseded")
    assert isinstance(new, NodeBorn)
    assert new.first


def test_device_that_is_not_born_again_after_a_rebirth_is_dead():
    host = online_host()
    peer = born(host)
    peer.dbirth("other")
    peer.nbirth()
    peer.dbirth("other")
    events = peer.data("other")
    assert kinds(events) == ["DeviceDied", "DataReceived"]
    assert isinstance(events[0], DeviceDied)
    assert (events[0].device_id, events[0].reason) == ("reactor4", "rebirth_without_it")


def test_device_whose_dbirth_is_lost_and_nothing_follows_is_asked_for_once():
    host = online_host()
    peer = born(host)
    peer.nbirth()
    assert host.next_deadline_ns() == T0 + 5 * S
    host.receive_timer(T0 + 5 * S)
    events = host.events()
    assert kinds(events) == ["DeviceDied", "RebirthRequested"]
    assert events[1] == RebirthRequested(NODE, "missed_birth")
    peer.nbirth(now_ns=T0 + 6 * S)  # it is gone: nothing to ask again
    host.receive_timer(T0 + 12 * S)
    assert (host.events(), host.next_deadline_ns()) == ([], None)
    assert kinds(peer.dbirth()) == ["DeviceBorn"]  # and may come again


def test_dbirths_that_came_in_time_leave_nothing_to_ask():
    host = online_host()
    peer = born(host)
    peer.nbirth()
    peer.dbirth()
    host.receive_timer(T0 + 5 * S)
    assert (host.events(), host.actions()) == ([], [])


def test_foreign_node_has_a_session_made_of_its_bd_seq():
    host = online_host()
    (event,) = Peer(host, session_id="", bd_seq=3).nbirth()
    assert isinstance(event, NodeBorn)
    assert (event.session_id, event.ours, event.birth.session_id) == ("foreign:bd3", False, "")


def test_session_of_a_node_cannot_look_like_a_foreign_one():
    host = online_host()
    (event,) = Peer(host, session_id="foreign:bd3").nbirth()
    assert isinstance(event, NodeBorn)
    assert not event.ours


def test_foreign_node_with_a_constant_bd_seq_is_born_anew_after_its_death():
    host = online_host()
    peer = Peer(host, session_id="", bd_seq=0)
    peer.nbirth()
    assert [e.first for e in peer.nbirth() if isinstance(e, NodeBorn)] == [False]
    peer.ndeath()
    assert [e.first for e in peer.nbirth() if isinstance(e, NodeBorn)] == [True]


@pytest.mark.parametrize(
    ("seq", "bd_seq", "warned"),
    [
        (5, 7, "tck-id-topics-nbirth-seq-num"),
        (None, 7, "tck-id-topics-nbirth-seq-num"),
        (0, None, "tck-id-topics-nbirth-bdseq-included"),
    ],
)
def test_forgiven_births_are_counted_and_told_once(seq, bd_seq, warned):
    host = online_host()
    peer = Peer(host, session_id="", bd_seq=bd_seq)
    assert kinds(peer.nbirth(seq=seq)) == ["NodeBorn", "ConformanceWarning"]
    assert kinds(peer.nbirth(seq=seq)) == ["NodeBorn"]
    assert host.warnings[warned] == 2
    assert kinds(peer.data()) == ["DataReceived"]


def test_messages_that_cannot_be_read_are_violations():
    host = online_host()
    peer = born(host)
    (event, asked) = peer.send(MessageType.DBIRTH, b"\xff", device="x", raw=1)
    assert isinstance(event, Violation)
    assert (event.edge_node, event.payload, event.raw) == (NODE, b"\xff", 1)
    assert asked == RebirthRequested(NODE, "birth_refused")
    assert kinds(peer.send(MessageType.NDEATH, b"\xff")) == ["Violation"]
    assert kinds(peer.send(MessageType.DDEATH, b"\xff", device="reactor4")) == ["Violation"]
    assert host.violations == {"dbirth": 1, "ndeath": 1, "ddeath": 1}
    assert kinds(peer.data("reactor4")) == ["DataReceived"]


def test_refused_birth_ends_what_can_be_read_until_the_next_one():
    """DATA behind it belongs to a birth that is not known: with the old one it would be silently wrong."""
    host = online_host()
    peer = born(host, session_id="")
    assert kinds(peer.send(MessageType.NBIRTH, b"\xff")) == ["Violation", "NodeDied", "RebirthRequested"]
    node = host.nodes[NODE]
    assert (node.online, node.devices["reactor4"].online, node.reason) == (False, False, "birth_refused")
    assert kinds(peer.data("reactor4")) == ["DataUnreadable"]
    assert kinds(peer.nbirth()) == ["NodeBorn"]
    assert kinds(peer.dbirth()) == ["DeviceBorn"]
    assert kinds(peer.data("reactor4")) == ["DataReceived"]


def test_refused_birth_of_a_session_that_names_itself_costs_a_resend_only():
    host = online_host()
    peer = born(host)
    peer.send(MessageType.NBIRTH, b"\xff")
    assert kinds(peer.data("reactor4")) == ["DataUnreadable"]
    assert host.name_session(NODE, "session-1", T0)
    assert kinds(host.events()) == ["NodeResumed"]
    assert kinds(peer.data("reactor4")) == ["DataReceived"]


def test_refused_birth_of_a_device_leaves_its_neighbours_alone():
    host = online_host()
    peer = born(host)
    peer.dbirth("other")
    payload = codec.encode_empty(T0_MS, peer.next_seq()) + b"\x12\x7f"
    assert kinds(peer.send(MessageType.DBIRTH, payload, device="reactor4"))[:2] == ["Violation", "DeviceDied"]
    peer.seq -= 1  # it could not be read that this was its number
    assert kinds(peer.data("reactor4"))[0] == "DataUnreadable"
    assert kinds(peer.data("other"))[-1] == "DataReceived"


@pytest.mark.parametrize("message_type", ["NBIRTH", "NDEATH", "NDATA"])
def test_retained_messages_are_not_live(message_type):
    host = online_host()
    peer = Peer(host)
    peer.birth_payload()
    for round_number in range(2):
        events = peer.send(MessageType(message_type), peer.birth_payload(), retain=True)
        assert kinds(events) == ["ConformanceWarning"] * (round_number == 0)
        assert host.warnings["tck-id-topics-nbirth-mqtt"] == round_number + 1
    assert NODE not in host.nodes


def test_garbage_topics_are_violations():
    host = online_host()
    host.receive_message("spBv1.0/what", b"", retain=False, now_ns=T0)
    assert kinds(host.events()) == ["Violation"]
    assert host.violations["topic"] == 1


def test_other_topics_are_handed_on_in_order_with_the_data():
    host = online_host()
    peer = born(host)
    peer.tables["reactor4"].by_name["temperature"]
    host.receive_message("uns1/_mark/acme.dallas/gw", b"{}", retain=False, now_ns=T0, raw=5)
    assert host.events() == [OtherMessage("uns1/_mark/acme.dallas/gw", b"{}", False, 5)]


def test_commands_of_other_hosts_say_nothing():
    host = online_host()
    for kind, device in ((MessageType.NCMD, None), (MessageType.DCMD, "d")):
        host.receive_message(NODE.topic(kind, device), b"\xff", retain=False, now_ns=T0)
    assert host.events() == []


# ── data ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_data_is_handed_on_in_order_of_arrival():
    host = online_host()
    peer = born(host)
    (node_data,) = peer.data(value=9, raw="n")
    (device_data,) = peer.data("reactor4", value=3.5)
    assert isinstance(node_data, DataReceived)
    assert isinstance(device_data, DataReceived)
    assert (node_data.device_id, node_data.data.values, node_data.in_order, node_data.raw) == (None, [9], True, "n")
    assert (device_data.device_id, device_data.data.values, device_data.session_id) == ("reactor4", [3.5], "session-1")
    assert host.nodes[NODE].seq == 3


@pytest.mark.tck("tck-id-operational-behavior-host-reordering-success")
def test_gap_delays_conclusions_and_never_data():
    # operational-behavior-host-reordering-start, -success
    host = online_host(reorder_timeout_ms=5000)
    peer = born(host)
    order = [
        (e.in_order, e.data.seq) for seq in (2, 4, 3, 5) for e in peer.data(seq=seq) if isinstance(e, DataReceived)
    ]
    assert order == [(True, 2), (False, 4), (False, 3), (True, 5)]
    assert host.next_deadline_ns() is None
    host.receive_timer(T0 + 10 * S)
    assert rebirths(host) == []


@pytest.mark.tck(
    "tck-id-operational-behavior-data-commands-ncmd-rebirth-name",
    "tck-id-operational-behavior-data-commands-ncmd-rebirth-value",
    "tck-id-operational-behavior-data-commands-ncmd-rebirth-verb",
    "tck-id-operational-behavior-host-reordering-param",
    "tck-id-operational-behavior-host-reordering-rebirth",
    "tck-id-operational-behavior-host-reordering-start",
)
@pytest.mark.parametrize("timeout_s", [1, 5, 60])
def test_reorder_timeout_asks_for_a_rebirth(timeout_s):  # operational-behavior-host-reordering-rebirth, -param
    host = online_host(reorder_timeout_ms=timeout_s * 1000)
    peer = born(host)
    peer.data(seq=4)
    assert host.next_deadline_ns() == T0 + timeout_s * S
    host.receive_timer(T0 + timeout_s * S - 1)
    assert rebirths(host) == []
    host.receive_timer(T0 + timeout_s * S)
    (message,) = published(host)
    # topics-ncmd-topic, -mqtt, operational-behavior-data-commands-ncmd-rebirth-verb, -name, -value
    assert (message.topic, message.qos, message.retain) == (NODE.topic(MessageType.NCMD), 0, False)
    command = codec.decode_command(message.payload, peer.tables[None])
    assert [(m.name, m.value) for m in command.metrics] == [("Node Control/Rebirth", True)]
    assert host.events() == [RebirthRequested(NODE, "reorder_timeout")]
    assert [e.in_order for e in peer.data(seq=5) if isinstance(e, DataReceived)] == [True]


def test_repeated_seq_is_no_cause_for_a_rebirth():
    host = online_host()
    peer = born(host)
    for _ in range(100):
        (event,) = peer.data(seq=2)
        assert isinstance(event, DataReceived)
    host.receive_timer(T0 + 3600 * S)
    assert rebirths(host) == []


def test_birth_ends_a_gap():
    host = online_host()
    peer = born(host)
    peer.data(seq=9)
    peer.nbirth()
    peer.dbirth()
    assert host.next_deadline_ns() is None


def test_unknown_session_is_not_decoded_and_asked_for_its_births():
    host = online_host()
    peer = Peer(host)
    peer.birth_payload()
    peer.device_payload("reactor4")
    unreadable, asked = peer.data(raw=3)
    assert isinstance(unreadable, DataUnreadable)
    assert (unreadable.reason, unreadable.raw) == ("unknown_session", 3)
    assert asked == RebirthRequested(NODE, "unknown_session")
    for _ in range(100):
        assert kinds(peer.data("reactor4")) == ["DataUnreadable"]
    assert len(rebirths(host)) == 1


def test_device_without_birth_is_not_decoded():
    host = online_host()
    peer = Peer(host)
    peer.nbirth()
    peer.device_payload("reactor4", seq=0)
    peer.seq = 0
    unreadable, asked = peer.data("reactor4")
    assert isinstance(unreadable, DataUnreadable)
    assert unreadable.reason == "no_birth"
    assert asked == RebirthRequested(NODE, "missed_birth")
    assert host.nodes[NODE].seq == 1  # it counts for the order all the same


def test_device_birth_that_may_still_come_is_waited_for():
    host = online_host()
    peer = Peer(host)
    peer.nbirth()
    late = peer.device_payload("reactor4", seq=1)
    assert kinds(peer.data("reactor4", seq=2)) == ["DataUnreadable"]
    assert kinds(peer.send(MessageType.DBIRTH, late, device="reactor4")) == ["DeviceBorn"]
    assert (rebirths(host), host.next_deadline_ns()) == ([], None)


def test_malformed_data_is_told_as_final():
    host = online_host()
    peer = born(host)
    unreadable, asked = peer.send(MessageType.DDATA, b"\xff", device="reactor4")
    assert isinstance(unreadable, DataUnreadable)
    assert (unreadable.reason, unreadable.payload) == ("malformed", b"\xff")
    assert asked == RebirthRequested(NODE, "malformed")


def other_table(peer, alias=99):
    peer.tables["reactor4"] = peer.tables["reactor4"].__class__([metric("temperature", alias=alias)])


def test_unknown_metric_of_ours_means_a_missed_birth_and_does_not_count():
    host = online_host()
    peer = born(host)
    other_table(peer)
    unreadable, asked = sorted(peer.data("reactor4"), key=lambda e: type(e).__name__)
    assert isinstance(unreadable, DataUnreadable)
    assert unreadable.reason == "unknown_metric"
    assert asked == RebirthRequested(NODE, "unknown_metric")


def test_unknown_metric_of_a_foreign_node_is_rejected_and_the_rest_is_used():
    host = online_host()
    peer = born(host, session_id="")
    other_table(peer)
    received = next(e for e in peer.data("reactor4") if isinstance(e, DataReceived))
    assert [r.reason for r in received.data.rejected] == ["unknown_metric"]
    assert len(rebirths(host)) == 1


# ── deaths ───────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.tck(
    "tck-id-operational-behavior-edge-node-termination-host-action-ndeath-devices-offline",
    "tck-id-operational-behavior-edge-node-termination-host-action-ndeath-devices-tags-stale",
    "tck-id-operational-behavior-edge-node-termination-host-action-ndeath-node-offline",
    "tck-id-operational-behavior-edge-node-termination-host-action-ndeath-node-tags-stale",
)
def test_death_with_the_bd_seq_of_the_birth_takes_node_and_devices_offline():
    # operational-behavior-edge-node-termination-host-action-ndeath-*: stamped with the time of receipt
    host = online_host()
    peer = born(host)
    (event,) = peer.ndeath(now_ns=T0 + 9 * S)
    assert event == NodeDied(edge_node=NODE, session_id="session-1", reason="ndeath", since_ns=T0 + 9 * S)
    node = host.nodes[NODE]
    assert (node.state, node.since_ns, node.reason) == (HostNodeState.OFFLINE, T0 + 9 * S, "ndeath")
    assert (node.devices["reactor4"].online, node.devices["reactor4"].since_ns) == (False, T0 + 9 * S)
    assert peer.ndeath() == []  # published, then the will: once


@pytest.mark.parametrize("bd_seq", [6, 8, 0])
def test_late_will_of_another_connection_is_ignored(bd_seq):
    host = online_host()
    peer = born(host)
    assert peer.ndeath(bd_seq) == []
    assert host.nodes[NODE].online


def test_death_without_bd_seq_is_obeyed_and_counted():
    host = online_host()
    peer = born(host)
    assert kinds(peer.ndeath(None)) == ["ConformanceWarning", "NodeDied"]


def test_data_after_a_death_asks_for_a_rebirth():  # a constant bdSeq: the late will took a live session down
    host = online_host()
    peer = born(host, session_id="", bd_seq=0)
    peer.ndeath()
    assert peer.data()[-1] == RebirthRequested(NODE, "after_death")


@pytest.mark.tck(
    "tck-id-operational-behavior-edge-node-termination-host-action-ddeath-devices-offline",
    "tck-id-operational-behavior-edge-node-termination-host-action-ddeath-devices-tags-stale",
)
def test_device_death():  # edge-node-termination-host-action-ddeath-devices-offline, -tags-stale
    host = online_host()
    peer = born(host)
    (event,) = peer.ddeath(now_ns=T0 + S)
    assert isinstance(event, DeviceDied)
    assert (event.device_id, event.reason, event.timestamp_ms) == ("reactor4", "ddeath", T0_MS)
    device = host.nodes[NODE].devices["reactor4"]
    assert (device.online, device.since_ns, event.since_ns) == (False, T0, T0), "the time that the DDEATH says"
    assert peer.ddeath() == []
    assert peer.ddeath("unknown") == []
    assert kinds(peer.data("reactor4"))[0] == "DataUnreadable"
    assert host.nodes[NODE].online


def test_lost_connection_makes_everything_stale():  # specification 5.3
    host = online_host()
    peer = born(host)
    peer.data(seq=9)
    host.receive_disconnected(T0 + S)
    (event,) = host.events()
    assert isinstance(event, NodeDied)
    assert event.reason == "host_disconnected"
    assert host.nodes[NODE].state is HostNodeState.UNKNOWN
    assert host.next_deadline_ns() is None
    assert peer.data() == []  # of a connection that is over


# ── after a CONNECT ──────────────────────────────────────────────────────────────────────────────────────────────


def test_held_session_is_unknown_until_it_is_named():
    host, peer = restarted_host()
    assert kinds(peer.data("reactor4")) == ["DataUnreadable"]
    assert rebirths(host) == []  # its next mark will name it
    assert host.name_session(NODE, "session-1", T0 + S)
    (event,) = host.events()
    assert isinstance(event, NodeResumed)
    assert (event.session_id, event.bd_seq, list(event.devices)) == ("session-1", 7, ["reactor4"])
    assert kinds(peer.data("reactor4", seq=77)) == ["DataReceived"]
    assert host.name_session(NODE, "session-1", T0 + S)
    host.receive_timer(T0 + 60 * S)
    assert rebirths(host) == []


def test_session_that_stays_unnamed_is_asked_for_its_births():
    host, peer = restarted_host(mark_wait_ms=2000)
    peer.data("reactor4")
    host.receive_timer(T0 + 2 * S - 1)
    assert rebirths(host) == []
    host.receive_timer(T0 + 2 * S)
    assert len(rebirths(host)) == 1


def test_idle_held_session_is_asked_at_host_start():
    host, _ = restarted_host(mark_wait_ms=2000)
    assert host.next_deadline_ns() == T0 + 2 * S
    host.receive_timer(T0 + 2 * S)
    assert host.events() == [RebirthRequested(NODE, "host_start")]


def test_death_of_a_held_session_is_told_and_ends_it():
    host, peer = restarted_host()
    assert kinds(peer.ndeath(6)) == []
    assert kinds(peer.ndeath(7)) == ["NodeDied"]
    assert peer.ndeath(7) == []
    assert not host.name_session(NODE, "session-1", T0)


def test_death_of_a_held_session_that_was_born_without_bd_seq_is_told():
    held = held_births(session_id="", bd_seq=None)
    held.bd_seq = -1  # as events tell it, and so the store
    _, peer = restarted_host(held=held)
    assert kinds(peer.ndeath(6)) == ["NodeDied"]


def test_birth_answers_the_request_that_waits():
    host, peer = restarted_host()
    peer.nbirth()
    peer.dbirth()
    assert host.next_deadline_ns() is None
    host.receive_timer(T0 + 60 * S)
    assert rebirths(host) == []


def test_mark_of_another_session_is_refused_and_its_births_asked_for():
    host, _ = restarted_host(held=held_births(session_id="session-1"))
    assert not host.name_session(NODE, "session-2", T0)
    host.receive_timer(T0 + 10 * S)
    assert len(rebirths(host)) == 1


def test_mark_of_a_node_never_heard_of_is_refused():
    host = online_host()
    assert not host.name_session(NODE, "session-1", T0)
    assert host.events() == [RebirthRequested(NODE, "unknown_session")]


def test_mark_does_not_revive_a_dead_session():
    host = online_host()
    peer = born(host)
    peer.ndeath()
    assert not host.name_session(NODE, "session-1", T0)
    assert host.events() == [RebirthRequested(NODE, "after_death")]


def test_foreign_session_is_named_by_a_birth_only():
    host, peer = restarted_host(held=held_births(session_id=""))
    assert not host.name_session(NODE, "foreign:bd7", T0)
    assert kinds(host.events()) == ["RebirthRequested"]
    peer.session_id = ""
    assert kinds(peer.nbirth())[0] == "NodeBorn"


@pytest.mark.parametrize("message_type", ["DBIRTH", "DDEATH"])
def test_what_passed_by_while_the_session_was_unknown_is_asked_for_after_it_is_named(message_type):
    host, peer = restarted_host(jitter=lambda span: span - 1)
    _ = peer.dbirth("new") if message_type == "DBIRTH" else peer.ddeath("reactor4")
    assert host.name_session(NODE, "session-1", T0)
    host.receive_timer(T0 + S)
    assert host.events()[-1] == RebirthRequested(NODE, "missed_birth")


def test_reconnect_of_the_host_makes_every_session_unknown():
    host = online_host()
    peer = born(host)
    host.receive_disconnected(T0)
    host.connect(T0)
    host.receive_connected(T0)
    host.receive_subscribed(T0)
    host.events()
    assert kinds(peer.data("reactor4")) == ["DataUnreadable"]
    assert host.name_session(NODE, "session-1", T0)
    host.events()
    (event,) = peer.data("reactor4", seq=200)  # any number may come next
    assert isinstance(event, DataReceived)
    assert event.in_order


def test_rebirth_after_a_reconnect_is_not_a_first_birth():
    _, peer = restarted_host()
    (event,) = peer.nbirth()
    assert isinstance(event, NodeBorn)
    assert not event.first


def test_unreadable_held_births_are_a_violation():
    host = HostSession(HOST_ID, jitter=lambda span: 0)
    host.hold_births(HeldBirths(NODE, "s", 1, b"\xff", {}))
    assert kinds(host.events()) == ["Violation"]
    assert not host.nodes


def test_held_births_do_not_replace_live_ones():
    host = online_host()
    peer = born(host)
    host.hold_births(held_births(session_id="old"))
    assert kinds(peer.data()) == ["DataReceived"]


def test_rebirth_requests_of_a_host_start_are_spread():
    host = HostSession(HOST_ID, jitter=lambda span: span - 1, host_start_spread_ms=10_000, mark_wait_ms=0)
    host.hold_births(held_births())
    host.connect(T0)
    host.receive_connected(T0)
    host.receive_subscribed(T0)
    assert host.next_deadline_ns() == T0 + 10 * S - 1


# ── bounds and commands ──────────────────────────────────────────────────────────────────────────────────────────


def test_commands_go_by_alias_where_the_birth_has_one():
    # topics-dcmd-topic, -mqtt, -timestamp, payloads-dcmd-seq, payloads-alias-data-cmd-requirement
    host = online_host()
    peer = Peer(host)
    peer.nbirth([metric("Node Control/Reboot", DataType.BOOLEAN, False)])
    peer.dbirth()
    host.publish_command(NODE, "reactor4", [metric("temperature", value=4.0)], T0)
    host.publish_command(NODE, None, [metric("Node Control/Reboot", DataType.BOOLEAN, True)], T0)
    device, node = published(host)
    assert (device.topic, device.qos, device.retain) == (NODE.topic(MessageType.DCMD, "reactor4"), 0, False)
    assert [m.value for m in codec.decode_command(device.payload, peer.tables["reactor4"]).metrics] == [4.0]
    assert b"temperature" not in device.payload
    assert b"Node Control/Reboot" in node.payload


@pytest.mark.tck(
    "tck-id-operational-behavior-data-commands-dcmd-metric-name",
    "tck-id-operational-behavior-data-commands-dcmd-metric-value",
    "tck-id-operational-behavior-data-commands-ncmd-metric-name",
    "tck-id-operational-behavior-data-commands-ncmd-metric-value",
)
@pytest.mark.parametrize(
    ("device", "name", "datatype", "expected"),
    [
        ("reactor4", "pressure", DataType.DOUBLE, "a metric of its birth"),
        ("reactor4", "temperature", DataType.INT32, "its datatype there, Double"),
        ("reactor5", "temperature", DataType.DOUBLE, "a metric of its birth"),
        (None, "temperature", DataType.DOUBLE, "a metric of its birth"),
        (None, "uptime", DataType.DOUBLE, "its datatype there, UInt32"),
    ],
)
def test_a_command_to_what_the_birth_does_not_have_is_a_local_error(device, name, datatype, expected):
    host = online_host()
    born(host)
    with pytest.raises(LocalProtocolError, match=expected):
        host.publish_command(NODE, device, [metric(name, datatype, 1)], T0)
    assert published(host) == []


@pytest.mark.parametrize(
    ("ends", "device"),
    [
        ("node died", None),
        ("node died", "reactor4"),
        ("device died", "reactor4"),
        ("session unknown", None),
        ("session unknown", "reactor4"),
    ],
)
def test_a_command_to_a_node_or_device_that_is_not_online_is_a_local_error(ends, device):
    """It may have been born again unheard, and its alias be another metric's by now."""
    host = online_host()
    peer = born(host)
    if ends == "node died":
        peer.ndeath()
    elif ends == "device died":
        peer.ddeath("reactor4")
    else:
        host.receive_disconnected(T0)
        host.connect(T0)
        host.receive_connected(T0)
        host.receive_subscribed(T0)
    host.actions()
    name, datatype = ("uptime", DataType.UINT32) if device is None else ("temperature", DataType.DOUBLE)
    with pytest.raises(LocalProtocolError, match="online"):
        host.publish_command(NODE, device, [metric(name, datatype, 1)], T0)
    assert published(host) == []


def test_commands_need_a_connection():
    with pytest.raises(LocalProtocolError):
        HostSession(HOST_ID, jitter=lambda span: 0).publish_command(NODE, None, [metric()], T0)


def test_requested_rebirth_keeps_the_limits():
    host = online_host()
    born(host)
    for _ in range(5):
        host.request_rebirth(NODE, "request", T0)
    assert len(rebirths(host)) == 1
    assert host.next_deadline_ns() == T0 + 10 * S
    host.receive_timer(T0 + 10 * S)
    assert len(rebirths(host)) == 1


def test_warnings_are_told_again_for_a_new_session():
    host = online_host()
    assert kinds(Peer(host, bd_seq=1).nbirth(seq=4))[-1] == "ConformanceWarning"
    events = Peer(host, session_id="session-2", bd_seq=2).nbirth(seq=4)
    assert isinstance(events[-1], ConformanceWarning)
    assert host.warnings["tck-id-topics-nbirth-seq-num"] == 2


def test_timer_before_its_time_does_nothing():
    host = online_host()
    host.receive_timer(T0 + 500 * MS)
    assert (host.actions(), host.events()) == ([], [])


def test_device_that_said_it_died_is_not_taken_for_alive_when_its_session_is_named():
    """Its next birth may have passed by while the host was away: ask, and read nothing of it until then."""
    host = online_host(mark_wait_ms=0)
    peer = born(host)
    peer.ddeath("reactor4")
    host.receive_disconnected(T0)
    host.connect(T0)
    host.receive_connected(T0)
    host.receive_subscribed(T0)
    host.events()
    assert host.name_session(NODE, "session-1", T0)
    resumed, asked = host.events()
    assert isinstance(resumed, NodeResumed)
    assert resumed.devices == {}
    assert asked == RebirthRequested(NODE, "missed_birth")
    assert kinds(peer.data("reactor4"))[0] == "DataUnreadable"


def test_device_that_was_to_be_born_again_when_the_host_was_cut_off_is_asked_for_when_its_session_is_named():
    """Its DBIRTH passed by, and a quiet device has no DATA that would ask for it."""
    host = online_host(mark_wait_ms=0)
    peer = born(host)
    peer.nbirth()
    host.receive_disconnected(T0)
    host.connect(T0)
    host.receive_connected(T0)
    host.receive_subscribed(T0)
    host.events()
    assert host.name_session(NODE, "session-1", T0)
    assert host.events()[1:] == [RebirthRequested(NODE, "missed_birth")]


@pytest.mark.parametrize(
    ("peer", "typed"),
    [
        pytest.param(lambda host: Peer(host).nbirth(), False, id="ours"),
        pytest.param(lambda host: Peer(host, session_id="").nbirth(), True, id="foreign"),
        pytest.param(lambda host: None, True, id="never heard"),
        pytest.param(lambda host: host.hold_births(held_births(), T0), False, id="ours, held"),
    ],
)
def test_a_rebirth_request_says_its_datatype_to_all_nodes_but_ours(peer, typed):
    """payloads-metric-datatype-not-req is a SHOULD NOT, and some nodes read no command without (decision 0015)."""
    host = online_host()
    peer(host)
    host.request_rebirth(NODE, "request", T0)
    (message,) = published(host)
    (wire,) = Payload.FromString(message.payload).metrics
    assert (wire.name, wire.boolean_value, wire.HasField("datatype")) == (REBIRTH, True, typed)
    assert wire.datatype == (DataType.BOOLEAN if typed else 0)
