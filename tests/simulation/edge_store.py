"""The store of a simulated gateway: a dictionary that survives."""

from __future__ import annotations

from bisect import bisect_left

from edge_nodes.ordinals import RECENT_SAMPLES_MAX, RecentSample
from edge_nodes.reduction import Rows
from tests.simulation.grouping import Row
from uns.delivery.edge import DeleteRows
from uns.sparkplug.sequences import next_bd_seq

__all__ = ["EdgeStore"]


class EdgeStore:
    """What survives a crash. Each method is one transaction."""

    def __init__(self) -> None:
        self.rows: dict[int, Row] = {}
        self.ids: list[int] = []  # ascending
        self.next_id = 1
        self.bd_seq: int | None = None
        self.recent: dict[int, list[RecentSample]] = {}
        self.read = self.reduced = self.stored = self.refused = self.confirmed = self.dropped = 0

    @property
    def waiting(self) -> int:
        return len(self.rows)

    def next_bd_seq(self) -> int:
        self.bd_seq = 0 if self.bd_seq is None else next_bd_seq(self.bd_seq)
        return self.bd_seq

    def commit(
        self, rows: Rows, deletions: list[DeleteRows], *, rows_max: int | None = None
    ) -> tuple[list[Row], list[Row], list[Row]]:
        """Store rows with their counts, delete what was confirmed, drop the oldest beyond a quota; give back all."""
        deleted = []
        for deletion in deletions:
            first, last = bisect_left(self.ids, deletion.from_id), bisect_left(self.ids, deletion.below_id)
            deleted += [self.rows.pop(row_id) for row_id in self.ids[first:last]]
            del self.ids[first:last]
        self.confirmed += len(deleted)
        self.read += rows.read
        self.reduced += rows.reduced
        self.refused += rows.refused
        stored = [
            Row(*columns)
            for columns in zip(rows.metrics, rows.times_ns, rows.ordinals, rows.values, rows.status_codes, strict=True)
        ]
        self.stored += len(stored)
        for row in stored:
            self.rows[self.next_id] = row
            self.ids.append(self.next_id)
            self.next_id += 1
            recent = self.recent.setdefault(row.metric, [])
            recent.append((row.time_ns, row.ordinal, row.value, row.status_code))
            del recent[:-RECENT_SAMPLES_MAX]
        dropped = [] if rows_max is None else [self.rows.pop(row_id) for row_id in self.ids[:-rows_max]]
        del self.ids[: len(dropped)]
        self.dropped += len(dropped)
        return stored, deleted, dropped

    def select(self, from_id: int, below_id: int, limit: int) -> tuple[list[Row], int]:
        """The oldest rows of a range, and where reading goes on."""
        ids = self.ids
        first, last = bisect_left(ids, from_id), bisect_left(ids, below_id)
        if last - first > limit:
            last = first + limit
            below_id = ids[last - 1] + 1
        return [self.rows[row_id] for row_id in ids[first:last]], below_id
