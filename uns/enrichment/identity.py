"""Which samples are new, and what their ordinals are.

The key of a sample is (enterprise, equipment, metric, source_time_ns, ordinal). It starts at the ordinal the payload
says, else at its place among equal (metric, ms) in the payload; the same value and status at that key is a duplicate,
another value takes the next ordinal.

A live sample is newer than everything of its series, so that no look-up is needed. History finds an empty stretch of
time where nothing was recorded while it lasted. Only what is left asks the rows not yet committed, then the record log.

A source whose clock stands still sends everything at one time. No step may then cost what stands there already: the
newest time of a series is a :class:`~uns.enrichment.moments.Moment` in memory up to a bound, and beyond it a run of
taken ordinals is remembered and the log is asked for a content, not for all of its rows.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence

import msgspec

from uns.context.times import MAX_NS, MIN_NS
from uns.enrichment.moments import DUPLICATE, Moment, Run
from uns.enrichment.plan import SampleRow, columns_of
from uns.enrichment.samples import Content, RecordIndex, SampleBatch
from uns.enrichment.series import GAP_NS, Series
from uns.enrichment.values import ValueKind
from uns.namespace.model import MetricContract
from uns.sparkplug.datatypes import Value

__all__ = ["DUPLICATE", "Accepted", "Identified", "Identity"]

MOMENT_SAMPLES_MAX = 1024  # samples of one newest time that are kept in memory; beyond, the log is asked
MOMENTS_MAX = 256  # series whose newest time may have more than a handful of samples in memory
RUNS_MAX = 1024  # times in the log whose taken ordinals are remembered
_HANDFUL = 8  # samples that are compared one by one
_PAGE, _PAGE_MAX = 16, 4096  # rows asked for at once; four times as many at each next step

_Table = dict[tuple[int, int], Moment]  # by series number and time

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
        self.look_ups = 0  # samples for which the record log had to be asked
        self._spilled = 0  # how often a newest time left the memory because of its bounds, since it was asked for
        self._index = index
        self._batch = 0
        self._rows: list[SampleRow] = []  # of the plan being made
        self._rows_seen = 0
        self._pending: _Table = {}
        self._in_flight: _Table = {}
        self._in_flight_rows: list[SampleRow] = []
        self._moments: OrderedDict[tuple[str, str], tuple[Series, Moment]] = OrderedDict()  # last used last
        self._runs: OrderedDict[tuple[str, str, int], Run] = OrderedDict()

    def plan_started(self, rows: list[SampleRow]) -> None:
        """Rows from now on go into another list; those before are in flight until :meth:`committed`."""
        self._in_flight = self._pending
        self._in_flight_rows = self._rows[self._rows_seen :]
        self._rows, self._rows_seen, self._pending = rows, 0, {}

    def committed(self) -> None:
        """What was in flight is in the index now."""
        self._in_flight = {}
        self._in_flight_rows = []

    def take_spilled(self) -> int:
        """How often since the last call a newest time was left to the log, because the memory is bounded."""
        spilled, self._spilled = self._spilled, 0
        return spilled

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
        content = _content(series.kind, *sample)
        at_newest = self._at_newest(series) if time_ns == series.newest_ns else None
        empty = False
        if isinstance(at_newest, Moment):
            ordinal = at_newest.settle(start, content)
        elif at_newest is not None:
            ordinal = _moment_of(series.kind, at_newest).settle(start, content)
        elif series.newest_ns < time_ns < series.suspect_from_ns or series.is_in_gap(time_ns):
            ordinal, empty = start, True
        else:
            ordinal, empty = self._settle_by_log(series, time_ns, start, content)
        if ordinal == DUPLICATE:
            return DUPLICATE
        if at_newest is not None:
            self._extend_newest(series, at_newest, (ordinal, *sample), content)
        elif time_ns > series.newest_ns and not suspect:
            self._move_newest(series, time_ns, (ordinal, *sample), alone=empty)
        elif time_ns > series.newest_ns:
            series.note_suspect(time_ns)
        series.batch = self._batch
        # In no row yet, while a later sample of this payload may ask.
        self._pending_at(series.number, time_ns).put(ordinal, content)
        return ordinal

    # ── the newest time of a series ──────────────────────────────────────────────────────────────────────────────

    def _at_newest(self, series: Series) -> list[tuple[int, Value, int, int]] | Moment | None:
        """What stands at the newest time, where the memory knows it."""
        held = series.at_newest
        if isinstance(held, Moment):
            self._moments.move_to_end((series.equipment, series.metric))
        return held

    def _extend_newest(
        self,
        series: Series,
        held: list[tuple[int, Value, int, int]] | Moment,
        sample: tuple[int, Value, int, int],
        content: Content,
    ) -> None:
        if isinstance(held, list):
            held.append(sample)
            if len(held) > _HANDFUL:
                series.at_newest = moment = _moment_of(series.kind, held)
                key = series.equipment, series.metric
                self._moments[key] = series, moment
                self._moments.move_to_end(key)
                if len(self._moments) > MOMENTS_MAX:
                    other, left = self._moments.popitem(last=False)[1]
                    if other.at_newest is left:  # else its time has gone on
                        self._spill(other)
            return
        held.put(sample[0], content)
        if len(held) >= MOMENT_SAMPLES_MAX:
            self._spill(series)

    def _spill(self, series: Series) -> None:
        """Keep the newest time of a series no longer: from now on the log is asked."""
        self._spilled += 1
        self.forget_newest(series)

    def forget_newest(self, series: Series) -> None:
        """Leave the newest time to the log; due before a series takes another type, where other contents are equal."""
        self._keep_pending(series)
        if isinstance(series.at_newest, Moment):
            self._moments.pop((series.equipment, series.metric), None)
            if series.at_newest.run[1]:
                self._note_run((series.equipment, series.metric, series.newest_ns), *series.at_newest.run)
        series.at_newest = None

    def _move_newest(self, series: Series, time_ns: int, sample: tuple[int, Value, int, int], *, alone: bool) -> None:
        self._keep_pending(series)
        if time_ns < series.suspect_from_ns and time_ns - series.newest_ns > GAP_NS:
            series.note_gap(time_ns)
        series.newest_ns = time_ns
        series.at_newest = [sample] if alone else None
        series.forget_suspects_up_to(time_ns)

    def _keep_pending(self, series: Series) -> None:
        """The samples at its newest time may be of this payload, in no row yet."""
        held = series.at_newest
        if held:
            known = self._pending_at(series.number, series.newest_ns)
            for ordinal, content in (held if isinstance(held, Moment) else _moment_of(series.kind, held)).items():
                known.put(ordinal, content)

    def _pending_at(self, number: int, time_ns: int) -> Moment:
        moment = self._pending.get((number, time_ns))
        if moment is None:
            moment = self._pending[number, time_ns] = Moment()
        return moment

    # ── what only the log knows ──────────────────────────────────────────────────────────────────────────────────

    def _settle_by_log(self, series: Series, time_ns: int, start: int, content: Content) -> tuple[int, bool]:
        """The ordinal or DUPLICATE, and whether nothing at all stands at that time."""
        self._see_rows()
        self.look_ups += 1
        numbers = (series.number, *series.also_numbers.values())
        tables = [t for n in numbers for t in (self._in_flight.get((n, time_ns)), self._pending.get((n, time_ns))) if t]
        where = series.equipment, series.metric, time_ns
        run = self._runs.get(where)
        ordinal = start
        if run is not None and run[0] <= start < run[1] and not series.also_numbers:
            self._runs.move_to_end(where)
            ordinal = run[1]
            if any(table.holds(content, start, ordinal) for table in tables) or self._index.holds(
                *where, content, first=start, below=ordinal
            ):
                return DUPLICATE, False
        page, seen = _PAGE, bool(tables) or run is not None
        while True:
            below = ordinal + page  # of so many rows, none is above it before all below it are there
            stored = {s.ordinal: s for s in self._index.at(*where, first=ordinal, limit=page)}
            seen = seen or bool(stored)
            while ordinal < below:
                found = next((table[ordinal] for table in tables if ordinal in table), None)
                if found is not None and series.also_numbers:
                    found = _of_kind(series.kind, found)
                elif found is None and ordinal in stored:
                    row = stored[ordinal]
                    found = _content(series.kind, row.value, int(row.quality), row.status_code)
                if found is None or found == content:
                    if ordinal - start >= _PAGE or run is not None:
                        self._note_run(where, start, ordinal + 1)
                    empty = not seen and not (start and self._index.at(*where, limit=1))
                    return (ordinal if found is None else DUPLICATE), empty
                ordinal += 1
            page = min(page * 4, _PAGE_MAX)

    def _note_run(self, where: tuple[str, str, int], first: int, below: int) -> None:
        """Every ordinal in [first, below) is taken, the one that is being given included. Nothing ever frees one."""
        run = self._runs.get(where)
        if run is not None and run[0] <= first <= run[1]:
            first, below = run[0], max(run[1], below)
        elif run is not None and run[1] - run[0] >= below - first:
            return
        self._runs[where] = first, below
        self._runs.move_to_end(where)
        if len(self._runs) > RUNS_MAX:
            self._runs.popitem(last=False)

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


def _moment_of(kind: ValueKind, samples: Sequence[tuple[int, Value, int, int]]) -> Moment:
    return Moment((o, _content(kind, value, quality, code)) for o, value, quality, code in samples)


def _of_kind(kind: ValueKind, content: Content) -> Content:
    """What was recorded under another type, as this one compares it."""
    if kind <= ValueKind.DOUBLE and content[1] is not None:
        return (float(content[1]), None, *content[2:])
    return content


def _enter(table: _Table, rows: Iterable[SampleRow]) -> None:
    for row in rows:
        moment = table.get((row[1], row[2]))
        if moment is None:
            moment = table[row[1], row[2]] = Moment()
        moment.put(row[3], (row[4], row[5], row[6], row[7], row[8]))


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
