"""Deadband and report by exception, whole readings at a time. Pure.

``read = reduced + stored + refused``: every reading ends in exactly one of the three, and the counts of a batch are
committed with its rows. What passes:

* a change of status always;
* with reduction on: a value that differs from the last stored one, by more than the deadband where there is one;
* with reduction off: everything, except the very same sample (full-resolution time, value, status) again, as an OPC UA
  resubscribe delivers it.

A value outside the engineering range passes: the plant, not the gateway, is asked to explain it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from edge_nodes.ordinals import RecentSample, RecentSamples, same_value
from uns.source import Readings, RefusedReading
from uns.sparkplug.datatypes import Value

__all__ = ["Reducer", "Reduction", "Rows"]

FIRST_REFUSALS_MAX = 1000  # kinds of refusal that get a log line of their own


class Reduction(msgspec.Struct, frozen=True):
    """How one metric is reduced."""

    enabled: bool = True
    deadband: float = 0.0  # absolute; a change must be larger


class Rows(msgspec.Struct):
    """Samples for the store, as columns, with the counts that belong to them."""

    metrics: list[int] = []
    times_ns: list[int] = []
    ordinals: list[int] = []
    values: list[Value] = []
    status_codes: list[int] = []
    time_sources: list[int] = []
    read: int = 0
    reduced: int = 0
    refused: int = 0

    def __len__(self) -> int:
        return len(self.metrics)

    @property
    def is_empty(self) -> bool:
        """Neither rows nor counts."""
        return not self.metrics and not self.read


class _MetricState:
    """What a decision about the next reading of a metric needs."""

    __slots__ = ("deadband", "enabled", "recent", "status_code", "value")

    def __init__(self, reduction: Reduction, recent: Iterable[RecentSample]) -> None:
        self.enabled = reduction.enabled
        self.deadband = reduction.deadband
        self.recent = RecentSamples(recent)
        self.value: Value = None
        self.status_code = -1  # none yet: whatever comes first passes
        if self.recent.ring:
            _, _, self.value, self.status_code = self.recent.ring[-1]

    def take_back(self, sample: RecentSample) -> None:
        """As if ``sample`` had never come."""
        ring = self.recent.ring
        if sample in ring:  # NaN is found by identity
            ring.remove(sample)
        _, _, self.value, self.status_code = ring[-1] if ring else (0, 0, None, -1)


class Reducer:
    """Decides reading by reading what is stored. Knows every metric by its number."""

    def __init__(
        self,
        reductions: Mapping[int, Reduction],
        *,
        last_samples: Mapping[int, Iterable[RecentSample]],
    ) -> None:
        self._states = {m: _MetricState(r, last_samples.get(m, ())) for m, r in reductions.items()}
        self._first_refusals: dict[tuple[int, str], RefusedReading] = {}
        self._new_refusals: list[RefusedReading] = []

    def receive(self, readings: Readings, rows: Rows) -> None:
        """Append what shall be stored to ``rows`` and raise its counts."""
        stored_before = len(rows.metrics)
        states = self._states
        metrics, values, times_ns = rows.metrics, rows.values, rows.times_ns
        ordinals, status_codes = rows.ordinals, rows.status_codes
        reduced = 0
        for metric, value, time_ns, status_code in zip(
            readings.metrics, readings.values, readings.times_ns, readings.status_codes, strict=True
        ):
            state = states[metric]
            if status_code == state.status_code and state.enabled:
                last = state.value
                if value == last or (state.deadband and _within(value, last, state.deadband)):
                    reduced += 1
                    continue
                if value != value and same_value(value, last):  # noqa: PLR0124 NaN
                    reduced += 1
                    continue
            ordinal = state.recent.place(time_ns, value, status_code)
            if ordinal is None:
                reduced += 1
                continue
            state.value = value
            state.status_code = status_code
            metrics.append(metric)
            values.append(value)
            times_ns.append(time_ns)
            ordinals.append(ordinal)
            status_codes.append(status_code)
        rows.time_sources.extend([int(readings.time_source)] * (len(metrics) - stored_before))
        rows.read += len(readings)
        rows.reduced += reduced
        if readings.refused:
            rows.refused += len(readings.refused)
            self._refuse(readings.refused)

    def take_back(self, rows: Rows) -> None:
        """These rows were not stored after all: what comes next is compared with what was stored before them."""
        samples = zip(rows.times_ns, rows.ordinals, rows.values, rows.status_codes, strict=True)
        for metric, sample in zip(rows.metrics, samples, strict=True):
            self._states[metric].take_back(sample)

    def status_of(self, metric: int) -> int | None:
        """The status last stored of a metric; None if there is no sample yet."""
        status_code = self._states[metric].status_code
        return None if status_code < 0 else status_code

    def first_refusals(self) -> list[RefusedReading]:
        """Drain: refusals of a kind that was not seen before, so that each is logged once."""
        new, self._new_refusals = self._new_refusals, []
        return new

    def _refuse(self, refused: Iterable[RefusedReading]) -> None:
        for refusal in refused:
            kind = (refusal.metric, refusal.reason)
            if kind not in self._first_refusals and len(self._first_refusals) < FIRST_REFUSALS_MAX:
                self._first_refusals[kind] = refusal
                self._new_refusals.append(refusal)


def _within(value: Value, last: Value, deadband: float) -> bool:
    # Comparisons with NaN are false, and infinity minus infinity is NaN: both pass, as they should.
    return isinstance(value, int | float) and isinstance(last, int | float) and abs(value - last) <= deadband
