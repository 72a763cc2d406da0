"""OPC UA end to end: server, gateway, broker, host."""

from __future__ import annotations

import inspect
import math
from pathlib import Path
from typing import Any

import pytest
from asyncua import ua
from asyncua.client.ua_session import UaSession

from edge_nodes.check import check_node
from edge_nodes.opcua.source import OpcUaSource
from tests.edge_nodes.gateway import Plc, confirming_host, gateway
from tests.edge_nodes.nodes import load, opcua_node
from tests.servers import eventually, mosquitto
from uns.adapters.broker import free_port
from uns.errors import UnreachableError

pytestmark = pytest.mark.integration

START_US = 1_780_515_120_000_000
FLOAT, UINT32, UINT64, STRING = (
    ua.VariantType.Float,
    ua.VariantType.UInt32,
    ua.VariantType.UInt64,
    ua.VariantType.String,
)
VARIABLES: dict[str, tuple[Any, ua.VariantType]] = {
    "Temp": (20.0, FLOAT),
    "Count": (0, UINT32),
    "Big": (0, UINT64),
    "Phase": ("idle", STRING),
}
WIRING = "\n".join(
    f'{metric}: {{node: "nsu=urn:plc4;s={node}"}}'
    for metric, node in (("temperature", "Temp"), ("count", "Count"), ("big", "Big"), ("phase", "Phase"))
)
FAST = "publishing: 50ms\nkeep_alive: 500ms\ntimeout: 1s"
EVERY = f"{FAST}\ntrigger: status_value_timestamp\nreduction: off"


def values(host, metric: str) -> list[Any]:
    return [s.value for s in host.samples if s.metric == metric]


async def test_a_value_arrives_with_its_time_and_the_store_is_empty_afterwards(tmp_path: Path) -> None:
    with mosquitto(tmp_path) as broker:
        async with Plc(VARIABLES) as plc, confirming_host(broker.url) as host:
            config = load(tmp_path, opcua_node(WIRING, broker=broker.url, url=plc.url, source=EVERY))
            async with gateway(config) as edge:
                await eventually(lambda: edge.source()["state"] == "connected", what="connected")
                await plc.write("Temp", 182.0, time_us=START_US + 125_250)
                await eventually(lambda: 182.0 in values(host, "temperature"), what="182.0 arrives")
                (sample,) = [s for s in host.samples if s.value == 182.0]
                assert sample.time_ms == START_US // 1000 + 125
                stats = await edge.stop()
    assert stats["read"] == stats["reduced"] + stats["stored"] + stats["refused"]
    assert stats["stored"] == stats["confirmed"] == host.received
    assert (stats["waiting"], stats["dropped"]) == (0, 0)


async def test_a_burst_of_one_tag_loses_nothing_and_keeps_its_order(tmp_path: Path) -> None:
    n = 500
    with mosquitto(tmp_path) as broker:
        async with Plc(VARIABLES) as plc, confirming_host(broker.url) as host:
            config = load(tmp_path, opcua_node(WIRING, broker=broker.url, url=plc.url, source=EVERY))
            async with gateway(config) as edge:
                await eventually(lambda: edge.stats["stored"] == 4)
                for i in range(1, n + 1):
                    await plc.write("Count", i, time_us=START_US + i * 300)
                await eventually(lambda: len(values(host, "count")) == n + 1, what="all arrive")
    samples = [s for s in host.samples if s.metric == "count"][1:]
    assert [s.value for s in samples] == list(range(1, n + 1))
    keys = [(s.time_ms, s.properties.get("ordinal", 0)) for s in samples]
    assert len(set(keys)) == n
    assert keys == sorted(keys)


async def test_strange_values_arrive_exactly_and_wrong_types_are_refused(tmp_path: Path) -> None:
    variables = {**VARIABLES, "Count": (0, ua.VariantType.Int32), "Text": ("x", STRING)}
    wiring = WIRING + '\npressure: {node: "nsu=urn:plc4;s=Text"}'
    with mosquitto(tmp_path) as broker:
        async with Plc(variables) as plc, confirming_host(broker.url) as host:
            config = load(tmp_path, opcua_node(wiring, broker=broker.url, url=plc.url, source=EVERY))
            async with gateway(config) as edge:
                await eventually(lambda: edge.stats["stored"] == 4)
                await plc.write("Temp", math.nan)
                await plc.write("Temp", -math.inf)
                await plc.write("Big", 2**64 - 1)
                await plc.write("Phase", "läuft\n")
                await plc.write("Count", -1)
                await plc.write_variant("Count", ua.Variant([1, 2], ua.VariantType.Int32))
                await plc.write("Count", 9, status=0x40000000)
                await plc.write("Count", 10)
                await eventually(lambda: values(host, "count")[-1:] == [10], what="all else goes on")
                await eventually(lambda: edge.stats["refused"] == 3)
                stats = await edge.stop()
    assert [str(v) for v in values(host, "temperature")[1:]] == ["nan", "-inf"]
    assert values(host, "big")[-1] == 2**64 - 1
    assert values(host, "phase")[-1] == "läuft\n"
    assert values(host, "count") == [0, 9, 10]
    assert next(s for s in host.samples if s.value == 9).properties["status_code"] == 0x40000000
    assert stats["read"] == stats["reduced"] + stats["stored"] + stats["refused"]
    assert stats["waiting"] == 0


async def test_an_unknown_node_id_is_one_bad_metric_and_heals_in_the_same_session(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edge_nodes.opcua.source.RETRY_UNRESOLVED_S", 0.3)
    wiring = WIRING.replace("s=Count", "s=Later").replace("nsu=urn:plc4;s=Big", "nsu=urn:nowhere;s=Big")
    with mosquitto(tmp_path) as broker:
        async with Plc(VARIABLES) as plc, confirming_host(broker.url) as host:
            config = load(tmp_path, opcua_node(wiring, broker=broker.url, url=plc.url, source=FAST))
            async with gateway(config) as edge:
                await eventually(lambda: edge.source().get("unresolved") == 2, what="told")
                await eventually(lambda: values(host, "temperature") == [20.0], what="the others go on")
                await eventually(lambda: values(host, "count") == [None], what="it is bad")
                (bad,) = [s for s in host.samples if s.metric == "count"]
                assert bad.properties == {"Quality": 0, "status_code": 0x80340000, "time_source": "gateway"}
                index = await plc.server.get_namespace_index("urn:plc4")
                folder = await plc.server.nodes.objects.get_child(f"{index}:Reactor4")
                await folder.add_variable(ua.NodeId("Later", index), "Later", 5, UINT32)
                await eventually(lambda: values(host, "count") == [None, 5], what="found again")
                assert edge.source()["unresolved"] == 1
                report = await check_node(config, [], offline=False)
                assert [f.split(": ")[-1] for f in report.findings] == ["the server has no namespace urn:nowhere"]


async def test_browse_paths_are_followed(tmp_path: Path) -> None:
    wiring = "temperature: {path: Objects/Reactor4/Temp}\ncount: {path: Objects/Reactor4/None}"
    with mosquitto(tmp_path) as broker:
        async with Plc(VARIABLES) as plc, confirming_host(broker.url) as host:
            config = load(tmp_path, opcua_node(wiring, broker=broker.url, url=plc.url, source=FAST))
            async with gateway(config) as edge:
                await eventually(lambda: values(host, "temperature") == [20.0])
                assert edge.source()["unresolved"] == 1


async def test_a_server_that_comes_back_with_other_namespace_indexes_is_read_again(tmp_path: Path) -> None:
    port = free_port()
    with mosquitto(tmp_path) as broker:
        async with confirming_host(broker.url) as host:
            config = load(
                tmp_path, opcua_node(WIRING, broker=broker.url, url=f"opc.tcp://127.0.0.1:{port}", source=FAST)
            )
            async with gateway(config) as edge:
                async with Plc(VARIABLES, port=port) as plc:
                    await eventually(lambda: edge.stats["stored"] == 4, what="first server")
                    await plc.write("Count", 1)
                    await eventually(lambda: 1 in values(host, "count"))
                await eventually(lambda: edge.source()["state"] != "connected", what="loss is seen")
                await eventually(lambda: edge.stats["device_deaths"] == 1, what="the device dies")
                async with Plc(VARIABLES, port=port, shift=3) as plc:
                    await eventually(lambda: edge.source()["state"] == "connected", timeout_s=15)
                    await plc.write("Count", 2)
                    await eventually(lambda: 2 in values(host, "count"), what="new index", timeout_s=15)
                assert edge.stats["device_births"] >= 2
                assert not edge.failed


async def test_the_same_sample_after_a_reconnect_is_reduced_even_with_reduction_off(tmp_path: Path) -> None:
    with mosquitto(tmp_path) as broker:
        async with Plc(VARIABLES) as plc, confirming_host(broker.url) as host:
            config = load(tmp_path, opcua_node(WIRING, broker=broker.url, url=plc.url, source=EVERY))
            async with gateway(config) as edge:
                await eventually(lambda: edge.stats["stored"] == 4)
                await edge.stop()
            async with gateway(config) as edge:
                await eventually(lambda: edge.stats["reduced"] == 4, what="all four come again")
                assert edge.stats["stored"] == 4
                assert len(host.samples) == 4


async def test_check_says_what_is_missing_and_who_does_not_answer(tmp_path: Path) -> None:
    wiring = WIRING.replace("s=Big", "s=Nowhere").replace("s=Temp", "s=Phase")
    with mosquitto(tmp_path) as broker:
        async with Plc(VARIABLES) as plc:
            config = load(tmp_path, opcua_node(wiring, broker=broker.url, url=plc.url, source=FAST))
            report = await check_node(config, [], offline=False)
            assert report.unreachable == []
            wrong_type, unknown = report.findings
            assert "temperature: nsu=urn:plc4;s=Phase: wrong_type: 'idle' (str) is no Float" in wrong_type
            assert "s=Nowhere" in unknown
        report = await check_node(config, [], offline=False)
        assert len(report.unreachable) == 1
    report = await check_node(config, [], offline=False)
    assert len(report.unreachable) == 2


async def test_an_unreachable_server_is_an_error_with_its_address(tmp_path: Path) -> None:
    url = f"opc.tcp://127.0.0.1:{free_port()}"
    config = load(tmp_path, opcua_node(WIRING, url=url, source=FAST))
    (source_config,) = config.sources
    with pytest.raises(UnreachableError, match="check the address"):
        await OpcUaSource(source_config, {w.key: 1 for w in config.metrics}).check()  # type: ignore[arg-type]


def test_asyncua_still_hands_over_whole_publish_results() -> None:
    """The seam of our source: fails on an upgrade that changes it."""
    parameters = inspect.signature(UaSession.create_subscription).parameters
    assert list(parameters) == ["self", "params", "callback"]
    assert "result = callback(response.Parameters)" in inspect.getsource(UaSession._publish_loop)
