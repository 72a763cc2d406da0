"""Gap records: what a quota dropped, told to whoever reads the data (metric ``uns/gap``). Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

import msgspec

from uns.errors import StorageError

__all__ = ["Gap", "merge_gaps"]


class Gap(msgspec.Struct, frozen=True, kw_only=True):
    """``count`` samples with source times from ``from`` to ``to`` were dropped, for ``reason``."""

    from_ns: int = msgspec.field(name="from")
    to_ns: int = msgspec.field(name="to")
    count: int
    reason: str

    @classmethod
    def of(cls, times_ns: Sequence[int], *, reason: str) -> Gap:
        """The gap that dropping samples of these times leaves."""
        return cls(from_ns=min(times_ns), to_ns=max(times_ns), count=len(times_ns), reason=reason)

    def to_json(self) -> str:
        """As it travels: times as RFC 3339."""
        return msgspec.json.encode(
            {"from": _rfc3339(self.from_ns), "to": _rfc3339(self.to_ns), "count": self.count, "reason": self.reason}
        ).decode()

    @classmethod
    def from_json(cls, text: str | bytes) -> Gap:
        """Inverse of :meth:`to_json`; raises :class:`StorageError` for anything else."""
        try:
            found = msgspec.json.decode(text, type=_WireGap)
        except msgspec.DecodeError as error:
            raise StorageError(f"not a gap record: {error}") from error
        return cls(
            from_ns=_nanoseconds(found.from_), to_ns=_nanoseconds(found.to), count=found.count, reason=found.reason
        )


class _WireGap(msgspec.Struct, rename={"from_": "from"}):
    from_: datetime
    to: datetime
    count: int
    reason: str


def merge_gaps(one: Gap | None, other: Gap | None) -> Gap | None:
    """One gap that tells both."""
    if one is None or other is None:
        return one or other
    return Gap(
        from_ns=min(one.from_ns, other.from_ns),
        to_ns=max(one.to_ns, other.to_ns),
        count=one.count + other.count,
        reason=other.reason,
    )


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def _rfc3339(time_ns: int) -> str:
    whole, rest = divmod(time_ns, 1_000_000_000)
    return f"{datetime.fromtimestamp(whole, UTC):%Y-%m-%dT%H:%M:%S}.{rest // 1_000_000:03d}Z"


def _nanoseconds(moment: datetime) -> int:
    span = moment - _EPOCH
    return (span.days * 86_400 + span.seconds) * 1_000_000_000 + span.microseconds * 1000
