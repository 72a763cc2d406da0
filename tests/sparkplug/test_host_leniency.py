"""What real peers do, forgiven and counted under its name; and what is not forgiven."""

from __future__ import annotations

import zlib

import pytest

from schemas.sparkplug_b_pb2 import Payload
from tests.sparkplug.helpers import (
    HOST_ID,
    NODE,
    STATE_TOPIC,
    T0,
    T0_MS,
    Peer,
    S,
    born,
    kinds,
    metric,
    online_host,
    state_of,
    state_payload,
)
from uns.sparkplug import codec
from uns.sparkplug.datatypes import DataType
from uns.sparkplug.host import HostSession
from uns.sparkplug.messages import Connect, DataReceived, Violation
from uns.sparkplug.metrics import BD_SEQ, REBIRTH
from uns.sparkplug.state import HostState, StateMemory
from uns.sparkplug.topics import EdgeNodeDescriptor, MessageType


@pytest.mark.parametrize(
    ("metrics", "name"),
    [
        ([metric(BD_SEQ, DataType.UINT64, 7)], "tck-id-payloads-nbirth-bdseq"),
        (
            [metric(BD_SEQ, DataType.INT64, 7), metric(REBIRTH, DataType.BOOLEAN, False, alias=1)],
            "tck-id-operational-behavior-data-commands-rebirth-name-aliases",
        ),
    ],
)
def test_births_of_real_peers_are_forgiven_under_a_tck_id(metrics, name):
    host = online_host()
    events = Peer(host, session_id="", bd_seq=None).nbirth(metrics)
    assert kinds(events) == ["NodeBorn", "ConformanceWarning"]
    assert host.warnings == {name: 1}
    assert host.nodes[NODE].bd_seq == 7


def test_alias_zero_and_bd_seq_256_are_counted():
    host = online_host()
    peer = Peer(host, session_id="", bd_seq=256)
    assert kinds(peer.nbirth([metric("uptime", DataType.UINT32, 5, alias=0)])) == ["NodeBorn"]
    assert host.leniencies == {"alias_zero": 1, "bd_seq_beyond_255": 1}
    assert kinds(peer.data()) == ["DataReceived"]


def test_constant_bd_seq_is_warned_of_after_a_death():
    host = online_host()
    peer = Peer(host, session_id="", bd_seq=0)
    peer.nbirth()
    peer.ndeath()
    assert kinds(peer.nbirth()) == ["NodeBorn", "ConformanceWarning"]
    assert host.warnings["tck-id-topics-nbirth-bdseq-increment"] == 1


def test_ndeath_with_seq_is_obeyed_and_counted():
    host = online_host()
    peer = born(host)
    assert kinds(peer.send(MessageType.NDEATH, codec.encode_death(7) + b"\x18\x00")) == [
        "ConformanceWarning",
        "NodeDied",
    ]
    assert host.warnings["tck-id-topics-ndeath-seq"] == 1


def test_late_death_repeated_message_and_gaps_are_counted():
    host = online_host()
    peer = born(host)
    peer.ndeath(bd_seq=6)
    assert [e.late for e in peer.data() if isinstance(e, DataReceived)] == [False]
    assert [e.late for e in peer.data(seq=peer.seq) if isinstance(e, DataReceived)] == [True]
    peer.data(seq=5)
    assert [e.late for e in peer.data(seq=4) if isinstance(e, DataReceived)] == [True]
    peer.data(seq=3)
    assert {name: host.counters[name] for name in ("late_deaths_ignored", "repeated", "gaps", "gaps_closed")} == {
        "late_deaths_ignored": 1,
        "repeated": 1,
        "gaps": 1,
        "gaps_closed": 1,
    }
    peer.data(seq=9)
    host.receive_timer(T0 + 5 * S)
    assert (host.counters["reorder_timeouts"], host.counters["rebirth_requests_reorder_timeout"]) == (1, 1)


def test_data_in_other_forms_is_read_and_counted():
    host = online_host()
    peer = born(host)
    for form, change in (
        ("datatype_in_data", {"alias": 1, "datatype": 7}),
        ("name_beside_alias", {"alias": 1, "name": "uptime"}),
    ):
        payload = Payload(timestamp=T0_MS, seq=peer.next_seq())
        payload.metrics.add(timestamp=T0_MS, int_value=6, **change)
        assert kinds(peer.send(MessageType.NDATA, payload.SerializeToString())) == ["DataReceived"]
        assert host.leniencies[form] == 1
    payload = Payload(timestamp=T0_MS, seq=peer.next_seq())
    wire = payload.metrics.add(alias=1, timestamp=T0_MS, int_value=6)
    wire.properties.keys.append("Quality")
    wire.properties.values.add(type=3, int_value=2147484160)  # Ignition's Bad
    assert kinds(peer.send(MessageType.NDATA, payload.SerializeToString())) == ["DataReceived"]
    assert host.leniencies["other_quality_code"] == 1


def test_integers_in_the_other_form_are_read_and_counted():
    host = online_host()
    peer = Peer(host)
    kinds_of = {"u": DataType.UINT32, "i8": DataType.INT8, "i16": DataType.INT16, "i64": DataType.INT64}
    peer.nbirth([metric(name, kind, 1, alias=number) for number, (name, kind) in enumerate(kinds_of.items(), 1)])
    payload = Payload(timestamp=T0_MS, seq=peer.next_seq())
    for alias, raw in ((1, {"long_value": 2**32 - 1}), (1, {"int_value": 2**32 - 1})):  # Tahu Java, Ignition; ours
        payload.metrics.add(alias=alias, timestamp=T0_MS, **raw)
    for alias, word in ((2, 0xFF), (2, 2**32 - 1), (3, 0xFFFF), (3, 2**32 - 1)):  # Tahu Python; Tahu Java and ours
        payload.metrics.add(alias=alias, timestamp=T0_MS, int_value=word)
    payload.metrics.add(alias=4, timestamp=T0_MS, int_value=5)
    (event,) = peer.send(MessageType.NDATA, payload.SerializeToString())
    assert isinstance(event, DataReceived)
    assert event.data.values == [2**32 - 1, 2**32 - 1, -1, -1, -1, -1, 5]
    assert host.leniencies == {"uint32_in_long": 1, "other_complement": 2, "other_integer_field": 1}


def test_contradictions_and_unknown_metrics_are_counted_and_ask():
    host = online_host()
    peer = born(host, session_id="")
    payload = Payload(timestamp=T0_MS, seq=peer.next_seq())
    payload.metrics.add(alias=1, datatype=10, double_value=1, timestamp=T0_MS)
    payload.metrics.add(alias=99, int_value=1, timestamp=T0_MS)
    assert kinds(peer.send(MessageType.NDATA, payload.SerializeToString())) == ["DataReceived", "RebirthRequested"]
    assert (host.leniencies["data_with_wrong_type"], host.leniencies["data_with_unknown_metric"]) == (1, 1)


@pytest.mark.parametrize(
    "topic",
    [
        "spBv1.0/g\x00/NBIRTH/e",
        "spBv1.0/g/NBIRTH/e\x1b[31m",
        "spBv1.0/g/DBIRTH/e/d\x7f",
        "spBv1.0/g/NBIRTH/e\x85",
        "spBv1.0/g/NBIRTH/e\ud800",
        "spBv1.0/g/NBIRTH/e\ufffe",
        "spBv1.0/g/NBIRTH/e\u202e",
    ],
)
def test_control_characters_and_what_is_no_utf8_in_ids_are_dropped_and_counted(topic):
    host = online_host()
    host.receive_message(topic, b"", retain=False, now_ns=T0)
    (event,) = host.events()
    assert isinstance(event, Violation)
    assert event.topic.isascii()
    assert event.topic.isprintable()
    assert host.violations == {"id_characters": 1}
    assert not host.nodes


@pytest.mark.parametrize("name", ["Gerät 4", "反应釜", "a\u00a0b", "e\u0301"])
def test_ids_in_any_language_are_taken(name):
    host = online_host()
    assert kinds(Peer(host, node=EdgeNodeDescriptor("g", name)).nbirth()) == ["NodeBorn"]


def test_newest_state_timestamp_survives_the_process():
    host = online_host()
    host.receive_message(STATE_TOPIC, state_payload(online=False, timestamp=T0_MS + 9), retain=False, now_ns=T0)
    again = HostSession(HOST_ID, jitter=lambda span: 0, state_seen_ms=host.state_seen_ms)
    again.connect(T0 - 3_600 * S)
    (connect,) = again.actions()
    assert isinstance(connect, Connect)
    assert state_of(connect.will)["timestamp"] == T0_MS + 10


def test_own_death_is_newer_than_what_the_next_life_may_say_only_if_it_is_kept():
    host = online_host()
    host.close(T0 + 9 * S)
    assert host.state_seen_ms == T0_MS + 9_000


def test_state_from_the_end_of_time_is_answered_with_an_equal_one():
    host = online_host()
    newest = (1 << 63) - 1
    host.receive_message(STATE_TOPIC, state_payload(online=False, timestamp=newest), retain=False, now_ns=T0)
    host.receive_disconnected(T0)
    host.actions()
    host.connect(T0)
    (connect,) = host.actions()
    assert isinstance(connect, Connect)
    assert state_of(connect.will)["timestamp"] == newest
    memory = StateMemory()
    assert memory.accept(HostState(online=False, timestamp=newest))
    assert memory.accept(HostState(online=True, timestamp=newest))


# ── each line of the list of what real peers send that the tests above and test_host_session.py do not name ──────


def test_alias_on_bd_seq_is_taken_and_a_death_that_says_it_by_alias_alone_is_obeyed():
    """One peer's NDEATH has the alias of its bdSeq and no name; hosts that look for the name never match it."""
    host = online_host()
    peer = Peer(host, session_id="", bd_seq=None)
    peer.nbirth([metric(BD_SEQ, DataType.INT64, 7, alias=3)])
    assert host.leniencies == {"alias_on_bd_seq": 1}
    death = Payload()
    death.metrics.add(alias=3, datatype=4, long_value=7)
    assert "NodeDied" in kinds(peer.send(MessageType.NDEATH, death.SerializeToString()))
    assert host.warnings["tck-id-topics-ndeath-payload"] == 1


def test_ndeath_without_bd_seq_is_obeyed_and_counted():
    host = online_host()
    peer = born(host)
    assert kinds(peer.ndeath(bd_seq=None)) == ["ConformanceWarning", "NodeDied"]
    assert host.warnings == {"tck-id-topics-ndeath-payload": 1}


@pytest.mark.parametrize("code", [516, 600, -2147483136, 1_073_742_080])
def test_other_quality_codes_in_births_are_counted_as_those_in_data_are(code):
    host = online_host()
    peer = Peer(host)
    for said in (code, 500):
        payload = Payload.FromString(peer.birth_payload([metric("level", DataType.DOUBLE, 1.0)]))
        payload.metrics[-1].properties.keys.append("Quality")
        payload.metrics[-1].properties.values.add(type=3, int_value=said % 2**32)
        peer.send(MessageType.NBIRTH, payload.SerializeToString())
    assert host.leniencies == {"other_quality_code": 1}


@pytest.mark.parametrize("bd_seq_field", ["int_value", "long_value"])
@pytest.mark.parametrize("number", [0, 256])
def test_bd_seq_in_either_field_is_compared_as_a_number(bd_seq_field, number):
    host = online_host()
    peer = Peer(host, session_id="", bd_seq=None)
    for message_type in (MessageType.NBIRTH, MessageType.NDEATH):
        payload = Payload(timestamp=T0_MS, seq=0) if message_type is MessageType.NBIRTH else Payload()
        payload.metrics.add(name=BD_SEQ, datatype=4, timestamp=T0_MS, **{bd_seq_field: number})
        events = peer.send(message_type, payload.SerializeToString())
    assert "NodeDied" in kinds(events)
    assert host.leniencies["other_integer_field"] == (1 if bd_seq_field == "int_value" else 0)


def test_retained_births_data_and_deaths_are_old_news_and_counted():
    host = online_host()
    peer = born(host)
    peer.data(retain=True)
    peer.ndeath(retain=True)
    peer.nbirth([], retain=True)
    assert host.warnings == {"tck-id-topics-nbirth-mqtt": 3}
    assert host.nodes[NODE].online


def test_repeated_numbers_of_a_foreign_node_are_recorded_and_ask_for_nothing():
    host = online_host()
    peer = born(host, session_id="")
    for _ in range(75):
        assert kinds(peer.data(seq=peer.seq)) == ["DataReceived"]
    assert host.counters["repeated"] == 75
    assert host.next_deadline_ns() is None


def test_a_missing_seq_is_counted_each_time_and_told_once():
    host = online_host()
    peer = Peer(host, session_id="")
    peer.nbirth()
    payload = Payload(timestamp=T0_MS)
    payload.metrics.add(alias=1, timestamp=T0_MS, int_value=6)
    told = [kinds(peer.send(MessageType.NDATA, payload.SerializeToString())) for _ in range(3)]
    assert told == [["ConformanceWarning", "DataReceived"], ["DataReceived"], ["DataReceived"]]
    assert host.warnings["tck-id-payloads-ndata-seq"] == 3


def test_nanoseconds_and_compressed_payloads_are_read_by_option_and_counted():
    host = online_host(leniency=codec.Leniency(scale_nanoseconds=True, inflate_bytes_max=1 << 20))
    peer = born(host, session_id="")
    payload = Payload(timestamp=T0, seq=peer.next_seq())
    payload.metrics.add(alias=1, timestamp=T0, int_value=6)
    (event,) = peer.send(MessageType.NDATA, payload.SerializeToString())
    assert isinstance(event, DataReceived)
    assert event.data.times_ms == [T0_MS]
    assert host.leniencies["nanosecond_timestamp"] >= 1
    inner = Payload(timestamp=T0_MS, seq=peer.next_seq())
    inner.metrics.add(alias=1, timestamp=T0_MS, int_value=7)
    body = zlib.compress(inner.SerializeToString())
    outer = Payload(timestamp=T0_MS, seq=inner.seq, uuid="SPBV1.0_COMPRESSED", body=body)
    outer.metrics.add(name="algorithm", datatype=12, string_value="DEFLATE")
    assert kinds(peer.send(MessageType.NDATA, outer.SerializeToString())) == ["DataReceived"]
    assert host.leniencies["compressed_payload"] == 1


def test_a_compressed_ndeath_is_obeyed_without_the_option():
    host = online_host()
    peer = born(host, session_id="")
    envelope = Payload(uuid="SPBV1.0_COMPRESSED", body=zlib.compress(codec.encode_death(7)))
    assert kinds(peer.send(MessageType.NDEATH, envelope.SerializeToString())) == ["NodeDied"]


def test_a_compressed_payload_without_the_option_is_refused_and_says_which_option():
    host = online_host()
    peer = born(host, session_id="")
    outer = Payload(timestamp=T0_MS, seq=2, uuid="SPBV1.0_COMPRESSED", body=b"x")
    events = peer.send(MessageType.NDATA, outer.SerializeToString())
    assert kinds(events)[0] == "DataUnreadable"
    assert "compressed" in events[0].text
