"""Values as JSON: numbers that round-trip, strings where numbers would lie."""

from __future__ import annotations

import json
import math
import random
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from uns.context.times import MAX_NS, MIN_NS, later, ns_of, rfc3339, rfc3339_or_none
from uns.enrichment.plan import columns_of, value_of
from uns.enrichment.values import FLOAT_TEXTS, FLOAT_TEXTS_MAX, ValueKind, float32_text, json_text, kind_of, value_text
from uns.sparkplug.datatypes import SCALARS, DataType, Value


def narrow(value: float) -> float:
    found: float = struct.unpack("<f", struct.pack("<f", value))[0]
    return found


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (182.0, "182.0"),
        (0.1, "0.1"),
        (16777216.0, "16777216.0"),
        (3.4028235e38, "3.4028235e+38"),
        (1e-45, "1e-45"),
        (-0.0, "-0.0"),
        (1e10, "1e+10"),
        (123456.7, "123456.7"),
    ],
)
def test_a_float_is_the_shortest_decimal_of_its_32_bits(value: float, text: str):
    assert float32_text(narrow(value)) == text


@given(st.floats(width=32, allow_nan=False, allow_infinity=False))
def test_every_float_comes_back_and_no_shorter_text_would_do(value: float):
    text = float32_text(value)
    assert narrow(json.loads(text)) == value
    digits = len(text.lower().split("e")[0].replace("-", "").replace(".", "").strip("0"))
    if digits > 1:
        assert narrow(float(f"{value:.{digits - 1}g}")) != value


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_every_double_comes_back(value: float):
    assert json.loads(value_text(ValueKind.DOUBLE, value)) == value


def test_a_double_too_large_for_a_float_is_written_as_it_is():
    assert value_text(ValueKind.FLOAT, 1e300) == "1e+300"


@pytest.mark.parametrize(
    ("datatype", "value", "text"),
    [
        (DataType.FLOAT, math.nan, 'null,"special":"NaN"'),
        (DataType.DOUBLE, math.inf, 'null,"special":"Infinity"'),
        (DataType.FLOAT, -math.inf, 'null,"special":"-Infinity"'),
        (DataType.INT64, -5, '"-5"'),
        (DataType.UINT64, 2**64 - 1, '"18446744073709551615"'),
        (DataType.UINT32, 4294967295, "4294967295"),
        (DataType.BOOLEAN, True, "true"),
        (DataType.BOOLEAN, 0, "false"),
        (DataType.STRING, 'a"b\\\n\u2028é', json.dumps('a"b\\\n\u2028é', ensure_ascii=False)),
        (DataType.DATETIME, 1_780_488_000_123, '"2026-06-03T12:00:00.123Z"'),
        (DataType.DATETIME, 2**62, f'"{2**62}"'),
        (DataType.BYTES, b"\x00\xff", '"AP8="'),
        (DataType.FLOAT, None, "null"),
        (DataType.FLOAT, "text", '"text"'),
        (DataType.INT32, 5.5, "5.5"),
        (DataType.UUID, "u", '"u"'),
    ],
)
def test_a_value_after_its_key(datatype: DataType, value: Value, text: str):
    assert value_text(kind_of(datatype), value) == text
    json.loads(f'{{"value":{value_text(kind_of(datatype), value)}}}')


def test_a_lone_surrogate_does_not_poison_a_document():
    assert json_text("a\ud800") == '"a?"'


def test_every_scalar_type_has_a_kind():
    assert {kind_of(datatype) for datatype in SCALARS} == set(ValueKind)


def test_the_table_of_float_texts_is_bounded():
    for number in range(FLOAT_TEXTS_MAX + 10):
        float32_text(narrow(number / 8))
    assert len(FLOAT_TEXTS) <= FLOAT_TEXTS_MAX


@pytest.mark.parametrize("datatype", sorted(SCALARS))
def test_columns_hold_every_value_of_a_type(datatype: DataType):
    random_ = random.Random(int(datatype))
    values: list[Any] = [None]
    match kind_of(datatype):
        case ValueKind.FLOAT | ValueKind.DOUBLE:
            values += [0.0, -1.5, math.inf, -math.inf, 1e300]
        case ValueKind.BOOLEAN:
            values += [True, False]
        case ValueKind.TEXT:
            values += ["", "NaN", "5", "é"]
        case ValueKind.BYTES:
            values += [b"", b"\x00\xff"]
        case _:
            values += [0, -1, 2**63 - 1, 2**63, 2**64 - 1, random_.getrandbits(32)]
    for value in values:
        columns = columns_of(value)
        assert sum(column is not None for column in columns) == (value is not None)
        assert value_of(datatype.label, *columns) == value
    nan = value_of("Float", *columns_of(math.nan))
    assert isinstance(nan, float)
    assert math.isnan(nan)


# Times


@pytest.mark.parametrize(
    ("ns", "text"),
    [
        (0, "1970-01-01T00:00:00.000Z"),
        (1_780_515_120_125_000_000, "2026-06-03T19:32:00.125Z"),
        (1_780_515_120_125_001_000, "2026-06-03T19:32:00.125001Z"),
        (1_780_515_120_125_000_001, "2026-06-03T19:32:00.125000001Z"),
        (-1_000_000, "1969-12-31T23:59:59.999Z"),
        (MIN_NS, "1677-09-21T00:12:43.145224192Z"),
        (MAX_NS, "2262-04-11T23:47:16.854775807Z"),
    ],
)
def test_times_as_text(ns: int, text: str):
    assert rfc3339(ns) == text


def test_ends_of_time_have_no_text_and_do_not_move():
    assert rfc3339_or_none(MIN_NS) is None
    assert rfc3339_or_none(MAX_NS) is None
    assert rfc3339_or_none(0) == "1970-01-01T00:00:00.000Z"
    assert later(MAX_NS, -5) == MAX_NS
    assert later(MIN_NS, 5) == MIN_NS
    assert later(MAX_NS - 1, 5) == MAX_NS


@given(st.datetimes(timezones=st.timezones()))
def test_a_moment_is_the_same_in_every_zone(moment: Any):
    ns = ns_of(moment)
    assert ns is None or (MIN_NS < ns < MAX_NS)
