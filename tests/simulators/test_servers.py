"""The simulators as processes: they say where they listen, answer, keep source times, and end on SIGTERM."""

from __future__ import annotations

import asyncio
import struct
import sys
from pathlib import Path
from typing import Any

import pytest
from asyncua import Client, ua
from pymodbus.client import AsyncModbusTcpClient

from edge_nodes.simulators.modbus_plant import METER_ENERGY, METER_UNIT_ID, PACKER_GOOD, PACKER_UNIT_ID
from edge_nodes.simulators.opcua_plant import NAMESPACE_URI
from edge_nodes.simulators.replay import NAMESPACE_URI as REPLAY_URI
from tests.servers import eventually
from uns.runtime.children import Child, Children

pytestmark = pytest.mark.integration


async def started(children: Children, module: str, *arguments: str) -> tuple[Child, dict[str, Any]]:
    command = [sys.executable, "-m", f"edge_nodes.simulators.{module}", *arguments]
    child = await children.start(module, command, messages=True)
    ready = await child.read_message()
    assert ready["ready"] is True
    return child, ready


class Received:
    """What a subscription got, in its order: (name, value, source time in µs)."""

    def __init__(self) -> None:
        self.rows: list[tuple[str, Any, int]] = []

    def datachange_notification(self, node: Any, value: Any, data: Any) -> None:
        data_value = data.monitored_item.Value
        if data_value.StatusCode.is_good():
            stamp = data_value.SourceTimestamp
            self.rows.append((node.nodeid.Identifier, value, round(stamp.timestamp() * 1e6)))


async def watch(client: Client, uri: str, names: list[str], received: Received) -> None:
    index = await client.get_namespace_index(uri)
    subscription = await client.create_subscription(20, received)
    nodes = [client.get_node(ua.NodeId(name, index)) for name in names]
    every = ua.DataChangeFilter(Trigger=ua.DataChangeTrigger.StatusValueTimestamp)
    requests = [
        ua.MonitoredItemCreateRequest(
            ItemToMonitor=ua.ReadValueId(NodeId=node.nodeid, AttributeId=ua.AttributeIds.Value),
            MonitoringMode=ua.MonitoringMode.Reporting,
            RequestedParameters=ua.MonitoringParameters(ClientHandle=handle, QueueSize=100_000, Filter=every),
        )
        for handle, node in enumerate(nodes, start=1)
    ]
    await subscription.create_monitored_items(requests)


async def test_the_opcua_plant_shows_its_values_with_acquisition_times(tmp_path: Path) -> None:
    async with Children(tmp_path) as children:
        child, ready = await started(children, "opcua_plant", "--cycle-seconds", "2")
        async with Client(ready["url"]) as client:
            index = await client.get_namespace_index(NAMESPACE_URI)
            temperature = client.get_node(ua.NodeId("R4.Temp", index))
            first = await temperature.read_data_value()
            assert first.Value.VariantType == ua.VariantType.Float
            by_path = await client.nodes.objects.get_child([f"{index}:Reactor4", f"{index}:Pressure"])
            assert by_path.nodeid == ua.NodeId("R4.Press", index)
            deadline = asyncio.get_running_loop().time() + 10.0
            while (await temperature.read_data_value()).Value.Value != 182.0:
                assert asyncio.get_running_loop().time() < deadline, "182.0 is never shown"
                await asyncio.sleep(0.02)
        assert await child.stop() == 0


async def test_the_modbus_plant_answers_per_unit(tmp_path: Path) -> None:
    async with Children(tmp_path) as children:
        child, ready = await started(children, "modbus_plant")
        client = AsyncModbusTcpClient("127.0.0.1", port=ready["port"])
        assert await client.connect()
        meter = (await client.read_holding_registers(METER_ENERGY, count=2, device_id=METER_UNIT_ID)).registers
        packer = (await client.read_holding_registers(PACKER_GOOD, count=6, device_id=PACKER_UNIT_ID)).registers
        client.close()
        assert struct.unpack(">I", struct.pack(">HH", meter[1], meter[0]))[0] >= 1_234_560
        assert len(packer) == 6
        assert await child.stop() == 0


async def test_a_replayed_day_arrives_whole_in_order_per_key_with_its_own_times(tmp_path: Path) -> None:
    rows = [f"2017-09-07T09:{i // 60 % 60:02d}:{i % 60:02d}.{i % 1000:03d}Z|Xload|{i % 7}" for i in range(1500)]
    rows.insert(700, rows[699])  # a repeat
    rows.insert(800, "2017-09-07T09:00:00.000Z|program|UNAVAILABLE")
    rows.insert(900, "2017-09-07T09:00:00.000Z|program|94")
    file = tmp_path / "Mill01-20170907.txt"
    file.write_text("\n".join(rows) + "\n")
    async with Children(tmp_path) as children:
        child, ready = await started(children, "replay", "--file", str(file))
        received = Received()
        async with Client(ready["url"]) as client:
            await watch(client, REPLAY_URI, ["Xload", "program"], received)
            while not (message := await child.read_message()).get("done"):
                assert message["written"] <= 1502
            assert message["written"] == 1502
            await eventually(lambda: len(received.rows) >= 1501, what="all rows")
        loads = [(value, time) for name, value, time in received.rows if name == "Xload"]
        assert [value for value, _ in loads] == [float(i % 7) for i in range(1500)]
        assert len(set(loads)) == 1500
        assert ("program", "94", 1_504_774_800_000_000) in received.rows
        assert await child.stop() == 0


async def test_a_paced_day_takes_its_time(tmp_path: Path) -> None:
    file = tmp_path / "Mill01-20170907.txt"
    file.write_text("2017-01-01T00:00:00Z|a|1\n2017-09-07T09:00:00Z|a|2\n2017-09-07T09:00:01Z|a|3\n")
    async with Children(tmp_path) as children:
        child, ready = await started(children, "replay", "--file", str(file), "--speed", "5")
        received = Received()
        async with Client(ready["url"]) as client:
            await watch(client, REPLAY_URI, ["a"], received)
            assert (await child.read_message())["done"] is True
            await eventually(lambda: len(received.rows) == 3, what="three rows; the jump of months is not waited for")


async def test_an_unreadable_file_is_one_line_and_exit_code_2(tmp_path: Path) -> None:
    async with Children(tmp_path) as children:
        command = [sys.executable, "-m", "edge_nodes.simulators.replay", "--file", str(tmp_path / "none.txt")]
        child = await children.start("replay", command)
        await eventually(lambda: child.return_code is not None)
        assert child.return_code == 2
        assert "cannot be read" in child.log_tail()
