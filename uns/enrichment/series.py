"""Series: what the host keeps in memory of one metric of one equipment."""

from __future__ import annotations

from uns.context.times import MAX_NS, MIN_NS
from uns.enrichment.moments import Moment
from uns.enrichment.samples import Provenance
from uns.enrichment.values import ValueKind, json_text, kind_of
from uns.namespace.model import MetricContract
from uns.sparkplug.datatypes import DataType, Value

__all__ = ["GAP_NS", "Series"]

GAP_NS = 10_000_000_000  # a silence this long is remembered as empty: history may fall into it
GAPS_MAX = 8
SUSPECTS_MAX = 256


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
        "pv_away",
        "pv_away_note",
        "pv_dirty",
        "pv_ordinal",
        "pv_part",
        "pv_provenance",
        "pv_published_ns",
        "pv_quality",
        "pv_stale",
        "pv_stale_note",
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
        # Identity. All samples at newest_ns, (ordinal, value, quality, status_code), a Moment where they are more than
        # a handful; None: only the log knows.
        self.newest_ns = MIN_NS if newest_ns is None else newest_ns
        self.at_newest: list[tuple[int, Value, int, int]] | Moment | None = [] if newest_ns is None else None
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
        self.pv_stale = False  # its source died, until a new value or the news that it lives
        self.pv_away = False  # its source does not live now, whatever was heard before
        self.pv_stale_note = self.pv_away_note = ""  # since when and why, as members of the document

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

    def forget_suspects_up_to(self, time_ns: int) -> None:
        """Time went on past some of them."""
        if self.suspects is not None and time_ns >= self.suspect_from_ns:
            self.suspects = [t for t in self.suspects if t > time_ns]
            self.suspect_from_ns = min(self.suspects, default=MAX_NS)


def _width(gap: tuple[int, int]) -> int:
    return gap[1] - gap[0]
