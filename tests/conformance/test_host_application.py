"""A host of ours on the wire, rule by rule. The specification says most rules two or three times over."""

from __future__ import annotations

import json

import pytest

from tests.conformance.lives import (
    HOST_ID,
    NODE,
    START_MS,
    STATE_TOPIC,
    STEP_MS,
    Life,
    Recorder,
    Sent,
    edge_life,
    host_life,
)
from uns.sparkplug import Disconnect, HostSession, Publish, Subscribe

D1_COMMAND, NODE_COMMAND = "spBv1.0/acme.dallas/DCMD/gw-1/d1", "spBv1.0/acme.dallas/NCMD/gw-1"


def new_host() -> HostSession:
    return HostSession(HOST_ID, jitter=lambda _span: 0)


def begin(recorder: Recorder) -> None:
    assert isinstance(recorder.session, HostSession)
    for call in (recorder.session.connect, recorder.session.receive_connected, recorder.session.receive_subscribed):
        recorder.step(call)


def states() -> tuple[Sent, Sent]:
    """Its birth and its goodbye."""
    birth, death = host_life().sent(HOST_ID)
    return birth, death


def exactly(sent: Sent, *, online: bool) -> bool:
    """The two keys and no other, a boolean and a number."""
    body = sent.json
    return set(body) == {"online", "timestamp"} and body["online"] is online and type(body["timestamp"]) is int


# ── the Will ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.tck(
    "tck-id-host-topic-phid-death-required",
    "tck-id-host-topic-phid-death-topic",
    "tck-id-operational-behavior-host-application-connect-will",
    "tck-id-operational-behavior-host-application-connect-will-topic",
    "tck-id-payloads-state-will-message",
)
def test_the_will_of_each_connect_is_on_its_state_topic():
    assert host_life().will.message.topic == STATE_TOPIC == "spBv1.0/STATE/uns-host-1"


@pytest.mark.tck(
    "tck-id-host-topic-phid-death-qos",
    "tck-id-host-topic-phid-death-retain",
    "tck-id-operational-behavior-host-application-connect-will-qos",
    "tck-id-operational-behavior-host-application-connect-will-retained",
    "tck-id-payloads-state-will-message-qos",
    "tck-id-payloads-state-will-message-retain",
)
def test_the_will_has_qos_1_and_is_retained():
    assert (host_life().will.message.qos, host_life().will.message.retain) == (1, True)


@pytest.mark.tck(
    "tck-id-host-topic-phid-death-payload",
    "tck-id-host-topic-phid-death-payload-timestamp-connect",
    "tck-id-operational-behavior-host-application-connect-will-payload",
    "tck-id-payloads-state-will-message-payload",
)
def test_the_will_says_offline_with_the_time_of_the_connect():
    will = host_life().will
    assert exactly(will, online=False)
    assert will.json["timestamp"] == will.at_ms == START_MS + 1000


# ── subscriptions and birth ──────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.tck(
    "tck-id-host-topic-phid-birth-sub-required",
    "tck-id-message-flow-phid-sparkplug-subscription",
    "tck-id-payloads-state-subscribe",
)
def test_it_subscribes_to_the_namespace_and_its_state_before_it_says_anything():
    asked = [type(action) for action, _ in host_life().actions]
    assert asked.index(Subscribe) < asked.index(Publish)
    (subscribe,) = [action for action, _ in host_life().actions if isinstance(action, Subscribe)]
    assert dict(subscribe.filters).keys() == {"spBv1.0/#", STATE_TOPIC}


@pytest.mark.tck(
    "tck-id-host-topic-phid-birth-message",
    "tck-id-host-topic-phid-birth-required",
    "tck-id-message-flow-phid-sparkplug-state-publish",
    "tck-id-operational-behavior-host-application-connect-birth",
    "tck-id-operational-behavior-primary-application-state-with-multiple-servers-state",
)
def test_its_first_message_of_a_session_is_its_birth_right_after_the_subscriptions():
    subscribed_at = next(at for at, (action, _) in enumerate(host_life().actions) if isinstance(action, Subscribe))
    following, at_ms = host_life().actions[subscribed_at + 1]
    assert isinstance(following, Publish)
    assert following.message == states()[0].message == host_life().sent()[0].message
    assert at_ms == host_life().actions[subscribed_at][1] + STEP_MS, "when the SUBACK has come, and not before"


@pytest.mark.tck(
    "tck-id-host-topic-phid-birth-topic",
    "tck-id-operational-behavior-host-application-connect-birth-topic",
)
def test_birth_topic():
    assert states()[0].message.topic == "spBv1.0/STATE/uns-host-1"


@pytest.mark.tck(
    "tck-id-host-topic-phid-birth-qos",
    "tck-id-host-topic-phid-birth-retain",
    "tck-id-operational-behavior-host-application-connect-birth-qos",
    "tck-id-operational-behavior-host-application-connect-birth-retained",
    "tck-id-payloads-state-birth",
)
def test_the_birth_has_qos_1_and_is_retained():
    assert (states()[0].message.qos, states()[0].message.retain) == (1, True)


@pytest.mark.tck(
    "tck-id-host-topic-phid-birth-payload",
    "tck-id-host-topic-phid-birth-payload-timestamp",
    "tck-id-message-flow-phid-sparkplug-state-publish-payload",
    "tck-id-message-flow-phid-sparkplug-state-publish-payload-timestamp",
    "tck-id-operational-behavior-host-application-connect-birth-payload",
    "tck-id-payloads-state-birth-payload",
)
def test_the_birth_says_online_with_the_timestamp_of_the_will():
    assert exactly(states()[0], online=True)
    assert states()[0].json["timestamp"] == host_life().will.json["timestamp"]


@pytest.mark.tck(
    "tck-id-host-topic-phid-birth-payload-timestamp",
    "tck-id-host-topic-phid-death-payload-timestamp-connect",
    "tck-id-operational-behavior-primary-application-state-with-multiple-servers-state",
)
def test_each_session_begins_with_a_birth_and_has_a_timestamp_of_its_own():
    recorder = Recorder(new_host())
    for _ in range(3):
        begin(recorder)
        recorder.step(recorder.session.receive_disconnected)
    stamps = []
    for number in range(3):
        life = Life(recorder.noted[number * 3 : number * 3 + 3])
        (birth,) = life.sent()
        assert exactly(birth, online=True)
        assert birth.json["timestamp"] == life.will.json["timestamp"] == life.will.at_ms
        stamps.append(birth.json["timestamp"])
    assert len(set(stamps)) == 3


@pytest.mark.tck("tck-id-operational-behavior-host-application-multi-server-timestamp")
def test_the_timestamp_at_one_broker_is_its_own_whatever_happens_at_another():
    """A session is a host at one broker; where there are several brokers there are several sessions."""
    here, elsewhere = Recorder(new_host()), Recorder(new_host())
    begin(here)
    elsewhere.now_ms += 50_000
    begin(elsewhere)
    elsewhere.step(elsewhere.session.receive_disconnected)
    begin(elsewhere)
    will_of_another = json.dumps({"online": False, "timestamp": START_MS}).encode()
    here.step(here.session.receive_message, STATE_TOPIC, will_of_another, retain=False)
    birth, healed = Life(here.noted).sent(HOST_ID)
    first, second = Life(elsewhere.noted).sent(HOST_ID)
    assert birth.json["timestamp"] == healed.json["timestamp"] == START_MS + STEP_MS
    assert first.json["timestamp"] < second.json["timestamp"]
    assert first.json["timestamp"] == START_MS + 50_000 + STEP_MS


# ── goodbye ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.tck(
    "tck-id-components-ph-state",
    "tck-id-conformance-primary-host",
    "tck-id-intro-sparkplug-host-state",
)
def test_it_says_online_and_later_offline():
    assert [sent.json["online"] for sent in states()] == [True, False]


@pytest.mark.tck(
    "tck-id-operational-behavior-host-application-termination",
    "tck-id-operational-behavior-host-application-disconnect-intentional",
    "tck-id-host-topic-phid-death-payload-timestamp-disconnect-with-no-disconnect-packet",
)
def test_its_death_is_the_last_message_before_disconnect():
    (last, _), (goodbye, _) = host_life().actions[-2:]
    assert isinstance(last, Publish)
    assert last.message == states()[1].message
    assert goodbye == Disconnect()


@pytest.mark.tck(
    "tck-id-operational-behavior-host-application-death-topic",
    "tck-id-operational-behavior-host-application-death-qos",
    "tck-id-operational-behavior-host-application-death-retained",
)
def test_its_death_is_on_its_state_topic_at_qos_1_and_retained():
    message = states()[1].message
    assert (message.topic, message.qos, message.retain) == (STATE_TOPIC, 1, True)


@pytest.mark.tck(
    "tck-id-host-topic-phid-death-payload-timestamp-disconnect-clean",
    "tck-id-operational-behavior-host-application-death-payload",
)
def test_its_death_says_offline_with_the_time_of_the_disconnect():
    death = states()[1]
    assert exactly(death, online=False)
    assert death.json["timestamp"] == death.at_ms > host_life().will.at_ms


# ── commands ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.tck("tck-id-topics-ncmd-topic", "tck-id-operational-behavior-data-commands-ncmd-verb")
def test_a_command_to_a_node_goes_to_its_ncmd_topic():
    assert [sent.message.topic for sent in host_life().sent("NCMD")] == [NODE_COMMAND]


@pytest.mark.tck("tck-id-topics-dcmd-topic", "tck-id-operational-behavior-data-commands-dcmd-verb")
def test_a_command_to_a_device_goes_to_its_dcmd_topic():
    assert [sent.message.topic for sent in host_life().sent("DCMD")] == [D1_COMMAND]


@pytest.mark.tck("tck-id-topics-ncmd-mqtt", "tck-id-payloads-ncmd-qos", "tck-id-payloads-ncmd-retain")
def test_ncmd_has_qos_0_and_is_not_retained():
    assert {(sent.message.qos, sent.message.retain) for sent in host_life().sent("NCMD")} == {(0, False)}


@pytest.mark.tck("tck-id-topics-dcmd-mqtt", "tck-id-payloads-dcmd-qos", "tck-id-payloads-dcmd-retain")
def test_dcmd_has_qos_0_and_is_not_retained():
    assert {(sent.message.qos, sent.message.retain) for sent in host_life().sent("DCMD")} == {(0, False)}


@pytest.mark.tck(
    "tck-id-topics-ncmd-timestamp",
    "tck-id-payloads-ncmd-timestamp",
    "tck-id-topics-dcmd-timestamp",
    "tck-id-payloads-dcmd-timestamp",
)
def test_a_command_is_stamped_when_it_is_sent():
    for sent in host_life().sent("NCMD", "DCMD"):
        assert sent.payload.timestamp == sent.at_ms


@pytest.mark.tck("tck-id-payloads-name-cmd-requirement")
def test_metrics_of_commands_have_a_timestamp():
    for sent in host_life().sent("NCMD", "DCMD"):
        assert all(metric.HasField("timestamp") for metric in sent.payload.metrics)


@pytest.mark.tck("tck-id-payloads-ncmd-seq", "tck-id-payloads-dcmd-seq")
def test_a_command_has_no_seq():
    assert not any(sent.payload.HasField("seq") for sent in host_life().sent("NCMD", "DCMD"))


def alias_of(birth_topic: str, name: str) -> int:
    birth = next(sent for sent in edge_life().sent() if sent.message.topic == birth_topic)
    (alias,) = [metric.alias for metric in birth.payload.metrics if metric.name == name]
    return int(alias)


@pytest.mark.tck(
    "tck-id-topics-ncmd-payload",
    "tck-id-operational-behavior-data-commands-ncmd-metric-name",
    "tck-id-operational-behavior-data-commands-ncmd-metric-value",
)
def test_ncmd_carries_the_metrics_to_be_written_as_the_nbirth_named_them():
    (sent,) = host_life().sent("NCMD")
    (metric,) = sent.payload.metrics
    assert metric.alias == alias_of("spBv1.0/acme.dallas/NBIRTH/gw-1", "load")
    assert (metric.WhichOneof("value"), metric.double_value) == ("double_value", 7.5)


@pytest.mark.tck(
    "tck-id-topics-dcmd-payload",
    "tck-id-operational-behavior-data-commands-dcmd-metric-name",
    "tck-id-operational-behavior-data-commands-dcmd-metric-value",
)
def test_dcmd_carries_the_metrics_to_be_written_as_the_dbirth_named_them():
    (sent,) = host_life().sent("DCMD")
    (metric,) = sent.payload.metrics
    assert metric.alias == alias_of("spBv1.0/acme.dallas/DBIRTH/gw-1/d1", "t")
    assert (metric.WhichOneof("value"), metric.double_value) == ("double_value", 4.5)


@pytest.mark.tck(
    "tck-id-operational-behavior-data-commands-ncmd-rebirth-verb",
    "tck-id-operational-behavior-data-commands-ncmd-rebirth-name",
    "tck-id-operational-behavior-data-commands-ncmd-rebirth-value",
)
def test_a_rebirth_request_is_an_ncmd_with_the_metric_by_its_name_set_to_true():
    session = new_host()
    recorder = Recorder(session)
    begin(recorder)
    recorder.step(session.request_rebirth, NODE, "request")
    (request,) = Life(recorder.noted).sent("NCMD")
    assert request.message.topic == NODE_COMMAND
    (metric,) = request.payload.metrics
    assert (metric.name, metric.WhichOneof("value"), metric.boolean_value) == (
        "Node Control/Rebirth",
        "boolean_value",
        True,
    )


# ── devices ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.tck("tck-id-topic-structure-namespace-duplicate-device-id-across-edge-node")
def test_devices_of_one_id_at_two_nodes_are_two_devices():
    session = HostSession(HOST_ID, jitter=lambda _span: 0)
    now_ns = START_MS * 1_000_000
    session.connect(now_ns)
    session.receive_connected(now_ns)
    session.receive_subscribed(now_ns)
    for node in ("gw-1", "gw-2"):
        for sent in edge_life().sent("NBIRTH", "DBIRTH")[:3]:
            topic = sent.message.topic.replace("gw-1", node)
            session.receive_message(topic, sent.message.payload, retain=False, now_ns=now_ns)
    (death,) = edge_life().sent("NDEATH")
    session.receive_message(death.message.topic, death.message.payload, retain=False, now_ns=now_ns)
    found = {str(name): node.devices["d1"].online for name, node in session.nodes.items()}
    assert found == {"acme.dallas/gw-1": False, "acme.dallas/gw-2": True}
