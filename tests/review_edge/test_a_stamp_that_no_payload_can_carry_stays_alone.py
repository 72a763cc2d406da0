"""One row that cannot be encoded would end every session at the same place, for ever."""

from __future__ import annotations

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
from asyncua import ua

from edge_nodes.opcua.mapping import ItemPoint, NotificationMapper
from uns.source import TimeSource
from uns.sparkplug.datatypes import DataType

SERVER = datetime(2026, 6, 3, tzinfo=UTC)
NOW_NS = 5_000_000_000


def item(stamp: datetime | None, *, server: datetime | None = SERVER) -> Any:
    value = ua.DataValue(ua.Variant(1.0, ua.VariantType.Double), SourceTimestamp=stamp, ServerTimestamp=server)
    return SimpleNamespace(ClientHandle=1, Value=value)


def mapper() -> NotificationMapper:
    return NotificationMapper({1: ItemPoint(7, DataType.DOUBLE)})


def test_the_null_time_of_opc_ua_is_no_time() -> None:
    (readings,) = mapper().map_items([item(datetime(1601, 1, 1, tzinfo=UTC))], now_ns=NOW_NS)
    assert readings.time_source is TimeSource.SERVER
    assert readings.times_ns == [int(SERVER.timestamp()) * 1_000_000_000]


def test_a_null_server_time_is_no_time_either() -> None:
    null = datetime(1601, 1, 1, tzinfo=UTC)
    (readings,) = mapper().map_items([item(null, server=null)], now_ns=NOW_NS)
    assert (readings.time_source, readings.times_ns) == (TimeSource.GATEWAY, [NOW_NS])


@pytest.mark.parametrize("year", [1969, 2263, 9999])
def test_a_time_beyond_what_travels_is_refused_and_counted(year: int) -> None:
    good = item(SERVER)
    (readings,) = mapper().map_items([item(datetime(year, 12, 31, tzinfo=UTC)), good], now_ns=NOW_NS)
    assert readings.metrics == [7]
    assert [refused.reason for refused in readings.refused] == ["out_of_range"]
    assert len(readings) == 2
