"""What goes into the next DATA payloads, from rows in store order. Pure.

Rows are grouped by device and sorted by time inside a payload. Rows of one metric and millisecond go into different
payloads: a host numbers what it finds together. A payload carries at most ``metrics_max`` samples and about
``PAYLOAD_BYTES_MAX`` bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

import msgspec

from edge_nodes.rows import StoredRows
from uns.source import PROPERTY_TIME_SOURCE, TimeSource
from uns.sparkplug.datatypes import DataType
from uns.sparkplug.metrics import (
    PROPERTY_ORDINAL,
    PROPERTY_QUALITY,
    PROPERTY_STATUS_CODE,
    DataBatch,
    MetricBinding,
    Property,
)

__all__ = ["PAYLOAD_BYTES_MAX", "PlannedPayload", "plan_payloads", "sample_properties"]

PAYLOAD_BYTES_MAX = 64_000
SAMPLE_BYTES = 24  # alias, time, value and their tags
PROPERTIES_BYTES = 60
_PROPERTIES_CACHED = 4096
QUALITY_BAD = 0  # tck-id-payloads-propertyset-quality-value-value
IS_BAD = 0x80000000  # OPC UA severity


class PlannedPayload(msgspec.Struct):
    """One NDATA (``device_id`` None) or DDATA."""

    device_id: str | None
    batch: DataBatch


def plan_payloads(
    rows: StoredRows,
    *,
    device_of: Mapping[int, str | None],
    time_source_of: Mapping[int, int],
    bindings: Mapping[int, MetricBinding],
    is_historical: bool,
    metrics_max: int,
) -> list[PlannedPayload]:
    """All payloads of ``rows``, in the order in which they have to be sent."""
    by_device: dict[str | None, list[int]] = {}
    devices = [device_of[metric] for metric in rows.metrics]
    first = devices[0] if devices else None
    if not devices:
        return []
    if devices.count(first) == len(devices):
        by_device[first] = list(range(len(devices)))
    else:
        for index, device in enumerate(devices):
            by_device.setdefault(device, []).append(index)
    payloads = []
    for device, indices in by_device.items():
        for part in _parts(rows, indices, metrics_max):
            batch = _batch(rows, part, bindings, time_source_of, is_historical=is_historical)
            payloads.append(PlannedPayload(device, batch))
    return payloads


def _parts(rows: StoredRows, indices: list[int], metrics_max: int) -> list[list[int]]:
    metrics, values = rows.metrics, rows.values
    if (
        len(indices) <= metrics_max
        and len({metrics[i] for i in indices}) == len(indices)
        and not any(isinstance(values[i], str | bytes) for i in indices)
    ):
        return [indices]
    parts: list[list[int]] = []
    part: list[int] = []
    keys: set[tuple[int, int]] = set()
    size = 0
    for index in indices:
        value = values[index]
        sample_size = SAMPLE_BYTES
        if isinstance(value, str | bytes):
            sample_size += len(value) if isinstance(value, bytes) else len(value.encode())
        if rows.ordinals[index] or rows.status_codes[index]:
            sample_size += PROPERTIES_BYTES
        key = (metrics[index], rows.times_ms[index])
        if part and (len(part) >= metrics_max or key in keys or size + sample_size > PAYLOAD_BYTES_MAX):
            parts.append(part)
            part, keys, size = [], set(), 0
        part.append(index)
        keys.add(key)
        size += sample_size
    parts.append(part)
    return parts


def _batch(
    rows: StoredRows,
    part: list[int],
    bindings: Mapping[int, MetricBinding],
    time_source_of: Mapping[int, int],
    *,
    is_historical: bool,
) -> DataBatch:
    times_ms = rows.times_ms
    part = sorted(part, key=times_ms.__getitem__)  # stable: per metric in store order
    metrics = rows.metrics
    ordinals, status_codes, time_sources = rows.ordinals, rows.status_codes, rows.time_sources
    properties: dict[int, tuple[Property, ...]] = {}
    for position, i in enumerate(part):
        usual = time_sources[i] == time_source_of[metrics[i]]
        if ordinals[i] or status_codes[i] or not usual:
            properties[position] = _properties(ordinals[i], status_codes[i], None if usual else time_sources[i])
    return DataBatch(
        bindings=[bindings[metrics[i]] for i in part],
        values=[rows.values[i] for i in part],
        times_ms=[times_ms[i] for i in part],
        is_historical=is_historical,
        properties=properties,
    )


def sample_properties(ordinal: int, status_code: int, time_source: int | None = None) -> tuple[Property, ...]:
    """What a sample says beside its value; ``time_source`` only where it is not the one of the birth."""
    found: list[Property] = []
    if ordinal:
        found.append(Property(PROPERTY_ORDINAL, DataType.UINT32, ordinal))
    if status_code & IS_BAD:
        found.append(Property(PROPERTY_QUALITY, DataType.INT32, QUALITY_BAD))
    if status_code:
        found.append(Property(PROPERTY_STATUS_CODE, DataType.UINT32, status_code))
    if time_source is not None:
        found.append(Property(PROPERTY_TIME_SOURCE, DataType.STRING, TimeSource(time_source).label))
    return tuple(found)


_properties = lru_cache(_PROPERTIES_CACHED)(sample_properties)
