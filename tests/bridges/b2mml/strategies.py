"""Random responses: everything that a record may be."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

from hypothesis import strategies as st

from uns.context.records import (
    EquipmentActual,
    EquipmentLevel,
    Interval,
    JobResponse,
    MaterialActual,
    MaterialUse,
    OperationsType,
    PersonActual,
    QualitySummary,
    Quantity,
    ResponseState,
    quantity,
)
from uns.namespace.units import UNITS

ZONES = st.sampled_from([UTC, timezone(timedelta(hours=-5)), timezone(timedelta(hours=5, minutes=45))])
times = st.datetimes(min_value=datetime(1900, 1, 1), max_value=datetime(2200, 1, 1), timezones=ZONES)
characters = st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"], exclude_characters="\ufffe\uffff")
texts = st.text(characters, min_size=1, max_size=30).map(str.strip).filter(bool)
keys = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._:\-]{0,40}", fullmatch=True)
decimals = st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**20), max_value=10**20, places=6)
units = st.sampled_from(["KG", "EA", "PC", "ST", "L", "H", "MIN", "°C", "BOX", "", *sorted(UNITS)])
quantities = st.builds(quantity, decimals, units) | st.builds(
    Quantity, value=decimals, unit=st.sampled_from(sorted(UNITS))
)


def maybe(strategy: st.SearchStrategy) -> st.SearchStrategy:
    return st.none() | strategy


@st.composite
def intervals(draw: st.DrawFn) -> Interval:
    start, end = draw(maybe(times)), draw(maybe(times))
    return Interval(start=start, end=end) if start is None or end is None or start <= end else Interval(start=start)


materials = st.builds(
    MaterialActual,
    material=texts,
    use=st.sampled_from(MaterialUse),
    other_use=maybe(texts),
    id=st.just("") | texts,
    lot=maybe(texts),
    sublot=maybe(texts),
    quantity=maybe(quantities),
    location=maybe(texts),
    basis=st.sampled_from([None, "measured", "declared", "backflush"]),
    description=maybe(texts),
)
equipment = st.builds(
    EquipmentActual,
    equipment=texts,
    level=maybe(st.sampled_from(EquipmentLevel)),
    use=maybe(texts),
    time=maybe(quantities),
)
persons = st.builds(PersonActual, person=texts, role=maybe(texts), time=maybe(quantities))
qualities = st.builds(
    QualitySummary,
    metric=texts,
    equipment=texts,
    level=st.sampled_from(EquipmentLevel),
    unit=st.sampled_from(["", *sorted(UNITS)]),
    samples=st.integers(0, 10**12),
    **{name: maybe(decimals) for name in ("min", "mean", "max", "last", "low", "high", "out_of_range_s")},
)


def few(strategy: st.SearchStrategy) -> st.SearchStrategy:
    return st.lists(strategy, max_size=3).map(tuple)


@st.composite
def responses(draw: st.DrawFn) -> JobResponse:
    action = draw(st.sampled_from(["add", "replace", "delete"]))
    return draw(
        st.builds(
            JobResponse,
            response_id=keys,
            job_order=texts,
            published_at=times,
            work_order=maybe(texts),
            schedule=maybe(texts),
            operation=maybe(texts),
            source=st.just("") | texts,
            action=st.just(action),
            reverses=st.none() if action == "add" else keys,
            reason=maybe(texts),
            revision=st.integers(0, 10**6),
            kind=st.sampled_from(OperationsType),
            state=st.sampled_from(ResponseState),
            other_state=maybe(texts),
            final=st.booleans(),
            actual=maybe(intervals()),
            work_master=maybe(texts),
            work_master_version=maybe(texts),
            material=maybe(texts),
            lot=maybe(texts),
            good=maybe(quantities),
            scrap=maybe(quantities),
            rework=maybe(quantities),
            scrap_reason=maybe(texts),
            setup_time=maybe(quantities),
            machine_time=maybe(quantities),
            labour_time=maybe(quantities),
            materials=few(materials),
            equipment=few(equipment),
            persons=few(persons),
            quality=few(qualities),
            description=maybe(texts),
        )
    )
