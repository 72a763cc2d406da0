"""What happens in the demo besides the values: which facts are told, when they were true, and when they are told.

Line 2 is idle until the first of its two orders has come; between them it is idle for a while. The second order's start
is told late, as a terminal that was offline tells it; its lot is scanned wrong and corrected. All of it fits into the
seconds that the demo runs.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import msgspec

from uns.context.facts import Fact

__all__ = [
    "FIRST_LOT",
    "FIRST_ORDER",
    "IDLE_AT",
    "SECOND_AT",
    "SECOND_LOT",
    "SECOND_ORDER",
    "Told",
    "first_start",
    "opening",
    "story",
]

FIRST_ORDER, SECOND_ORDER, PACKING_ORDER = "WO-10234", "WO-10235", "WO-10301"
FIRST_LOT, SECOND_LOT, MISREAD_LOT = "L-8891", "L-8892", "L-8829"
PROGRAMS = ("O1001", "O1002", "O2040")  # what the simulated CNC control runs
LATE_S_MAX = 10.0

IDLE_AT, SECOND_AT, CORRECTED_AT = 0.45, 0.55, 0.80  # parts of the demo's time
LATE_PART = 0.20


class Told(msgspec.Struct, frozen=True):
    """A fact and when it is told, in seconds after the demo's clock started."""

    at_s: float
    fact: Fact
    says: str  # for people


def opening(now_ns: int, *, run: str = "demo") -> list[Told]:
    """What is known before the first value is read: what runs, what does not, and what each CNC program makes.

    ``run`` stands in the facts' ids: told twice into one store, other facts need other names.
    """
    now = _moment(now_ns)
    told = [
        Told(0, _job(f"mes:{run}:line2:0", now, None), "line 2 is idle"),
        Told(
            0,
            _job(f"mes:{run}:line7:1", now, PACKING_ORDER, equipment="line7", operation="0020"),
            f"{PACKING_ORDER} runs on line 7",
        ),
    ]
    for number, program in enumerate(PROGRAMS, start=1):
        order = f"WO-104{number:02d}"
        fact = _job(
            f"mes:{run}:cell3:{number}",
            now,
            order,
            equipment="mill1",
            operation="0010",
            recipe=program,
            state="released",
        )
        told.append(Told(0, fact, f"{order} is released for program {program}"))
    return told


def first_start(now_ns: int, *, run: str = "demo") -> list[Told]:
    """The first order is started at the line's terminal: its lot, then the job."""
    now = _moment(now_ns)
    return [
        Told(0, _lot(f"scan:{run}:reactor4:1", "1", now, FIRST_LOT), f"lot {FIRST_LOT} is in reactor 4"),
        Told(
            0,
            _job(f"mes:{run}:line2:1", now, FIRST_ORDER, operation="0010", recipe="RCP-7@3"),
            f"{FIRST_ORDER} is started at the terminal of line 2",
        ),
    ]


def story(start_ns: int, seconds: float, *, run: str = "demo") -> list[Told]:
    """What is told while it runs, in the order of telling. ``start_ns`` is when the demo's clock started."""
    start = _moment(start_ns)
    idle_at, second_at, corrected_at = (part * seconds for part in (IDLE_AT, SECOND_AT, CORRECTED_AT))
    late_s = min(LATE_S_MAX, LATE_PART * seconds)
    second = start + timedelta(seconds=second_at)
    scan = f"scan:{run}:reactor4:2"
    told = [
        Told(
            idle_at,
            _job(f"mes:{run}:line2:2", start + timedelta(seconds=idle_at), None),
            f"{FIRST_ORDER} ends, line 2 is idle",
        ),
        Told(
            second_at,
            _lot(scan, "1", second, MISREAD_LOT),
            f"lot {MISREAD_LOT} is scanned at reactor 4",
        ),
        Told(
            second_at + late_s,
            _job(f"mes:{run}:line2:3", second, SECOND_ORDER, operation="0010", recipe="RCP-7@3"),
            f"{SECOND_ORDER} started {late_s:.0f} s ago, as MES says only now",
        ),
        Told(
            corrected_at,
            _lot(scan, "2", second, SECOND_LOT, reason=f"label misread as {MISREAD_LOT}"),
            f"correction: the lot was {SECOND_LOT}, not {MISREAD_LOT}",
        ),
    ]
    return sorted(told, key=lambda each: each.at_s)


def _job(
    fact_id: str,
    valid_from: datetime,
    work_order: str | None,
    *,
    equipment: str = "line2",
    operation: str | None = None,
    recipe: str | None = None,
    state: str = "running",
) -> Fact:
    return Fact(
        id=fact_id,
        kind="job",
        equipment=equipment,
        valid_from=valid_from,
        source="mes",
        source_rev="1",
        by="mes-demo",
        state=None if work_order is None else state,
        job_order=None if work_order is None else f"{work_order}/{operation}",
        work_order=work_order,
        operation=operation,
        recipe=recipe,
    )


def _lot(fact_id: str, source_rev: str, valid_from: datetime, lot: str, *, reason: str | None = None) -> Fact:
    return Fact(
        id=fact_id,
        kind="lot",
        equipment="reactor4",
        valid_from=valid_from,
        source="scanner",
        source_rev=source_rev,
        action="add" if reason is None else "change",
        by="scanner-demo",
        reason=reason,
        lot=lot,
        material="FG-77",
        use="Produced",
    )


def _moment(now_ns: int) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=now_ns // 1000)
