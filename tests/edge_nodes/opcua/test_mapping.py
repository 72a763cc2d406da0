"""From notifications to readings: types, times, statuses. Shapes only, no library."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from types import SimpleNamespace
from uuid import UUID

import pytest

from edge_nodes.conversion import Refusal
from edge_nodes.opcua.mapping import ItemPoint, NotificationMapper, convert_variant
from uns.source import TimeSource
from uns.sparkplug.datatypes import DataType

NOW = 1_780_000_000_000_000_000
STAMP = datetime(2026, 6, 3, 19, 32, 0, 125_250, tzinfo=UTC)
STAMP_NS = 1_780_515_120_125_250_000
FLOAT, DOUBLE, INT32, UINT32, STRING = 10, 11, 6, 7, 12


class LocalizedText(SimpleNamespace):
    """The shape of asyncua's."""

    def __init__(self, text: str) -> None:
        super().__init__(Locale=None, Text=text)


def item(value=1.0, variant_type: int = FLOAT, *, handle: int = 1, status: int = 0, source=STAMP, server=None):
    variant = None if value is None else SimpleNamespace(Value=value, VariantType=variant_type)
    data = SimpleNamespace(
        Value=variant, StatusCode=SimpleNamespace(value=status), SourceTimestamp=source, ServerTimestamp=server
    )
    return SimpleNamespace(ClientHandle=handle, Value=data)


def mapped(*items, datatype: DataType = DataType.FLOAT):
    return NotificationMapper({1: ItemPoint(7, datatype)}).map_items(items, now_ns=NOW)


def test_value_time_and_status_are_kept() -> None:
    (readings,) = mapped(item(182.0, status=0x40000000))
    assert (readings.metrics, readings.values, readings.times_ns) == ([7], [182.0], [STAMP_NS])
    assert readings.status_codes == [0x40000000]
    assert readings.time_source is TimeSource.DEVICE


def test_a_bad_status_has_no_value() -> None:
    (readings,) = mapped(item(182.0, status=0x80310000), item(None, status=0xC0000000))
    assert readings.values == [None, None]


def test_a_missing_source_time_is_the_servers_and_says_so() -> None:
    device, server, gateway = mapped(item(1.0), item(2.0, source=None, server=STAMP), item(3.0, source=None))
    assert device.values == [1.0]
    assert (server.time_source, server.times_ns) == (TimeSource.SERVER, [STAMP_NS])
    assert (gateway.time_source, gateway.times_ns) == (TimeSource.GATEWAY, [NOW])


def test_foreign_handles_are_passed_over() -> None:
    assert mapped(item(handle=0)) == []


def test_waiting_for_initial_data_is_no_reading() -> None:
    assert mapped(item(None, status=0x80320000)) == []


def test_the_overflow_mark_is_counted_and_taken_off() -> None:
    mapper = NotificationMapper({1: ItemPoint(7, DataType.FLOAT)})
    (readings,) = mapper.map_items([item(status=0x480), item(status=0x580)], now_ns=NOW)
    assert readings.status_codes == [0, 0x500]
    assert mapper.overflows == 2


@pytest.mark.parametrize(
    ("datatype", "value", "variant_type", "expected"),
    [
        (DataType.DOUBLE, 1.5, FLOAT, 1.5),
        (DataType.FLOAT, 0.1, DOUBLE, 0.10000000149011612),
        (DataType.FLOAT, 3, INT32, 3.0),
        (DataType.UINT32, 3, INT32, 3),
        (DataType.UINT64, 2**64 - 1, 9, 2**64 - 1),
        (DataType.STRING, "x", STRING, "x"),
        (DataType.STRING, LocalizedText("läuft"), 21, "läuft"),
        (DataType.BYTES, b"\0", 15, b"\0"),
        (DataType.DATETIME, STAMP, 13, STAMP_NS // 1_000_000),
        (DataType.UUID, UUID(int=1), 14, str(UUID(int=1))),
        (DataType.BOOLEAN, True, 1, True),
    ],
)
def test_what_fits_is_converted(datatype: DataType, value, variant_type: int, expected) -> None:
    (readings,) = mapped(item(value, variant_type), datatype=datatype)
    assert readings.values == [expected]
    assert type(readings.values[0]) is type(expected)


@pytest.mark.parametrize(
    ("datatype", "value", "reason"),
    [
        (DataType.UINT32, -1, "out_of_range"),
        (DataType.UINT32, 2**32, "out_of_range"),
        (DataType.UINT32, 1.0, "wrong_type"),
        (DataType.UINT32, math.nan, "not_a_number"),
        (DataType.UINT32, True, "wrong_type"),
        (DataType.FLOAT, "1.0", "wrong_type"),
        (DataType.FLOAT, 1e300, "out_of_range"),
        (DataType.FLOAT, [1.0], "wrong_type"),
        (DataType.FLOAT, None, "no_value"),
        (DataType.DOUBLE, 10**400, "out_of_range"),
        (DataType.BOOLEAN, 1, "wrong_type"),
        (DataType.STRING, 1, "wrong_type"),
        (DataType.STRING, SimpleNamespace(Name="a structure with a name", Speed=5), "wrong_type"),
        (DataType.STRING, "x" * 40_000, "out_of_range"),
        (DataType.STRING, "\ud800", "wrong_type"),
        (DataType.DATETIME, 5, "wrong_type"),
        (DataType.DOUBLE, STAMP, "wrong_type"),
        (DataType.UUID, "x", "wrong_type"),
        (DataType.BYTES, "x", "wrong_type"),
    ],
)
def test_what_does_not_fit_is_refused_with_its_reason(datatype: DataType, value, reason: str) -> None:
    with pytest.raises(Refusal) as caught:
        convert_variant(datatype, value)
    assert caught.value.reason == reason
    assert len(str(caught.value)) < 200


def test_a_refused_item_does_not_stop_the_others() -> None:
    (readings,) = mapped(item("x", STRING), item(2.0))
    assert readings.values == [2.0]
    assert [r.reason for r in readings.refused] == ["wrong_type"]
    assert len(readings) == 2


def test_nan_and_infinity_are_values_of_floats() -> None:
    (readings,) = mapped(item(math.nan), item(math.inf), item(math.inf, DOUBLE))
    assert [str(v) for v in readings.values] == ["nan", "inf", "inf"]
