"""What a quantity rests on: the samples that show it, and exact decimals of their values."""

from __future__ import annotations

import struct
from decimal import Context, Decimal
from typing import Literal

import msgspec

from uns.enrichment.log import MetricRow
from uns.enrichment.plan import FLAG_CLOCK_SUSPECT
from uns.enrichment.samples import Quality

__all__ = [
    "EXACT",
    "VALUE_MAX",
    "SampleRef",
    "Step",
    "StepKind",
    "decimal_of",
    "is_believed",
    "plain",
    "ref_of",
    "usable_value",
]

EXACT = Context(prec=100)  # no counter needs more digits: sums and differences are exact
VALUE_MAX = 1e30  # nothing counts or measures further: what a device says beyond is what lay in its memory

StepKind = Literal["rollover", "reset", "dip", "gap", "jump", "boundary"]


class SampleRef(msgspec.Struct, frozen=True):
    """A sample of the record log."""

    position: int
    source_time_ns: int
    ordinal: int
    value: int | float


class Step(msgspec.Struct, frozen=True):
    """From one usable sample to the next where that is not plain; ``amount`` is what was counted for it."""

    kind: StepKind
    before: SampleRef
    after: SampleRef
    amount: Decimal


def is_believed(row: MetricRow) -> bool:
    """Whether the time of a sample may be believed."""
    return not row[4] & FLAG_CLOCK_SUSPECT


def usable_value(row: MetricRow) -> int | float | None:
    """The number that a sample tells.

    None where it is bad, stale, null, no finite number, beyond ``VALUE_MAX``, or of a suspect clock.
    """
    _, _, value, quality, flags, _ = row
    if quality >= Quality.BAD or flags & FLAG_CLOCK_SUSPECT:
        return None
    if isinstance(value, str):  # beyond 64 bits, or NaN and the infinities
        return int(value) if value.isdecimal() else None
    if isinstance(value, float) and not -VALUE_MAX <= value <= VALUE_MAX:
        return None
    return value


def ref_of(row: MetricRow, value: float) -> SampleRef:
    """The reference to a usable sample."""
    return SampleRef(row[5], row[0], row[1], value)


def decimal_of(value: float, *, single: bool = False) -> Decimal:
    """The shortest decimal that reads back as the same value; of a 32-bit float where ``single``.

    >>> decimal_of(0.1), decimal_of(0.10000000149011612, single=True)
    (Decimal('0.1'), Decimal('0.1'))
    """
    if isinstance(value, int):
        return Decimal(value)
    if single:
        for digits in range(6, 10):
            text = f"{value:.{digits}g}"
            if _single(float(text)) == value:
                return Decimal(text)
    return Decimal(repr(value))


def _single(value: float) -> float | None:
    try:
        return float(struct.unpack("<f", struct.pack("<f", value))[0])
    except OverflowError:
        return None


def plain(value: Decimal) -> Decimal:
    """The same number written without exponent and without zeros at its end."""
    normal = EXACT.normalize(value)
    return EXACT.quantize(normal, Decimal(1)) if int(normal.as_tuple().exponent) > 0 else normal
