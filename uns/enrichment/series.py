"""Series: what the host keeps in memory of one metric of one equipment, and the identity of its samples.

The key of a sample is (enterprise, equipment, metric, source_time_ns, ordinal). It starts at the ordinal the payload
says, else at its place among equal (metric, ms) in the payload; the same value and status at that key is a duplicate,
another value takes the next ordinal.

A live sample is newer than everything of its series, so that no look-up is needed. History finds an empty stretch of
time where nothing was recorded while it lasted. Only what is left asks the rows not yet committed, then the record log.
"""

from __future__ import annotations

from collections.abc import Sequence

from uns.context.times import MAX_NS, MIN_NS
from uns.enrichment.plan import SampleRow, columns_of
from uns.enrichment.samples import Provenance, RecordIndex
from uns.enrichment.values import ValueKind, json_text, kind_of
from uns.namespace.model import MetricContract
from uns.sparkplug.datatypes import DataType, Value

__all__ = ["DUPLICATE", "GAP_NS", "Identity", "Series"]

DUPLICATE = -1
GAP_NS = 10_000_000_000  # a silence this long is remembered as empty: history may fall into it
GAPS_MAX = 8
SUSPECTS_MAX = 256

Content = tuple[float | None, int | None, str | None, int, int]  # value columns, quality, status_code


class Series:
    """One metric of one equipment. Fields that begin with ``pv_`` belong to the board of present values."""

    __slots__ = (
        "also_numbers",
        "at_newest",
        "batch",
        "contract",
        "equipment",
        "gaps",
        "kind",
        "metric",
        "newest_ns",
        "number",
        "prefix",
        "provides",
        "pv_dirty",
        "pv_ordinal",
        "pv_part",
        "pv_provenance",
        "pv_published_ns",
        "pv_quality",
        "pv_stale",
        "pv_time_ns",
        "pv_topic",
        "suspect_from_ns",
        "suspects",
    )

    def __init__(self, number: int, equipment: str, contract: MetricContract, newest_ns: int | None) -> None:
        self.equipment = equipment
        self.metric = contract.name
        self.also_numbers: dict[tuple[DataType, str | None], int] = {}  # of this metric with another type or unit
        self.retype(number, contract)
        # Identity. All samples at newest_ns, (ordinal, value, quality, status_code); None: only the log knows.
        self.newest_ns = MIN_NS if newest_ns is None else newest_ns
        self.at_newest: list[tuple[int, Value, int, int]] | None = [] if newest_ns is None else None
        self.batch = 0  # the batch that touched it last
        self.gaps: list[tuple[int, int]] | None = None  # open stretches of time without a sample
        self.suspects: list[int] | None = None  # times of samples from the future, which do not move newest_ns
        self.suspect_from_ns = MAX_NS
        # Present value
        self.pv_time_ns = MIN_NS
        self.pv_ordinal = 0
        self.pv_part = ""
        self.pv_quality = 0
        self.pv_provenance: Provenance | None = None
        self.pv_published_ns = MIN_NS
        self.pv_topic: str | None = None
        self.pv_dirty = False
        self.pv_stale = False

    def retype(self, number: int, contract: MetricContract) -> None:
        """Take another definition of the same metric; its identity goes on."""
        self.number = number
        self.contract = contract
        self.kind: ValueKind = kind_of(contract.datatype)
        self.provides = contract.provides if contract.role == "context" else None
        unit = "" if contract.unit is None else f'"unit":{json_text(contract.unit)},'
        self.prefix = f'{{"metric":{json_text(contract.name)},"type":"{contract.datatype.label}",{unit}"value":'

    def note_gap(self, to_ns: int) -> None:
        """Nothing was recorded between newest_ns and ``to_ns``."""
        if self.gaps is None:
            self.gaps = []
        self.gaps.append((self.newest_ns, to_ns))
        if len(self.gaps) > GAPS_MAX:
            self.gaps.remove(min(self.gaps, key=_width))

    def is_in_gap(self, time_ns: int) -> bool:
        """Whether nothing can be recorded at that time; the gap is cut there, for the sample that follows."""
        gaps = self.gaps
        if not gaps:
            return False
        for index, (lo, hi) in enumerate(gaps):
            if lo < time_ns < hi:
                below, above = (lo, time_ns), (time_ns, hi)
                keep = [part for part in (below, above) if _width(part) > GAP_NS] or [above]
                gaps[index : index + 1] = keep
                if len(gaps) > GAPS_MAX:
                    gaps.remove(min(gaps, key=_width))
                return True
        return False

    def note_suspect(self, time_ns: int) -> None:
        """A sample from the future was recorded: from there on only a look-up tells."""
        if self.suspects is None and self.suspect_from_ns == MAX_NS:
            self.suspects = []
        self.suspect_from_ns = min(self.suspect_from_ns, time_ns)
        if self.suspects is not None:
            self.suspects.append(time_ns)
            if len(self.suspects) > SUSPECTS_MAX:
                self.suspects = None  # too many to tell which are left: suspect_from_ns stays where it is


def _width(gap: tuple[int, int]) -> int:
    return gap[1] - gap[0]


class Identity:
    """Decides which samples are new. Rows of plans that are not yet committed are looked through here."""

    def __init__(self, index: RecordIndex) -> None:
        self._index = index
        self._rows: list[SampleRow] = []  # of the plan being made
        self._rows_seen = 0
        self._pending: dict[tuple[int, int], dict[int, Content]] = {}
        self._in_flight: dict[tuple[int, int], dict[int, Content]] = {}
        self._in_flight_rows: list[SampleRow] = []
        self.lookups = 0

    def plan_started(self, rows: list[SampleRow]) -> None:
        """Rows from now on go into another list; those before are in flight until :meth:`committed`."""
        self._in_flight = self._pending
        self._in_flight_rows = self._rows[self._rows_seen :]
        self._rows, self._rows_seen, self._pending = rows, 0, {}

    def committed(self) -> None:
        """What was in flight is in the index now."""
        self._in_flight = {}
        self._in_flight_rows = []

    def settle(
        self, series: Series, time_ns: int, start: int, sample: tuple[Value, int, int], *, batch: int, suspect: bool
    ) -> tuple[int, bool]:
        """The ordinal of a sample that is not simply newer, or DUPLICATE; and whether another value stood there."""
        value, quality, status_code = sample
        existing = self._existing(series, time_ns)
        content: Content = (*columns_of(value), quality, status_code)
        ordinal = start
        while ordinal in existing:
            if existing[ordinal] == content:
                return DUPLICATE, False
            ordinal += 1
        if time_ns == series.newest_ns and series.at_newest is not None:
            series.at_newest.append((ordinal, value, quality, status_code))
        elif time_ns > series.newest_ns and not suspect:
            self._move_newest(series, time_ns, (ordinal, value, quality, status_code), alone=not existing)
        elif time_ns > series.newest_ns:
            series.note_suspect(time_ns)
        series.batch = batch
        # In no row yet, while a later sample of this payload may ask.
        self._pending.setdefault((series.number, time_ns), {})[ordinal] = content
        return ordinal, ordinal != start

    def _move_newest(self, series: Series, time_ns: int, sample: tuple[int, Value, int, int], *, alone: bool) -> None:
        if series.at_newest:
            # The samples it leaves behind may be of this payload, in no row yet.
            known = self._pending.setdefault((series.number, series.newest_ns), {})
            for ordinal, value, quality, status_code in series.at_newest:
                known[ordinal] = (*columns_of(value), quality, status_code)
        if time_ns < series.suspect_from_ns and time_ns - series.newest_ns > GAP_NS:
            series.note_gap(time_ns)
        series.newest_ns = time_ns
        series.at_newest = [sample] if alone else None
        if series.suspects is not None and time_ns >= series.suspect_from_ns:
            series.suspects = [t for t in series.suspects if t > time_ns]
            series.suspect_from_ns = min(series.suspects, default=MAX_NS)

    def _existing(self, series: Series, time_ns: int) -> dict[int, Content]:
        if time_ns == series.newest_ns and series.at_newest is not None:
            return {o: (*columns_of(v), q, s) for o, v, q, s in series.at_newest}
        key = (series.number, time_ns)
        if series.newest_ns < time_ns < series.suspect_from_ns:
            return dict(self._pending.get(key, ()))
        if series.is_in_gap(time_ns):
            return dict(self._pending.get(key, ()))
        self._see_rows()
        found: dict[int, Content] = {}
        self.lookups += 1
        for stored in self._index.at(series.equipment, series.metric, time_ns):
            found[stored.ordinal] = (*columns_of(stored.value), int(stored.quality), stored.status_code)
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


def _enter(table: dict[tuple[int, int], dict[int, Content]], rows: Sequence[SampleRow]) -> None:
    for row in rows:
        table.setdefault((row[1], row[2]), {})[row[3]] = (row[4], row[5], row[6], row[7], row[8])
