"""A host in this process with a real broker, an emulated edge node, and somebody who listens."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sqlite3
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import msgspec

from benchmarks.emulated_edge import EmulatedEdge
from tests.servers import eventually
from uns.adapters.http import get_json
from uns.adapters.logs import get_logger
from uns.adapters.mqtt import BrokerAddress, MqttConnection
from uns.errors import UnreachableError
from uns.namespace.loader import load_tree
from uns.namespace.mapping import device_properties, metric_properties
from uns.namespace.model import TopicTree
from uns.runtime.accounting import host_equations
from uns.runtime.host.options import HostOptions
from uns.runtime.host.process import Host
from uns.sparkplug.metrics import BirthMetric
from uns.sparkplug.topics import EdgeNodeDescriptor

TREE_TEXT = """\
uns: 1
enterprise: acme
classes:
  BatchReactor:
    context: {requires: [job, lot]}
    metrics:
      temperature: {type: Float,  unit: CEL, role: quality}
      pressure:    {type: Float,  unit: BAR}
      batch/count: {type: UInt32, unit: C62, role: counter, counts: good}
      batch/phase: {type: String, role: context, provides: recipe_phase}
      total:       {type: UInt64}
sites:
  dallas:
    time_zone: America/Chicago
    equipment:
      line2:
        level: ProcessCell
        equipment:
          reactor4: {level: Unit, class: BatchReactor, gateways: [gw-1]}
          reactor5: {level: Unit, class: BatchReactor, gateways: [gw-1]}
context:
  mes:     {provides: [job], precedence: 10}
  scanner: {provides: [lot], precedence: 10}
"""
NODE = EdgeNodeDescriptor("acme.dallas", "gw-1")


def births_of(tree: TopicTree, equipment: str, *, without: tuple[str, ...] = ()) -> list[BirthMetric]:
    """What a gateway of ours would announce of an equipment."""
    place = tree.equipment[equipment]
    equipment_class = tree.class_of(equipment)
    assert equipment_class is not None
    return [
        *device_properties(tree, place),
        *(
            BirthMetric(
                name=contract.name,
                datatype=contract.datatype,
                properties=metric_properties(contract, source_address=f"nsu=urn:plc;s={contract.name}"),
            )
            for contract in equipment_class.metrics.values()
            if contract.name not in without
        ),
    ]


class Listener:
    """Everything below ``uns1/``, as it came."""

    def __init__(self) -> None:
        self.messages: list[tuple[str, Any, bool]] = []

    async def run(self, address: BrokerAddress) -> None:
        while True:
            with contextlib.suppress(UnreachableError):
                async with MqttConnection(address, client_id="listener") as connection:
                    await connection.subscribe([("uns1/#", 1)])
                    while True:
                        for message in await connection.next_batch():
                            content: Any = None
                            with contextlib.suppress(ValueError):
                                content = json.loads(message.payload)
                            self.messages.append((message.topic, content, message.retain))
            await asyncio.sleep(0.1)

    def of(self, part: str) -> list[Any]:
        """Contents whose topic holds ``part``."""
        return [content for topic, content, _ in self.messages if part in topic]

    def ticks(self, equipment: str = "reactor4") -> list[Any]:
        return [t for t in self.of("/_data/") if t["equipment"] == equipment]


class Plant:
    """Made by :func:`plant`."""

    def __init__(self, directory: Path, broker_url: str, tree: TopicTree) -> None:
        self.directory = directory
        self.address = BrokerAddress(url=broker_url)
        self.tree = tree
        self.sockets = Path(tempfile.mkdtemp(prefix="uns-"))
        self.listener = Listener()
        self.host: Host | None = None
        self.edge = EmulatedEdge(
            self.address,
            NODE,
            {e: births_of(tree, e) for e in ("reactor4", "reactor5")},
            mark_interval_ms=50,
            confirm_timeout_ms=500,
        )
        self.tasks: dict[str, asyncio.Task[None]] = {}

    @property
    def store(self) -> Path:
        return self.directory / "host"

    @property
    def api(self) -> str:
        return f"unix:{self.sockets / 'host.sock'}"

    def options(self, **changes: Any) -> HostOptions:
        options = HostOptions(
            tree=self.directory / "topic_tree.yaml", broker=self.address, store=self.store, api=self.api
        )
        return msgspec.structs.replace(options, **changes)

    async def start_host(self, **changes: Any) -> Host:
        self.host = Host(self.options(**changes), self.tree, get_logger("host"))
        self.tasks["host"] = asyncio.create_task(self.host.run(), name="host")
        await eventually(
            lambda: self.tasks["host"].done() or (self.host and self.host.connected and self.host.output.connected),
            what="the host is connected",
        )
        if self.tasks["host"].done():
            self.tasks["host"].result()
        return self.host

    async def stop_host(self) -> None:
        assert self.host is not None
        self.host.stop()
        await asyncio.wait_for(self.tasks.pop("host"), 12)

    async def crash_host(self) -> None:
        """Stop as a killed process does: nothing is drained."""
        task = self.tasks.pop("host")
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError, BaseExceptionGroup):
            await task

    async def start_edge(self) -> None:
        self.tasks["edge"] = asyncio.create_task(self.edge.run(), name="edge")
        await eventually(lambda: self.edge.online, what="the edge node is online")

    async def status(self) -> dict[str, Any]:
        status: dict[str, Any] = await get_json(self.api, "/status")
        return status

    async def until_drained(self, *, timeout_s: float = 30.0) -> dict[str, Any]:
        """Everything stored at the edge is confirmed, joined and published; the status then."""
        deadline = time.monotonic() + timeout_s
        while True:
            status = await self.status()
            done = (
                self.edge.waiting == 0 and status["counters"]["unjoined"] == 0 and status["log"]["outbox_waiting"] == 0
            )
            if done:
                return status
            assert time.monotonic() < deadline, (self.edge.waiting, status["counters"], status["log"])
            await asyncio.sleep(0.05)

    def account(self, status: dict[str, Any]) -> None:
        """Every equation holds, nothing is lost, no key stands twice."""
        counters = status["counters"]
        for equation in host_equations(counters):
            assert equation.holds, equation
        kept = counters["recorded"] + counters["rejected"] + counters["unmapped"]
        assert self.edge.stored == kept, (self.edge.stored, counters)
        assert self.query(
            "SELECT count(*) - count(DISTINCT source_time_ns || '/' || equipment || '/' || metric || '/' || ordinal)"
            " FROM samples JOIN series USING (series)"
        ) == [(0,)]

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        connection = sqlite3.connect(f"file:{self.store / 'records.db'}?mode=ro", uri=True, timeout=5)
        try:
            return connection.execute(sql).fetchall()
        finally:
            connection.close()

    async def publish(self, topic: str, payload: bytes, *, qos: int = 1, retain: bool = False) -> None:
        class Out(msgspec.Struct):
            topic: str
            payload: bytes
            qos: int
            retain: bool

        async with MqttConnection(self.address, client_id="somebody") as connection:
            connection.publish_many([Out(topic, payload, qos, retain)])
            await connection.drain()

    async def tell(self, **fields: Any) -> dict[str, Any]:
        """State a fact and wait for its answer."""
        fact = {"schema": "uns1.fact/1", "source": "mes", "source_rev": "1", "equipment": "reactor4"} | fields
        topic = f"uns1/acme/dallas/_fact/{fact['source']}/{fact['kind']}"
        before = len(self.listener.of("/_fact_result/"))
        await self.publish(topic, json.dumps(fact).encode())
        await eventually(lambda: len(self.listener.of("/_fact_result/")) > before, what="the fact is answered")
        answer: dict[str, Any] = self.listener.of("/_fact_result/")[-1]
        return answer


@contextlib.asynccontextmanager
async def plant(directory: Path, broker_url: str, *, tree_text: str = TREE_TEXT) -> AsyncIterator[Plant]:
    (directory / "topic_tree.yaml").write_text(tree_text)
    made = Plant(directory, broker_url, load_tree(directory / "topic_tree.yaml"))
    made.tasks["listener"] = asyncio.create_task(made.listener.run(made.address))
    try:
        yield made
    finally:
        for task in reversed(made.tasks.values()):
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError, BaseExceptionGroup):
                await task


Clock = Callable[[], int]
