"""What the PLC wrote, against what the host recorded."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec

from tests.faults.counter_plc import STEP

__all__ = ["Comparison", "Oracle", "Row", "compare", "read_oracle"]


class Oracle(msgspec.Struct, frozen=True):
    """The scans of a counter PLC: number and source time of each."""

    tags: int
    scans: dict[int, int]  # scan -> time_ms
    paused_at: int | None  # the last scan, when it has paused since

    def samples(self) -> Iterable[Row]:
        """Every value written while counting."""
        for scan, time_ms in self.scans.items():
            for tag in range(self.tags):
                yield Row(tag, tag * STEP + scan, time_ms)


class Row(msgspec.Struct, frozen=True, order=True):
    """One value of one tag at its source time."""

    tag: int
    value: int
    time_ms: int


def read_oracle(path: Path) -> Oracle:
    """Read the file a counter PLC writes; a last line without its end is left out."""
    tags, scans, paused = 0, {}, None
    text = path.read_text() if path.exists() else ""
    for line in text[: text.rfind("\n") + 1].splitlines():
        word, *numbers = line.split()
        if word == "ready":
            tags = int(numbers[0])
        elif word == "scan":
            scans[int(numbers[0])] = int(numbers[1])
            paused = None
        elif word == "paused":
            paused = int(numbers[0])
    return Oracle(tags, scans, paused)


class Comparison(msgspec.Struct, frozen=True):
    """How the record log differs from the oracle."""

    written: int
    recorded: int
    missing: list[Row]  # written, not recorded
    foreign: list[Row]  # recorded, never written
    repeated: list[Row]  # recorded more than once

    def __str__(self) -> str:
        def some(rows: Sequence[Row]) -> str:
            return f"{len(rows)}" + (f" (first {rows[0]}, last {rows[-1]})" if rows else "")

        return (
            f"written {self.written}, recorded {self.recorded}, missing {some(self.missing)}, "
            f"foreign {some(self.foreign)}, repeated {some(self.repeated)}"
        )


def compare(oracle: Oracle, recorded: Iterable[Row]) -> Comparison:
    """Match by tag, value and source time. Scan 0, the value before counting, is no part of it."""
    counts = Counter(row for row in recorded if row.value % STEP)
    written = set(oracle.samples())
    return Comparison(
        written=len(written),
        recorded=counts.total(),
        missing=sorted(written - counts.keys(), key=lambda row: (row.time_ms, row.tag)),
        foreign=sorted(counts.keys() - written, key=lambda row: (row.time_ms, row.tag)),
        repeated=sorted((row for row, times in counts.items() if times > 1), key=lambda row: (row.time_ms, row.tag)),
    )
