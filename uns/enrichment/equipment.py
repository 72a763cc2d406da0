"""What the pipeline keeps of one equipment: its series, its tiling of context, its place in the log."""

from __future__ import annotations

from itertools import chain

from uns.context.times import MIN_NS
from uns.enrichment.intervals import Tiling
from uns.enrichment.series import Series
from uns.enrichment.ticks import Documents
from uns.namespace.model import Equipment
from uns.namespace.topics import EquipmentTopics

__all__ = ["EquipmentState"]


class EquipmentState:
    """Mutable state of one equipment. ``tiling`` is None until its first sample is recorded."""

    __slots__ = (
        "documents",
        "enterprise",
        "event_ns",
        "foreign_in_flight_times",
        "foreign_pending_times",
        "id",
        "in_flight_times",
        "last_to",
        "metrics",
        "newest_ns",
        "path",
        "pending_times",
        "tiling",
        "topics",
    )

    def __init__(self, enterprise: str, equipment: Equipment, topics: EquipmentTopics) -> None:
        self.id = equipment.id
        self.enterprise = enterprise
        self.path = equipment.path_text
        self.topics = topics
        self.documents = Documents(enterprise, equipment)
        self.metrics: dict[str, Series] = {}
        self.tiling: Tiling | None = None
        self.newest_ns = MIN_NS  # of all recorded samples, suspect ones too: nothing lies above it
        self.last_to = 0  # log position that the last published message about it ended with
        self.pending_times: list[list[int]] = []  # source times of rows that the index does not have yet
        self.in_flight_times: list[list[int]] = []
        self.foreign_pending_times: list[list[int]] = []  # of these, the ones from foreign nodes
        self.foreign_in_flight_times: list[list[int]] = []
        self.event_ns: dict[str, int] = {}  # when an event of a type went out last

    def pending_count(self, from_ns: int, to_ns: int) -> int:
        """Samples in [from, to) that are recorded and not committed."""
        return _count_between(from_ns, to_ns, self.in_flight_times, self.pending_times)

    def foreign_pending_count(self, from_ns: int, to_ns: int) -> int:
        """The same of foreign nodes' samples."""
        return _count_between(from_ns, to_ns, self.foreign_in_flight_times, self.foreign_pending_times)

    def drained(self) -> None:
        """What was pending is in flight."""
        self.in_flight_times, self.pending_times = self.pending_times, []
        self.foreign_in_flight_times, self.foreign_pending_times = self.foreign_pending_times, []

    def committed(self) -> None:
        """The index answers for what was in flight."""
        self.in_flight_times = []
        self.foreign_in_flight_times = []


def _count_between(from_ns: int, to_ns: int, *batches: list[list[int]]) -> int:
    return sum(from_ns <= time_ns < to_ns for times in chain(*batches) for time_ns in times)
