"""Between sources and store: group commits, back-pressure, order of births and rows, a disk that takes nothing."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from edge_nodes import intake as module
from edge_nodes.definition import Definition, metric_names
from edge_nodes.gaps import Gap
from edge_nodes.intake import Intake, StoreThread
from edge_nodes.reduction import Reducer, Rows
from edge_nodes.rows import GAP
from edge_nodes.store import Committed, EdgeStore
from tests.edge_nodes.nodes import load, opcua_node
from tests.servers import eventually
from uns.errors import StorageFullError
from uns.source import Readings

MS = 1_000_000
NODE = opcua_node('temperature: {node: "i=1"}\ncount: {node: "i=2"}', source="reduction: off")


class Listener:
    def __init__(self) -> None:
        self.happened: list[object] = []

    def committed(self, rows: Rows, commit: Committed) -> None:
        self.happened.append(list(rows.values))

    def source_changed(self, source: str, *, is_up: bool) -> None:
        self.happened.append((source, is_up))

    @property
    def values(self) -> list[object]:
        return [value for entry in self.happened if isinstance(entry, list) for value in entry]


class Made:
    def __init__(self, directory: Path) -> None:
        config = load(directory, NODE)
        self.store = EdgeStore(directory / "s.db", identity=str(config.edge_node))
        numbers = self.store.register(metric_names(config))
        definition = Definition(config, numbers)
        self.listener = Listener()
        self.thread = StoreThread(self.store)
        self.intake = Intake(
            self.thread,
            Reducer(definition.reductions(), last_samples={}),
            definition,
            self.listener,
            wall_ns=lambda: 5 * MS,
            commit_interval_s=0.001,
        )


@contextlib.asynccontextmanager
async def made(directory: Path) -> AsyncIterator[Made]:
    parts = Made(directory)
    task = asyncio.create_task(parts.intake.run())
    try:
        yield parts
        parts.intake.drain()
        await asyncio.wait_for(task, 10)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await parts.thread.close()


def readings(*values: float, start: int = 1) -> Readings:
    n = len(values)
    return Readings([1] * n, list(values), [(start + i) * MS for i in range(n)], [0] * n)


async def test_rows_are_announced_in_the_order_of_reading_and_sources_between_them(tmp_path: Path) -> None:
    async with made(tmp_path) as parts:
        parts.intake.connected("plc")
        await parts.intake.put(readings(1.0))
        parts.intake.lost("plc", "gone")
        parts.intake.lost("plc", "still gone")
        parts.intake.connected("plc")
        await parts.intake.put(readings(2.0, start=2))
    assert parts.listener.happened == [("plc", True), [1.0], ("plc", False), ("plc", True), [2.0]]


async def test_what_is_queued_at_the_end_is_stored(tmp_path: Path) -> None:
    async with made(tmp_path) as parts:
        for i in range(200):
            await parts.intake.put(readings(float(i), start=i + 1))
    assert parts.listener.values == [float(i) for i in range(200)]


async def test_a_full_queue_holds_the_source_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "QUEUE_READINGS_MAX", 10)
    async with made(tmp_path) as parts:
        for i in range(20):
            await asyncio.wait_for(parts.intake.put(readings(*[float(j) for j in range(8)], start=1 + 8 * i)), 5)
            assert parts.intake._queued <= 18
    assert len(parts.listener.values) == 160


async def test_readings_that_are_all_reduced_are_counted_within_a_second(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "COUNTS_INTERVAL_S", 0.05)
    async with made(tmp_path) as parts:
        await parts.intake.put(readings(1.0))
        await parts.intake.put(readings(1.0))
        await eventually(lambda: parts.store.counters.read == 2)
        assert parts.store.counters.reduced == 1


async def test_while_the_disk_takes_nothing_values_wait_in_memory_and_none_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "DISK_RETRY_S", 0.01)
    async with made(tmp_path) as parts:
        whole = parts.store.commit
        monkeypatch.setattr(parts.store, "commit", _full)
        for i in range(50):
            await parts.intake.put(readings(float(i), start=i + 1))
        await eventually(lambda: parts.intake.disk_full)
        assert parts.store.counters.stored == 0
        monkeypatch.setattr(parts.store, "commit", whole)
        await eventually(lambda: not parts.intake.disk_full)
        await eventually(lambda: len(parts.listener.values) == 50)
    assert parts.listener.values == [float(i) for i in range(50)]
    assert parts.store.counters.dropped == 0


async def test_what_memory_cannot_hold_is_counted_and_lies_in_a_gap(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "DISK_RETRY_S", 0.01)
    monkeypatch.setattr(module, "HELD_ROWS_MAX", 5)
    async with made(tmp_path) as parts:
        whole = parts.store.commit
        monkeypatch.setattr(parts.store, "commit", _full)
        for i in range(20):
            await parts.intake.put(readings(float(i), start=i + 1))
            await asyncio.sleep(0.002)
        await eventually(lambda: parts.intake._queued == 0)
        monkeypatch.setattr(parts.store, "commit", whole)
        await eventually(lambda: not parts.intake.disk_full)
        await parts.intake.put(readings(99.0, start=99))
        await eventually(lambda: parts.store.counters.read == 21)
        counters = parts.store.counters
        assert counters.read == counters.stored == 21
        assert counters.dropped > 0
        rows = parts.store.read(0, parts.store.next_id, rows_max=100)
        (gap,) = [v for m, v in zip(rows.metrics, rows.values, strict=True) if m == GAP]
        assert Gap.from_json(str(gap)).count == counters.dropped
        assert counters.waiting == len(rows) - 1


def _full(_rows: Rows) -> Committed:
    raise StorageFullError("no room", where="here")
