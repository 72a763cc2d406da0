"""Decoders fed with everything: whole, truncated at every byte, with trailing data, with flipped bits, with noise."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.sparkplug.helpers import T0_MS, batch_of, metric, rebirth_command, table_of
from uns.errors import RemoteProtocolError
from uns.sparkplug import codec
from uns.sparkplug.aliases import AliasTable
from uns.sparkplug.datatypes import SCALARS, DataType, Value
from uns.sparkplug.metrics import Property
from uns.sparkplug.state import decode_state

SAMPLES: dict[DataType, Value] = {
    DataType.INT8: -8,
    DataType.INT16: -16,
    DataType.INT32: -32,
    DataType.INT64: -64,
    DataType.UINT8: 8,
    DataType.UINT16: 16,
    DataType.UINT32: 32,
    DataType.UINT64: 2**64 - 1,
    DataType.FLOAT: 1.5,
    DataType.DOUBLE: float("inf"),
    DataType.BOOLEAN: False,
    DataType.STRING: "héllo",
    DataType.DATETIME: T0_MS,
    DataType.TEXT: "",
    DataType.UUID: "11ad7b32-1d32-4c4a-b0c9-fa049208939a",
    DataType.BYTES: b"\x00\xff",
}
METRICS = [
    metric(f"m/{datatype.label}", datatype, value, alias=number, properties=(Property("Quality", DataType.INT32, 0),))
    for number, (datatype, value) in enumerate(SAMPLES.items())
]
TABLE = AliasTable(METRICS)
BIRTH = codec.encode_birth(METRICS, timestamp_ms=T0_MS, seq=0)
DATA = codec.encode_data(
    batch_of(
        TABLE.by_name.values(),
        SAMPLES.values(),
        properties={0: (Property("ordinal", DataType.UINT32, 1),)},
        is_historical=True,
    ),
    timestamp_ms=T0_MS,
    seq=3,
)
DECODERS = {
    "birth": (codec.decode_birth, BIRTH),
    "data": (lambda payload: codec.decode_data(payload, TABLE), DATA),
    "death": (codec.decode_death, codec.encode_death(3)),
    "seq": (codec.decode_seq, codec.encode_empty(T0_MS, 3)),
    "command": (lambda payload: codec.decode_command(payload, TABLE), rebirth_command()),
}


def survives(decode, payload):
    """Decoded or refused; nothing else may come out."""
    try:
        return decode(payload)
    except RemoteProtocolError:
        return None


def test_samples_cover_every_scalar_type():
    assert SAMPLES.keys() == SCALARS


@pytest.mark.parametrize("name", DECODERS)
def test_truncated_at_every_byte(name):
    decode, payload = DECODERS[name]
    for end in range(len(payload)):
        survives(decode, payload[:end])


@pytest.mark.parametrize("name", DECODERS)
def test_every_bit_flipped(name):
    decode, payload = DECODERS[name]
    for index in range(len(payload) * 8):
        flipped = bytearray(payload)
        flipped[index // 8] ^= 1 << index % 8
        survives(decode, bytes(flipped))


@pytest.mark.parametrize("name", DECODERS)
@pytest.mark.parametrize(
    "tail", [b"\x32\x02hi", b"\xa0\x06\x01", b"\x00", b"\x12", b"\x12\x00", b"\xff" * 20, b"\x0b\x0c"]
)
def test_trailing_data(name, tail):
    decode, payload = DECODERS[name]
    survives(decode, payload + tail)


def test_unknown_fields_are_passed_over():  # extension ranges
    whole = codec.decode_data(DATA, TABLE)
    extended = codec.decode_data(DATA + b"\x32\x02hi" + b"\xa0\x06\x01", TABLE)
    assert extended.values == whole.values
    assert len(whole.values) == len(SAMPLES)


@given(st.binary(max_size=300))
def test_noise(payload):
    for decode, _ in DECODERS.values():
        survives(decode, payload)
    survives(decode_state, payload)


def test_noise_in_the_middle():
    chance = random.Random(4)
    for _ in range(2000):
        for decode, payload in DECODERS.values():
            start = chance.randrange(len(payload))
            end = chance.randrange(start, min(len(payload), start + 12) + 1)
            survives(decode, payload[:start] + chance.randbytes(chance.randrange(12)) + payload[end:])


def test_columns_stay_parallel_whatever_comes():
    chance = random.Random(5)
    for _ in range(3000):
        noisy = bytearray(DATA)
        for _ in range(chance.randrange(1, 6)):
            noisy[chance.randrange(len(noisy))] = chance.randrange(256)
        data = survives(DECODERS["data"][0], bytes(noisy))
        if data is None:
            continue
        count = len(data.bindings)
        assert len(data.values) == len(data.times_ms) == count
        assert data.is_historical is None or len(data.is_historical) == count
        assert all(0 <= index < count for index in data.properties)
        assert all(0 <= time <= codec.TIMESTAMP_MS_MAX for time in data.times_ms)


def test_deep_nesting_is_refused():
    payload = b""
    for _ in range(150):
        inner = b"\x12" + _varint(len(payload)) + payload  # Template.metrics
        payload = b"\x92\x01" + _varint(len(inner)) + inner  # Metric.template_value
    survives(codec.decode_birth, b"\x12" + _varint(len(payload)) + payload)


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])


def test_table_of_nothing_knows_nothing():
    data = codec.decode_data(DATA, table_of())
    assert {r.reason for r in data.rejected} == {"unknown_metric"}
    assert len(data.rejected) == len(SAMPLES)
