"""What every edge node source implements, and how readings travel from it: as columns, a whole reading at a time."""

from __future__ import annotations

from enum import IntEnum
from typing import Protocol

import msgspec

from uns.sparkplug.datatypes import Value

__all__ = [
    "PROPERTY_FUTURE_MAX",
    "PROPERTY_PAST_MAX",
    "PROPERTY_TIME_SOURCE",
    "UNLIMITED",
    "Readings",
    "RefusedReading",
    "Source",
    "SourceSink",
    "TimeSource",
]

# Properties of a metric in a birth that tell how to take its times; all optional.
PROPERTY_TIME_SOURCE = "time_source"  # String: device (also when absent), server or gateway; in DATA where one differs
PROPERTY_PAST_MAX = "past_max_ms"  # Int64: how far behind the host's clock a stamp may lie; -1 is unlimited
PROPERTY_FUTURE_MAX = "future_max_ms"  # Int64: how far ahead
UNLIMITED = -1


class TimeSource(IntEnum):
    """Whose clock stamped a reading; the numbers are those in the edge store."""

    DEVICE = 0
    SERVER = 1
    GATEWAY = 2

    @property
    def label(self) -> str:
        """``device``, ``server`` or ``gateway``, as records spell it."""
        return self.name.lower()


class RefusedReading(msgspec.Struct, frozen=True):
    """A reading that no value of the metric's datatype can stand for. It is counted, and its first kind is logged."""

    metric: int
    reason: str  # one of: wrong_type, out_of_range, not_a_number, no_value
    text: str  # what was read, for people


class Readings(msgspec.Struct):
    """What one publish result or one poll brought; the lists run in parallel.

    ``metrics`` are the numbers under which the runtime introduced them. Values already have the kind of the metric's
    datatype (DateTime: int ms); a bad status has the value None. ``status_codes`` are OPC UA's, 0 is good.
    """

    metrics: list[int]
    values: list[Value]
    times_ns: list[int]
    status_codes: list[int]
    time_source: TimeSource = TimeSource.DEVICE
    refused: list[RefusedReading] = []

    def __len__(self) -> int:
        return len(self.metrics) + len(self.refused)


class SourceSink(Protocol):
    """Where a source puts what it reads; the runtime implements it."""

    async def put(self, readings: Readings) -> None:
        """Take readings over. Waits while the intake is full: that holds the PLC's own queue back, nothing drops."""
        ...

    def connected(self, source: str) -> None:
        """The source delivers (again)."""
        ...

    def lost(self, source: str, reason: str) -> None:
        """The source cannot be read; it goes on trying by itself. Repeating it does no harm."""
        ...


class Source(Protocol):
    """One connection to a PLC. It reconnects by itself for as long as it runs, and raises nothing but cancellation."""

    name: str

    async def run(self, sink: SourceSink) -> None:
        """Read until cancelled."""
        ...

    async def check(self) -> list[str]:
        """Connect once, look at every metric, say in lines what is wrong; :class:`UnreachableError` if no answer."""
        ...

    def counters(self) -> dict[str, int]:
        """What it counted by itself: overflows, sequence jumps, reconnects."""
        ...
