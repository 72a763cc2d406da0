"""The process: start without PLC and broker, SIGTERM, SIGKILL, a full store, an ACL, a changed definition."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from asyncua import ua

from edge_nodes.check import check_node
from tests.edge_nodes.gateway import Plc, confirming_host, gateway
from tests.edge_nodes.nodes import TREE, load, opcua_node
from tests.servers import eventually, mosquitto
from uns.adapters.broker import free_port
from uns.errors import ConfigurationError
from uns.sparkplug.messages import DeviceBorn, DeviceDied, NodeBorn

pytestmark = pytest.mark.integration

REPOSITORY = Path(__file__).resolve().parents[2]
UINT32 = ua.VariantType.UInt32
VARIABLES: dict[str, tuple[Any, ua.VariantType]] = {"Count": (0, UINT32), "Big": (0, ua.VariantType.UInt64)}
WIRING = 'count: {node: "nsu=urn:plc4;s=Count"}\nbig: {node: "nsu=urn:plc4;s=Big"}'
EVERY = "publishing: 20ms\nkeep_alive: 500ms\ntimeout: 1s\ntrigger: status_value_timestamp"


class EdgeProcess:
    """``uns-edge`` as a process of its own."""

    def __init__(self, *arguments: str, directory: Path) -> None:
        self._arguments = arguments
        self._directory = directory
        self.stats_file = directory / "stats.json"

    async def start(self) -> None:
        self.stats_file.unlink(missing_ok=True)
        with (self._directory / "edge.log").open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "edge_nodes.cli", *self._arguments),
                cwd=REPOSITORY,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
            )

    @property
    def stats(self) -> dict[str, Any]:
        try:
            found: dict[str, Any] = json.loads(self.stats_file.read_bytes())
        except (OSError, ValueError):
            return {}
        return found

    @property
    def log(self) -> str:
        return (self._directory / "edge.log").read_text()

    async def kill(self) -> None:
        self.process.kill()
        await self.process.wait()

    async def terminate(self) -> dict[str, Any]:
        self.process.send_signal(signal.SIGTERM)
        out, _ = await asyncio.wait_for(self.process.communicate(), 10)
        assert self.process.returncode == 0, self.log
        last: dict[str, Any] = json.loads(out.decode().strip().splitlines()[-1])
        return last


@contextlib.asynccontextmanager
async def edge_process(tmp_path: Path, node: str) -> AsyncIterator[EdgeProcess]:
    config = load(tmp_path, node)
    stats = ("--stats-json", str(tmp_path / "stats.json"))
    made = EdgeProcess("run", "--config", str(config.file), *stats, directory=tmp_path)
    await made.start()
    try:
        yield made
    finally:
        if made.process.returncode is None:
            await made.kill()


async def test_it_waits_for_plc_and_broker_and_ends_with_its_counters(tmp_path: Path) -> None:
    broker_port, plc_port = free_port(), free_port()
    node = opcua_node(
        WIRING, broker=f"mqtt://127.0.0.1:{broker_port}", url=f"opc.tcp://127.0.0.1:{plc_port}", source=EVERY
    )
    async with edge_process(tmp_path, node) as edge:
        await eventually(
            lambda: edge.stats.get("sources", {}).get("plc", {}).get("state", "connecting") != "connecting"
        )
        assert edge.stats["online"] is False
        async with Plc(VARIABLES, port=plc_port):
            await eventually(lambda: edge.stats.get("stored") == 2, what="stored without a broker", timeout_s=15)
            with mosquitto(tmp_path, port=broker_port) as broker:
                async with confirming_host(broker.url) as host:
                    await eventually(lambda: host.received == 2, what="delivered", timeout_s=15)
                    assert all(s.historical for s in host.samples)
                    began = time.monotonic()
                    last = await edge.terminate()
                    assert time.monotonic() - began < 8
    assert last["stored"] == last["confirmed"] == 2
    assert edge.stats == last
    assert "Traceback" not in edge.log


@pytest.mark.tck(
    "tck-id-topics-nbirth-bdseq-increment", "tck-id-message-flow-edge-node-birth-publish-will-message-payload-bdSeq"
)
async def test_a_killed_edge_goes_on_from_its_store(tmp_path: Path) -> None:
    """Every value that was stored arrives, none twice, bdSeq rises by one with each CONNECT."""
    with mosquitto(tmp_path) as broker:
        async with Plc(VARIABLES) as plc, confirming_host(broker.url) as host:
            node = opcua_node(WIRING, broker=broker.url, url=plc.url, source=EVERY)
            async with edge_process(tmp_path, node) as edge:
                count = 0
                for _ in range(3):
                    await eventually(lambda: edge.stats.get("sources", {}).get("plc", {}).get("state") == "connected")
                    stop_at = count + 150
                    while count < stop_at:
                        count += 1
                        await plc.write("Count", count)
                        await asyncio.sleep(0.002)
                    await edge.kill()
                    await edge.start()
                await eventually(lambda: edge.stats.get("waiting") == 0 and edge.stats["online"], timeout_s=15)
                last = await edge.terminate()
            assert last["stored"] == last["confirmed"]
            assert last["read"] == last["reduced"] + last["stored"] + last["refused"]
            seen: dict[tuple[str, int, int], Any] = {}
            for sample in host.samples:
                key = (sample.metric, sample.time_ms, sample.properties.get("ordinal", 0))
                assert seen.setdefault(key, sample.value) == sample.value
            assert len(seen) == last["stored"], "what was resent has its old keys"
            bd_seqs = [birth.bd_seq for birth in host.births if isinstance(birth, NodeBorn)]
            assert bd_seqs == [0, 1, 2, 3]


async def test_a_broker_that_goes_and_comes_costs_nothing(tmp_path: Path) -> None:
    port = free_port()
    async with Plc(VARIABLES) as plc:
        node = opcua_node(WIRING, broker=f"mqtt://127.0.0.1:{port}", url=plc.url, source=EVERY)
        async with gateway(load(tmp_path, node)) as edge:
            # What is written before the gateway subscribes is nothing that it could read.
            await eventually(lambda: edge.stats["stored"] == 2)
            count, seen = 0, set()
            for n in range(3):
                (tmp_path / str(n)).mkdir()
                with mosquitto(tmp_path / str(n), port=port) as broker:
                    async with confirming_host(broker.url) as host:
                        await eventually(lambda: edge.stats["online"], timeout_s=15)
                        for _ in range(50):
                            count += 1
                            await plc.write("Count", count)
                        await eventually(lambda: count in {s.value for s in host.samples}, timeout_s=15)  # noqa: B023
                        seen |= {s.value for s in host.samples if s.metric == "count"}
                        broker.kill()
                for _ in range(50):
                    count += 1
                    await plc.write("Count", count)
            (tmp_path / "last").mkdir()
            with mosquitto(tmp_path / "last", port=port) as broker:
                async with confirming_host(broker.url) as host:
                    await eventually(lambda: edge.stats["waiting"] == 0, timeout_s=20)
                    seen |= {s.value for s in host.samples if s.metric == "count"}
    assert seen == set(range(count + 1))


async def test_denied_data_stays_in_the_store_and_is_told(tmp_path: Path) -> None:
    acl = "topic deny spBv1.0/+/DDATA/#\ntopic readwrite #\n"
    top = "delivery: {level: host, mark_interval: 50ms, confirm_timeout: 500ms}"
    with mosquitto(tmp_path, acl=acl) as broker:
        async with Plc(VARIABLES) as plc, confirming_host(broker.url):
            node = opcua_node(WIRING, broker=broker.url, url=plc.url, source=EVERY, top=top)
            async with gateway(load(tmp_path, node)) as edge:
                await eventually(lambda: edge.stats["health"] != "", timeout_s=20)
                assert edge.stats["health"] == "DATA does not arrive: check the broker's ACL"
                assert edge.stats["waiting"] == edge.stats["stored"] == 2


@pytest.mark.parametrize(("level", "confirmed"), [("broker", 2), ("none", 2)])
async def test_other_levels_need_no_host(tmp_path: Path, level: str, confirmed: int) -> None:
    with mosquitto(tmp_path) as broker:
        async with Plc(VARIABLES) as plc:
            top = f"delivery: {{level: {level}, mark_interval: 50ms}}"
            node = opcua_node(WIRING, broker=broker.url, url=plc.url, source=EVERY, top=top)
            async with gateway(load(tmp_path, node)) as edge:
                await eventually(lambda: edge.stats["confirmed"] == confirmed)


@pytest.mark.tck("tck-id-operational-behavior-data-publish-dbirth-values")
async def test_a_rebirth_shows_the_last_stored_samples(tmp_path: Path) -> None:
    with mosquitto(tmp_path) as broker:
        async with Plc(VARIABLES) as plc:
            node = opcua_node(WIRING, broker=broker.url, url=plc.url, source=EVERY)
            async with gateway(load(tmp_path, node)) as edge:
                async with confirming_host(broker.url) as host:
                    await eventually(lambda: edge.stats["stored"] == 2)
                    await plc.write("Count", 41, time_us=1_780_515_120_125_250)
                    await eventually(lambda: edge.stats["confirmed"] == 3)
                async with confirming_host(broker.url) as host:  # a new host asks for a rebirth at the first data
                    await plc.write("Big", 7)
                    await eventually(lambda: len(host.births) >= 2, what="rebirth")
                    device = host.births[-1]
                    count = next(m for m in device.birth.metrics if m.name == "count")
                    assert (count.value, count.timestamp_ms) == (41, 1_780_515_120_125)
                    assert count.property_value("address") == "nsu=urn:plc4;s=Count"
                    small = {m.name for m in device.birth.metrics}
                    assert {"Properties/equipment", "Properties/path", "count", "big"} <= small
                    assert edge.stats["births"] >= 2


async def test_with_a_primary_host_nothing_is_published_while_it_is_away(tmp_path: Path) -> None:
    top = "primary_host: uns-host-1\ndelivery: {level: host, mark_interval: 50ms}"
    with mosquitto(tmp_path) as broker:
        async with Plc(VARIABLES) as plc:
            node = opcua_node(WIRING, broker=broker.url, url=plc.url, source=EVERY, top=top)
            async with gateway(load(tmp_path, node)) as edge:
                await eventually(lambda: edge.stats["stored"] == 2 and edge.stats["broker"] == "connected")
                assert (edge.stats["births"], edge.stats["online"]) == (0, False)
                for n in (2, 3):
                    async with confirming_host(broker.url) as host:
                        await eventually(lambda: edge.stats["confirmed"] == n, timeout_s=15)  # noqa: B023
                        assert all(s.historical for s in host.samples)
                    await eventually(lambda: not edge.stats["online"], what="it leaves with its host")
                    await plc.write("Count", n)


async def test_a_full_store_drops_by_policy_and_the_gap_travels(tmp_path: Path) -> None:
    top = "delivery: {level: host, mark_interval: 50ms}\nstore: {path: s.db, bytes_max: 1MB, when_full: drop_oldest}"
    port = free_port()
    async with Plc({"Phase": ("", ua.VariantType.String)}) as plc:
        wiring = 'phase: {node: "nsu=urn:plc4;s=Phase"}'
        node = opcua_node(wiring, broker=f"mqtt://127.0.0.1:{port}", url=plc.url, source=EVERY, top=top)
        async with gateway(load(tmp_path, node)) as edge:
            await eventually(lambda: edge.stats["stored"] == 1)
            count = 0
            while edge.stats["dropped"] == 0:
                for _ in range(10):
                    count += 1
                    await plc.write("Phase", f"{count:010}" * 2_000)
                assert count < 1_000
                await eventually(lambda: edge.stats["read"] == count + 1)  # noqa: B023 awaited in the same turn
            with mosquitto(tmp_path, port=port) as broker:
                async with confirming_host(broker.url) as host:
                    await eventually(lambda: edge.stats["waiting"] == 0, timeout_s=30)
                    stats = await edge.stop()
    assert stats["stored"] == stats["confirmed"] + stats["dropped"] == count + 1
    gaps = [json.loads(s.value) for s in host.samples if s.metric == "uns/gap"]
    assert sum(gap["count"] for gap in gaps) == stats["dropped"] > 0
    assert len(gaps) == stats["gaps"]
    kept = [int(s.value[:10]) for s in host.samples if s.metric == "phase"]
    assert kept == list(range(stats["dropped"], count + 1)), "the oldest went"


async def test_the_backlog_of_a_changed_definition_is_delivered(tmp_path: Path) -> None:
    """One metric is removed, one retyped while values wait: both travel, and vanish at the birth that follows."""
    port = free_port()
    async with Plc({**VARIABLES, "Count2": (2.5, ua.VariantType.Double)}) as plc:
        node = opcua_node(WIRING, broker=f"mqtt://127.0.0.1:{port}", url=plc.url, source=EVERY)
        async with gateway(load(tmp_path, node)) as edge:
            await eventually(lambda: edge.stats["stored"] == 2)
            await plc.write("Count", 41)
            await eventually(lambda: edge.stats["stored"] == 3)
        node = node.replace('        big: {node: "nsu=urn:plc4;s=Big"}\n', "").replace("s=Count", "s=Count2")
        changed = load(tmp_path, node, TREE.replace("count: {type: UInt32}", "count: {type: Double}"))
        report = await check_node(changed, [], offline=True)
        assert report.lines[1:] == [
            "  reactor4/count@UInt32: 2 values wait",
            "  reactor4/big: 1 values wait",
        ]
        with mosquitto(tmp_path, port=port) as broker:
            async with confirming_host(broker.url) as host, gateway(changed) as edge:
                await eventually(lambda: edge.stats["waiting"] == 0 and edge.stats["retired"] == 0)
                found = {(s.metric, s.value) for s in host.samples if s.device_id}
                assert {("count@UInt32", 0), ("count@UInt32", 41), ("big", 0), ("count", 2.5)} <= found
                (birth,) = (b.birth for b in host.births if isinstance(b, DeviceBorn))
                retired = {m.name: m.datatype.label for m in birth.metrics if m.property_value("retired")}
                assert retired == {"count@UInt32": "UInt32", "big": "UInt64"}
            async with confirming_host(broker.url) as host:  # its question is answered by a rebirth
                async with gateway(changed):
                    await eventually(lambda: any(isinstance(b, DeviceBorn) for b in host.births))
                device = next(b for b in host.births if isinstance(b, DeviceBorn))
                names = [m.name for m in device.birth.metrics if not m.name.startswith("Properties/")]
                assert names == ["count"]


async def test_a_device_that_is_no_more_lives_while_its_backlog_is_sent(tmp_path: Path) -> None:
    port = free_port()
    async with Plc({**VARIABLES, "Level": (1.5, ua.VariantType.Float)}) as plc:
        node = opcua_node(WIRING, broker=f"mqtt://127.0.0.1:{port}", url=plc.url, source=EVERY)
        more = node.rstrip() + '\n      tank1:\n        level: {node: "nsu=urn:plc4;s=Level"}\n'
        async with gateway(load(tmp_path, more)) as edge:
            await eventually(lambda: edge.stats["stored"] == 3)
        with mosquitto(tmp_path, port=port) as broker:
            async with confirming_host(broker.url) as host, gateway(load(tmp_path, node)) as edge:
                await eventually(lambda: edge.stats["waiting"] == 0)
                assert ("tank1", "level", 1.5) in {(s.device_id, s.metric, s.value) for s in host.samples}
                await eventually(lambda: edge.stats["device_deaths"] == 1)
                await eventually(lambda: [e.device_id for e in host.events if isinstance(e, DeviceDied)] == ["tank1"])
    assert edge.stats["stored"] == edge.stats["confirmed"]


async def test_a_second_gateway_on_the_same_store_is_refused(tmp_path: Path) -> None:
    config = load(tmp_path, opcua_node(WIRING, broker=f"mqtt://127.0.0.1:{free_port()}"))
    async with gateway(config):
        with pytest.raises(ConfigurationError, match="another uns-edge"):
            async with gateway(config):
                pass


async def test_check_by_the_command_line(tmp_path: Path) -> None:
    async def check(*more: str) -> tuple[int | None, str]:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "edge_nodes.cli", "check", "-c", str(tmp_path / "node.yaml"), *more),
            cwd=REPOSITORY,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        out, _ = await process.communicate()
        return process.returncode, out.decode()

    with mosquitto(tmp_path) as broker:
        async with Plc(VARIABLES) as plc:
            load(tmp_path, opcua_node(WIRING, broker=broker.url, url=plc.url))
            code, text = await check("--json")
            assert (code, json.loads(text)["findings"]) == (0, [])
            load(tmp_path, opcua_node(WIRING.replace("s=Big", "s=No"), broker=broker.url, url=plc.url))
            code, text = await check()
            assert code == 1
            assert "s=No" in text
        code, text = await check()
        assert (code, "does not answer" in text) == (3, True)
