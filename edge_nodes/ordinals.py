"""Which of several samples of one metric in one millisecond. Pure.

Sparkplug carries milliseconds, PLCs give finer times; the ordinal tells the samples of one millisecond apart and makes
a sample's key, so it must come out the same after a restart and after an OPC UA resubscribe. Only the newest
``RECENT_SAMPLES_MAX`` samples of a metric are remembered: a sample that comes again later than that is stored again,
and the host recognises it by key and value.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from uns.sparkplug.datatypes import Value

__all__ = ["RECENT_SAMPLES_MAX", "RecentSample", "RecentSamples", "same_value"]

RECENT_SAMPLES_MAX = 32  # per metric

RecentSample = tuple[int, int, Value, int]  # time_ns, ordinal, value, status_code


class RecentSamples:
    """The newest stored samples of one metric, by arrival."""

    __slots__ = ("newest_ms", "ring")

    def __init__(self, samples: Iterable[RecentSample] = ()) -> None:
        self.ring: deque[RecentSample] = deque(samples, RECENT_SAMPLES_MAX)
        self.newest_ms = max((time_ns // 1_000_000 for time_ns, *_ in self.ring), default=-1)

    def place(self, time_ns: int, value: Value, status_code: int) -> int | None:
        """The ordinal of a new sample, which is remembered; None if the very same sample was stored already."""
        time_ms = time_ns // 1_000_000
        if time_ms > self.newest_ms:  # by far the commonest
            self.newest_ms = time_ms
            self.ring.append((time_ns, 0, value, status_code))
            return 0
        ordinal = 0
        for known_ns, known_ordinal, known_value, known_status in self.ring:
            if known_ns // 1_000_000 != time_ms:
                continue
            if known_ns == time_ns and known_status == status_code and same_value(known_value, value):
                return None
            if known_ordinal >= ordinal:
                ordinal = known_ordinal + 1
        self.ring.append((time_ns, ordinal, value, status_code))
        return ordinal


def same_value(one: Value, other: Value) -> bool:
    """Equality, except that NaN is the same as NaN."""
    return one == other or (one != one and other != other)  # noqa: PLR0124 only NaN is unequal to itself
