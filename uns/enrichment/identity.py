"""Which samples are new, and what their ordinals are.

The key of a sample is (enterprise, equipment, metric, source_time_ns, ordinal). It starts at the ordinal the payload
says, else at its place among equal (metric, ms) in the payload; the same value and status at that key is a duplicate,
another value takes the next ordinal.

A live sample is newer than everything of its series, so that no look-up is needed. History finds an empty stretch of
time where nothing was recorded while it lasted. Only what is left asks the rows not yet committed, then the record log.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from uns.context.times import MAX_NS, MIN_NS
from uns.enrichment.plan import SampleRow, columns_of
from uns.enrichment.samples import RecordIndex, SampleBatch
from uns.enrichment.series import GAP_NS, Series
from uns.enrichment.values import ValueKind
from uns.namespace.model import MetricContract
from uns.sparkplug.datatypes import Value

__all__ = ["DUPLICATE", "Accepted", "Identified", "Identity"]

DUPLICATE = -1

Content = tuple[float | None, int | None, str | None, int, int]  # value columns, quality, status_code

# A sample that was accepted: index in its batch, series, ordinal, suspect.
Accepted = tuple[int, Series, int, bool]


class Identified(msgspec.Struct):
    """What one batch came to; the other lists hold indices into it."""

    accepted: list[Accepted] = []
    conflicts: list[int] = []  # another value stood at their key
    out_of_range: list[int] = []  # times that 64 bits of nanoseconds do not hold
    seen_again: list[tuple[Series, int]] = []  # duplicates, with their source time
    suspects: int = 0


class Identity:
    """Decides which samples are new. Rows of plans that are not yet committed are looked through here."""

    def __init__(self, index: RecordIndex) -> None:
        self.look_ups = 0  # how often the record log had to be asked
        self._index = index
        self._batch = 0
        self._rows: list[SampleRow] = []  # of the plan being made
        self._rows_seen = 0
        self._pending: dict[tuple[int, int], dict[int, Content]] = {}
        self._in_flight: dict[tuple[int, int], dict[int, Content]] = {}
        self._in_flight_rows: list[SampleRow] = []

    def plan_started(self, rows: list[SampleRow]) -> None:
        """Rows from now on go into another list; those before are in flight until :meth:`committed`."""
        self._in_flight = self._pending
        self._in_flight_rows = self._rows[self._rows_seen :]
        self._rows, self._rows_seen, self._pending = rows, 0, {}

    def committed(self) -> None:
        """What was in flight is in the index now."""
        self._in_flight = {}
        self._in_flight_rows = []

    def identify(
        self,
        batch: SampleBatch,
        by_name: dict[str, Series],
        series_of: Callable[[MetricContract], Series],
        limits: tuple[int, int],
    ) -> Identified:
        """Go through a batch once. ``limits`` are the times between which a stamp is believed."""
        self._batch += 1
        batch_number = self._batch
        metrics, values, times = batch.metrics, batch.values, batch.times_ns
        ordinals, qualities, codes = batch.ordinals, batch.qualities, batch.status_codes
        guarded = min(times) < limits[0] or max(times) > limits[1]
        places: list[int] | None = None
        found = Identified()
        accepted = found.accepted
        for at, contract in enumerate(metrics):
            series = by_name.get(contract.name)
            if series is None or series.contract is not contract:
                series = series_of(contract)
            time_ns = times[at]
            given = None if ordinals is None else ordinals[at]
            if series.newest_ns < time_ns < series.suspect_from_ns and series.batch != batch_number and not guarded:
                if time_ns - series.newest_ns > GAP_NS:
                    series.note_gap(time_ns)
                ordinal = given or 0
                series.newest_ns = time_ns
                series.batch = batch_number
                series.at_newest = [
                    (
                        ordinal,
                        values[at],
                        0 if qualities is None else int(qualities[at]),
                        0 if codes is None else codes[at],
                    )
                ]
                accepted.append((at, series, ordinal, False))
                continue
            if given is None:
                if places is None:
                    places = _places(metrics, times)
                given = places[at]
            self._identify_slowly(batch, at, series, given, suspect=not limits[0] <= time_ns <= limits[1], found=found)
        return found

    def _identify_slowly(
        self, batch: SampleBatch, at: int, series: Series, start: int, *, suspect: bool, found: Identified
    ) -> None:
        time_ns = batch.times_ns[at]
        if not MIN_NS < time_ns < MAX_NS:
            found.out_of_range.append(at)
            return
        sample = (
            batch.values[at],
            0 if batch.qualities is None else int(batch.qualities[at]),
            0 if batch.status_codes is None else batch.status_codes[at],
        )
        ordinal = self._settle(series, time_ns, start, sample, suspect=suspect)
        if ordinal == DUPLICATE:
            found.seen_again.append((series, time_ns))
            return
        if ordinal != start:
            found.conflicts.append(at)
        found.suspects += suspect
        found.accepted.append((at, series, ordinal, suspect))

    def _settle(
        self, series: Series, time_ns: int, start: int, sample: tuple[Value, int, int], *, suspect: bool
    ) -> int:
        """The ordinal of a sample that is not simply newer, or DUPLICATE."""
        existing = self._existing(series, time_ns)
        content = _content(series.kind, *sample)
        ordinal = start
        while ordinal in existing:
            if existing[ordinal] == content:
                return DUPLICATE
            ordinal += 1
        if time_ns == series.newest_ns and series.at_newest is not None:
            series.at_newest.append((ordinal, *sample))
        elif time_ns > series.newest_ns and not suspect:
            self._move_newest(series, time_ns, (ordinal, *sample), alone=not existing)
        elif time_ns > series.newest_ns:
            series.note_suspect(time_ns)
        series.batch = self._batch
        # In no row yet, while a later sample of this payload may ask.
        self._pending.setdefault((series.number, time_ns), {})[ordinal] = content
        return ordinal

    def _move_newest(self, series: Series, time_ns: int, sample: tuple[int, Value, int, int], *, alone: bool) -> None:
        if series.at_newest:
            # The samples it leaves behind may be of this payload, in no row yet.
            known = self._pending.setdefault((series.number, series.newest_ns), {})
            for ordinal, value, quality, status_code in series.at_newest:
                known[ordinal] = _content(series.kind, value, quality, status_code)
        if time_ns < series.suspect_from_ns and time_ns - series.newest_ns > GAP_NS:
            series.note_gap(time_ns)
        series.newest_ns = time_ns
        series.at_newest = [sample] if alone else None
        series.forget_suspects_up_to(time_ns)

    def _existing(self, series: Series, time_ns: int) -> dict[int, Content]:
        """What stands at a time, by ordinal; asks the record log only where nothing else tells."""
        if time_ns == series.newest_ns and series.at_newest is not None:
            return {o: _content(series.kind, v, q, s) for o, v, q, s in series.at_newest}
        if series.newest_ns < time_ns < series.suspect_from_ns or series.is_in_gap(time_ns):
            return {}
        self._see_rows()
        self.look_ups += 1
        found: dict[int, Content] = {
            stored.ordinal: _content(series.kind, stored.value, int(stored.quality), stored.status_code)
            for stored in self._index.at(series.equipment, series.metric, time_ns)
        }
        for number in (series.number, *series.also_numbers.values()):
            found.update(self._in_flight.get((number, time_ns), ()))
            found.update(self._pending.get((number, time_ns), ()))
        return found

    def _see_rows(self) -> None:
        """Enter rows made since the last look; each row once."""
        if self._in_flight_rows:
            _enter(self._in_flight, self._in_flight_rows)
            self._in_flight_rows = []
        if self._rows_seen < len(self._rows):
            _enter(self._pending, self._rows[self._rows_seen :])
            self._rows_seen = len(self._rows)


def _content(kind: ValueKind, value: Value, quality: int, status_code: int) -> Content:
    """What makes two samples of one key equal; the same columns that its row has."""
    if kind <= ValueKind.DOUBLE and isinstance(value, int):
        value = float(value)
    return (*columns_of(value), quality, status_code)


def _enter(table: dict[tuple[int, int], dict[int, Content]], rows: Sequence[SampleRow]) -> None:
    for row in rows:
        table.setdefault((row[1], row[2]), {})[row[3]] = (row[4], row[5], row[6], row[7], row[8])


def _places(metrics: Sequence[MetricContract], times: Sequence[int]) -> list[int]:
    """For each sample its place among the same (metric, time) in the payload."""
    seen: dict[tuple[str, int], int] = {}
    found: list[int] = []
    for contract, time_ns in zip(metrics, times, strict=True):
        key = (contract.name, time_ns)
        place = seen.get(key, 0)
        seen[key] = place + 1
        found.append(place)
    return found
