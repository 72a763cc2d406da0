"""`uns doctor` beside a real broker: our own gateway and host keep every MUST, a faulty node is named."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Self

import msgspec
import pytest
from asyncua import ua

from tests.broker_check.faulty import FaultyBroker
from tests.doctor.scene import Scene
from tests.edge_nodes.gateway import Plc, confirming_host, gateway
from tests.edge_nodes.nodes import load, opcua_node
from tests.servers import eventually, free_port, mosquitto
from uns.adapters.broker import EmbeddedBroker
from uns.adapters.broker_address import BrokerAddress
from uns.adapters.mqtt import MqttConnection
from uns.delivery.messages import Mark
from uns.sparkplug.messages import Message

pytestmark = pytest.mark.integration

ROOT = Path(__file__).resolve().parents[2]
VARIABLES: dict[str, tuple[Any, ua.VariantType]] = {
    "Count": (0, ua.VariantType.UInt32),
    "Big": (0, ua.VariantType.UInt64),
}
WIRING = 'count: {node: "nsu=urn:plc4;s=Count"}\nbig: {node: "nsu=urn:plc4;s=Big"}'
EVERY = "publishing: 20ms\nkeep_alive: 500ms\ntimeout: 1s\ntrigger: status_value_timestamp"


class Doctor:
    """``uns doctor`` as a process; ``ended`` gives exit code, stdout and stderr."""

    def __init__(self, url: str, *options: str, seconds: float = 5) -> None:
        self._arguments = ("doctor", "--broker", url, "--seconds", str(seconds), *options)
        self.said = ""

    async def __aenter__(self) -> Self:
        self.process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "uns", *self._arguments),
            cwd=ROOT,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        if self.process.returncode is None:
            self.process.kill()
            await self.process.wait()

    async def watching(self) -> None:
        """Wait until it has subscribed."""
        await self.says("watching")

    async def says(self, words: str) -> None:
        """Wait for a line on stderr."""
        assert self.process.stderr is not None
        async with asyncio.timeout(30):
            line = ""
            while words not in line:
                line = (await self.process.stderr.readline()).decode()
                assert line, f"it ended; it said {self.said!r}"
                self.said += line

    async def ended(self) -> tuple[int, str, str]:
        async with asyncio.timeout(60):
            out, err = await self.process.communicate()
        assert self.process.returncode is not None
        return self.process.returncode, out.decode(), self.said + err.decode()


class Recorder(Scene):
    """A node whose messages are published for real."""

    def __init__(self, connection: MqttConnection) -> None:
        super().__init__()
        self._connection = connection

    def send(self, topic: str, payload: bytes, *, qos: int = 0, retain: bool = False) -> None:
        self._connection.publish_many([Message(topic, payload, qos, retain)])

    async def marked(self) -> None:
        """Two marks that count DATA."""
        for n in (1, 2):
            mark = Mark(session="s", host="h", n=n, repeat=False, cursor="live", mark=n, messages=1)
            await self._connection.publish_acknowledged(Message("uns1/_mark/G/E", msgspec.json.encode(mark), 1))


@contextlib.asynccontextmanager
async def node(url: str) -> AsyncIterator[Recorder]:
    async with MqttConnection(BrokerAddress(url=url), client_id="planted") as connection:
        yield Recorder(connection)
        await connection.drain()


async def test_our_own_gateway_and_host_break_no_must(tmp_path: Path) -> None:
    with mosquitto(tmp_path) as broker:
        async with Plc(VARIABLES) as plc, Doctor(broker.url, "--json", seconds=60) as doctor:
            await doctor.watching()
            async with confirming_host(broker.url) as host:
                config = load(tmp_path, opcua_node(WIRING, broker=broker.url, url=plc.url, source=EVERY))
                for turn in range(2):
                    async with gateway(config) as edge:
                        await eventually(lambda: edge.stats["online"], timeout_s=15)
                        for count in range(60):
                            await plc.write("Count", turn * 100 + count)
                            await asyncio.sleep(0.005)
                        await eventually(lambda: edge.stats["waiting"] == 0)
                assert host.births
                await asyncio.sleep(0.5)  # the answers to the last marks
            doctor.process.send_signal(signal.SIGINT)
            code, out, err = await doctor.ended()
    report = json.loads(out)
    findings = [f"{f['rule']}: {f['seen']}" for subject in report["subjects"] for f in subject["findings"]]
    assert (code, findings) == (0, []), err
    assert report["verdict"] == "ok"
    (edge_node,) = report["nodes"]
    assert (edge_node["births"], edge_node["deaths"], edge_node["notes"]) == (2, 2, [])
    assert report["totals"]["ok"] > 130
    assert len(report["requirements"]) == 299


async def test_a_faulty_node_is_named_and_the_exit_code_is_1(tmp_path: Path) -> None:
    with mosquitto(tmp_path) as broker:
        async with node(broker.url) as planted, Doctor(broker.url, seconds=2) as doctor:
            planted.nbirth(node="kept", retain=True, qos=1)
            await doctor.watching()
            planted.nbirth(lambda p: p.metrics.__delitem__(1), node="faulty")
            planted.nbirth(node="well")
            code, out, err = await doctor.ended()
    usual = ("watching mqtt://", "so far", "asking the broker for what it keeps")
    told = [line for line in err.splitlines() if not any(words in line for words in usual)]
    assert (code, told) == (1, [])
    assert "G/faulty  BREAKS 2 MUST" in out
    assert "no metric called 'Node Control/Rebirth'" in out
    assert "spBv1.0/G/NBIRTH/faulty" in out
    assert "tck-id-payloads-nbirth-rebirth-req" in out
    assert "G/kept  BREAKS" in out
    assert "G/well  keeps what could be seen" in out


async def test_a_should_alone_is_exit_code_0(tmp_path: Path) -> None:
    with mosquitto(tmp_path) as broker:
        async with node(broker.url) as planted, Doctor(broker.url, "--json", seconds=2) as doctor:
            await doctor.watching()
            planted.births()
            planted.ddata(lambda p: setattr(p.metrics[0], "datatype", 10))
            code, out, _err = await doctor.ended()
    report = json.loads(out)
    assert (code, report["verdict"], report["totals"]["broken_should"]) == (0, "warnings", 1)


async def test_it_publishes_nothing_and_asks_for_births_only_when_told(tmp_path: Path) -> None:
    with mosquitto(tmp_path) as broker:
        async with MqttConnection(BrokerAddress(url=broker.url), client_id="listener") as listener:
            await listener.subscribe([("#", 0)])
            async with node(broker.url) as planted, Doctor(broker.url, "--rebirth", seconds=4) as doctor:
                await doctor.watching()
                planted.ndata()
                _code, out, err = await doctor.ended()
            seen = {message.topic for message in await listener.next_batch()}
            async with Doctor(broker.url, seconds=1) as quiet:
                await quiet.ended()
            async with node(broker.url) as planted:
                planted.ndata(node="last")
            later = {message.topic for message in await listener.next_batch()}
    assert "asked G/E for a rebirth" in err
    assert "spBv1.0/G/NCMD/E" in seen
    assert later == {"spBv1.0/G/NDATA/last"}
    assert "G/E" in out


async def test_no_broker_is_exit_code_3() -> None:
    async with Doctor(f"mqtt://127.0.0.1:{free_port()}", seconds=1) as doctor:
        code, out, err = await doctor.ended()
    assert (code, out) == (3, "")
    assert "Traceback" not in err


async def test_a_broker_that_goes_and_comes_is_told(tmp_path: Path) -> None:
    port = free_port()
    with mosquitto(tmp_path, port=port) as broker:
        async with Doctor(broker.url, "--json", seconds=4) as doctor:
            await doctor.watching()
            broker.kill()
            broker.start()
            await doctor.says("watching again")
            async with node(broker.url) as planted:
                planted.nbirth()
            code, out, err = await doctor.ended()
    report = json.loads(out)
    assert code == 0
    assert "trying again" in err
    assert report["traffic"]["interruptions"] == 1
    assert report["nodes"][0]["births"] == 1


async def test_the_embedded_broker_is_no_reason_to_blame_a_node() -> None:
    async with (
        EmbeddedBroker() as broker,
        node(broker.url) as planted,
        Doctor(broker.url, "--json", seconds=3) as doctor,
    ):
        for _ in range(20):
            await asyncio.sleep(0.1)
            planted.births()
        code, out, _err = await doctor.ended()
    report = json.loads(out)
    assert (code, report["subjects"]) == (0, [])


@pytest.mark.parametrize(
    "options", [("--seconds", "0"), ("--group", "a/b"), ("--broker", "http://x"), ("--ca-file", "x")]
)
async def test_wrong_usage_is_exit_code_2(options: tuple[str, str]) -> None:
    async with Doctor("mqtt://127.0.0.1:1", *options) as doctor:
        code, _out, err = await doctor.ended()
    assert code == 2
    assert "Traceback" not in err


async def test_ctrl_c_ends_the_watch_early_with_a_report(tmp_path: Path) -> None:
    with mosquitto(tmp_path) as broker:
        async with node(broker.url) as planted, Doctor(broker.url, "--json", seconds=600) as doctor:
            await doctor.watching()
            planted.births()
            await doctor.says("1 node so far")
            doctor.process.send_signal(signal.SIGINT)
            code, out, _err = await doctor.ended()
    report = json.loads(out)
    assert (code, report["verdict"], report["nodes"][0]["births"]) == (0, "ok", 1)


async def test_a_service_manager_that_ends_it_gets_a_report(tmp_path: Path) -> None:
    with mosquitto(tmp_path) as broker:
        async with Doctor(broker.url, "--json", seconds=600) as doctor:
            await doctor.watching()
            doctor.process.send_signal(signal.SIGTERM)
            code, out, _err = await doctor.ended()
    assert (code, json.loads(out)["verdict"]) == (0, "nothing_seen")


async def test_a_second_ctrl_c_ends_it_at_once(tmp_path: Path) -> None:
    with mosquitto(tmp_path) as broker:
        async with Doctor(broker.url, seconds=600) as doctor:
            await doctor.watching()
            doctor.process.send_signal(signal.SIGINT)
            await doctor.says("asking the broker for what it keeps")
            doctor.process.send_signal(signal.SIGINT)
            code, out, err = await doctor.ended()
    assert (code, out) == (130, "")
    assert "Traceback" not in err


async def test_ctrl_c_ends_it_while_nobody_answers() -> None:
    connected = asyncio.Event()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connected.set()
        await reader.read()
        writer.close()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    async with Doctor(f"mqtt://127.0.0.1:{server.sockets[0].getsockname()[1]}", seconds=600) as doctor:
        async with asyncio.timeout(20):
            await connected.wait()
        doctor.process.send_signal(signal.SIGINT)
        code, out, err = await doctor.ended()
    server.close()
    assert (code, out) == (130, "")
    assert "Traceback" not in err


# ── access lists ─────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_user_who_may_read_nothing_is_told_that_it_may_be_the_access_list(tmp_path: Path) -> None:
    with mosquitto(tmp_path, acl="topic write #\n") as broker:
        async with node(broker.url) as planted, Doctor(broker.url, "--json", seconds=2) as doctor:
            await doctor.watching()
            planted.births()
            code, out, _err = await doctor.ended()
    report = json.loads(out)
    assert (code, report["verdict"], report["traffic"]["messages"]) == (0, "nothing_seen", 0)
    assert "an access list hides spBv1.0/# from this user" in report["notes"][0]


async def test_a_user_who_sees_states_alone_is_told_that_nodes_may_be_hidden(tmp_path: Path) -> None:
    with mosquitto(tmp_path, acl="topic write #\ntopic read spBv1.0/STATE/#\n") as broker:
        async with node(broker.url) as planted, Doctor(broker.url, "--json", seconds=2) as doctor:
            await doctor.watching()
            planted.state(retain=True)
            planted.births()
            _code, out, _err = await doctor.ended()
    report = json.loads(out)
    assert (report["nodes"], len(report["hosts"])) == ([], 1)
    assert "an access list may hide" in report["notes"][0]


async def test_a_broker_that_refuses_the_subscription_is_exit_code_3() -> None:
    async with FaultyBroker("subscribe_refused") as broker, Doctor(broker.url, seconds=2) as doctor:
        code, out, err = await doctor.ended()
    assert (code, out) == (3, "")
    assert "refuses the subscription to spBv1.0/#" in err


async def test_a_broker_that_cuts_whoever_asks_for_too_much_is_watched_without_it() -> None:
    """Some answer a SUBSCRIBE that is not allowed by ending the connection."""
    async with FaultyBroker("cuts_strangers") as broker, Doctor(broker.url, "--json", seconds=1) as doctor:
        code, out, err = await doctor.ended()
    assert (code, json.loads(out)["traffic"]["interruptions"]) == (0, 0), err


async def test_marks_of_groups_that_are_not_watched_tell_nothing(tmp_path: Path) -> None:
    """Without the DATA that they count they would look like an access list that denies."""
    with mosquitto(tmp_path) as broker:
        async with node(broker.url) as planted, Doctor(broker.url, "--json", "--group", "other", seconds=2) as doctor:
            await doctor.watching()
            planted.births()
            await planted.marked()
            _code, out, _err = await doctor.ended()
    report = json.loads(out)
    assert (report["nodes"], report["traffic"]["messages"]) == ([], 0)
