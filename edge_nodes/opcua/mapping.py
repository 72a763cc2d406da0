"""From OPC UA notifications to readings, a publish result at a time. Pure: it knows the shapes, not the library."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec

from edge_nodes.conversion import Refusal, convert
from uns.source import Readings, RefusedReading, TimeSource
from uns.sparkplug.codec import TIMESTAMP_MS_MAX
from uns.sparkplug.datatypes import DataType, Value

__all__ = ["BAD_NODE_ID_UNKNOWN", "BAD_NO_COMMUNICATION", "ItemPoint", "NotificationMapper", "convert_variant"]

BAD_NODE_ID_UNKNOWN = 0x80340000
BAD_NO_COMMUNICATION = 0x80310000
BAD_WAITING_FOR_INITIAL_DATA = 0x80320000  # the server has no value yet: nothing was read, the first value follows
IS_BAD = 0x80000000  # severity 10 and 11
OVERFLOW = 0x480  # info type DataValue with the Overflow bit: the server's queue lost notifications
_OVERFLOW_BIT = 0x80
_INFO_BITS = 0x37F  # what else an info type DataValue can say
_INFO_TYPE = 0x400

# Variant types by their numbers (OPC UA part 6, 5.1.2). A variant of the trusted type needs no check: its encoding
# cannot carry anything that is not a value of the datatype.
_TRUSTED: dict[DataType, int] = {
    DataType.BOOLEAN: 1,
    DataType.INT8: 2,
    DataType.UINT8: 3,
    DataType.INT16: 4,
    DataType.UINT16: 5,
    DataType.INT32: 6,
    DataType.UINT32: 7,
    DataType.INT64: 8,
    DataType.UINT64: 9,
    DataType.FLOAT: 10,
    DataType.DOUBLE: 11,
}
_NO_TYPE = -1


class ItemPoint(msgspec.Struct, frozen=True):
    """What a monitored item feeds."""

    metric: int
    datatype: DataType

    @property
    def trusted(self) -> int:
        """The variant type that needs no check."""
        return _TRUSTED.get(self.datatype, _NO_TYPE)


class NotificationMapper:
    """Knows the items of a session by their client handles."""

    def __init__(self, points: Mapping[int, ItemPoint]) -> None:
        self._points = {handle: (p.metric, p.trusted, p.datatype) for handle, p in points.items()}
        self.overflows = 0

    def map_items(self, items: Iterable[Any], *, now_ns: int) -> list[Readings]:
        """Readings in order of the notifications; those stamped by another clock than the device's come apart.

        ``items`` are MonitoredItemNotification; handles that are not ours (the heartbeat) are passed over, and so is
        the notice that a server has no value yet. A source time before 1970 or after 2262 is refused: no payload can
        carry it, and one such row in the store would end every session.
        """
        readings = Readings([], [], [], [])
        metrics, values = readings.metrics, readings.values
        times_ns, status_codes = readings.times_ns, readings.status_codes
        others: dict[TimeSource, Readings] = {}
        points = self._points
        for item in items:
            point = points.get(item.ClientHandle)
            if point is None:
                continue
            metric, trusted, datatype = point
            data = item.Value
            stamp = data.SourceTimestamp
            status = data.StatusCode
            status_code = 0 if status is None else status.value
            variant = data.Value
            value: Value
            if status_code:
                if status_code == BAD_WAITING_FOR_INITIAL_DATA:
                    continue
                status_code = self._status(status_code)
            if status_code & IS_BAD:
                value = None
            else:
                raw = None if variant is None else variant.Value
                if variant is not None and variant.VariantType == trusted and type(raw) is not list and raw is not None:
                    value = raw
                else:
                    try:
                        value = convert_variant(datatype, raw)
                    except Refusal as refusal:
                        readings.refused.append(RefusedReading(metric, refusal.reason, refusal.text))
                        continue
            time_ns = -1 if stamp is None else _nanoseconds(stamp)
            if not 0 <= time_ns <= _TIME_NS_MAX:
                if stamp is not None and stamp > _NO_TIME:
                    readings.refused.append(RefusedReading(metric, "out_of_range", f"source time {stamp.isoformat()}"))
                    continue
                other, time_ns = _by_another_clock(others, data.ServerTimestamp, now_ns)
                other.metrics.append(metric)
                other.values.append(value)
                other.times_ns.append(time_ns)
                other.status_codes.append(status_code)
                continue
            metrics.append(metric)
            values.append(value)
            times_ns.append(time_ns)
            status_codes.append(status_code)
        found = [readings] if len(readings) else []
        return [*found, *others.values()]

    def _status(self, status_code: int) -> int:
        """Take the overflow mark off: it tells of the queue, not of the value, and would pass as a change of status."""
        if status_code & OVERFLOW == OVERFLOW:
            self.overflows += 1
            status_code &= ~_OVERFLOW_BIT
            if not status_code & _INFO_BITS:
                status_code &= ~_INFO_TYPE
        return status_code


_TEXT_TYPES = {"LocalizedText": "Text", "QualifiedName": "Name"}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NO_TIME = datetime(1601, 1, 1, tzinfo=UTC)  # the null DateTime of OPC UA
_TIME_NS_MAX = TIMESTAMP_MS_MAX * 1_000_000


def _by_another_clock(
    others: dict[TimeSource, Readings], server_stamp: datetime | None, now_ns: int
) -> tuple[Readings, int]:
    server_ns = -1 if server_stamp is None else _nanoseconds(server_stamp)
    is_time = 0 <= server_ns <= _TIME_NS_MAX
    time_source = TimeSource.SERVER if is_time else TimeSource.GATEWAY
    readings = others.setdefault(time_source, Readings([], [], [], [], time_source))
    return readings, server_ns if is_time else now_ns


def _nanoseconds(stamp: datetime) -> int:
    since = stamp - _EPOCH
    return (since.days * 86_400 + since.seconds) * 1_000_000_000 + since.microseconds * 1000


def convert_variant(datatype: DataType, raw: Any) -> Value:
    """Give the content of a variant as a value of ``datatype``; raise :class:`Refusal` if it is none."""
    if isinstance(raw, list):
        raise Refusal("wrong_type", f"an array of {len(raw)} is no {datatype.label}")
    if isinstance(raw, datetime):
        if datatype is not DataType.DATETIME:
            raise Refusal("wrong_type", f"a DateTime is no {datatype.label}")
        return convert(datatype, _nanoseconds(raw if raw.tzinfo else raw.replace(tzinfo=UTC)) // 1_000_000)
    if datatype is DataType.DATETIME and raw is not None:
        raise Refusal("wrong_type", f"{raw!r} is no DateTime")
    if hasattr(raw, "urn"):  # a Guid
        return convert(datatype, str(raw))
    text_field = _TEXT_TYPES.get(type(raw).__name__)  # by name: a structure may have a field Name or Text, too
    return convert(datatype, raw if text_field is None else getattr(raw, text_field))
