"""The edge node's session, rule by rule; the tck-ids stand beside the tests that hold them."""

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
    S,
    batch_of,
    edge_session,
    metric,
    node_birth,
    online_edge,
    published,
    rebirth_command,
    state_payload,
    subscribed_edge,
)
from uns.errors import LocalProtocolError
from uns.sparkplug import codec
from uns.sparkplug.datatypes import DataType
from uns.sparkplug.edge import EdgeNodeSession
from uns.sparkplug.messages import (
    BirthDue,
    CommandIgnored,
    CommandReceived,
    Connect,
    Disconnect,
    HostAwaited,
    HostStateChanged,
    Message,
    Offline,
    Online,
    OtherMessage,
    Publish,
    Subscribe,
)
from uns.sparkplug.metrics import BD_SEQ, REBIRTH, SESSION_METRIC, Property
from uns.sparkplug.topics import EdgeNodeDescriptor
from uns.sparkplug.transitions import EdgeState

NCMD = "spBv1.0/acme.dallas/NCMD/gw-reaction-1"
DCMD = "spBv1.0/acme.dallas/DCMD/gw-reaction-1/reactor4"


def data_for(session: EdgeNodeSession, *names: str, device: str | None = "reactor4", value=2.5, **more):
    bindings = session.bindings(device)
    return batch_of([bindings[name] for name in names], [value] * len(names), **more)


def birth_of(message: Message):
    return codec.decode_birth(message.payload)


# ── connect ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_will_is_an_ndeath_with_the_bd_seq_of_the_coming_birth():
    # topics-ndeath-topic, payloads-ndeath-will-message(-qos, -retain), payloads-ndeath-bdseq, topics-ndeath-seq,
    # message-flow-edge-node-birth-publish-will-message(-topic, -payload, -payload-bdSeq, -qos, -will-retained)
    session = edge_session()
    session.connect(bd_seq=7, session_id="s", now_ns=T0)
    (action,) = session.actions()
    assert isinstance(action, Connect)
    assert action.will == Message(
        "spBv1.0/acme.dallas/NDEATH/gw-reaction-1", codec.encode_death(7), qos=1, retain=False
    )
    assert session.state is EdgeState.CONNECTING


@pytest.mark.parametrize("bd_seq", [-1, 256])
def test_bd_seq_beyond_its_range_is_a_local_error(bd_seq):
    with pytest.raises(LocalProtocolError, match="bdSeq"):
        edge_session().connect(bd_seq=bd_seq, session_id="s", now_ns=T0)


def test_client_id_is_stable_and_tells_nodes_apart():
    def client_id(descriptor):
        session = EdgeNodeSession(descriptor)
        session.connect(bd_seq=0, session_id="s", now_ns=T0)
        (action,) = session.actions()
        assert isinstance(action, Connect)
        return action.client_id

    assert client_id(NODE) == client_id(NODE)
    assert client_id(NODE) != client_id(EdgeNodeDescriptor("acme.dallas", "gw-2"))


@pytest.mark.tck(
    "tck-id-message-flow-device-dcmd-subscribe",
    "tck-id-message-flow-edge-node-ncmd-subscribe",
    "tck-id-operational-behavior-primary-application-state-with-multiple-servers-state-subs",
)
def test_subscribes_to_commands_state_and_extras_before_the_birth():
    # message-flow-edge-node-ncmd-subscribe, message-flow-device-dcmd-subscribe
    session = edge_session(
        primary_host_id=HOST_ID, command_devices=["reactor4"], extra_filters=[("uns1/_confirm/x", 1)]
    )
    session.connect(bd_seq=0, session_id="s", now_ns=T0)
    session.actions()
    session.receive_connected(T0)
    assert session.actions() == [Subscribe(((NCMD, 1), (DCMD, 1), (STATE_TOPIC, 1), ("uns1/_confirm/x", 1)))]
    assert session.events() == []
    with pytest.raises(LocalProtocolError):  # message-flow-edge-node-birth-publish-connect
        session.birth(node_birth(), T0)


@pytest.mark.tck("tck-id-message-flow-edge-node-birth-publish-connect")
def test_a_birth_before_the_session_stands_is_a_local_error_and_nothing_is_published():
    session = edge_session()
    for lead in (
        lambda: None,
        lambda: session.connect(bd_seq=0, session_id="s", now_ns=T0),
        lambda: session.receive_connected(T0),
        lambda: session.receive_disconnected(T0),
    ):
        lead()
        with pytest.raises(LocalProtocolError):
            session.birth(node_birth(), T0)
        assert not any(isinstance(action, Publish) for action in session.actions())


def test_without_a_primary_host_the_birth_is_due_at_once():
    assert subscribed_edge().events() == [BirthDue("connected")]


# ── births ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_birth_sequence():
    # topics-nbirth-topic, -mqtt, -seq-num, -timestamp, -bdseq-included, -bdseq-matching, -rebirth-metric,
    # payloads-dbirth-order, payloads-dbirth-seq-inc, message-flow-device-birth-publish-dbirth-match-edge-node-topic
    session = subscribed_edge(bd_seq=9, session_id="abc")
    session.actions(), session.events()
    session.birth(node_birth(devices={"d1": [metric()], "d2": [metric()]}), T0)
    messages = published(session)
    assert [(m.topic, m.qos, m.retain) for m in messages] == [
        ("spBv1.0/acme.dallas/NBIRTH/gw-reaction-1", 0, False),
        ("spBv1.0/acme.dallas/DBIRTH/gw-reaction-1/d1", 0, False),
        ("spBv1.0/acme.dallas/DBIRTH/gw-reaction-1/d2", 0, False),
    ]
    births = [birth_of(m) for m in messages]
    assert [(b.seq, b.timestamp_ms, b.warnings) for b in births] == [(i, T0_MS, ()) for i in range(3)]
    node = births[0]
    assert (node.bd_seq, node.session_id) == (9, "abc")
    control = {m.name: (m.datatype, m.value, m.alias) for m in node.metrics}
    assert control[BD_SEQ] == (DataType.INT64, 9, None)
    assert control[REBIRTH] == (DataType.BOOLEAN, False, None)  # …-rebirth-name-aliases: no alias
    assert control[SESSION_METRIC] == (DataType.STRING, "abc", None)
    assert session.events() == [Online("abc", reborn=False)]
    assert (session.seq, sorted(session.devices), session.state) == (2, ["d1", "d2"], EdgeState.ONLINE)


@pytest.mark.tck("tck-id-payloads-alias-uniqueness")
def test_aliases_are_unique_over_node_and_devices():  # payloads-alias-uniqueness
    session = online_edge(birth=node_birth(devices={"d1": [metric("x")], "d2": [metric("x"), metric("y")]}))
    found = [b.alias for device in (None, "d1", "d2") for b in session.bindings(device).values() if b.alias is not None]
    assert len(found) == len(set(found)) == 4
    assert 0 not in found


def test_alias_of_another_session_never_resolves():
    one, other = online_edge(bd_seq=7), online_edge(bd_seq=8)
    aliases = [{b.alias for b in session.bindings("reactor4").values()} for session in (one, other)]
    assert not aliases[0] & aliases[1]


@pytest.mark.tck(
    "tck-id-operational-behavior-data-publish-dbirth-values",
    "tck-id-operational-behavior-data-publish-nbirth-order",
    "tck-id-operational-behavior-data-publish-nbirth-values",
)
def test_metrics_are_in_time_order():  # operational-behavior-data-publish-nbirth-order, -dbirth-order, -values
    session = subscribed_edge()
    session.actions()
    device = [metric("late", timestamp_ms=T0_MS), metric("early", timestamp_ms=5), metric("null", value=None)]
    session.birth(node_birth(metrics=[metric("old", timestamp_ms=1)], devices={"d": device}), T0)
    node, device_birth = (Payload.FromString(m.payload).metrics for m in published(session))
    assert [m.name for m in node] == ["old", BD_SEQ, REBIRTH, SESSION_METRIC]
    assert [(m.name, m.is_null) for m in device_birth] == [("early", False), ("late", False), ("null", True)]
    assert all(m.HasField("timestamp") for m in [*node, *device_birth])  # payloads-name-birth-data-requirement


@pytest.mark.parametrize(
    "metrics",
    [
        [metric(BD_SEQ, DataType.INT64, 1)],
        [metric(REBIRTH, DataType.BOOLEAN, False)],
        [metric(SESSION_METRIC, DataType.STRING, "x")],
        [metric("a"), metric("a")],
        [metric("")],
        [metric("n" * 1025)],
        [metric("half a \ud83d")],
        [metric("a", DataType.PROPERTY_SET, None)],
        [metric("a", DataType.INT8, 200)],
        [metric(str(i), DataType.STRING, "x" * 10_000) for i in range(110)],  # payload_bytes_max
    ],
)
def test_birth_that_cannot_be_published_changes_nothing(metrics):
    session = online_edge()
    before = dict(session.bindings("reactor4"))
    with pytest.raises(LocalProtocolError):
        session.birth(node_birth(metrics=metrics), T0)
    assert (session.actions(), session.events(), session.seq) == ([], [], 1)
    session.publish_data("reactor4", batch_of([before["temperature"]], [1.0]), T0)


def test_device_id_that_cannot_stand_in_a_topic_is_refused():
    with pytest.raises(LocalProtocolError, match="device_id"):
        subscribed_edge().birth(node_birth(devices={"a/b": []}), T0)


# ── data ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_seq_is_one_counter_for_node_and_devices_and_wraps():
    # topics-ndata-seq-num, topics-ddata-seq-num, payloads-ndata-seq-inc, payloads-ddata-seq-inc
    session = online_edge()
    for _ in range(300):
        session.publish_data(None, data_for(session, "uptime", device=None, value=1), T0)
        session.publish_data("reactor4", data_for(session, "temperature"), T0)
    seqs = [Payload.FromString(m.payload).seq for m in published(session)]
    assert seqs == [(2 + i) % 256 for i in range(600)]


def test_data_topics_and_flags():  # topics-ndata-topic, -mqtt, -timestamp, topics-ddata-topic, -mqtt, -timestamp
    session = online_edge()
    session.publish_data(None, data_for(session, "uptime", device=None, value=1), T0 + 3 * MS)
    session.publish_data("reactor4", data_for(session, "temperature"), T0 + 3 * MS)
    node, device = published(session)
    assert (node.topic, node.qos, node.retain) == ("spBv1.0/acme.dallas/NDATA/gw-reaction-1", 0, False)
    assert (device.topic, device.qos, device.retain) == ("spBv1.0/acme.dallas/DDATA/gw-reaction-1/reactor4", 0, False)
    assert Payload.FromString(device.payload).timestamp == T0_MS + 3


@pytest.mark.tck("tck-id-operational-behavior-data-publish-dbirth-order")
def test_live_data_is_put_in_time_order_and_history_is_left():  # operational-behavior-data-publish-dbirth-order
    session = online_edge()
    bindings = session.bindings("reactor4")
    properties = {0: (Property("ordinal", DataType.UINT32, 3),)}
    for historical in (False, True):
        batch = batch_of(
            [bindings["temperature"], bindings["pressure"]],
            [1.0, 2.0],
            [9, 5],
            properties=properties,
            is_historical=historical,
        )
        session.publish_data("reactor4", batch, T0)
    live, history = (Payload.FromString(m.payload).metrics for m in published(session))
    assert [(m.timestamp, m.double_value, len(m.properties.keys)) for m in live] == [(5, 2.0, 0), (9, 1.0, 1)]
    assert [(m.timestamp, m.is_historical) for m in history] == [(9, True), (5, True)]


@pytest.mark.tck("tck-id-operational-behavior-data-publish-nbirth-order")
def test_live_data_of_the_node_is_put_in_time_order():
    session = online_edge(birth=node_birth(metrics=[metric("a"), metric("b")]))
    bindings = session.bindings(None)
    session.publish_data(None, batch_of([bindings["a"], bindings["b"]], [1.0, 2.0], [9, 5]), T0)
    (data,) = published(session)
    assert [(m.timestamp, m.double_value) for m in Payload.FromString(data.payload).metrics] == [(5, 2.0), (9, 1.0)]


def test_uint32_goes_into_long_value_where_asked():
    fields = []
    for options in ({}, {"uint32_in_long": True}):
        session = subscribed_edge(**options)
        session.actions()
        session.birth(node_birth(devices={"d": [metric("u", DataType.UINT32, 1)]}), T0)
        session.publish_data("d", batch_of([session.bindings("d")["u"]], [2]), T0)
        session.device_birth("d", [metric("u", DataType.UINT32, 3)], T0)
        payloads = [Payload.FromString(message.payload) for message in published(session)]
        named = [m for payload in payloads for m in payload.metrics if m.name in {"uptime", "u"} or m.alias]
        fields.append([m.WhichOneof("value") for m in named])
    assert fields == [["int_value"] * 4, ["long_value"] * 4]


@pytest.mark.tck(
    "tck-id-message-flow-device-birth-publish-nbirth-wait",
    "tck-id-payloads-ddata-order",
    "tck-id-payloads-ndata-order",
)
def test_data_before_the_birth_is_a_local_error():  # payloads-ddata-order, device-birth-publish-nbirth-wait
    session = subscribed_edge()
    for device in (None, "reactor4"):
        with pytest.raises(LocalProtocolError, match="expected state online"):
            session.publish_data(device, batch_of([], []), T0)
    with pytest.raises(LocalProtocolError):
        session.device_birth("d", [metric()], T0)


def test_data_of_a_device_that_is_not_born_is_a_local_error():
    session = online_edge()
    with pytest.raises(LocalProtocolError, match="not born"):
        session.publish_data("other", batch_of([], []), T0)


@pytest.mark.tck(
    "tck-id-operational-behavior-data-publish-dbirth",
    "tck-id-operational-behavior-data-publish-nbirth",
    "tck-id-topics-dbirth-metric-reqs",
    "tck-id-topics-nbirth-metric-reqs",
)
def test_binding_of_another_session_or_device_is_a_local_error():
    session, other = online_edge(bd_seq=1), online_edge(bd_seq=2)
    with pytest.raises(LocalProtocolError, match="not in the birth"):
        session.publish_data("reactor4", data_for(other, "temperature"), T0)
    with pytest.raises(LocalProtocolError, match="not in the birth"):
        session.publish_data(None, data_for(session, "temperature"), T0)


def test_message_that_cannot_be_encoded_takes_no_seq():
    session = online_edge()
    with pytest.raises(LocalProtocolError):
        session.publish_data("reactor4", data_for(session, "temperature", value="text"), T0)
    with pytest.raises(LocalProtocolError, match="1048576"):
        session.device_birth("big", [metric("s", DataType.BYTES, b"x" * 1_100_000)], T0)
    assert (session.seq, session.actions()) == (1, [])


# ── devices ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_device_death_and_birth():  # operational-behavior-device-ddeath, topics-ddeath-topic, -mqtt, -seq-num
    session = online_edge()
    session.device_death("reactor4", T0)
    session.device_birth("reactor4", [metric("temperature")], T0)
    session.device_birth("meter", [metric("energy")], T0)
    messages = published(session)
    assert [m.topic.split("/")[2] for m in messages] == ["DDEATH", "DBIRTH", "DBIRTH"]
    assert [Payload.FromString(m.payload).seq for m in messages] == [2, 3, 4]
    death = Payload.FromString(messages[0].payload)
    assert (death.timestamp, len(death.metrics), messages[0].qos) == (T0_MS, 0, 0)  # payloads-ddeath-timestamp
    with pytest.raises(LocalProtocolError):
        session.device_death("never", T0)


def test_birth_of_a_live_device_is_preceded_by_its_death():
    session = online_edge()
    old = session.bindings("reactor4")["temperature"]
    session.device_birth("reactor4", [metric("temperature"), metric("level", DataType.FLOAT)], T0)
    assert [m.topic.split("/")[2] for m in published(session)] == ["DDEATH", "DBIRTH"]
    assert session.bindings("reactor4")["temperature"].alias == old.alias


# ── rebirth ──────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.tck(
    "tck-id-operational-behavior-data-commands-rebirth-action-2",
    "tck-id-operational-behavior-data-commands-rebirth-action-3",
    "tck-id-payloads-nbirth-bdseq-repeat",
)
def test_rebirth_keeps_session_bd_seq_and_aliases_and_starts_seq_at_zero():
    # payloads-nbirth-bdseq-repeat, operational-behavior-data-commands-rebirth-action-*
    session = online_edge(bd_seq=7)
    before = dict(session.bindings("reactor4"))
    session.publish_data("reactor4", data_for(session, "temperature"), T0)
    session.actions()
    session.receive_message(NCMD, rebirth_command(), T0 + 5 * S)
    assert session.events() == [BirthDue("rebirth")]
    session.birth(node_birth(devices={"reactor4": [metric("new"), metric("temperature"), metric("pressure")]}), T0)
    assert session.events() == [Online("session-1", reborn=True)]
    births = [birth_of(m) for m in published(session)]
    assert [(b.seq, b.bd_seq) for b in births] == [(0, 7), (1, None)]
    after = session.bindings("reactor4")
    assert {name: after[name].alias for name in before} == {name: b.alias for name, b in before.items()}
    # what was batched before the rebirth may still go out
    session.publish_data("reactor4", batch_of([before["temperature"]], [3.0]), T0)


@pytest.mark.tck("tck-id-operational-behavior-data-commands-rebirth-action-1")
def test_no_data_between_a_rebirth_request_and_the_births():  # operational-behavior-data-commands-rebirth-action-1
    session = online_edge()
    batch = data_for(session, "temperature")
    session.receive_message(NCMD, rebirth_command(), T0 + 5 * S)
    for publish in (
        lambda: session.publish_data("reactor4", batch, T0),
        lambda: session.device_birth("new", [metric()], T0),
        lambda: session.device_death("reactor4", T0),
    ):
        with pytest.raises(LocalProtocolError, match="rebirth_due"):
            publish()
    assert session.actions() == []
    session.birth(node_birth(), T0)
    session.publish_data("reactor4", batch, T0)


def test_metric_that_comes_back_with_another_type_gets_another_alias():
    session = online_edge()
    old = session.bindings("reactor4")["temperature"]
    session.birth(node_birth(devices={"reactor4": [metric("temperature", DataType.INT32, 1)]}), T0)
    assert session.bindings("reactor4")["temperature"].alias != old.alias
    with pytest.raises(LocalProtocolError, match="not in the birth"):
        session.publish_data("reactor4", batch_of([old], [1.0]), T0)


def test_rebirth_requests_are_coalesced():
    session = online_edge()
    for _ in range(50):
        session.receive_message(NCMD, rebirth_command(), T0 + 5 * S)
    assert session.events() == [BirthDue("rebirth")]


def test_rebirths_keep_an_interval():
    session = online_edge(now_ns=T0, rebirth_interval_min_ms=1000)
    session.receive_message(NCMD, rebirth_command(), T0 + 300 * MS)
    session.receive_message(NCMD, rebirth_command(), T0 + 400 * MS)
    assert (session.events(), session.next_deadline_ns()) == ([], T0 + 1000 * MS)
    session.receive_timer(T0 + 999 * MS)
    assert session.events() == []
    session.receive_timer(T0 + 1000 * MS)
    assert (session.events(), session.next_deadline_ns()) == ([BirthDue("rebirth")], None)


def test_birth_answers_the_request_that_waits_for_its_interval():
    session = online_edge(now_ns=T0)
    session.receive_message(NCMD, rebirth_command(), T0 + 300 * MS)
    session.birth(node_birth(), T0 + 400 * MS)
    assert session.next_deadline_ns() is None


def test_clock_that_steps_back_does_not_hold_a_rebirth_back():
    session = online_edge(now_ns=T0)
    session.receive_message(NCMD, rebirth_command(), T0 - 3600 * S)
    assert session.events() == [BirthDue("rebirth")]


@pytest.mark.parametrize("value", [False, None])
def test_rebirth_that_is_not_true_is_none(value):  # operational-behavior-data-commands-rebirth-value
    session = online_edge()
    session.receive_message(NCMD, rebirth_command(value), T0 + 5 * S)
    assert session.events() == []


def test_rebirth_request_before_the_birth_is_answered_by_it():
    session = subscribed_edge()
    session.events()
    session.receive_message(NCMD, rebirth_command(), T0)
    assert session.events() == []


# ── commands ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_commands_are_read_by_alias_and_name():
    session = online_edge()
    alias = session.bindings("reactor4")["temperature"].alias
    command = codec.encode_command([metric("temperature", value=9.0, alias=alias), metric("pressure")], timestamp_ms=1)
    session.receive_message(DCMD, command, T0)
    (event,) = session.events()
    assert isinstance(event, CommandReceived)
    assert (event.device_id, [(m.name, m.value) for m in event.metrics]) == (
        "reactor4",
        [("temperature", 9.0), ("pressure", 1.5)],
    )


def test_unknown_metric_of_a_command_is_told_and_the_rest_is_read():
    session = online_edge()
    command = codec.encode_command([metric("what"), metric("uptime", DataType.UINT32, 3)], timestamp_ms=1)
    session.receive_message(NCMD, command, T0)
    (event,) = session.events()
    assert isinstance(event, CommandReceived)
    assert [m.name for m in event.metrics] == ["uptime"]
    assert [(r.name, r.reason) for r in event.rejected] == [("what", "unknown_metric")]


@pytest.mark.parametrize(
    ("topic", "payload", "retain", "reason"),
    [
        (NCMD, b"\xff", False, "not a Sparkplug"),
        (NCMD, rebirth_command(), True, "retained"),
        (DCMD.replace("reactor4", "other"), codec.encode_command([metric()], timestamp_ms=1), False, "not born"),
        ("spBv1.0/broken", b"", False, "unknown message type"),
    ],
)
def test_command_that_is_not_carried_out_is_told(topic, payload, retain, reason):
    session = online_edge()
    session.receive_message(topic, payload, T0 + 5 * S, retain=retain)
    (event,) = session.events()
    assert isinstance(event, CommandIgnored)
    assert reason in event.reason


@pytest.mark.parametrize(
    "topic",
    ["spBv1.0/acme.dallas/NCMD/other", "spBv1.0/other/NCMD/gw-reaction-1", "spBv1.0/acme.dallas/NDATA/gw-reaction-1"],
)
def test_messages_for_others_say_nothing(topic):
    session = online_edge()
    session.receive_message(topic, rebirth_command(), T0 + 5 * S)
    assert session.events() == []


def test_other_topics_are_handed_on():
    session = online_edge()
    session.receive_message("uns1/_confirm/acme.dallas/gw-reaction-1", b"{}", T0)
    assert session.events() == [OtherMessage("uns1/_confirm/acme.dallas/gw-reaction-1", b"{}")]


# ── the end ──────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.tck(
    "tck-id-operational-behavior-edge-node-intentional-disconnect-ndeath",
    "tck-id-operational-behavior-edge-node-intentional-disconnect-packet",
    "tck-id-payloads-ndeath-will-message-publisher",
    "tck-id-payloads-ndeath-will-message-publisher-disconnect-mqtt311",
)
def test_close_publishes_ndeath_at_qos_0_before_disconnect():
    # operational-behavior-edge-node-intentional-disconnect-ndeath, payloads-ndeath-will-message-publisher-*
    session = online_edge(bd_seq=7)
    session.close(T0)
    death, disconnect = session.actions()
    assert death == Publish(Message("spBv1.0/acme.dallas/NDEATH/gw-reaction-1", codec.encode_death(7), 0, False))
    assert disconnect == Disconnect()
    assert session.events() == [Offline("closed")]
    session.close(T0)
    session.receive_disconnected(T0)
    assert (session.actions(), session.events()) == ([], [])


def test_close_before_the_birth_has_nothing_to_die():  # principles-birth-certificates-order
    session = subscribed_edge()
    session.actions()
    session.close(T0)
    assert session.actions() == [Disconnect()]


@pytest.mark.parametrize("steps", range(5))
def test_connection_can_be_lost_at_every_step(steps):
    session = edge_session()
    for step in [
        lambda: session.connect(bd_seq=0, session_id="s", now_ns=T0),
        lambda: session.receive_connected(T0),
        lambda: session.receive_subscribed(T0),
        lambda: session.birth(node_birth(), T0),
    ][:steps]:
        step()
    session.events()
    session.receive_disconnected(T0)
    assert session.events() == ([Offline("connection_lost")] if steps else [])
    assert session.actions() == []  # of a connection that is gone
    session.connect(bd_seq=1, session_id="s2", now_ns=T0)
    assert (session.seq, session.devices, session.session_id, session.bd_seq) == (None, frozenset(), "s2", 1)


def test_messages_of_a_lost_connection_say_nothing():
    session = online_edge()
    session.receive_disconnected(T0)
    session.events()
    session.receive_message(NCMD, rebirth_command(), T0 + 5 * S)
    assert session.events() == []


# ── primary host ─────────────────────────────────────────────────────────────────────────────────────────────────


def waiting_edge() -> EdgeNodeSession:
    session = subscribed_edge(primary_host_id=HOST_ID)
    session.actions()
    assert session.events() == []
    return session


@pytest.mark.tck(
    "tck-id-message-flow-edge-node-birth-publish-phid-wait",
    "tck-id-message-flow-edge-node-birth-publish-phid-wait-id",
    "tck-id-message-flow-edge-node-birth-publish-phid-wait-online",
    "tck-id-message-flow-edge-node-birth-publish-phid-wait-timestamp",
    "tck-id-operational-behavior-edge-node-birth-sequence-wait",
)
def test_births_wait_for_the_primary_host():
    # message-flow-edge-node-birth-publish-phid-wait, -online, operational-behavior-edge-node-birth-sequence-wait
    session = waiting_edge()
    assert session.state is EdgeState.WAITING_FOR_HOST
    with pytest.raises(LocalProtocolError):
        session.birth(node_birth(), T0)
    session.receive_message(STATE_TOPIC, state_payload(online=False, timestamp=5), T0)
    session.receive_message("spBv1.0/STATE/other", state_payload(), T0)  # phid-wait-id
    session.receive_message(STATE_TOPIC, b"ONLINE", T0)
    assert [type(e) for e in session.events()] == [CommandIgnored]
    session.receive_message(STATE_TOPIC, state_payload(timestamp=4), T0)  # phid-wait-timestamp
    assert session.events() == []
    session.receive_message(STATE_TOPIC, state_payload(timestamp=5), T0)
    assert session.events() == [HostStateChanged(True, 5), BirthDue("primary_host")]
    session.birth(node_birth(), T0)


def test_state_may_come_before_the_subscription_is_confirmed():
    session = edge_session(primary_host_id=HOST_ID)
    session.connect(bd_seq=0, session_id="s", now_ns=T0)
    session.receive_connected(T0)
    session.receive_message(STATE_TOPIC, state_payload(), T0)
    session.receive_subscribed(T0)
    assert session.events() == [HostStateChanged(True, T0_MS), BirthDue("connected")]


@pytest.mark.tck(
    "tck-id-message-flow-edge-node-birth-publish-phid-offline",
    "tck-id-operational-behavior-edge-node-termination-host-offline",
    "tck-id-operational-behavior-edge-node-termination-host-offline-timestamp",
)
def test_primary_host_that_goes_offline_ends_the_session():
    # message-flow-edge-node-birth-publish-phid-offline, edge-node-termination-host-offline(-timestamp)
    session = waiting_edge()
    session.receive_message(STATE_TOPIC, state_payload(timestamp=5), T0)
    session.birth(node_birth(), T0)
    session.actions(), session.events()
    session.receive_message(STATE_TOPIC, state_payload(online=False, timestamp=4), T0)  # a late will
    assert (session.actions(), session.events()) == ([], [])
    session.receive_message(STATE_TOPIC, state_payload(online=False, timestamp=5), T0)
    death, disconnect = session.actions()
    assert isinstance(death, Publish)
    assert "/NDEATH/" in death.message.topic
    assert disconnect == Disconnect()
    assert session.events() == [HostStateChanged(False, 5), Offline("primary_host_offline")]
    session.receive_disconnected(T0)
    assert session.events() == []


def test_primary_host_that_goes_offline_while_a_birth_is_due_is_waited_for():
    session = waiting_edge()
    session.receive_message(STATE_TOPIC, state_payload(timestamp=5), T0)
    session.receive_message(STATE_TOPIC, state_payload(online=False, timestamp=5), T0)
    assert session.state is EdgeState.WAITING_FOR_HOST
    assert not any(isinstance(event, BirthDue) for event in session.events())  # nobody may act on it any more
    session.receive_message(STATE_TOPIC, state_payload(timestamp=6), T0)
    assert session.events() == [HostStateChanged(True, 6), BirthDue("primary_host")]


def test_primary_host_that_goes_offline_while_a_rebirth_is_due_ends_the_session():
    session = waiting_edge()
    session.receive_message(STATE_TOPIC, state_payload(timestamp=5), T0)
    session.birth(node_birth(), T0)
    session.actions(), session.events()
    session.receive_message(NCMD, rebirth_command(), T0 + 5 * S)
    session.receive_message(STATE_TOPIC, state_payload(online=False, timestamp=6), T0 + 5 * S)
    assert session.events() == [HostStateChanged(False, 6), Offline("primary_host_offline")]
    assert [type(action) for action in session.actions()] == [Publish, Disconnect]


def test_state_is_remembered_over_reconnects_but_online_must_be_heard_again():
    session = waiting_edge()
    session.receive_message(STATE_TOPIC, state_payload(timestamp=5), T0)
    session.receive_disconnected(T0)
    session.events()
    session.connect(bd_seq=1, session_id="s2", now_ns=T0)
    session.receive_connected(T0)
    session.receive_subscribed(T0)
    assert session.state is EdgeState.WAITING_FOR_HOST
    session.receive_message(STATE_TOPIC, state_payload(timestamp=4), T0)
    assert session.events() == []
    session.receive_message(STATE_TOPIC, state_payload(timestamp=5), T0)
    assert session.events() == [HostStateChanged(True, 5), BirthDue("primary_host")]


def test_without_a_primary_host_state_says_nothing():
    session = online_edge()
    session.receive_message(STATE_TOPIC, state_payload(online=False), T0)
    assert (session.events(), session.state) == ([], EdgeState.ONLINE)


# ── several brokers, and waiting for the primary host ─────────────────────────────────────────────────────────────


def connect_again(session: EdgeNodeSession, broker: str, *, bd_seq: int = 1) -> None:
    session.receive_disconnected(T0)
    session.actions(), session.events()
    session.connect(bd_seq=bd_seq, session_id=f"s{bd_seq}", now_ns=T0, broker=broker)
    session.receive_connected(T0)
    session.receive_subscribed(T0)
    session.actions()


def test_state_is_remembered_per_broker():
    session = waiting_edge()
    session.receive_message(STATE_TOPIC, state_payload(timestamp=50), T0)
    connect_again(session, "b")
    session.receive_message(STATE_TOPIC, state_payload(timestamp=7), T0)  # older, and the first of this broker
    assert session.events() == [HostStateChanged(True, 7), BirthDue("primary_host")]
    connect_again(session, "", bd_seq=2)
    session.receive_message(STATE_TOPIC, state_payload(timestamp=49), T0)
    assert session.events() == []


@pytest.mark.tck("tck-id-operational-behavior-primary-application-state-with-multiple-servers-walk")
def test_with_several_brokers_a_host_that_is_offline_here_is_left_before_the_birth():
    session = subscribed_edge(primary_host_id=HOST_ID, leaves_offline_host=True)
    session.actions()
    session.receive_message(STATE_TOPIC, state_payload(online=False, timestamp=5), T0)
    assert session.events() == [Offline("primary_host_offline")]
    assert session.actions() == [Disconnect()]  # nothing was born


def test_with_several_brokers_an_offline_state_before_the_suback_is_obeyed_after_it():
    session = edge_session(primary_host_id=HOST_ID, leaves_offline_host=True)
    session.connect(bd_seq=0, session_id="s", now_ns=T0)
    session.receive_connected(T0)
    session.receive_message(STATE_TOPIC, state_payload(online=False), T0)
    assert session.state is EdgeState.SUBSCRIBING
    session.receive_subscribed(T0)
    assert session.events() == [Offline("primary_host_offline")]


def silent_host(then, **options) -> EdgeNodeSession:
    session = subscribed_edge(primary_host_id=HOST_ID, host_wait_max_ms=2000, when_host_silent=then, **options)
    session.actions()
    assert session.next_deadline_ns() == T0 + 2 * S
    session.receive_timer(T0 + 2 * S - 1)
    assert session.events() == []
    session.receive_timer(T0 + 2 * S)
    assert session.next_deadline_ns() is None
    return session


def test_waiting_for_a_silent_primary_host_is_told():
    session = silent_host("wait")
    assert (session.events(), session.state) == ([HostAwaited("wait")], EdgeState.WAITING_FOR_HOST)
    session.receive_message(STATE_TOPIC, state_payload(), T0 + 5 * S)
    assert session.events() == [HostStateChanged(True, T0_MS), BirthDue("primary_host")]


def test_waiting_for_a_silent_primary_host_can_end_the_session():
    session = silent_host("leave")
    assert session.events() == [HostAwaited("leave"), Offline("primary_host_silent")]
    assert session.actions() == [Disconnect()]


def test_a_plant_may_prefer_births_without_its_primary_host_to_silence():
    session = silent_host("publish")
    assert session.events() == [HostAwaited("publish"), BirthDue("host_waived")]
    session.birth(node_birth(), T0 + 2 * S)
    session.actions(), session.events()
    session.receive_message(STATE_TOPIC, state_payload(online=False), T0 + 3 * S)  # it spoke: now it is obeyed
    assert session.events() == [Offline("primary_host_offline")]


def test_a_host_that_goes_while_births_wait_is_waited_for_anew_and_no_longer():
    session = subscribed_edge(primary_host_id=HOST_ID, host_wait_max_ms=2000)
    session.receive_message(STATE_TOPIC, state_payload(timestamp=5), T0)
    assert session.next_deadline_ns() is None
    session.receive_message(STATE_TOPIC, state_payload(online=False, timestamp=6), T0 + S)
    assert session.next_deadline_ns() == T0 + 3 * S
    session.receive_message(STATE_TOPIC, state_payload(online=False, timestamp=7), T0 + 2 * S)
    assert session.next_deadline_ns() == T0 + 3 * S, "its heralds do not prolong the waiting"


# ── time ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_times_on_payloads_never_go_back_inside_a_session():
    session = online_edge(now_ns=T0)
    steps = [T0 + 5 * MS, T0 - 3600 * S, T0 + 4 * MS, T0 + 6 * MS]
    session.publish_data("reactor4", data_for(session, "temperature"), steps[0])
    session.device_birth("other", [metric("x")], steps[1])
    session.device_death("other", steps[2])
    session.publish_data("reactor4", data_for(session, "temperature"), steps[3])
    session.birth(node_birth(), T0)
    stamps = [Payload.FromString(m.payload).timestamp for m in published(session)]
    assert stamps == [T0_MS + 5, T0_MS + 5, T0_MS + 5, T0_MS + 6, T0_MS + 6, T0_MS + 6]


@pytest.mark.parametrize(("back_ms", "ends"), [(-3_600_000, False), (0, False), (1000, False), (1001, True)])
def test_a_wall_clock_that_is_set_back_ends_the_session(back_ms, ends):
    session = online_edge(now_ns=T0)
    session.receive_clock(T0 - back_ms * MS, T0)
    assert session.events() == ([Offline("clock_set_back")] if ends else [])
    assert [type(action) for action in session.actions()] == ([Publish, Disconnect] if ends else [])
    session.receive_clock(T0 - back_ms * MS, T0)  # told once
    assert session.events() == []


def test_a_clock_that_is_set_back_while_nothing_stands_says_nothing():
    session = edge_session()
    session.receive_clock(0, T0)
    session.connect(bd_seq=0, session_id="s", now_ns=T0)
    session.receive_clock(0, T0)
    assert session.events() == []


def test_a_new_session_may_begin_earlier_than_the_last_one_ended():
    session = online_edge(now_ns=T0)
    session.receive_disconnected(T0)
    session.connect(bd_seq=8, session_id="s8", now_ns=T0 - 3600 * S)
    session.receive_connected(T0 - 3600 * S)
    session.receive_subscribed(T0 - 3600 * S)
    session.actions()
    session.birth(node_birth(), T0 - 3600 * S)
    assert {birth_of(m).timestamp_ms for m in published(session)} == {T0_MS - 3_600_000}
