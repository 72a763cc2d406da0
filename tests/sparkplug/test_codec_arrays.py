"""Arrays: the bytes that the standard shows (its misprints corrected), and what is no array."""

from __future__ import annotations

import math

import pytest

from schemas.sparkplug_b_pb2 import Payload
from tests.sparkplug.helpers import T0_MS, batch_of, metric, table_of
from uns.errors import LocalProtocolError
from uns.sparkplug import codec
from uns.sparkplug.datatypes import ARRAYS, DATETIME_MS_MAX, DataType

T, F = True, False
GOLDEN = [
    (DataType.INT8_ARRAY, (-23, 123), "E9 7B"),
    (DataType.INT16_ARRAY, (-30000, 30000), "D0 8A 30 75"),
    (DataType.INT32_ARRAY, (-1, 315338746), "FF FF FF FF FA AF CB 12"),
    (
        DataType.INT64_ARRAY,
        (-4270929666821191986, -3601064768563266876),
        "CE 06 72 AC 18 9C BA C4 C4 BA 9C 18 AC 72 06 CE",
    ),
    (DataType.UINT8_ARRAY, (23, 250), "17 FA"),
    (DataType.UINT16_ARRAY, (30, 52360), "1E 00 88 CC"),
    (DataType.UINT32_ARRAY, (52, 3293969225), "34 00 00 00 49 FB 55 C4"),
    (DataType.UINT64_ARRAY, (52, 16444743074749521625), "34 00 00 00 00 00 00 00 D9 9E 02 D1 B2 76 37 E4"),
    (DataType.FLOAT_ARRAY, (1.23, 89.341), "A4 70 9D 3F 98 AE B2 42"),
    (DataType.DOUBLE_ARRAY, (12.354213, 1022.9123213), "D7 A2 05 68 5B B5 28 40 8E 17 1C 6F 4C F7 8F 40"),
    (DataType.BOOLEAN_ARRAY, (F, F, T, T, F, T, F, F, T, T, F, T), "0C 00 00 00 34 D0"),
    (DataType.STRING_ARRAY, ("ABC", "hello"), "41 42 43 00 68 65 6C 6C 6F 00"),
    (DataType.DATETIME_ARRAY, (1256102875335, 1656107875000), "C7 D0 90 75 24 01 00 00 B8 BA B8 97 81 01 00 00"),
]
GOLDEN_IDS = [datatype.label for datatype, _, _ in GOLDEN]


def packed_by(datatype, value) -> bytes:
    payload = codec.encode_birth([metric("a", datatype, value)], timestamp_ms=T0_MS, seq=0)
    return Payload.FromString(payload).metrics[0].bytes_value


def read(datatype, packed: bytes):
    """(values, reasons of rejection, leniencies) of a DATA with these bytes."""
    wire = Payload(timestamp=1)
    wire.metrics.add(alias=1, bytes_value=packed)
    data = codec.decode_data(wire.SerializeToString(), table_of(metric("a", datatype, alias=1)))
    return data.values, [one.reason for one in data.rejected], data.leniencies


def alike(read, meant) -> bool:
    return all(
        math.isclose(a, b, rel_tol=1e-6) if isinstance(a, float) else a == b for a, b in zip(read, meant, strict=True)
    )


def test_every_array_type_has_a_golden_vector():
    assert {datatype for datatype, _, _ in GOLDEN} == ARRAYS


@pytest.mark.parametrize(("datatype", "values", "golden"), GOLDEN, ids=GOLDEN_IDS)
def test_array_is_the_golden_vector(datatype, values, golden):
    packed = bytes.fromhex(golden)
    assert packed_by(datatype, values) == packed
    found, reasons, leniencies = read(datatype, packed)
    assert alike(found[0], values)
    assert (type(found[0]), reasons, leniencies) == (tuple, [], {})


@pytest.mark.parametrize(("datatype", "values", "golden"), GOLDEN, ids=GOLDEN_IDS)
def test_array_in_data_is_the_same_bytes(datatype, values, golden):
    table = table_of(metric("a", datatype, alias=1))
    payload = codec.encode_data(batch_of(table.by_name.values(), [values]), timestamp_ms=1, seq=1)
    wire = Payload.FromString(payload).metrics[0]
    assert (wire.bytes_value, wire.HasField("datatype")) == (bytes.fromhex(golden), False)


@pytest.mark.parametrize("datatype", sorted(ARRAYS))
def test_empty_array_is_no_null(datatype):
    empty = packed_by(datatype, ())
    assert empty == (bytes(4) if datatype is DataType.BOOLEAN_ARRAY else b"")
    assert read(datatype, empty) == ([()], [], {})
    birth = codec.decode_birth(
        codec.encode_birth([metric("a", datatype, ()), metric("b", datatype, None)], timestamp_ms=1, seq=0)
    )
    assert [m.value for m in birth.metrics] == [(), None]


def test_spare_bits_of_booleans_are_free():
    assert read(DataType.BOOLEAN_ARRAY, bytes.fromhex("0C000000 34DF")) == (
        [(F, F, T, T, F, T, F, F, T, T, F, T)],
        [],
        {},
    )


def test_last_string_without_its_end_is_read_and_counted():
    assert read(DataType.STRING_ARRAY, b"ab\x00cd") == ([("ab", "cd")], [], {"string_without_end": 1})
    assert read(DataType.STRING_ARRAY, b"\x00\x00")[0] == [("", "")]


@pytest.mark.parametrize(
    ("datatype", "packed"),
    [
        (DataType.INT16_ARRAY, b"\x01"),
        (DataType.FLOAT_ARRAY, bytes(6)),
        (DataType.DATETIME_ARRAY, bytes(6)),  # as 3.0.0 misprints it
        (DataType.DATETIME_ARRAY, b"\xff" * 8),
        (DataType.BOOLEAN_ARRAY, b""),
        (DataType.BOOLEAN_ARRAY, b"\x01\x00\x00"),
        (DataType.BOOLEAN_ARRAY, b"\x09\x00\x00\x00\xff"),
        (DataType.BOOLEAN_ARRAY, b"\x01\x00\x00\x00\xff\xff"),
        (DataType.BOOLEAN_ARRAY, b"\xff\xff\xff\xff"),
        (DataType.STRING_ARRAY, b"\xff\x00"),
    ],
)
def test_bytes_that_are_no_array_are_rejected(datatype, packed):
    assert read(datatype, packed) == ([], ["wrong_type"], {})


def test_elements_of_one_payload_are_bounded_before_they_are_built():
    room = codec.ARRAY_ELEMENTS_MAX
    big = (room // 2).to_bytes(4, "little") + bytes(room // 16)
    wire = Payload(timestamp=1)
    for _ in range(4):  # half a MiB of bits would be 32 MiB of booleans
        wire.metrics.add(alias=1, bytes_value=big)
    data = codec.decode_data(wire.SerializeToString(), table_of(metric("a", DataType.BOOLEAN_ARRAY, alias=1)))
    assert [len(value) for value in data.values if isinstance(value, tuple)] == [room // 2] * 2
    assert [one.reason for one in data.rejected] == ["out_of_range"] * 2


@pytest.mark.parametrize(
    ("datatype", "value"),
    [
        (DataType.INT8_ARRAY, (128,)),
        (DataType.UINT8_ARRAY, (-1,)),
        (DataType.UINT16_ARRAY, (True,)),
        (DataType.INT32_ARRAY, (1.5,)),
        (DataType.INT64_ARRAY, (None,)),
        (DataType.FLOAT_ARRAY, (1e39,)),
        (DataType.FLOAT_ARRAY, ("1",)),
        (DataType.DOUBLE_ARRAY, (10**400,)),
        (DataType.BOOLEAN_ARRAY, (1,)),
        (DataType.STRING_ARRAY, ("a\x00b",)),
        (DataType.STRING_ARRAY, ("\ud800",)),
        (DataType.STRING_ARRAY, (b"a",)),
        (DataType.DATETIME_ARRAY, (DATETIME_MS_MAX + 1,)),
        (DataType.DATETIME_ARRAY, (-1,)),
        (DataType.INT8_ARRAY, 5),
        (DataType.STRING_ARRAY, "ab"),
    ],
)
@pytest.mark.parametrize("kind", ["birth", "data"])
def test_elements_that_do_not_fit_are_a_local_error(datatype, value, kind):
    subject = metric("a", datatype, value)
    table = table_of(subject)
    write = {
        "birth": lambda: codec.encode_birth([subject], timestamp_ms=1, seq=0),
        "data": lambda: codec.encode_data(batch_of(table.by_name.values(), [value]), timestamp_ms=1, seq=1),
    }[kind]
    with pytest.raises(LocalProtocolError, match="'a'"):
        write()
