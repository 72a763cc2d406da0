"""A performance document beside what the log says now: where they differ, field by field."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import msgspec

from uns.context.records import JobResponse, Quantity

__all__ = ["Difference", "differences", "question"]

_QUANTITIES = ("good", "scrap", "rework", "setup_time", "machine_time", "labour_time")


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """What the document says, and what the log says; None where one says nothing."""

    field: str
    file: str | None
    now: str | None


def question(told: JobResponse) -> JobResponse:
    """As much of a response as is needed to ask what became of it."""
    return JobResponse(
        response_id=told.response_id,
        job_order=told.job_order,
        work_order=told.work_order,
        operation=told.operation,
        published_at=told.published_at,
        source=told.source,
        actual=told.actual,
        equipment=told.equipment,
    )


def differences(told: JobResponse, now: JobResponse | None) -> list[Difference]:
    """What a person would call different; ``now`` None: nothing says any more that the job ran.

    Keys, times of publication, and what the order said (schedule, units as its sender books them) are not compared.
    """
    if told.action == "delete":
        return [] if now is None else [Difference(field="job", file="taken back", now="it ran")]
    if now is None:
        return [Difference(field="job", file="it ran", now="taken back: nothing says that it ran")]
    before, after = dict(_figures(told)), dict(_figures(now))
    return [
        Difference(field=name, file=before.get(name), now=after.get(name))
        for name in dict.fromkeys((*before, *after))
        if before.get(name) != after.get(name)
    ]


def _figures(response: JobResponse) -> Iterator[tuple[str, str]]:
    yield "state", response.state.value
    actual = response.actual
    if actual is not None and actual.start is not None:
        yield "start", _moment(actual.start)
    if actual is not None and actual.end is not None:
        yield "end", _moment(actual.end)
    if response.lot is not None:
        yield "lot", response.lot
    for name in _QUANTITIES:
        amount: Quantity | None = getattr(response, name)
        if amount is not None:
            yield name, _amount(amount)
    yield from _parts(response)


def _parts(response: JobResponse) -> Iterator[tuple[str, str]]:
    for used in sorted(response.equipment, key=lambda one: one.equipment):
        yield f"time of {used.equipment}", "" if used.time is None else _amount(used.time)
    for made in response.materials:
        name = f"{made.use.value} {made.material}" + (f" lot {made.lot}" if made.lot else "")
        yield name, "" if made.quantity is None else _amount(made.quantity)
    for quality in response.quality:
        for figure in ("min", "mean", "max", "last", "out_of_range_s"):
            value = getattr(quality, figure)
            if value is not None:
                yield f"{figure} of {quality.equipment}/{quality.metric}", f"{value:f}"


def _amount(amount: Quantity) -> str:
    return f"{amount.value:f} {amount.unit}".strip()


def _moment(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")
