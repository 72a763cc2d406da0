"""The publisher over a connection that does as it is told: leaving in the middle of things, floods, look-ups."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Self

import pytest
import structlog
from structlog.testing import capture_logs

from edge_nodes import publisher as module
from edge_nodes.definition import Definition, metric_names
from edge_nodes.intake import StoreThread
from edge_nodes.publisher import Publisher
from edge_nodes.reduction import Rows
from edge_nodes.retired import retired_metrics
from edge_nodes.rows import MetricName
from edge_nodes.store import EdgeStore
from tests.edge_nodes.nodes import load, opcua_node
from tests.servers import eventually
from uns.adapters.mqtt import IncomingMessage
from uns.errors import ConnectionLost
from uns.sparkplug import codec
from uns.sparkplug.datatypes import DataType
from uns.sparkplug.metrics import BirthMetric

NCMD = "spBv1.0/acme.dallas/NCMD/gw-1"
NODE = opcua_node('temperature: {node: "i=1"}', top="delivery: {level: none}")


class Connection:
    """In the place of MqttConnection. ``open`` lets CONNECT be answered."""

    made: list[Connection]
    open: asyncio.Event

    def __init__(self, *_: Any, **__: Any) -> None:
        Connection.made.append(self)
        self.sent: list[str] = []
        self.connect_sent = True
        self.taken_over = False
        self.disconnected = False
        self._incoming: list[IncomingMessage] = []
        self._wake = asyncio.Event()

    async def __aenter__(self) -> Self:
        await Connection.open.wait()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._end()

    def _end(self) -> None:
        self.disconnected = True
        self._wake.set()

    def arrive(self, *messages: IncomingMessage) -> None:
        self._incoming += messages
        self._wake.set()

    async def subscribe(self, _filters: Any) -> None:
        await asyncio.sleep(0)

    def publish_many(self, messages: Any) -> None:
        if self.disconnected:
            raise ConnectionLost("ended", where="test")
        self.sent += [message.topic.split("/")[2] for message in messages if message.topic.startswith("spBv1.0/")]

    async def next_batch(self) -> list[IncomingMessage]:
        while not self._incoming:
            if self.disconnected:
                raise ConnectionLost("ended", where="test")
            self._wake.clear()
            await self._wake.wait()
        batch, self._incoming = self._incoming, []
        return batch

    async def writable(self) -> None:
        await asyncio.sleep(0)

    async def drain(self) -> None:
        await asyncio.sleep(0)

    async def disconnect(self, **_: Any) -> None:
        self._end()


class Made:
    def __init__(self, publisher: Publisher, store: EdgeStore, definition: Definition, thread: StoreThread) -> None:
        self.publisher, self.store, self.definition, self.thread = publisher, store, definition, thread
        self.task = asyncio.create_task(publisher.run())


OLD = MetricName("reactor4", "old", DataType.INT32)


@pytest.fixture
async def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Made]:
    structlog.reset_defaults()
    monkeypatch.setattr(module, "MqttConnection", Connection)
    Connection.made, Connection.open = [], asyncio.Event()
    config = load(tmp_path, NODE)
    store = EdgeStore(tmp_path / "s.db", identity=str(config.edge_node))
    (old,) = store.register([OLD])
    store.commit(rows(old, 3))
    names = metric_names(config)
    numbers = store.register(names)
    definition = Definition(config, numbers, retired_metrics(store.orphans(names), store.registered, names))
    thread = StoreThread(store)
    made = Made(Publisher(config, definition, thread, {}, wall_ns=time.time_ns), store, definition, thread)
    yield made
    made.task.cancel()
    await asyncio.gather(made.task, return_exceptions=True)
    await thread.close()


def rows(metric: int, count: int) -> Rows:
    return Rows(
        metrics=[metric] * count,
        times_ns=[n * 1_000_000 for n in range(count)],
        ordinals=[0] * count,
        values=[1] * count,
        status_codes=[0] * count,
        time_sources=[0] * count,
        read=count,
        reduced=0,
    )


async def test_a_gateway_that_is_told_to_leave_while_the_broker_is_slow_is_not_born_any_more(made: Made) -> None:
    await eventually(lambda: Connection.made)
    await made.publisher.leave()
    Connection.open.set()
    async with asyncio.timeout(5):
        await made.task
    (connection,) = Connection.made
    assert (connection.sent, connection.disconnected) == ([], True)


async def test_a_gateway_that_is_told_to_leave_between_two_connections_makes_no_more(made: Made) -> None:
    Connection.open.set()
    await eventually(lambda: made.publisher.is_online)
    Connection.made[0]._end()
    await eventually(lambda: not made.publisher.is_online)
    await made.publisher.leave()
    async with asyncio.timeout(5):
        await made.task
    assert len(Connection.made) == 1


async def test_a_flood_of_commands_is_counted_and_told_once_in_a_while(made: Made) -> None:
    Connection.open.set()
    await eventually(lambda: made.publisher.is_online)
    metrics = [BirthMetric(name=f"setpoint {n}", datatype=DataType.INT32, value=n) for n in range(5_000)]
    command = codec.encode_command(metrics, timestamp_ms=1)
    with capture_logs() as logs:
        Connection.made[0].arrive(*[IncomingMessage(NCMD, command)] * 20, *[IncomingMessage(NCMD, b"\xff")] * 20)
        await eventually(lambda: made.publisher.counters.messages_ignored == 20)
    assert made.publisher.counters.commands_refused == 20
    told = [log for log in logs if log["log_level"] == "warning"]
    assert [log["event"] for log in told] == ["command refused: this gateway only reads", "message ignored"]
    assert len(told[0]["metrics"]) == module.NAMES_TOLD_MAX
    assert told[0]["of"] == 5_000
    assert Connection.made[0].sent.count("NBIRTH") == 1


async def test_the_backlog_is_read_for_retired_metrics_only_when_what_was_there_at_the_start_is_gone(
    made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked = 0
    orphans = made.store.orphans

    def counted(names: Any) -> Any:
        nonlocal looked
        looked += 1
        return orphans(names)

    monkeypatch.setattr(made.store, "orphans", counted)
    (number,) = made.definition.numbers.values()
    await made.thread.call(made.store.commit, rows(number, 2))  # the publisher is at the store, too
    deletions = made.publisher.deletions
    deletions.add(1, 3)
    await deletions.flush()
    assert (looked, [metric.name for metric in made.definition.retired]) == (0, ["old"])
    deletions.add(3, 4)
    await deletions.flush()
    assert (looked, made.definition.retired) == (1, [])
    deletions.add(4, 5)
    await deletions.flush()
    assert looked == 1
