"""An edge node of ours on the wire, rule by rule. The specification says most rules two or three times over."""

from __future__ import annotations

import itertools

import pytest

from tests.conformance.lives import BD_SEQ, CAPTURED_BEFORE_MS, NODE, START_MS, Sent, edge_life, host_life, metric
from uns.errors import LocalProtocolError
from uns.sparkplug import (
    DataBatch,
    EdgeNodeDescriptor,
    EdgeNodeSession,
    MessageType,
    NodeBirth,
    Publish,
    Subscribe,
)
from uns.sparkplug.datatypes import METRIC_TYPES
from uns.sparkplug.sequences import next_bd_seq

PREFIX = f"spBv1.0/{NODE.group_id}"
INT64, BOOLEAN = 4, 11
NOW_NS = START_MS * 1_000_000


def one(sent: Sent, name: str):
    (found,) = [metric for metric in sent.payload.metrics if metric.name == name]
    return found


def stamped_when_sent(messages: list[Sent]) -> bool:
    return all(s.payload.HasField("timestamp") and s.payload.timestamp == s.at_ms for s in messages)


# ── the Will, and the death ──────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.tck("tck-id-message-flow-edge-node-birth-publish-will-message", "tck-id-payloads-ndeath-will-message")
def test_the_will_of_each_connect_is_an_ndeath():
    assert edge_life().connect.will.topic == f"{PREFIX}/NDEATH/{NODE.edge_node_id}"


@pytest.mark.tck("tck-id-message-flow-edge-node-birth-publish-will-message-topic", "tck-id-topics-ndeath-topic")
def test_ndeath_topic_of_the_will_and_of_the_goodbye():
    (death,) = edge_life().sent("NDEATH")
    assert death.message.topic == edge_life().will.message.topic == "spBv1.0/acme.dallas/NDEATH/gw-1"


@pytest.mark.tck(
    "tck-id-message-flow-edge-node-birth-publish-will-message-qos",
    "tck-id-message-flow-edge-node-birth-publish-will-message-will-retained",
    "tck-id-payloads-ndeath-will-message-qos",
    "tck-id-payloads-ndeath-will-message-retain",
)
def test_the_will_has_qos_1_and_is_not_retained():
    assert (edge_life().will.message.qos, edge_life().will.message.retain) == (1, False)


@pytest.mark.tck(
    "tck-id-message-flow-edge-node-birth-publish-will-message-payload",
    "tck-id-message-flow-edge-node-birth-publish-will-message-payload-bdSeq",
)
def test_the_payload_of_the_will_is_protobuf_with_the_bd_seq_of_this_connect():
    found = one(edge_life().will, "bdSeq")
    assert (found.datatype, found.long_value) == (INT64, BD_SEQ)
    assert [next_bd_seq(n) for n in (0, 8, 254, 255)] == [1, 9, 255, 0]


@pytest.mark.tck("tck-id-payloads-ndeath-seq", "tck-id-topics-ndeath-payload", "tck-id-topics-ndeath-seq")
def test_will_and_goodbye_hold_bd_seq_alone_and_no_seq():
    for death in (edge_life().will, *edge_life().sent("NDEATH")):
        assert [metric.name for metric in death.payload.metrics] == ["bdSeq"]
        assert one(death, "bdSeq").long_value == BD_SEQ
        assert not death.payload.HasField("seq")


@pytest.mark.tck(
    "tck-id-payloads-ndeath-bdseq",
    "tck-id-payloads-nbirth-bdseq",
    "tck-id-topics-nbirth-bdseq-included",
    "tck-id-topics-nbirth-bdseq-matching",
    "tck-id-message-flow-edge-node-birth-publish-nbirth-payload-bdSeq",
)
def test_every_nbirth_has_the_bd_seq_of_the_will():
    births = edge_life().sent("NBIRTH")
    assert len(births) == 2
    for birth in births:
        found = one(birth, "bdSeq")
        assert (found.datatype, found.long_value) == (INT64, one(edge_life().will, "bdSeq").long_value)


# ── NBIRTH ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.tck("tck-id-topics-nbirth-topic", "tck-id-message-flow-edge-node-birth-publish-nbirth-topic")
def test_nbirth_topic():
    assert {sent.message.topic for sent in edge_life().sent("NBIRTH")} == {"spBv1.0/acme.dallas/NBIRTH/gw-1"}


@pytest.mark.tck(
    "tck-id-topics-nbirth-mqtt",
    "tck-id-payloads-nbirth-qos",
    "tck-id-payloads-nbirth-retain",
    "tck-id-message-flow-edge-node-birth-publish-nbirth-qos",
    "tck-id-message-flow-edge-node-birth-publish-nbirth-retained",
)
def test_nbirth_has_qos_0_and_is_not_retained():
    assert {(sent.message.qos, sent.message.retain) for sent in edge_life().sent("NBIRTH")} == {(0, False)}


@pytest.mark.tck(
    "tck-id-topics-nbirth-seq-num",
    "tck-id-payloads-nbirth-seq",
    "tck-id-payloads-sequence-num-req-nbirth",
    "tck-id-message-flow-edge-node-birth-publish-nbirth-payload-seq",
    "tck-id-message-flow-edge-node-birth-publish-nbirth-payload",
)
def test_the_payload_of_an_nbirth_is_protobuf_with_seq_0():
    for sent in edge_life().sent("NBIRTH"):
        assert sent.payload.HasField("seq")
        assert sent.payload.seq == 0


@pytest.mark.tck("tck-id-topics-nbirth-timestamp", "tck-id-payloads-nbirth-timestamp")
def test_nbirth_is_stamped_when_it_is_sent():
    assert stamped_when_sent(edge_life().sent("NBIRTH"))


@pytest.mark.tck(
    "tck-id-topics-nbirth-rebirth-metric",
    "tck-id-payloads-nbirth-rebirth-req",
    "tck-id-operational-behavior-data-commands-rebirth-name",
    "tck-id-operational-behavior-data-commands-rebirth-name-aliases",
    "tck-id-operational-behavior-data-commands-rebirth-datatype",
    "tck-id-operational-behavior-data-commands-rebirth-value",
)
def test_nbirth_has_node_control_rebirth_false_without_an_alias():
    for birth in edge_life().sent("NBIRTH"):
        found = one(birth, "Node Control/Rebirth")
        assert (found.datatype, found.WhichOneof("value"), found.boolean_value) == (BOOLEAN, "boolean_value", False)
        assert not found.HasField("alias")
        assert any(metric.HasField("alias") for metric in birth.payload.metrics)


# ── DBIRTH ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.tck(
    "tck-id-topics-dbirth-topic",
    "tck-id-message-flow-device-birth-publish-dbirth-topic",
    "tck-id-message-flow-device-birth-publish-dbirth-match-edge-node-topic",
)
def test_dbirth_topics_are_those_of_the_node_with_the_device():
    topics = [sent.message.topic for sent in edge_life().sent("DBIRTH")]
    d1, d2 = "spBv1.0/acme.dallas/DBIRTH/gw-1/d1", "spBv1.0/acme.dallas/DBIRTH/gw-1/d2"
    assert topics == [d1, d2, d1, d1, d2]


@pytest.mark.tck(
    "tck-id-topics-dbirth-mqtt",
    "tck-id-payloads-dbirth-qos",
    "tck-id-payloads-dbirth-retain",
    "tck-id-message-flow-device-birth-publish-dbirth-qos",
    "tck-id-message-flow-device-birth-publish-dbirth-retained",
)
def test_dbirth_has_qos_0_and_is_not_retained():
    assert {(sent.message.qos, sent.message.retain) for sent in edge_life().sent("DBIRTH")} == {(0, False)}


@pytest.mark.tck("tck-id-topics-dbirth-timestamp", "tck-id-payloads-dbirth-timestamp")
def test_dbirth_is_stamped_when_it_is_sent():
    assert stamped_when_sent(edge_life().sent("DBIRTH"))


@pytest.mark.tck("tck-id-message-flow-device-birth-publish-dbirth-payload", "tck-id-payloads-dbirth-seq")
def test_the_payload_of_a_dbirth_is_protobuf_with_a_seq():
    assert all(sent.payload.HasField("seq") and sent.payload.metrics for sent in edge_life().sent("DBIRTH"))


@pytest.mark.tck("tck-id-payloads-dbirth-order")
def test_dbirths_come_straight_after_the_nbirth():
    kinds = [sent.kind for sent in edge_life().sent()]
    for at, kind in enumerate(kinds):
        if kind == "NBIRTH":
            assert kinds[at + 1 : at + 4] in (["DBIRTH", "DBIRTH", "DDATA"], ["DBIRTH", "DBIRTH", "NDATA"])


# ── DATA ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.tck("tck-id-topics-ndata-topic")
def test_ndata_topic():
    assert {sent.message.topic for sent in edge_life().sent("NDATA")} == {"spBv1.0/acme.dallas/NDATA/gw-1"}


@pytest.mark.tck("tck-id-topics-ddata-topic")
def test_ddata_topic():
    topics = {sent.message.topic for sent in edge_life().sent("DDATA")}
    assert topics == {"spBv1.0/acme.dallas/DDATA/gw-1/d1", "spBv1.0/acme.dallas/DDATA/gw-1/d2"}


@pytest.mark.tck("tck-id-topics-ndata-mqtt", "tck-id-payloads-ndata-qos", "tck-id-payloads-ndata-retain")
def test_ndata_has_qos_0_and_is_not_retained():
    assert {(sent.message.qos, sent.message.retain) for sent in edge_life().sent("NDATA")} == {(0, False)}


@pytest.mark.tck("tck-id-topics-ddata-mqtt", "tck-id-payloads-ddata-qos", "tck-id-payloads-ddata-retain")
def test_ddata_has_qos_0_and_is_not_retained():
    assert {(sent.message.qos, sent.message.retain) for sent in edge_life().sent("DDATA")} == {(0, False)}


@pytest.mark.tck("tck-id-topics-ndata-timestamp", "tck-id-payloads-ndata-timestamp")
def test_ndata_is_stamped_when_it_is_sent():
    assert stamped_when_sent(edge_life().sent("NDATA"))


@pytest.mark.tck("tck-id-topics-ddata-timestamp", "tck-id-payloads-ddata-timestamp")
def test_ddata_is_stamped_when_it_is_sent():
    assert stamped_when_sent(edge_life().sent("DDATA"))


# ── seq ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


def steps_to(kind: str) -> set[int]:
    """How much seq grows from the message before to each of this type."""
    alive = [sent for sent in edge_life().sent() if sent.kind != "NDEATH"]
    pairs = itertools.pairwise(alive)
    return {(after.payload.seq - before.payload.seq) % 256 for before, after in pairs if after.kind == kind}


@pytest.mark.tck(
    "tck-id-payloads-sequence-num-always-included", "tck-id-payloads-ndata-seq", "tck-id-payloads-ddata-seq"
)
def test_everything_but_a_death_has_a_seq_of_0_to_255():
    for sent in edge_life().sent():
        if sent.kind != "NDEATH":
            assert sent.payload.HasField("seq")
            assert 0 <= sent.payload.seq <= 255


@pytest.mark.tck("tck-id-payloads-sequence-num-incrementing")
def test_after_seq_255_comes_0():
    seqs = [sent.payload.seq for sent in edge_life().sent("DBIRTH", "NDATA", "DDATA", "DDEATH")]
    assert 0 in [after for before, after in itertools.pairwise(seqs) if before == 255]
    assert max(seqs) == 255


@pytest.mark.tck(
    "tck-id-topics-dbirth-seq",
    "tck-id-payloads-dbirth-seq-inc",
    "tck-id-message-flow-device-birth-publish-dbirth-payload-seq",
)
def test_a_dbirth_has_the_next_seq():
    assert steps_to("DBIRTH") == {1}


@pytest.mark.tck("tck-id-topics-ndata-seq-num", "tck-id-payloads-ndata-seq-inc")
def test_an_ndata_has_the_next_seq():
    assert steps_to("NDATA") == {1}


@pytest.mark.tck("tck-id-topics-ddata-seq-num", "tck-id-payloads-ddata-seq-inc")
def test_a_ddata_has_the_next_seq():
    assert steps_to("DDATA") == {1}


# ── DDEATH ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.tck("tck-id-topics-ddeath-topic", "tck-id-operational-behavior-device-ddeath")
def test_a_lost_device_is_told_on_its_ddeath_topic():
    assert [sent.message.topic for sent in edge_life().sent("DDEATH")] == ["spBv1.0/acme.dallas/DDEATH/gw-1/d1"]


@pytest.mark.tck("tck-id-topics-ddeath-mqtt")
def test_ddeath_has_qos_0_and_is_not_retained():
    assert {(sent.message.qos, sent.message.retain) for sent in edge_life().sent("DDEATH")} == {(0, False)}


@pytest.mark.tck("tck-id-payloads-ddeath-timestamp")
def test_ddeath_is_stamped_when_it_is_sent():
    assert stamped_when_sent(edge_life().sent("DDEATH"))


@pytest.mark.tck(
    "tck-id-topics-ddeath-seq-num",
    "tck-id-payloads-ddeath-seq",
    "tck-id-payloads-ddeath-seq-inc",
    "tck-id-payloads-ddeath-seq-number",
)
def test_a_ddeath_has_the_next_seq():
    assert all(sent.payload.HasField("seq") for sent in edge_life().sent("DDEATH"))
    assert steps_to("DDEATH") == {1}


# ── time ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.tck("tck-id-payloads-timestamp-in-UTC", "tck-id-payloads-metric-timestamp-in-UTC")
def test_timestamps_are_ms_since_the_epoch_in_utc():
    for sent in edge_life().sent("NBIRTH", "DBIRTH", "NDATA", "DDATA"):
        assert sent.payload.timestamp == sent.at_ms
        captured_ms = sent.at_ms - CAPTURED_BEFORE_MS if "DATA" in sent.kind else sent.at_ms
        assert all(found.timestamp == captured_ms for found in sent.payload.metrics)


@pytest.mark.tck("tck-id-payloads-name-birth-data-requirement")
def test_every_metric_of_births_and_data_has_a_timestamp():
    for sent in edge_life().sent("NBIRTH", "DBIRTH", "NDATA", "DDATA"):
        assert sent.payload.metrics
        assert all(metric.HasField("timestamp") for metric in sent.payload.metrics)


# ── what births say of metrics ───────────────────────────────────────────────────────────────────────────────────────


def says_all(sent: Sent) -> bool:
    return all(
        metric.name and metric.datatype and metric.is_null == (metric.WhichOneof("value") is None)
        for metric in sent.payload.metrics
    )


@pytest.mark.tck("tck-id-topics-nbirth-metrics")
def test_every_metric_of_an_nbirth_has_name_datatype_and_a_value_or_is_null():
    births = edge_life().sent("NBIRTH")
    assert all(says_all(birth) for birth in births)
    assert all(one(birth, "unknown").is_null for birth in births)


@pytest.mark.tck("tck-id-topics-dbirth-metrics")
def test_every_metric_of_a_dbirth_has_name_datatype_and_a_value_or_is_null():
    births = edge_life().sent("DBIRTH")
    assert all(says_all(birth) for birth in births)
    assert one(births[0], "unknown").is_null


@pytest.mark.tck(
    "tck-id-operational-behavior-data-publish-nbirth-values",
    "tck-id-operational-behavior-data-publish-dbirth-values",
)
@pytest.mark.parametrize(("kind", "name", "value"), [("NBIRTH", "load", 1.5), ("DBIRTH", "t", 1.5)])
def test_births_carry_the_values_that_they_were_given_and_null_alone_where_there_is_none(kind, name, value):
    births = edge_life().sent(kind)
    assert {one(birth, name).double_value for birth in births if "d2" not in birth.message.topic} == {value}
    null = one(births[0], "unknown")
    assert (null.is_null, null.WhichOneof("value")) == (True, None)


@pytest.mark.tck("tck-id-payloads-metric-datatype-value")
@pytest.mark.parametrize("datatype", [*range(36), 99])
def test_the_datatype_of_a_metric_is_a_number_of_the_specification(datatype):
    """0 is Unknown; 20 and 21 are of properties alone; beyond 34 there is none."""
    known = set(METRIC_TYPES)
    assert (datatype in known) == (1 <= datatype <= 34 and datatype not in (20, 21))
    assert {
        metric.datatype for sent in edge_life().sent("NBIRTH", "DBIRTH") for metric in sent.payload.metrics
    } <= known


# ── order ────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.tck("tck-id-principles-birth-certificates-order")
def test_the_first_message_of_a_client_is_its_birth():
    assert edge_life().sent()[0].kind == "NBIRTH"
    assert host_life().sent()[0].json["online"] is True


@pytest.mark.tck("tck-id-topic-structure-namespace-unique-device-id")
def test_a_device_id_that_is_born_again_dies_before():
    session = online()
    session.actions()
    session.device_birth("d1", [metric("t")], NOW_NS)
    topics = [action.message.topic for action in session.actions() if isinstance(action, Publish)]
    assert topics == ["spBv1.0/acme.dallas/DDEATH/gw-1/d1", "spBv1.0/acme.dallas/DBIRTH/gw-1/d1"]


@pytest.mark.tck("tck-id-operational-behavior-primary-application-state-with-multiple-servers-single-server")
def test_a_session_asks_for_no_second_connection_while_it_has_one():
    session = EdgeNodeSession(NODE)
    for lead in (
        lambda: session.connect(bd_seq=0, session_id="s", now_ns=NOW_NS),
        lambda: session.receive_connected(NOW_NS),
        lambda: session.receive_subscribed(NOW_NS),
        lambda: session.birth(NodeBirth(), NOW_NS),
    ):
        lead()
        with pytest.raises(LocalProtocolError):
            session.connect(bd_seq=1, session_id="s1", now_ns=NOW_NS)
    session.receive_disconnected(NOW_NS)
    session.connect(bd_seq=1, session_id="s1", now_ns=NOW_NS)


# ── ids ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


def online(group_id: str = "acme.dallas", edge_node_id: str = "gw-1", device_id: str = "d1") -> EdgeNodeSession:
    session = EdgeNodeSession(EdgeNodeDescriptor(group_id, edge_node_id))
    session.connect(bd_seq=0, session_id="s", now_ns=NOW_NS)
    session.receive_connected(NOW_NS)
    session.receive_subscribed(NOW_NS)
    session.actions()
    session.birth(NodeBirth(devices={device_id: [metric("t")]}), NOW_NS)
    session.publish_data(device_id, DataBatch(bindings=[], values=[], times_ms=[]), NOW_NS)
    session.device_death(device_id, NOW_NS)
    session.device_birth(device_id, [metric("t")], NOW_NS)
    session.publish_data(None, DataBatch(bindings=[], values=[], times_ms=[]), NOW_NS)
    return session


@pytest.mark.tck(
    "tck-id-intro-group-id-chars",
    "tck-id-intro-edge-node-id-chars",
    "tck-id-intro-device-id-chars",
    "tck-id-topic-structure-namespace-valid-group-id",
    "tck-id-topic-structure-namespace-valid-edge-node-id",
    "tck-id-topic-structure-namespace-valid-device-id",
)
@pytest.mark.parametrize("which", ["group_id", "edge_node_id", "device_id"])
@pytest.mark.parametrize("text", ["a+b", "a/b", "a#", "", "a\0b"])
def test_no_session_takes_an_id_that_cannot_stand_in_a_topic(which, text):
    with pytest.raises(LocalProtocolError):
        online(**{which: text})
    if which == "device_id":
        with pytest.raises(LocalProtocolError):  # nor subscribes to commands of one
            EdgeNodeSession(NODE, command_devices=[text])
        with pytest.raises(LocalProtocolError):  # nor bears one later
            online().device_birth(text, [metric("t")], NOW_NS)


@pytest.mark.tck(
    "tck-id-intro-group-id-string",
    "tck-id-intro-edge-node-id-string",
    "tck-id-intro-device-id-string",
    "tck-id-topic-structure-namespace-device-id-associated-message-types",
    "tck-id-topic-structure-namespace-device-id-non-associated-message-types",
)
def test_ids_in_utf_8_are_levels_of_the_topics_and_devices_are_in_messages_of_devices_alone():
    session = online("Werk 1", "Kühlung", "泵 2")
    session.close(NOW_NS)
    topics = {action.message.topic for action in session.actions() if isinstance(action, Publish)}
    of_node = {f"spBv1.0/Werk 1/{kind}/Kühlung" for kind in ("NBIRTH", "NDATA", "NDEATH")}
    assert topics == of_node | {f"spBv1.0/Werk 1/{kind}/Kühlung/泵 2" for kind in ("DBIRTH", "DDATA", "DDEATH")}
    node = EdgeNodeDescriptor("Werk 1", "Kühlung")
    assert node.topic(MessageType.NCMD) == "spBv1.0/Werk 1/NCMD/Kühlung"
    assert node.topic(MessageType.DCMD, "泵 2") == "spBv1.0/Werk 1/DCMD/Kühlung/泵 2"
    for kind in MessageType:
        with pytest.raises(LocalProtocolError):
            node.topic(kind, None if kind.startswith("D") else "泵 2")


def test_the_life_has_everything_in_it():
    kinds = {sent.kind for sent in edge_life().sent()}
    assert kinds == {"NBIRTH", "DBIRTH", "NDATA", "DDATA", "DDEATH", "NDEATH"}
    assert any(isinstance(action, Subscribe) for action, _ in edge_life().actions)
