"""The totals of a job as the record that a sender of orders is told: :class:`uns.context.records.JobResponse`."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal

from uns.actuals.evidence import EXACT, VALUE_MAX, decimal_of, plain
from uns.actuals.jobs import LotUse
from uns.actuals.totals import JobActuals, QualityActual
from uns.context.records import (
    PRODUCING,
    EquipmentActual,
    Interval,
    JobResponse,
    MaterialActual,
    QualitySummary,
    Quantity,
    ResponseAction,
    ResponseState,
    printable,
)
from uns.context.times import MAX_NS, MIN_NS
from uns.namespace.model import TopicTree
from uns.sparkplug.datatypes import DataType

__all__ = ["QUANTITY_PLACES_MAX", "job_response"]

QUANTITY_PLACES_MAX = 12  # digits after the point of a quantity that is told; what is counted stays exact
_MEASURE_PLACES_MAX = 30  # of a quality value; most of what is smaller is how floats are subtracted
_MEAN_DIGITS = 9  # of a mean: more would only tell how floats are added

_NAMELESS = "?"  # a job whose name is nothing that can be printed
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FINAL = frozenset({ResponseState.COMPLETED, ResponseState.CLOSED, ResponseState.ABORTED})


def job_response(
    actuals: JobActuals,
    tree: TopicTree,
    *,
    response_id: str,
    published_at: datetime,
    source: str = "",
    schedule: str | None = None,
    action: ResponseAction = "add",
    reverses: str | None = None,
    reason: str | None = None,
    revision: int = 0,
) -> JobResponse:
    """The response of a job. Of two with equal arguments the content is equal if and only if the totals are.

    Facts may name things in ways that a record does not take; they are told trimmed and printable.
    """
    good = _quantity(actuals, "good")
    made = [lot for lot in actuals.lots if lot.use in PRODUCING]
    named = made or [lot for lot in actuals.lots if lot.use is None]
    materials = {material for lot in made if (material := _name(lot.material))}
    recipe = "" if actuals.definition is None else actuals.definition.recipe or ""
    work_master, _, version = recipe.partition("@")
    return JobResponse(
        response_id=response_id,
        job_order=_name(actuals.job.job_order) or _NAMELESS,
        work_order=_name(actuals.job.work_order),
        operation=_name(actuals.job.operation),
        schedule=schedule,
        published_at=published_at,
        source=source,
        action=action,
        reverses=reverses,
        reason=reason,
        revision=revision,
        state=actuals.state,
        final=actuals.end_ns is not None and actuals.state in _FINAL,
        actual=Interval(start=_moment(actuals.start_ns), end=_moment(actuals.end_ns)),
        work_master=_name(work_master),
        work_master_version=_name(version),
        material=materials.pop() if len(materials) == 1 else None,
        lot=_name(named[0].lot) if len({lot.lot for lot in named}) == 1 else None,
        good=good,
        scrap=_quantity(actuals, "scrap"),
        rework=_quantity(actuals, "rework"),
        machine_time=_time(actuals.seconds("machine")),
        setup_time=_time(actuals.seconds("setup")),
        labour_time=_time(actuals.seconds("labour")),
        materials=tuple(_materials(actuals.lots, made, good)),
        equipment=tuple(
            EquipmentActual(
                equipment=used.equipment,
                level=tree.equipment[used.equipment].level if used.equipment in tree.equipment else None,
                time=_time(used.seconds),
            )
            for used in actuals.equipment
        ),
        quality=tuple(_summary(quality, tree) for quality in actuals.quality if quality.last is not None),
    )


def _quantity(actuals: JobActuals, counts: str) -> Quantity | None:
    found = actuals.total(counts)
    return None if found is None else Quantity(value=_rounded(found[0]), unit=found[1], unit_as_received=found[1])


def _time(seconds: Decimal | None) -> Quantity | None:
    return None if seconds is None else Quantity(value=seconds, unit="SEC", unit_as_received="SEC")


def _materials(lots: tuple[LotUse, ...], made: list[LotUse], good: Quantity | None) -> list[MaterialActual]:
    """One entry a lot whose material is known. Counters tell how much of it there is only where one lot was made."""
    found: list[MaterialActual] = []
    for lot in lots:
        material = _name(lot.material)
        if material is None or lot.use is None:
            continue
        is_counted = good is not None and lot.use in PRODUCING and len(made) == 1
        found.append(
            MaterialActual(
                material=material,
                use=lot.use,
                other_use=_name(lot.other_use),
                lot=_name(lot.lot),
                quantity=good if is_counted else None,
                basis="measured" if is_counted else None,
            )
        )
    return found


def _summary(quality: QualityActual, tree: TopicTree) -> QualitySummary:
    place = tree.equipment[quality.equipment]
    metrics = tree.classes[place.class_name].metrics if place.class_name is not None else {}
    metric = metrics.get(quality.metric)
    single = metric is not None and metric.datatype is DataType.FLOAT  # 181.3 was said, not 181.3000030517578
    return QualitySummary(
        metric=quality.metric,
        equipment=quality.equipment,
        level=place.level,
        unit=quality.unit or "",
        samples=quality.samples,
        min=_decimal(quality.lowest, single=single),
        mean=None
        if quality.mean is None
        else _rounded(Decimal(f"{quality.mean:.{_MEAN_DIGITS}g}"), _MEASURE_PLACES_MAX),
        max=_decimal(quality.highest, single=single),
        last=_decimal(quality.last, single=single),
        low=_limit(quality.low),
        high=_limit(quality.high),
        out_of_range_s=quality.out_of_range_s,
    )


def _name(text: str | None) -> str | None:
    return (printable(text) or None) if text else None


def _decimal(value: float | None, *, single: bool = False) -> Decimal | None:
    return None if value is None else _rounded(decimal_of(value, single=single), _MEASURE_PLACES_MAX)


def _limit(value: float | None) -> Decimal | None:
    """A limit of a range; one that nothing reaches is none."""
    return None if value is None or abs(value) > VALUE_MAX else _decimal(value)


def _rounded(value: Decimal, places: int = QUANTITY_PLACES_MAX) -> Decimal:
    if int(value.as_tuple().exponent) >= -places:
        return plain(value)
    return plain(EXACT.quantize(value, Decimal(1).scaleb(-places)))


def _moment(time_ns: int | None) -> datetime | None:
    if time_ns is None or time_ns in (MIN_NS, MAX_NS):
        return None
    return _EPOCH + timedelta(microseconds=time_ns // 1000)
