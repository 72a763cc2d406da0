"""Golden vectors for every format and byte order, the address forms, the planner."""

from __future__ import annotations

import math
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_nodes.conversion import Refusal
from edge_nodes.modbus.registers import (
    FORMATS,
    ORDERS,
    REGISTERS_PER_READ_MAX,
    BlockDecoder,
    RegisterPoint,
    RegisterTable,
    parse_format,
    parse_register,
    plan_blocks,
)
from uns.sparkplug.datatypes import DataType

NATURAL = {
    "int16": DataType.INT16,
    "uint16": DataType.UINT16,
    "int32": DataType.INT32,
    "uint32": DataType.UINT32,
    "int64": DataType.INT64,
    "uint64": DataType.UINT64,
    "float32": DataType.FLOAT,
    "float64": DataType.DOUBLE,
    "bool": DataType.BOOLEAN,
}


def a_point(fmt: str = "uint16", offset: int = 0, *, metric: int = 0, **fields) -> RegisterPoint:
    register_format = parse_format(fmt)
    assert register_format is not None
    datatype = fields.pop("datatype", NATURAL.get(fmt, DataType.STRING))
    table = fields.pop("table", RegisterTable.HOLDING)
    return RegisterPoint(metric=metric, datatype=datatype, table=table, offset=offset, format=register_format, **fields)


def registers_of(data: bytes) -> list[int]:
    return list(struct.unpack(f">{len(data) // 2}H", data))


def read(point: RegisterPoint, data: bytes):
    (block,) = plan_blocks([point])
    return BlockDecoder(block).decode(registers_of(data))[0]


# value and its bytes in order ABCD
GOLDEN = {
    "int16": (-2, "fffe"),
    "uint16": (0x1234, "1234"),
    "int32": (-305419896, "edcba988"),
    "uint32": (0x12345678, "12345678"),
    "int64": (-81985529216486896, "fedcba9876543210"),
    "uint64": (2**64 - 1 - 0xFF, "ffffffffffffff00"),
    "float32": (182.0, "43360000"),
    "float64": (-182.1, "c066c33333333333"),
}


def in_order(abcd: bytes, order: str) -> bytes:
    """The wire bytes of a value in another order, word by word, by hand."""
    words = [abcd[i : i + 2] for i in range(0, len(abcd), 2)]
    if order in ("CDAB", "DCBA"):
        words.reverse()
    if order in ("BADC", "DCBA"):
        words = [word[::-1] for word in words]
    return b"".join(words)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("fmt", GOLDEN)
def test_every_format_reads_in_every_order(fmt: str, order: str) -> None:
    value, text = GOLDEN[fmt]
    assert read(a_point(fmt, order=order), in_order(bytes.fromhex(text), order)) == value


@pytest.mark.parametrize(
    ("order", "wire"), [("ABCD", "12345678"), ("CDAB", "56781234"), ("BADC", "34127856"), ("DCBA", "78563412")]
)
def test_the_names_of_the_orders_are_those_of_the_bytes_on_the_wire(order: str, wire: str) -> None:
    assert read(a_point("uint32", order=order), bytes.fromhex(wire)) == 0x12345678


def test_many_points_of_all_orders_share_one_block() -> None:
    points: list[RegisterPoint] = []
    data, expected = b"", []
    for order in ORDERS:
        for fmt, (value, text) in GOLDEN.items():
            points.append(a_point(fmt, len(data) // 2, order=order, metric=len(points)))
            data += in_order(bytes.fromhex(text), order)
            expected.append(value)
    (block,) = plan_blocks(reversed(points))
    assert BlockDecoder(block).decode(registers_of(data)) == expected


def test_points_may_overlap() -> None:
    points = [a_point("uint32", 0), a_point("uint16", 1, metric=1), a_point("uint16", 0, metric=2)]
    (block,) = plan_blocks(points)
    decoded = dict(zip([p.metric for p in block.points], BlockDecoder(block).decode([0x1234, 0x5678]), strict=True))
    assert decoded == {0: 0x12345678, 1: 0x5678, 2: 0x1234}


@pytest.mark.parametrize(("order", "wire"), [("ABCD", b"LOT-4711\0\0"), ("BADC", b"OL-T7411\0\0")])
def test_strings_end_at_their_first_nul(order: str, wire: bytes) -> None:
    assert read(a_point("string(10)", order=order), wire) == "LOT-4711"


def test_a_string_that_is_no_utf_8_is_refused() -> None:
    refusal = read(a_point("string(2)"), b"\xff\xfe")
    assert isinstance(refusal, Refusal)
    assert refusal.reason == "wrong_type"


def test_a_bit_of_a_register_is_a_boolean() -> None:
    assert read(a_point("bool", bit=3), b"\x00\x08") is True
    assert read(a_point("bool", bit=2), b"\x00\x08") is False
    assert read(a_point("bool"), b"\x01\x00") is True


def test_coils_are_booleans() -> None:
    point = a_point("bool", 7, table=RegisterTable.COIL)
    (block,) = plan_blocks([point])
    assert BlockDecoder(block).decode([1]) == [True]


def test_a_decimal_scale_does_not_leave_binary_dust() -> None:
    point = a_point("uint16", scale=0.1, datatype=DataType.DOUBLE)
    assert read(point, (1821).to_bytes(2)) == 182.1
    assert read(a_point("uint16", scale=0.5, add=-40, datatype=DataType.DOUBLE), (100).to_bytes(2)) == 10.0


def test_a_scaled_integer_out_of_range_is_refused() -> None:
    refusal = read(a_point("uint16", scale=10, datatype=DataType.UINT16), b"\xff\xff")
    assert isinstance(refusal, Refusal)
    assert refusal.reason == "out_of_range"


def test_nan_is_a_value_of_a_float_metric() -> None:
    value = read(a_point("float32"), b"\x7f\xc0\x00\x00")
    assert isinstance(value, float)
    assert math.isnan(value)


def test_uint64_keeps_its_last_bit() -> None:
    assert read(a_point("uint64"), b"\xff" * 8) == 2**64 - 1


def test_a_double_too_large_for_a_float_metric_is_refused() -> None:
    refusal = read(a_point("float64", datatype=DataType.FLOAT), struct.pack(">d", 1e300))
    assert isinstance(refusal, Refusal)
    assert refusal.reason == "out_of_range"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("holding:40001", (RegisterTable.HOLDING, 0)),
        ("holding:40012", (RegisterTable.HOLDING, 11)),
        ("holding:49999", (RegisterTable.HOLDING, 9998)),
        ("holding:400012", (RegisterTable.HOLDING, 11)),
        ("holding:465536", (RegisterTable.HOLDING, 65535)),
        ("input:30001", (RegisterTable.INPUT, 0)),
        ("discrete:10001", (RegisterTable.DISCRETE, 0)),
        ("coil:1", (RegisterTable.COIL, 0)),
        ("coil:00017", (RegisterTable.COIL, 16)),
        ("holding:#0", (RegisterTable.HOLDING, 0)),
        ("input:#65535", (RegisterTable.INPUT, 65535)),
    ],
)
def test_addresses(text: str, expected: tuple[RegisterTable, int]) -> None:
    assert parse_register(text) == expected


@pytest.mark.parametrize(
    "text", ["holding:12", "holding:40000", "holding:30001", "input:40001", "#11", "40012", "holding:#65536", "coil:0"]
)
def test_an_ambiguous_address_is_refused_with_a_next_step(text: str) -> None:
    with pytest.raises(ValueError, match=r"written|write|end at"):
        parse_register(text)


@pytest.mark.parametrize("text", ["float", "string", "string(0)", "string(999)", "INT16", ""])
def test_unknown_formats_are_none(text: str) -> None:
    assert parse_format(text) is None


def test_near_registers_share_a_request_and_far_ones_do_not() -> None:
    near = [a_point(offset=0), a_point(offset=10, metric=1)]
    far = [a_point(offset=0), a_point(offset=100, metric=1)]
    assert [(b.offset, b.count) for b in plan_blocks(near)] == [(0, 11)]
    assert [(b.offset, b.count) for b in plan_blocks(far)] == [(0, 1), (100, 1)]


def test_tables_are_read_apart() -> None:
    points = [a_point(offset=0), a_point(offset=1, table=RegisterTable.INPUT, metric=1)]
    assert len(plan_blocks(points)) == 2


@given(
    st.lists(
        st.tuples(st.integers(0, 600), st.sampled_from([*FORMATS, "string(9)"]), st.sampled_from(ORDERS)),
        min_size=1,
        max_size=80,
    )
)
def test_every_point_is_read_exactly_once_and_no_request_is_too_long(drawn) -> None:
    points = [a_point(fmt, offset, order=order, metric=i) for i, (offset, fmt, order) in enumerate(drawn)]
    blocks = plan_blocks(points)
    assert sorted(p.metric for b in blocks for p in b.points) == list(range(len(points)))
    for block in blocks:
        assert block.count <= REGISTERS_PER_READ_MAX
        assert all(block.offset <= p.offset and p.end <= block.offset + block.count for p in block.points)
        assert len(BlockDecoder(block).decode([0] * block.count)) == len(block.points)


def test_a_short_answer_is_no_answer() -> None:
    (block,) = plan_blocks([a_point("uint32")])
    with pytest.raises(ValueError, match="asked for 2"):
        BlockDecoder(block).decode([1])
