"""Metrics that the definition no longer has, while values of them wait: births announce them until all is confirmed.

A birth is the present definition and, with the property ``retired``, every metric whose values still wait. Where the
definition has the name with another type, the old one goes as ``name@type`` (no tree allows an ``@`` in a name). Pure.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

import msgspec

from edge_nodes.backlog import sample_properties
from edge_nodes.rows import LastSample, MetricName
from uns.namespace.mapping import RETIRED, RETYPED, UNIT_CODE
from uns.source import TimeSource
from uns.sparkplug.datatypes import DataType
from uns.sparkplug.metrics import BirthMetric, Property

__all__ = ["RetiredMetric", "retired_birth", "retired_metrics"]


class RetiredMetric(msgspec.Struct, frozen=True):
    """A metric of an earlier definition, under its number in the store."""

    number: int
    was: MetricName
    name: str  # in births: its old name, or name@type
    unit: str | None = None  # UNECE code, of the last definition that had it


def retired_metrics(
    waiting: Collection[MetricName],
    registered: Mapping[int, MetricName],
    current: Iterable[MetricName],
    *,
    units: Mapping[int, str] | None = None,
) -> list[RetiredMetric]:
    """The metrics of ``waiting`` that ``current`` has not, with the names under which they are announced.

    ``registered`` is all that the store ever had: of several types of a name that is not defined any more, the newest
    keeps the name. So a metric is called the same at every birth under one definition, whatever else still waits.
    ``units`` are the last known ones, by number.
    """
    known = set(current)
    units = units or {}
    holders = {(name.device_id, name.name): name for _, name in sorted(registered.items())}
    holders |= {(name.device_id, name.name): name for name in known}
    return [
        RetiredMetric(
            number,
            name,
            name.name if holders[name.device_id, name.name] == name else _retyped(name),
            units.get(number),
        )
        for number, name in sorted(registered.items())
        if name in waiting and name not in known
    ]


def retired_birth(metric: RetiredMetric, sample: LastSample | None) -> BirthMetric:
    """How a birth announces it: old type and unit, last stored sample, and that it is no more."""
    about = [Property(RETIRED, DataType.BOOLEAN, True)]
    if metric.unit is not None:
        about.append(Property(UNIT_CODE, DataType.STRING, metric.unit))
    if sample is None:
        return BirthMetric(name=metric.name, datatype=metric.was.datatype, properties=tuple(about))
    time_ns, ordinal, value, status_code, time_source = sample
    clock = None if time_source == TimeSource.DEVICE else time_source
    return BirthMetric(
        name=metric.name,
        datatype=metric.was.datatype,
        value=value,
        timestamp_ms=time_ns // 1_000_000,
        properties=(*about, *sample_properties(ordinal, status_code, clock)),
    )


def _retyped(name: MetricName) -> str:
    return f"{name.name}{RETYPED}{name.datatype.label}"
