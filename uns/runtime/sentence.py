"""A record as a sentence for people, in the time of the site where it was read."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from uns.namespace.units import symbol_of
from uns.sparkplug.datatypes import Value

__all__ = ["equipment_name", "local_time", "sentence"]

_MONTHS = (
    "January", "February", "March", "April", "May", "June",
    "July", "August", "September", "October", "November", "December",
)  # fmt: skip
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def sentence(
    *,
    value: Value,
    unit: str | None,
    equipment: str,
    work_order: str,
    lots: Sequence[str],
    time_ns: int,
    time_zone: str,
) -> str:
    """``182.0 °C was read on Reactor 4, during Work Order WO-10234, producing Lot L-8891, at …`` and so on."""
    reading = " ".join(filter(None, (str(value), symbol_of(unit))))
    producing = f", producing Lot {' and '.join(lots)}" if lots else ""
    clock, day = local_time(time_ns, time_zone)
    return (
        f"{reading} was read on {equipment_name(equipment)}, during Work Order {work_order}{producing}, "
        f"at {clock} on {day}."
    )


def equipment_name(equipment: str) -> str:
    """``reactor4`` as people say it: ``Reactor 4``."""
    words = re.findall(r"[A-Za-z]+|\d+", equipment)
    text = " ".join(words) or equipment
    return text[:1].upper() + text[1:]


def local_time(time_ns: int, time_zone: str) -> tuple[str, str]:
    """Clock with offset and day at the site: for example 14:32:00.125 and its offset, 3 June."""
    moment = (_EPOCH + timedelta(microseconds=time_ns // 1000)).astimezone(ZoneInfo(time_zone))
    offset = moment.utcoffset() or timedelta()
    sign = "−" if offset < timedelta() else "+"  # noqa: RUF001  a minus sign, not a hyphen
    minutes = abs(int(offset.total_seconds())) // 60
    clock = f"{moment:%H:%M:%S}.{moment.microsecond // 1000:03d} {sign}{minutes // 60:02d}:{minutes % 60:02d}"
    return clock, f"{moment.day} {_MONTHS[moment.month - 1]}"
