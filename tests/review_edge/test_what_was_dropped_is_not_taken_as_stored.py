"""A value that the store could not keep must not decide what comes after it, nor stand in a birth."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from edge_nodes import intake as module
from edge_nodes.definition import Definition, metric_names
from edge_nodes.intake import Intake, StoreThread
from edge_nodes.publisher import Publisher
from edge_nodes.reduction import Reducer, Reduction, Rows
from edge_nodes.rows import LastSample
from edge_nodes.store import EdgeStore
from edge_nodes.store.file import OwnBoundError
from tests.edge_nodes.nodes import load, opcua_node
from tests.servers import eventually
from uns.errors import StorageFullError
from uns.source import Readings

MS = 1_000_000


def readings(*values: float, start: int = 1) -> Readings:
    n = len(values)
    return Readings([1] * n, list(values), [(start + i) * MS for i in range(n)], [0] * n)


class Made:
    """Intake and publisher over a real store whose inserts can be made to fail."""

    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        config = load(directory, opcua_node('temperature: {node: "i=1"}'))
        self.store = EdgeStore(directory / "s.db", identity=str(config.edge_node), when_full="drop_newest")
        definition = Definition(config, self.store.register(metric_names(config)))
        self.thread = StoreThread(self.store)
        self.last: dict[int, LastSample] = {}
        publisher = Publisher(config, definition, self.thread, self.last, wall_ns=lambda: 5 * MS)
        self.intake = Intake(
            self.thread,
            Reducer(definition.reductions(), last_samples={}),
            definition,
            publisher,
            wall_ns=lambda: 5 * MS,
            commit_interval_s=0.001,
        )
        self._insert = self.store._insert
        self._monkeypatch = monkeypatch
        self._task = asyncio.create_task(self.intake.run())

    def full(self, error: type[StorageFullError] | None) -> None:
        def refuse(_rows: Rows) -> None:
            assert error is not None
            raise error("full", where="here")

        self._monkeypatch.setattr(self.store, "_insert", self._insert if error is None else refuse)

    async def read(self, total: int) -> None:
        await eventually(lambda: self.store.counters.read == total, what=f"{total} read")

    async def close(self) -> list[object]:
        self.intake.drain()
        await asyncio.wait_for(self._task, 10)
        rows = self.store.read(0, self.store.next_id, rows_max=1000)
        await self.thread.close()
        return [value for metric, value in zip(rows.metrics, rows.values, strict=True) if metric == 1]


async def test_a_change_that_a_full_store_dropped_is_stored_when_there_is_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = Made(tmp_path, monkeypatch)
    await made.intake.put(readings(1.0))
    await made.read(1)
    made.full(OwnBoundError)
    await made.intake.put(readings(2.0, start=2))
    await made.read(2)
    made.full(None)
    await made.intake.put(readings(2.0, start=3))
    await made.read(3)
    assert await made.close() == [1.0, 2.0]
    assert made.store.counters.dropped == 1


async def test_a_birth_never_shows_a_sample_that_was_dropped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = Made(tmp_path, monkeypatch)
    await made.intake.put(readings(1.0))
    await made.read(1)
    made.full(OwnBoundError)
    await made.intake.put(readings(2.0, start=2))
    await made.read(2)
    await made.close()
    assert made.last[1][2] == 1.0


async def test_a_change_that_memory_could_not_hold_is_stored_when_the_disk_takes_values_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "DISK_RETRY_S", 0.01)
    monkeypatch.setattr(module, "HELD_ROWS_MAX", 1)
    made = Made(tmp_path, monkeypatch)
    made.full(StorageFullError)
    await made.intake.put(readings(1.0))
    await eventually(lambda: made.intake.disk_full)
    await made.intake.put(readings(2.0, start=2))
    await eventually(lambda: made.store.counters.dropped == 1)
    made.full(None)
    await eventually(lambda: not made.intake.disk_full)
    await made.intake.put(readings(2.0, start=3))
    await made.read(3)
    assert await made.close() == [1.0, 2.0]


def test_the_very_same_sample_passes_again_once_it_was_given_back() -> None:
    reducer = Reducer({1: Reduction(enabled=False)}, last_samples={})
    rows = Rows()
    reducer.receive(readings(1.0, 2.0), rows)
    reducer.take_back(rows)
    again = Rows()
    reducer.receive(readings(1.0, 2.0), again)
    assert again.values == [1.0, 2.0]
    assert again.ordinals == [0, 0]
