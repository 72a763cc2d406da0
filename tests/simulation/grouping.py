"""Rows to payloads: one per device, and one more for each further ordinal of a metric in one ms."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from tests.simulation.plant import EdgePlan
from tests.simulation.world import MS
from uns.sparkplug.edge import EdgeNodeSession
from uns.sparkplug.metrics import DataBatch

if TYPE_CHECKING:
    from tests.simulation.edge import Row


def batches_of(
    plan: EdgePlan, session: EdgeNodeSession, rows: list[Row], *, is_historical: bool
) -> Iterator[tuple[str, DataBatch]]:
    from tests.simulation.edge import properties_of

    groups: dict[tuple[str, int], list[Row]] = {}
    for row in rows:
        groups.setdefault((plan.metrics[row.metric].device_id, row.ordinal), []).append(row)
    for (device_id, _), members in groups.items():
        bindings = session.bindings(device_id)
        members.sort(key=lambda row: row.time_ns)
        batch = DataBatch(bindings=[], values=[], times_ms=[], is_historical=is_historical, properties={})
        for row in members:
            found = properties_of(row.ordinal, row.status_code)
            if found:
                batch.properties[len(batch.values)] = found
            batch.bindings.append(bindings[plan.metrics[row.metric].name])
            batch.values.append(row.value)
            batch.times_ms.append(row.time_ns // MS)
        yield device_id, batch
