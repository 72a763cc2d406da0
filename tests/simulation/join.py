"""From raw log to records: what the host of the simulation writes down, and how a restart goes on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tests.simulation.plant import Key, Sample
from uns.namespace.model import TopicTree
from uns.sparkplug import codec
from uns.sparkplug.aliases import AliasTable
from uns.sparkplug.messages import DataUnreadable
from uns.sparkplug.metrics import PROPERTY_ORDINAL, PROPERTY_STATUS_CODE, DataPayload

if TYPE_CHECKING:
    from tests.simulation.host import RawRow

__all__ = ["Joiner", "RecordStore", "keys_of"]


def keys_of(device_id: str, data: DataPayload) -> Iterator[tuple[Key, Sample]]:
    """The samples of a payload with their keys (design 4)."""
    seen: dict[tuple[str, int], int] = {}
    for index, binding in enumerate(data.bindings):
        time_ms = data.times_ms[index]
        place = seen.get((binding.name, time_ms), 0)
        seen[binding.name, time_ms] = place + 1
        properties = data.properties.get(index, {})
        ordinal = properties.get(PROPERTY_ORDINAL, place)
        status = properties.get(PROPERTY_STATUS_CODE, 0)
        assert isinstance(ordinal, int)
        assert isinstance(status, int)
        yield (device_id, binding.name, time_ms, ordinal), (data.values[index], status)


@dataclass
class RecordStore:
    """The record log: survives."""

    joined: int = 0  # position in the raw log
    records: dict[Key, Sample] = field(default_factory=dict)
    received: int = 0
    recorded: int = 0
    duplicates: int = 0
    garbage: int = 0
    conflicts: list[Key] = field(default_factory=list)


class Joiner:
    """One life of the joining part."""

    def __init__(self, tree: TopicTree, records: RecordStore, now_ns: int) -> None:
        self.records = records
        self.pending: list[RawRow] = []

    def replay(self, raw: list[RawRow], now_ns: int) -> None:
        """After a restart: what the raw log holds beyond the join position."""
        tables: dict[tuple[object, str | None], AliasTable] = {}
        for row in raw:
            key = (row.edge_node, row.device_id)
            if row.kind in {"nbirth", "dbirth"}:
                tables[key] = AliasTable.of_birth(codec.decode_birth(row.payload))
            elif row.position > self.records.joined:
                row.data = codec.decode_data(row.payload, tables[key])
                self.pending.append(row)

    def receive(self, row: RawRow, now_ns: int) -> None:
        self.pending.append(row)

    def unreadable(self, event: DataUnreadable) -> None:
        if event.reason == "malformed":
            self.records.garbage += 1

    def commit(self, now_ns: int) -> None:
        rows, self.pending = self.pending, []
        records = self.records
        for row in rows:
            records.joined = row.position
            if row.data is None:
                continue
            for key, sample in keys_of(row.device_id or "", row.data):
                records.received += 1
                known = records.records.get(key)
                if known is None:
                    records.records[key] = sample
                    records.recorded += 1
                elif known == sample:
                    records.duplicates += 1
                else:
                    records.conflicts.append(key)
