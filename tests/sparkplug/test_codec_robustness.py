"""Decoders fed with everything: whole, truncated at every byte, with trailing data, with flipped bits, with noise.

What comes out is a value, or a :class:`RemoteProtocolError`; what was forgiven is counted, what was left out has a
reason. Nothing else may happen, at no cost beyond the bounds.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any, get_args

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.sparkplug import fuzz, goldens
from tests.sparkplug.goldens import PLAIN_TABLE, TABLE
from tests.sparkplug.helpers import NODE, T0, T0_MS, Peer, metric, online_host, table_of
from uns.errors import LocalProtocolError, RemoteProtocolError
from uns.sparkplug import codec
from uns.sparkplug.codec import reading
from uns.sparkplug.codec.parsing import parse, parse_plain
from uns.sparkplug.documents import document_from_json, document_to_json
from uns.sparkplug.metrics import RejectReason
from uns.sparkplug.state import decode_state
from uns.sparkplug.topics import EdgeNodeDescriptor, MessageType, parse_topic

INFLATING = codec.Leniency(inflate_bytes_max=codec.PAYLOAD_BYTES_MAX, scale_nanoseconds=True)
DECODERS: dict[str, Callable[[bytes], Any]] = {
    "birth": lambda payload: codec.decode_birth(payload, INFLATING),
    "data": lambda payload: codec.decode_data(payload, TABLE, INFLATING),
    "strict data": lambda payload: codec.decode_data(payload, TABLE),
    "death": codec.decode_death,
    "seq": codec.decode_seq,
    "command": lambda payload: codec.decode_command(payload, TABLE),
    "document": lambda payload: document_to_json(codec.decode_document(payload, TABLE, INFLATING)[0]),
}
assert list(DECODERS)[-1] == "document"
MESSAGES = {**goldens.MESSAGES, "compressed": goldens.COMPRESSED}
REASONS = set(get_args(RejectReason))


def survives(payload: bytes) -> list[Any]:
    """What each decoder made of it: a value, or None for a typed refusal."""
    found = []
    for decode in DECODERS.values():
        try:
            found.append(decode(payload))
        except RemoteProtocolError as error:
            assert str(error)  # noqa: PT017
            found.append(None)
    return found


def check_plain(payload: bytes) -> None:
    """The short way to read DATA gives what the long way gives, or leaves it to that."""
    try:
        message = parse(payload)
    except RemoteProtocolError:
        return
    whole = reading._any_data(message, PLAIN_TABLE, codec.DEFAULT_LENIENCY)
    plain = parse_plain(payload)
    short = None if plain is None else reading._plain_data(plain, payload, PLAIN_TABLE)
    for found in (codec.decode_data(payload, PLAIN_TABLE), *([] if short is None else [short])):
        assert repr(found) == repr(whole)  # NaN is itself there


def check(payload: bytes) -> None:
    check_plain(payload)
    birth, data, *_, form = survives(payload)
    if form is not None:  # what was shown can be written, and shows the same
        again = codec.encode_document(document_from_json(form))
        assert document_to_json(codec.decode_document(again, TABLE)[0]) == form
    if data is not None:
        count = len(data.bindings)
        assert len(data.values) == len(data.times_ms) == count
        assert data.is_historical is None or len(data.is_historical) == count
        assert all(0 <= index < count for index in (*data.properties, *data.metadata))
        assert all(0 <= time <= codec.TIMESTAMP_MS_MAX for time in data.times_ms)
        assert all(one.reason in REASONS for one in data.rejected)
    if birth is not None:
        assert all(one.reason in REASONS for one in birth.rejected)
        assert len({one.name for one in birth.metrics}) == len(birth.metrics)


def test_plain_data_is_read_the_short_way():
    plain = parse_plain(goldens.PLAIN)
    assert plain is not None
    short = reading._plain_data(plain, goldens.PLAIN, PLAIN_TABLE)
    assert short is not None
    count = len(PLAIN_TABLE.by_name)
    assert short.bindings == list(PLAIN_TABLE.by_name.values())
    assert (short.is_historical, short.seq, short.timestamp_ms) == ([True] * count, 5, T0_MS)
    assert short.values == [one.value for one in goldens.METRICS if one.name in PLAIN_TABLE.by_name]


@pytest.mark.parametrize(
    "payload",
    [
        goldens.PLAIN + b"\x22\x00",  # a uuid
        goldens.PLAIN.replace(b"\x28\x01", b"\x20\x01", 1),  # a datatype
        goldens.PLAIN[:-1] + b"\x85\x00",  # a number longer than it need be
        goldens.PLAIN + b"\x18\x06",  # a second seq
        goldens.DATA,
    ],
)
def test_data_that_says_more_or_otherwise_goes_the_long_way(payload):
    assert parse_plain(payload) is None


def test_whole_messages_are_read_whole():
    birth = codec.decode_birth(goldens.BIRTH)
    assert (birth.metrics, birth.rejected) == ([*goldens.CONTROL, goldens.DEFINITION, *goldens.METRICS], [])
    assert codec.decode_birth(goldens.COMPRESSED, INFLATING).metrics == birth.metrics
    data = codec.decode_data(goldens.DATA, TABLE)
    assert (data.values, data.rejected, data.leniencies) == (list(goldens.SAMPLES.values()), [], {})
    assert codec.decode_data(goldens.NULLS, TABLE).values == [None] * len(goldens.SAMPLES)
    command = codec.decode_command(goldens.COMMAND, TABLE)
    assert ([m.value for m in command.metrics[1:]], command.rejected) == (list(goldens.SAMPLES.values()), [])


@pytest.mark.parametrize("name", MESSAGES)
def test_truncated_at_every_byte(name):
    payload = MESSAGES[name]
    for end in range(len(payload)):
        check(payload[:end])


@pytest.mark.parametrize("name", MESSAGES)
def test_bits_flipped(name):
    payload = MESSAGES[name]
    step = 1 if len(payload) < 200 else 7  # coprime to 8: each bit position of some byte
    for index in range(0, len(payload) * 8, step):
        flipped = bytearray(payload)
        flipped[index // 8] ^= 1 << index % 8
        check(bytes(flipped))


@pytest.mark.long
@pytest.mark.parametrize("name", MESSAGES)
def test_every_bit_flipped(name):
    payload = MESSAGES[name]
    for index in range(len(payload) * 8):
        flipped = bytearray(payload)
        flipped[index // 8] ^= 1 << index % 8
        check(bytes(flipped))


@pytest.mark.parametrize("name", MESSAGES)
@pytest.mark.parametrize(
    "tail", [b"\x32\x02hi", b"\xa0\x06\x01", b"\x00", b"\x12", b"\x12\x00", b"\xff" * 20, b"\x0b\x0c", b"\x0b", b"\x0c"]
)
def test_trailing_data(name, tail):
    check(MESSAGES[name] + tail)


def test_unknown_fields_are_passed_over():  # extension ranges
    whole = codec.decode_data(goldens.DATA, TABLE)
    extended = codec.decode_data(goldens.DATA + b"\x32\x02hi" + b"\xa0\x06\x01", TABLE)
    assert extended.values == whole.values


@given(st.binary(max_size=300))
def test_noise(payload):
    check(payload)
    try:
        decode_state(payload)
    except RemoteProtocolError as error:
        assert str(error)  # noqa: PT017


def fuzzed_payloads(seed: int, count: int) -> None:
    for payload in fuzz.payloads(seed, count):
        try:
            check(payload)
        except Exception as error:
            raise AssertionError(f"seed {seed}: {payload.hex()}") from error


def fuzzed_topics(seed: int, count: int) -> None:
    parsed = 0
    for topic in fuzz.topics(seed, count):
        try:
            assert str(parse_topic(topic)) == topic
            parsed += 1
        except RemoteProtocolError as error:
            assert str(error)  # noqa: PT017
        except Exception as error:
            raise AssertionError(f"seed {seed}: {topic!r}") from error
    assert count // 1000 < parsed < count


def test_ten_thousand_fuzzed_payloads():
    fuzzed_payloads(seed=4, count=10_000)


def test_ten_thousand_fuzzed_topics():
    fuzzed_topics(seed=4, count=10_000)


@pytest.mark.long
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("seed", range(100, 110))
def test_a_million_fuzzed_payloads_and_topics(seed):
    fuzzed_payloads(seed, 100_000)
    fuzzed_topics(seed, 100_000)


def node_noise(seed: int, count: int) -> None:
    """A hostile node beside a good one, at one host."""
    chance = random.Random(seed)
    host = online_host()
    good = Peer(host)
    good.nbirth()
    good.dbirth()
    bad = EdgeNodeDescriptor("acme.dallas", "gw-bad")
    for number, payload in enumerate(fuzz.payloads(seed, count)):
        now_ns = T0 + number * 1_000_000
        kind = chance.choice([one for one in MessageType if one.value[0] in "ND"])
        device = chance.choice(["d", "e"]) if kind.value.startswith("D") else None
        host.receive_message(bad.topic(kind, device), payload, retain=chance.random() < 0.1, now_ns=now_ns)
        host.events()
        host.actions()
        if number % 100 == 0:
            (event,) = good.data("reactor4", now_ns=now_ns)
            assert event.in_order
    assert host.nodes[NODE].online
    assert host.nodes[NODE].devices["reactor4"].online


def test_bad_payloads_of_one_node_never_end_the_session_of_another():
    node_noise(seed=4, count=10_000)


def test_deep_nesting_is_refused():
    payload = b""
    for _ in range(150):
        inner = fuzz.field(2, payload)  # Template.metrics
        payload = fuzz.field(18, inner)  # Metric.template_value
    with pytest.raises(RemoteProtocolError):
        codec.decode_birth(fuzz.field(2, payload))


def test_table_of_nothing_knows_nothing():
    data = codec.decode_data(goldens.DATA, table_of())
    assert {r.reason for r in data.rejected} == {"unknown_metric"}
    assert len(data.rejected) == len(goldens.SAMPLES)


# ── bounds of time and memory ────────────────────────────────────────────────────────────────────────────────────

SECONDS_MAX = 3.0  # for a MiB of the worst; a tenth of it is usual
MEGABYTES_MAX = 120  # what such a one may add to the process at its peak, all decoders; a sixth of it is usual

PROBE = """
import json, resource, sys, time
from tests.sparkplug.fuzz import HOSTILE
from tests.sparkplug.test_codec_robustness import survives
survives(b"")
payload = HOSTILE[sys.argv[1]]
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
before, start = peak(), time.perf_counter()
survives(payload)
print(json.dumps([time.perf_counter() - start, peak() - before]))
"""


@pytest.mark.parametrize("name", fuzz.HOSTILE)
@pytest.mark.parametrize("decoder", ["birth", "document"])
def test_hostile_payload_is_dealt_with_in_bounded_time(name, decoder):
    start = time.perf_counter()
    try:
        DECODERS[decoder](fuzz.HOSTILE[name])
    except RemoteProtocolError as error:
        assert str(error)  # noqa: PT017
    assert time.perf_counter() - start < SECONDS_MAX


@pytest.mark.long
@pytest.mark.parametrize("name", fuzz.HOSTILE)
def test_hostile_payload_is_dealt_with_in_bounded_memory(name):
    done = subprocess.run([sys.executable, "-c", PROBE, name], capture_output=True, text=True, check=True)
    seconds, megabytes = json.loads(done.stdout)
    assert seconds < len(DECODERS) * SECONDS_MAX
    assert megabytes < MEGABYTES_MAX


@pytest.mark.parametrize(
    "name",
    [
        "empty metrics",
        "empty metrics, long tags",
        "empty metrics behind a group",
        "metrics with one field",
        "members",
        "parameters",
        "rows",
        "cells",
        "columns",
        "properties",
        "property sets",
        "one value again and again",
    ],
)
def test_what_would_become_many_objects_is_refused_before_it_is_parsed(name):
    with pytest.raises(RemoteProtocolError, match="more than"):
        codec.decode_seq(fuzz.HOSTILE[name])


@pytest.mark.parametrize("name", ["tags in text", "long text", "bytes as an array", "booleans", "unknown fields"])
def test_what_only_looks_like_many_objects_is_parsed(name):
    codec.decode_seq(fuzz.HOSTILE[name])


def test_birth_of_ten_thousand_metrics_with_properties_is_within_the_bounds():
    properties = goldens.PROPERTIES[:1]
    metrics = [metric(f"reactor/m{n}", alias=n, timestamp_ms=T0_MS, properties=properties) for n in range(10_000)]
    birth = codec.decode_birth(codec.encode_birth(metrics, timestamp_ms=T0_MS, seq=0))
    assert birth.metrics == metrics


def test_wrong_values_are_refused_on_writing_with_our_own_error():
    chance = random.Random(6)
    wrong = [
        None,
        True,
        -1,
        2**70,
        1.5,
        float("nan"),
        "x",
        "\ud800",
        b"\xff",
        (),
        (1,),
        ("a",),
        (None,),
        object(),
        [],
        {},
    ]
    wrong += list(goldens.SAMPLES.values())
    for _ in range(3_000):
        base = chance.choice(goldens.METRICS)
        subject = msgspec.structs.replace(base, value=chance.choice(wrong))
        try:
            codec.decode_birth(codec.encode_birth([subject], timestamp_ms=T0_MS, seq=0))
        except LocalProtocolError as error:
            assert str(error)  # noqa: PT017
