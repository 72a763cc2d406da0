"""Stored samples as the edge's parts hand them to one another. Pure."""

from __future__ import annotations

import msgspec

from uns.sparkplug.datatypes import DataType, Value

__all__ = ["GAP", "LastSample", "MetricName", "StoredRows"]

LastSample = tuple[int, int, Value, int, int]  # time_ns, ordinal, value, status_code, time_source
GAP = 0  # the number of the metric uns/gap of the node itself


class MetricName(msgspec.Struct, frozen=True):
    """What a number in the store stands for. A retyped metric gets a number of its own."""

    device_id: str
    name: str
    datatype: DataType


class StoredRows(msgspec.Struct):
    """Rows in order of their ids, as columns. ``next_id`` is where reading goes on."""

    next_id: int
    metrics: list[int] = []
    times_ms: list[int] = []
    ordinals: list[int] = []
    values: list[Value] = []
    status_codes: list[int] = []
    time_sources: list[int] = []
    first_id: int = 0

    def __len__(self) -> int:
        return len(self.metrics)
