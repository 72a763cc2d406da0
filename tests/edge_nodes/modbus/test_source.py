"""Modbus end to end, against a unit that misbehaves on demand."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from edge_nodes.check import check_node
from edge_nodes.modbus import source as source_module
from edge_nodes.modbus.config import ModbusConfig
from edge_nodes.modbus.source import ModbusSource
from tests.edge_nodes.gateway import Plc, confirming_host, gateway
from tests.edge_nodes.modbus.fake_unit import FakeUnit
from tests.edge_nodes.nodes import load, modbus_node, opcua_node
from tests.servers import eventually, mosquitto
from uns.errors import UnreachableError
from uns.source import Readings, TimeSource

pytestmark = pytest.mark.integration

FAST = "every: 50ms\ntimeout: 150ms"
WIRING = """
energy: {register: holding:40012, format: uint32, order: CDAB, scale: 0.1}
count: {register: holding:40020, format: uint32}
small: {register: holding:40030, format: int16}
open: {register: coil:1}
"""
REGISTERS = {**dict.fromkeys(range(40), 0), 11: 1821, 12: 0, 19: 0, 20: 7, 29: 0xFFFE}
METRICS = ["energy", "count", "small", "open"]


class Sink:
    """Collects what a source says."""

    def __init__(self) -> None:
        self.latest: dict[int, tuple[Any, int]] = {}
        self.states: list[str] = []
        self.readings: list[Readings] = []

    async def put(self, readings: Readings) -> None:
        self.readings.append(readings)
        for metric, value, status in zip(readings.metrics, readings.values, readings.status_codes, strict=True):
            self.latest[metric] = (value, status)

    def connected(self, source: str) -> None:
        if self.states[-1:] != ["connected"]:
            self.states.append("connected")

    def lost(self, source: str, reason: str) -> None:
        if self.states[-1:] != [reason]:
            self.states.append(reason)

    def values(self) -> list[Any]:
        return [self.latest[i][0] for i in range(1, 5) if i in self.latest]


def source_for(tmp_path: Path, url: str, wiring: str = WIRING) -> ModbusSource:
    config = load(tmp_path, modbus_node(wiring, url=url, source=FAST))
    (source,) = config.sources
    assert isinstance(source, ModbusConfig)
    return ModbusSource(source, {w.key: i for i, w in enumerate(config.metrics, start=1)})


@contextlib.asynccontextmanager
async def reading(source: ModbusSource) -> AsyncIterator[Sink]:
    sink = Sink()
    task = asyncio.create_task(source.run(sink))
    try:
        yield sink
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_registers_become_values_with_gateway_time(tmp_path: Path) -> None:
    async with FakeUnit(REGISTERS, coils={0: 1}) as unit, reading(source_for(tmp_path, unit.url)) as sink:
        await eventually(lambda: len(sink.latest) == 4)
        assert sink.values() == [182.1, 7, -2, True]
        assert {r.time_source for r in sink.readings} == {TimeSource.GATEWAY}
        assert set(unit.requests) == {(3, 11, 19), (1, 0, 1)}


async def test_an_illegal_address_costs_only_its_own_metric(tmp_path: Path) -> None:
    registers = {address: value for address, value in REGISTERS.items() if address not in (19, 20)}
    async with FakeUnit(registers, coils={0: 0}) as unit, reading(source_for(tmp_path, unit.url)) as sink:
        await eventually(lambda: len(sink.latest) == 4)
        assert sink.values() == [182.1, None, -2, False]
        assert sink.latest[2] == (None, 0x803E0000)
        assert sink.states == ["connected"]
        seen = len(unit.requests)
        await eventually(lambda: len(unit.requests) > seen + 6)
        assert (3, 19, 2) not in unit.requests[seen:], "a known hole is not asked for at every poll"


async def test_a_hole_between_the_metrics_costs_nothing(tmp_path: Path) -> None:
    registers = {address: value for address, value in REGISTERS.items() if address != 15}
    async with FakeUnit(registers, coils={0: 0}) as unit, reading(source_for(tmp_path, unit.url)) as sink:
        await eventually(lambda: len(sink.latest) == 4)
        assert sink.values() == [182.1, 7, -2, False]


async def test_a_register_that_comes_into_being_is_read_after_a_while(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edge_nodes.modbus.source.REMERGE_S", 0.3)
    registers = {address: value for address, value in REGISTERS.items() if address not in (19, 20)}
    async with FakeUnit(registers, coils={0: 0}) as unit, reading(source_for(tmp_path, unit.url)) as sink:
        await eventually(lambda: sink.latest.get(2) == (None, 0x803E0000))
        unit.holding.update({19: 0, 20: 8})
        await eventually(lambda: sink.latest[2] == (8, 0))


@pytest.mark.parametrize("mode", ["silent", "garbage", "short", "gateway", "close"])
async def test_a_unit_that_stops_answering_is_lost_and_found_again(tmp_path: Path, mode: Any) -> None:
    async with FakeUnit(REGISTERS, coils={0: 0}) as unit, reading(source_for(tmp_path, unit.url)) as sink:
        await eventually(lambda: sink.states == ["connected"])
        unit.mode = mode
        await eventually(lambda: len(sink.states) == 2, what="lost")
        unit.mode = "ok"
        await eventually(lambda: sink.states[-1] == "connected", what="found")
        assert sink.values() == [182.1, 7, -2, False]


async def test_a_late_answer_is_never_taken_for_another_register(tmp_path: Path) -> None:
    wiring = "\n".join(
        f"{metric}: {{register: holding:#{100 * i}, format: {fmt}}}"
        for i, (metric, fmt) in enumerate([("count", "uint16"), ("big", "uint16"), ("energy", "uint16")], start=1)
    )
    registers = {100: 1, 200: 2, 300: 3}
    async with FakeUnit(registers) as unit, reading(source_for(tmp_path, unit.url, wiring)) as sink:
        await eventually(lambda: len(sink.latest) == 3)
        unit.mode = "late"
        for unit.late_s in (0.1, 0.2, 0.3):  # below, a little above, and twice the time-out of 150 ms
            wanted = len(unit.requests) + 3
            await eventually(lambda: len(unit.requests) >= wanted)  # noqa: B023 awaited in the same turn
        unit.mode = "ok"
        await eventually(lambda: sink.states[-1] == "connected")
    for readings in sink.readings:
        for metric, value in zip(readings.metrics, readings.values, strict=True):
            assert value == metric


async def test_a_busy_unit_is_bad_and_not_lost(tmp_path: Path) -> None:
    async with FakeUnit(REGISTERS, coils={0: 0}) as unit, reading(source_for(tmp_path, unit.url)) as sink:
        await eventually(lambda: len(sink.latest) == 4)
        unit.mode = "busy"
        await eventually(lambda: sink.latest[1] == (None, 0x808B0000))
        unit.mode = "ok"
        await eventually(lambda: sink.latest[1] == (182.1, 0))
        assert sink.states == ["connected"]


@pytest.mark.parametrize("silent", [100, 200])
async def test_a_block_that_stays_silent_is_bad_and_its_source_does_not_flap(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, silent: int
) -> None:
    monkeypatch.setattr(source_module, "SILENT_RETRY_S", 0.5)
    wiring = "count: {register: holding:#100, format: uint16}\nbig: {register: holding:#200, format: uint16}"
    bad, good = (1, 2) if silent == 100 else (2, 1)
    async with FakeUnit({100: 1, 200: 2}) as unit, reading(source_for(tmp_path, unit.url, wiring)) as sink:
        await eventually(lambda: len(sink.latest) == 2)
        unit.silent_offsets = {silent}
        await eventually(lambda: sink.latest[bad] == (None, 0x80310000), what="bad")
        lost = len(sink.states)  # where it is asked first, nothing has answered yet: lost, once
        asked = unit.requests.count((3, silent, 1))
        await eventually(lambda: unit.requests.count((3, silent, 1)) >= asked + 4, what="asked again, twice")
        assert (sink.states[-1], len(sink.states)) == ("connected", max(lost, 1))
        assert sink.latest[good] == (good, 0)
        unit.silent_offsets = set()
        await eventually(lambda: sink.latest[bad] == (bad, 0), what="good again")
        unit.mode = "silent"
        await eventually(lambda: sink.states[-1] == "the unit does not answer")


async def test_check_tells_a_block_that_is_silent(tmp_path: Path) -> None:
    wiring = "count: {register: holding:#100, format: uint16}\nbig: {register: holding:#200, format: uint16}"
    async with FakeUnit({100: 1, 200: 2}) as unit:
        unit.silent_offsets = {200}
        assert await source_for(tmp_path, unit.url, wiring).check() == [
            "reactor4/big: no answer, while the unit answers for others"
        ]


async def test_a_dead_unit_does_not_slow_another(tmp_path: Path) -> None:
    async with FakeUnit(REGISTERS, coils={0: 0}) as dead, FakeUnit(REGISTERS, coils={0: 0}) as alive:
        dead.mode = "silent"
        (tmp_path / "dead").mkdir()
        async with reading(source_for(tmp_path / "dead", dead.url)), reading(source_for(tmp_path, alive.url)) as sink:
            await eventually(lambda: len(sink.readings) > 30, timeout_s=5)


async def test_check_reads_every_register_once(tmp_path: Path) -> None:
    registers = {address: value for address, value in REGISTERS.items() if address != 29}
    async with FakeUnit(registers, coils={0: 0}) as unit:
        assert await source_for(tmp_path, unit.url).check() == ["reactor4/small: illegal address"]
    with pytest.raises(UnreachableError):
        await source_for(tmp_path, unit.url).check()


async def test_a_meter_end_to_end_dies_and_lives_as_a_device(tmp_path: Path) -> None:
    with mosquitto(tmp_path) as broker:
        async with confirming_host(broker.url) as host, FakeUnit(REGISTERS, coils={0: 0}) as unit:
            config = load(tmp_path, modbus_node(WIRING, broker=broker.url, url=unit.url, source=FAST))
            async with gateway(config) as edge:
                await eventually(lambda: host.received == 4)
                unit.mode = "silent"
                await eventually(lambda: edge.stats["device_deaths"] == 1, what="DDEATH")
                unit.mode = "ok"
                unit.holding[11] = 1822
                await eventually(lambda: host.received == 5, what="reported by exception")
                assert host.samples[-1].value == 182.2
                report = await check_node(config, [], offline=False)
                assert (report.findings, report.unreachable) == ([], [])
                stats = await edge.stop()
    assert stats["stored"] == stats["confirmed"] == 5
    assert stats["read"] == stats["reduced"] + stats["stored"] + stats["refused"]


async def test_where_another_source_still_feeds_the_device_the_lost_ones_metrics_turn_bad(tmp_path: Path) -> None:
    from asyncua import ua

    with mosquitto(tmp_path) as broker:
        async with (
            confirming_host(broker.url) as host,
            FakeUnit(REGISTERS, coils={0: 0}) as unit,
            Plc({"Temp": (20.0, ua.VariantType.Float)}) as plc,
        ):
            node = opcua_node('temperature: {node: "nsu=urn:plc4;s=Temp"}', broker=broker.url, url=plc.url)
            meter = modbus_node(WIRING, url=unit.url, source=FAST)
            node += meter[meter.index("  plc:") :].replace("  plc:", "  meter:")
            config = load(tmp_path, node)
            async with gateway(config) as edge:
                await eventually(lambda: host.received == 5)
                unit.mode = "silent"
                await eventually(lambda: host.received == 9, what="four bad values")
                assert {s.properties["status_code"] for s in host.samples[5:]} == {0x80310000}
                assert edge.stats["device_deaths"] == 0
                unit.mode = "ok"
                await eventually(lambda: host.received == 13, what="good again")
