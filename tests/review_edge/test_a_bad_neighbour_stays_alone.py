"""Registers that are never answered, texts that fill a birth, a rate that is too low: the rest goes on."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from asyncua import ua

from edge_nodes.conversion import TEXT_BYTES_MAX
from edge_nodes.definition import Definition, metric_names
from edge_nodes.modbus.registers import Block, BlockDecoder, RegisterPoint, RegisterTable, parse_format
from edge_nodes.rows import LastSample
from edge_nodes.runtime import refuse_births_that_do_not_fit
from tests.edge_nodes.gateway import Plc, confirming_host, gateway
from tests.edge_nodes.modbus.fake_unit import FakeUnit
from tests.edge_nodes.modbus.test_source import reading, source_for
from tests.edge_nodes.nodes import TREE, load, opcua_node
from tests.servers import eventually, mosquitto
from uns.adapters.broker import free_port
from uns.errors import ConfigurationError
from uns.sparkplug import codec
from uns.sparkplug.datatypes import DataType
from uns.sparkplug.edge import EdgeNodeSession

REGISTERS = dict.fromkeys(range(500), 7)


@pytest.mark.integration
async def test_what_a_unit_answered_is_kept_although_it_keeps_silent_afterwards(tmp_path: Path) -> None:
    wiring = "count: {register: holding:40001, format: uint32}\nsmall: {register: holding:40402, format: int16}"

    class Unit(FakeUnit):
        async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            self.mode = "ok"
            await super()._serve(reader, writer)

        def _answer(self, function: int, offset: int, count: int) -> bytes:
            self.mode = "silent"  # from now on
            return super()._answer(function, offset, count)

    async with Unit(REGISTERS) as unit, reading(source_for(tmp_path, unit.url, wiring)) as sink:
        await eventually(lambda: len([s for s in sink.states if s != "connected"]) >= 1, what="lost")
        assert sink.latest[1] == (0x00070007, 0)


def test_a_string_of_odd_length_ends_where_it_was_said() -> None:
    found = parse_format("string(3)")
    assert found is not None
    point = RegisterPoint(metric=1, datatype=DataType.STRING, table=RegisterTable.HOLDING, offset=0, format=found)
    decoder = BlockDecoder(Block(RegisterTable.HOLDING, 0, 2, (point,)))
    assert decoder.decode([0x4142, 0x4358]) == ["ABC"]


def test_long_texts_never_keep_a_gateway_from_its_birth(tmp_path: Path) -> None:
    texts = "".join(f"      text{i}: {{type: String}}\n" for i in range(40))
    tree = TREE.replace("      level: {type: Float}\n", "      level: {type: Float}\n" + texts)
    wiring = "\n".join(f'text{i}: {{node: "i={i + 1}"}}' for i in range(40))
    config = load(tmp_path, opcua_node(wiring, equipment="tank1"), tree)
    names = metric_names(config)
    definition = Definition(config, range(1, len(names) + 1))
    last: dict[int, LastSample] = {
        number: (number * 1_000_000, 0, "x" * TEXT_BYTES_MAX, 0, 0) for number in range(1, len(names) + 1)
    }
    session = EdgeNodeSession(config.edge_node)
    session.connect(bd_seq=0, session_id="s", now_ns=0)
    session.receive_connected(0)
    session.receive_subscribed(0)
    session.birth(definition.node_birth(definition.devices, last), 0)
    birth = definition.device_birth("tank1", last)
    shown = [metric for metric in birth if metric.name.startswith("text") and metric.value is not None]
    assert 0 < len(shown) < 40


def test_a_definition_whose_births_cannot_hold_all_values_as_bad_is_refused_at_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = load(tmp_path, opcua_node('level: {node: "i=1"}', equipment="tank1"))
    definition = Definition(config, [1])
    empty = len(codec.encode_birth(definition.device_birth("tank1", {}), timestamp_ms=1, seq=1))
    monkeypatch.setattr(codec, "PAYLOAD_BYTES_MAX", empty + 40)
    with pytest.raises(ConfigurationError, match="a birth of"):
        refuse_births_that_do_not_fit(config, definition)


@pytest.mark.integration
async def test_a_low_rate_of_history_is_a_rate_all_the_same(tmp_path: Path) -> None:
    port = free_port()
    node = opcua_node(
        'count: {node: "nsu=urn:plc4;s=Count"}',
        broker=f"mqtt://127.0.0.1:{port}",
        top="delivery: {level: host, mark_interval: 50ms, history_metrics_per_second: 5}",
    )
    async with Plc({"Count": (0, ua.VariantType.UInt32)}) as plc:
        config = load(tmp_path, node.replace("opc.tcp://127.0.0.1:4840", plc.url))
        async with gateway(config) as edge:
            await eventually(lambda: edge.stats["stored"] == 1, what="stored without a broker")
            with mosquitto(tmp_path, port=port) as broker:
                async with confirming_host(broker.url):
                    await eventually(lambda: edge.stats["confirmed"] == 1, what="history", timeout_s=15)
