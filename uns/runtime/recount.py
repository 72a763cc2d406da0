"""Quantities counted a second time, from the rows of the record log alone: what a performance says is held to it.

Each row carries the work order that it was recorded with, so nobody is asked when a job ran or what it made. For
counters that only go up, or begin again at 0; one that rolls over needs the tree.
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal

import msgspec

from uns.adapters.sqlite.record_rows import Record
from uns.context.times import rfc3339

__all__ = ["CounterSample", "Recount", "recount"]

TREMBLE_SHARE = 100  # a float that drops by at most this part of its value was not reset


class CounterSample(msgspec.Struct, frozen=True):
    """A sample of a counter, as people look for it."""

    time: str
    value: int | float
    position: int


class Recount(msgspec.Struct, kw_only=True):
    """What a counter counted for one work order, and the samples that show it."""

    quantity: Decimal = Decimal(0)
    baseline: CounterSample | None = None  # the last sample before the order
    first: CounterSample
    last: CounterSample
    samples: int = 0
    is_plain: bool = True  # one run and no reset: last - baseline is the quantity


def recount(records: Iterable[Record], metric: str) -> dict[str, Recount]:
    """By work order. A step belongs to the sample that shows it; the very first sample of all counts nothing."""
    rows = sorted((record.source_time_ns, record.ordinal, record) for record in records if _counts(record, metric))
    found: dict[str, Recount] = {}
    before: Record | None = None
    top: int | float = 0  # the value that the counter stood at
    for _, _, record in rows:
        value = _number(record)
        step, is_reset = (Decimal(0), False) if before is None else _step(top, value)
        order = record.work_order
        if order is not None:
            counted = found.get(order)
            begins = before is None or before.work_order != order
            if counted is None:
                sample = _sample(record)
                counted = found[order] = Recount(first=sample, last=sample)
                counted.baseline = None if before is None else _sample(before)
            elif begins:
                counted.is_plain = False
            counted.quantity += step
            counted.samples += 1
            counted.last = _sample(record)
            counted.is_plain = counted.is_plain and not is_reset
        if before is None or is_reset or value >= top:
            top = value
        before = record
    return found


def _counts(record: Record, metric: str) -> bool:
    return record.metric == metric and isinstance(record.value, int | float)


def _number(record: Record) -> int | float:
    assert isinstance(record.value, int | float)  # noqa: S101 - _counts saw to it
    return record.value


def _step(top: float, value: float) -> tuple[Decimal, bool]:
    """What a step counts, and whether the counter began again."""
    if value >= top:
        return Decimal(repr(value)) - Decimal(repr(top)), False
    if isinstance(value, float) and (top - value) * TREMBLE_SHARE <= top:
        return Decimal(0), False
    return max(Decimal(repr(value)), Decimal(0)), True


def _sample(record: Record) -> CounterSample:
    return CounterSample(rfc3339(record.source_time_ns), _number(record), record.position)
