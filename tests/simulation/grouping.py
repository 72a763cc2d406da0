"""Rows to payloads by the gateway's own rules (:mod:`edge_nodes.backlog`)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from edge_nodes.backlog import plan_payloads
from edge_nodes.rows import StoredRows
from tests.simulation.plant import EdgePlan
from tests.simulation.world import MS
from uns.source import TimeSource
from uns.sparkplug.datatypes import Value
from uns.sparkplug.edge import EdgeNodeSession
from uns.sparkplug.metrics import DataBatch

__all__ = ["Row", "batches_of"]


class Row(NamedTuple):
    """One stored sample."""

    metric: int
    time_ns: int
    ordinal: int
    value: Value
    status_code: int


def batches_of(
    plan: EdgePlan, session: EdgeNodeSession, rows: Sequence[Row], *, is_historical: bool
) -> Iterator[tuple[str, DataBatch]]:
    """The payloads of rows in store order, with the device of each."""
    stored = StoredRows(
        next_id=0,
        metrics=[row.metric for row in rows],
        times_ms=[row.time_ns // MS for row in rows],
        ordinals=[row.ordinal for row in rows],
        values=[row.value for row in rows],
        status_codes=[row.status_code for row in rows],
        time_sources=[TimeSource.DEVICE] * len(rows),
    )
    numbers = set(stored.metrics)
    metrics = {number: plan.metrics[number] for number in numbers}
    by_device = {device_id: session.bindings(device_id) for device_id in {m.device_id for m in metrics.values()}}
    for planned in plan_payloads(
        stored,
        device_of={number: metric.device_id for number, metric in metrics.items()},
        time_source_of=dict.fromkeys(numbers, TimeSource.DEVICE),
        bindings={number: by_device[metric.device_id][metric.name] for number, metric in metrics.items()},
        is_historical=is_historical,
        metrics_max=plan.metrics_max,
    ):
        assert planned.device_id is not None
        yield planned.device_id, planned.batch
