"""Between a source and the commit nothing waits for ever, and nothing that was handed over is forgotten."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from edge_nodes import intake as module
from edge_nodes.definition import Definition, metric_names
from edge_nodes.intake import Intake, StoreThread
from edge_nodes.opcua.mapping import BAD_NO_COMMUNICATION
from edge_nodes.reduction import Reducer
from edge_nodes.store import EdgeStore
from tests.edge_nodes.nodes import load, opcua_node
from tests.edge_nodes.test_intake import Listener, Made, made, readings
from tests.servers import eventually


async def test_reduced_readings_are_counted_even_while_more_keep_coming(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "COUNTS_INTERVAL_S", 0.1)
    async with made(tmp_path) as parts:
        await parts.intake.put(readings(1.0))
        await eventually(lambda: parts.store.counters.stored == 1)

        async def poll() -> None:
            while True:
                await parts.intake.put(readings(1.0))
                await asyncio.sleep(0.02)

        task = asyncio.create_task(poll())
        try:
            await eventually(lambda: parts.store.counters.reduced > 0, timeout_s=3)
        finally:
            task.cancel()


async def test_a_drain_does_not_wait_for_the_commit_interval(tmp_path: Path) -> None:
    parts = Made(tmp_path)
    parts.intake._commit_interval_s = 10.0
    task = asyncio.create_task(parts.intake.run())
    await parts.intake.put(readings(1.0))
    await eventually(lambda: parts.store.counters.stored == 1)
    await parts.intake.put(readings(2.0, start=2))
    await asyncio.sleep(0)
    parts.intake.drain()
    await asyncio.wait_for(task, 2)
    await parts.thread.close()
    assert parts.listener.values == [1.0, 2.0]


async def test_readings_of_a_source_that_is_cancelled_while_it_waits_for_room_are_stored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "QUEUE_READINGS_MAX", 2)
    parts = Made(tmp_path)
    await parts.intake.put(readings(1.0))

    async def source() -> None:
        for i in range(2, 9):
            await parts.intake.put(readings(float(i), start=i))
            handed.append(float(i))

    handed = [1.0]
    waiting = asyncio.create_task(source())
    for _ in range(10):
        await asyncio.sleep(0)
    assert not waiting.done()
    begun = [*handed, float(len(handed) + 1)]  # the one that waits was taken from the server already
    waiting.cancel()
    parts.intake.drain()
    await asyncio.wait_for(parts.intake.run(), 5)
    await parts.thread.close()
    assert parts.listener.values == begun


async def test_a_device_that_comes_back_by_its_second_source_shows_the_first_ones_metrics_as_bad(
    tmp_path: Path,
) -> None:
    node = opcua_node('temperature: {node: "i=1"}')
    node += "  second:\n    kind: opcua\n    url: opc.tcp://127.0.0.1:4841\n    equipment:\n      reactor4:\n"
    node += '        count: {node: "i=2"}\n'
    config = load(tmp_path, node)
    store = EdgeStore(tmp_path / "s.db", identity=str(config.edge_node))
    definition = Definition(config, store.register(metric_names(config)))
    thread, listener = StoreThread(store), Listener()
    reducer = Reducer(definition.reductions(), last_samples={})
    intake = Intake(thread, reducer, definition, listener, wall_ns=lambda: 5_000_000, commit_interval_s=0.001)
    intake.connected("plc")
    await intake.put(readings(20.0))
    intake.lost("plc", "gone")  # now the device is dead as a whole
    for _ in range(2):
        intake.connected("second")
        intake.lost("second", "gone")
    intake.connected("second")
    intake.drain()
    await asyncio.wait_for(intake.run(), 5)
    await thread.close()
    assert store.last_samples()[1][-1][2:4] == (None, BAD_NO_COMMUNICATION)
    assert store.counters.stored == 2
