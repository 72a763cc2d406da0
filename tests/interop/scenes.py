"""The two scenes that every peer plays: as edge node before our host, and as host before our edge node.

A scene is played once per peer, over a real mosquitto; the tests look at what it left.
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import tempfile
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from benchmarks.emulated_edge import EmulatedEdge
from schemas.sparkplug_b_pb2 import Payload
from tests.interop.connects import ConnectPacket, read_connects
from tests.interop.process import PeerProcess, PeerRefusedError
from tests.interop.values import EXTREME, PLAIN, TYPES, metric_name, to_text
from tests.proxy import FaultProxy
from tests.servers import eventually, mosquitto
from uns.adapters.http import get_json
from uns.adapters.logs import get_logger
from uns.adapters.mqtt import BrokerAddress, MqttConnection
from uns.doctor.grader import Grader
from uns.doctor.report import Finding
from uns.doctor.reporting import build_report
from uns.enrichment.plan import value_of
from uns.namespace.loader import load_tree
from uns.runtime.host.options import HostOptions
from uns.runtime.host.process import Host
from uns.sparkplug.datatypes import DataType, Value
from uns.sparkplug.host import HostSession
from uns.sparkplug.messages import Message, Publish
from uns.sparkplug.metrics import BirthMetric, MetricValue
from uns.sparkplug.topics import EdgeNodeDescriptor

__all__ = ["DEVICE", "HOST_ID", "NODE", "EdgeScene", "HostScene", "play_edge", "play_host"]

NODE = EdgeNodeDescriptor("acme.dallas", "gw-peer")
DEVICE = "cell"
HOST_ID = "peer-host"
OUR_HOST_ID = "uns-host-1"
UPTIME = "uptime"

TREE = f"""\
uns: 1
enterprise: acme
classes:
  Cell:
    metrics:
{"".join(f"      {metric_name(datatype)}: {{type: {datatype.label}}}{chr(10)}" for datatype in TYPES)}
sites:
  dallas:
    time_zone: UTC
    equipment:
      line:
        level: ProductionLine
        equipment:
          {DEVICE}: {{level: WorkCell, class: Cell, gateways: [{NODE.edge_node_id}]}}
"""


class Seen(msgspec.Struct):
    """A message as an onlooker got it."""

    topic: str
    payload: bytes
    qos: int
    retain: bool

    @property
    def kind(self) -> str:
        parts = self.topic.split("/")
        return "STATE" if "STATE" in parts else parts[2] if len(parts) > 2 else ""


class Onlooker:
    """Sees everything, at QoS 1, and grades it as ``uns doctor`` does."""

    def __init__(self) -> None:
        self.messages: list[Seen] = []
        self.grader = Grader(time.time_ns())

    @contextlib.asynccontextmanager
    async def watching(self, address: BrokerAddress) -> AsyncIterator[MqttConnection]:
        async with MqttConnection(address, client_id="onlooker") as connection:
            await connection.subscribe([("spBv1.0/#", 1), ("STATE/#", 1)])
            task = asyncio.create_task(self._run(connection))
            try:
                yield connection
            finally:
                task.cancel()

    async def _run(self, connection: MqttConnection) -> None:
        while True:
            for message in await connection.next_batch():
                self.messages.append(Seen(message.topic, message.payload, message.qos, message.retain))
                now_ns = time.time_ns()
                self.grader.receive_timer(now_ns)
                self.grader.receive(message.topic, message.payload, message.qos, message.retain, now_ns)

    def of(self, kind: str) -> list[Seen]:
        return [message for message in self.messages if message.kind == kind]

    def findings(self) -> list[Finding]:
        self.grader.finish(time.time_ns())
        report = build_report(self.grader, now_ns=time.time_ns(), broker="mqtt://127.0.0.1")
        return [finding for subject in report.subjects for finding in subject.findings]


class EdgeScene(msgspec.Struct):
    """What a peer's edge node left."""

    connects: list[ConnectPacket]
    messages: list[Seen]
    findings: list[Finding]
    recorded: dict[str, list[Value]]  # by metric, in order of arrival
    unrecorded: dict[str, set[str]]  # by metric, why
    warnings: dict[str, int]
    violations: dict[str, int]
    leniencies: dict[str, int]
    refused: dict[str, str]  # by step, what the peer's library raised
    happened: dict[str, bool]
    events: list[dict[str, Any]]

    def broken(self) -> dict[str, set[str]]:
        """By tck-id broken, as the doctor tells them: the kinds of messages that did."""
        found: dict[str, set[str]] = defaultdict(set)
        for finding in self.findings:
            for tck_id in finding.tck_ids:
                found[tck_id].add(finding.message_type)
        return dict(found)


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def listed(
    values: Mapping[DataType, MetricValue],
    types: tuple[DataType, ...],
    *,
    alias: int | None = None,
    at_ms: int | None = None,
) -> list[dict[str, Any]]:
    """Metrics for a peer; ``alias`` is the one of the first."""
    at_ms = now_ms() if at_ms is None else at_ms
    metrics = []
    for position, datatype in enumerate(types):
        metric: dict[str, Any] = {
            "name": metric_name(datatype),
            "type": datatype.label,
            "value": to_text(values[datatype]),
            "timestamp": at_ms,
        }
        if alias is not None:
            metric["alias"] = alias + position
        metrics.append(metric)
    return metrics


def uptime(value: int) -> dict[str, Any]:
    return {"name": UPTIME, "type": "Int32", "value": str(value), "timestamp": now_ms()}


async def within(condition: Callable[[], object], seconds: float) -> bool:
    """Whether it came true in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        await asyncio.sleep(0.02)
    return True


@contextlib.asynccontextmanager
async def running_host(directory: Path, address: BrokerAddress) -> AsyncIterator[Host]:
    (directory / "topic_tree.yaml").write_text(TREE)
    sockets = Path(tempfile.mkdtemp(prefix="uns-"))
    api = f"unix:{sockets / 'host.sock'}"
    options = HostOptions(
        tree=directory / "topic_tree.yaml", broker=address, store=directory / "host", api=api, host_id=OUR_HOST_ID
    )
    host = Host(options, load_tree(options.tree), get_logger("host"))
    task = asyncio.create_task(host.run())
    try:
        await eventually(lambda: task.done() or (host.connected and host.output.connected), what="the host connects")
        yield host
        deadline = time.monotonic() + 10
        while (await get_json(api, "/status"))["counters"]["unjoined"] and time.monotonic() < deadline:
            await asyncio.sleep(0.05)
    finally:
        host.stop()
        await task


async def play_edge(
    command: list[str], directory: Path, *, types: tuple[DataType, ...], nulls: bool, aliases: bool
) -> EdgeScene:
    """A peer as edge node: births, data, nulls, a rebirth request, a device death, a clean end; then a crash."""
    happened: dict[str, bool] = {}
    refused: dict[str, str] = {}
    events: list[dict[str, Any]] = []
    streams: dict[int, bytearray] = defaultdict(bytearray)

    def tap(number: int, direction: str, data: bytes) -> None:
        if direction == "up":
            streams[number] += data

    first = 10 if aliases else None
    with mosquitto(directory) as broker:
        address, onlooker = BrokerAddress(url=broker.url), Onlooker()
        async with (
            running_host(directory, address) as host,
            onlooker.watching(address) as connection,
            FaultProxy("127.0.0.1", broker.port, tap=tap) as proxy,
        ):

            def node_online() -> bool:
                state = host.session.nodes.get(NODE)
                return state is not None and state.online

            def device_online() -> bool:
                state = host.session.nodes.get(NODE)
                return state is not None and DEVICE in state.devices and state.devices[DEVICE].online

            async def step(peer: PeerProcess, do: str, name: str = "", **more: Any) -> bool:
                try:
                    await peer.ask(do, **more)
                except PeerRefusedError as error:
                    refused[name or do] = str(error)
                    return False
                return True

            async def born(peer: PeerProcess) -> None:
                await step(
                    peer,
                    "edge",
                    port=proxy.port,
                    group=NODE.group_id,
                    node=NODE.edge_node_id,
                    metrics=[uptime(1)],
                    devices={DEVICE: listed(PLAIN, types, alias=first)},
                    folder=str(directory),
                    primary_host=OUR_HOST_ID,
                )

            async def asked_for_rebirth(*, typed: bool) -> bool:
                births = len(onlooker.of("NBIRTH"))
                connection.publish_many([rebirth_request(typed=typed)])
                return await within(lambda: len(onlooker.of("NBIRTH")) > births, 2)

            async with PeerProcess(command) as peer:
                await born(peer)
                happened["node_born"] = await within(node_online, 5)
                happened["device_born"] = await within(device_online, 3)
                happened["rebirth_answered"] = await asked_for_rebirth(typed=True)
                start_ms = now_ms()
                metrics = listed(EXTREME, types, alias=first, at_ms=start_ms + 1)
                await step(peer, "data", device=DEVICE, metrics=metrics)
                if nulls:
                    empty: dict[DataType, Value] = dict.fromkeys(types)
                    metrics = listed(empty, types, alias=first, at_ms=start_ms + 2)
                    await step(peer, "data", "nulls", device=DEVICE, metrics=metrics)
                await step(peer, "data", "node data", device=None, metrics=[uptime(2)])
                happened["node_data"] = await within(lambda: onlooker.of("NDATA"), 3)
                if await step(peer, "device_death", device=DEVICE):
                    happened["device_death_seen"] = await within(lambda: not device_online(), 3)
                await step(peer, "stop")
                happened["offline_after_stop"] = await within(lambda: not node_online(), 2)
                events += peer.events
            await within(lambda: not node_online(), 1)  # the Will of a peer whose end was not one
            births = len(onlooker.of("DBIRTH"))
            async with PeerProcess(command) as peer:
                await born(peer)
                happened["born_again"] = await within(lambda: len(onlooker.of("DBIRTH")) > births, 5)
                await within(node_online, 1)
                happened["untyped_rebirth_answered"] = await asked_for_rebirth(typed=False)
                data = len(onlooker.of("NDATA"))
                await step(peer, "data", "data after the request", device=None, metrics=[uptime(3)])
                happened["lives_after_request"] = await within(lambda: len(onlooker.of("NDATA")) > data, 2)
                events += peer.events
            happened["offline_after_crash"] = await within(lambda: not node_online(), 5)
            session = host.session
            warnings, violations = dict(session.warnings), dict(session.violations)
            leniencies = dict(session.leniencies)
        findings = onlooker.findings()
    recorded, unrecorded = _records(directory / "host" / "records.db")
    return EdgeScene(
        connects=read_connects(streams),
        messages=onlooker.messages,
        findings=findings,
        recorded=recorded,
        unrecorded=unrecorded,
        warnings=warnings,
        violations=violations,
        leniencies=leniencies,
        refused=refused,
        happened=happened,
        events=events,
    )


def rebirth_request(*, typed: bool = True) -> Message:
    """As our host asks a foreign node; or without its datatype, as the standard would rather have it."""
    host = HostSession("any", jitter=lambda _span: 0)
    host.connect(time.time_ns())
    host.receive_connected(time.time_ns())
    host.receive_subscribed(time.time_ns())
    host.request_rebirth(NODE, "request", time.time_ns())
    sent = [action.message for action in host.actions() if isinstance(action, Publish)]
    message = next(message for message in sent if "/NCMD/" in message.topic)
    wire = Payload.FromString(message.payload)
    assert wire.metrics[0].HasField("datatype")
    if not typed:
        wire.metrics[0].ClearField("datatype")
    return Message(message.topic, wire.SerializeToString())


def _records(path: Path) -> tuple[dict[str, list[Value]], dict[str, set[str]]]:
    types = {metric_name(datatype): datatype.label for datatype in TYPES}
    connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    try:
        recorded: dict[str, list[Value]] = defaultdict(list)
        for metric, *columns in connection.execute(
            "SELECT metric, value_num, value_int, value_text FROM records ORDER BY position, metric"
        ):
            recorded[metric].append(value_of(types[metric], *columns))
        unrecorded: dict[str, set[str]] = defaultdict(set)
        for metric, kind, reason in connection.execute("SELECT metric, kind, reason FROM unrecorded"):
            unrecorded[metric].add(reason or kind)
    finally:
        connection.close()
    return dict(recorded), dict(unrecorded)


# ── a peer as host ───────────────────────────────────────────────────────────────────────────────────────────────


class HostScene(msgspec.Struct):
    """What a peer's host said of our edge node, and did."""

    connects: list[ConnectPacket]
    states: list[Seen]
    births: list[list[dict[str, Any]]]  # of DBIRTHs, metrics as it decoded them
    data: list[list[dict[str, Any]]]  # of DDATA
    kinds: set[str]  # of messages it told of
    findings: list[Finding]
    refused: dict[str, str]
    happened: dict[str, bool]


def our_device() -> dict[str, list[BirthMetric]]:
    return {DEVICE: [BirthMetric(name=metric_name(t), datatype=t, value=PLAIN[t]) for t in TYPES]}


def put(edge: EmulatedEdge, values: Mapping[DataType, Value]) -> None:
    at_ms = now_ms()
    edge.put(DEVICE, [(metric_name(datatype), values[datatype], at_ms) for datatype in TYPES])


async def play_host(command: list[str], directory: Path) -> HostScene:
    """A peer as host: births, plain data, nulls, its rebirth request, extreme values, our clean end."""
    happened: dict[str, bool] = {}
    refused: dict[str, str] = {}
    streams: dict[int, bytearray] = defaultdict(bytearray)

    def tap(number: int, direction: str, data: bytes) -> None:
        if direction == "up":
            streams[number] += data

    with mosquitto(directory) as broker:
        address, onlooker = BrokerAddress(url=broker.url), Onlooker()
        async with (
            onlooker.watching(address),
            FaultProxy("127.0.0.1", broker.port, tap=tap) as proxy,
            PeerProcess(command) as peer,
        ):
            await peer.ask("host", port=proxy.port, host_id=HOST_ID, group=NODE.group_id)
            wanted = f"spBv1.0/{NODE.group_id}/#"
            subscribed = await within(lambda: any(wanted in c.subscriptions for c in read_connects(streams)), 20)
            assert subscribed, read_connects(streams)
            await asyncio.sleep(0.5)  # the broker's grant, and what a host does before it takes messages
            edge = EmulatedEdge(address, NODE, our_device(), mark_interval_ms=600_000, confirm_timeout_ms=600_000)
            running = asyncio.create_task(edge.run())
            try:
                await eventually(lambda: edge.online, what="our edge node is online")
                happened["births_seen"] = await within(lambda: peer.messages("DBIRTH"), 5)
                put(edge, PLAIN)
                put(edge, dict.fromkeys(TYPES))
                happened["data_seen"] = await within(lambda: len(peer.messages("DDATA")) == 2, 3)
                births = edge.births
                try:
                    await asyncio.sleep(1.0)  # our edge node answers one request a second
                    await peer.ask("rebirth", group=NODE.group_id, node=NODE.edge_node_id, timestamp=now_ms())
                except PeerRefusedError as error:
                    refused["rebirth"] = str(error)
                else:
                    happened["rebirth_obeyed"] = await within(lambda: edge.births > births, 3)
                put(edge, EXTREME)
                happened["extremes_seen"] = await within(lambda: len(peer.messages("DDATA")) == 3, 3)
            finally:
                running.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await running
            happened["death_seen"] = await within(lambda: peer.messages("NDEATH"), 3)
            messages = list(peer.messages())
        findings = onlooker.findings()
    return HostScene(
        connects=read_connects(streams),
        states=onlooker.of("STATE"),
        births=[m["metrics"] for m in messages if m["type"] == "DBIRTH"],
        data=[m["metrics"] for m in messages if m["type"] == "DDATA"],
        kinds={m["type"] for m in messages},
        findings=findings,
        refused=refused,
        happened=happened,
    )
