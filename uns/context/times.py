"""Nanoseconds UTC inside, RFC 3339 outside, and the two ends of time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

__all__ = ["MAX_NS", "MIN_NS", "later", "ns_of", "rfc3339", "rfc3339_or_none"]

# An interval from MIN_NS or to MAX_NS is unbounded on that side. Both fit SQLite's INTEGER.
MIN_NS = -(2**63)
MAX_NS = 2**63 - 1

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SECOND = 1_000_000_000
_SECONDS_MAX = 4096
_seconds: dict[int, str] = {}  # the last few seconds as text: records of one second share it


def rfc3339(ns: int) -> str:
    """A time as records show it: at least milliseconds, more digits only where there are more.

    >>> rfc3339(1780515120125000000)
    '2026-06-03T19:32:00.125Z'
    """
    second, rest = divmod(ns, _SECOND)
    text = _seconds.get(second)
    if text is None:
        if len(_seconds) >= _SECONDS_MAX:
            _seconds.clear()
        text = (_EPOCH + timedelta(seconds=second)).strftime("%Y-%m-%dT%H:%M:%S").rjust(19, "0")
        _seconds[second] = text
    milliseconds, below = divmod(rest, 1_000_000)
    if below == 0:
        return f"{text}.{milliseconds:03d}Z"
    if below % 1000 == 0:
        return f"{text}.{rest // 1000:06d}Z"
    return f"{text}.{rest:09d}Z"


def rfc3339_or_none(ns: int) -> str | None:
    """The same for ends of intervals: None where there is no end."""
    return None if ns in (MIN_NS, MAX_NS) else rfc3339(ns)


def ns_of(moment: datetime) -> int | None:
    """Nanoseconds of an aware datetime; None outside of what 64 bits hold (years 1677 to 2262)."""
    delta = moment - _EPOCH
    ns = (delta.days * 86_400 + delta.seconds) * _SECOND + delta.microseconds * 1000
    return ns if MIN_NS < ns < MAX_NS else None


def later(ns: int, by_ns: int) -> int:
    """``ns + by_ns``, held between the two ends of time, which stay what they are."""
    if ns in (MIN_NS, MAX_NS):
        return ns
    return min(max(ns + by_ns, MIN_NS), MAX_NS)
