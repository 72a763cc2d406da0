"""Publisher, store and the host's rules of counting, over a connection that drops, cuts and asks for rebirths."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, ClassVar, Self

import msgspec
import pytest

from edge_nodes import brokers, cursors
from edge_nodes import publisher as module
from edge_nodes.definition import Definition, metric_names
from edge_nodes.intake import Intake, StoreThread
from edge_nodes.publisher import Publisher
from edge_nodes.reduction import Reducer
from edge_nodes.store import EdgeStore
from tests.edge_nodes.nodes import load, opcua_node
from tests.servers import eventually
from uns.adapters.mqtt import IncomingMessage
from uns.delivery.host import HostDelivery
from uns.delivery.messages import confirm_topic, decode_mark, digest_of, mark_topic
from uns.errors import ConnectionLost
from uns.namespace.topics import online_topic
from uns.source import Readings
from uns.sparkplug import codec
from uns.sparkplug.aliases import AliasTable
from uns.sparkplug.datatypes import DataType
from uns.sparkplug.metrics import REBIRTH, BirthMetric, MetricBinding
from uns.sparkplug.topics import DeviceTopic, MessageType, NodeTopic, parse_topic

MS = 1_000_000
NODE = opcua_node(
    'temperature: {node: "i=1"}\ncount: {node: "i=2"}',
    source="reduction: off",
    top="delivery: {level: host, mark_interval: 5ms, mark_messages_max: 5, confirm_timeout: 40ms}",
)


class Host:
    """Decodes what arrives by the tables of the births that arrived, and answers marks by the host's own rules."""

    def __init__(self, config: Any) -> None:
        self.config = config
        self.delivery = HostDelivery(config.delivery.confirm_host_id)
        self.samples: dict[tuple[str, int, int], Any] = {}
        self.session = ""
        self.tables: dict[str | None, AliasTable] = {}

    def receive(self, topic: str, payload: bytes) -> list[IncomingMessage]:
        edge_node = self.config.edge_node
        if topic == mark_topic(edge_node):
            confirm = self.delivery.receive_mark(
                edge_node, (mark := decode_mark(payload, where=topic)), session_held=mark.session == self.session
            )
            assert confirm is not None
            asked = [] if mark.session == self.session else [self.rebirth_request()]
            return [*asked, IncomingMessage(confirm_topic(edge_node), msgspec.json.encode(confirm))]
        if topic == online_topic(edge_node):
            return []
        parsed = parse_topic(topic)
        assert isinstance(parsed, NodeTopic | DeviceTopic)
        device = parsed.device_id if isinstance(parsed, DeviceTopic) else None
        if parsed.message_type in {MessageType.NBIRTH, MessageType.DBIRTH}:
            birth = codec.decode_birth(payload)
            assert not birth.rejected
            table = AliasTable()
            for position, metric in enumerate(birth.metrics):
                table.add(MetricBinding(metric.name, metric.datatype, metric.alias, position))
            if parsed.message_type is MessageType.NBIRTH:
                assert birth.session_id is not None
                self.session, self.tables = birth.session_id, {}
                self.delivery.receive_birth(edge_node, self.session)
            self.tables[device] = table
        elif parsed.message_type in {MessageType.NDATA, MessageType.DDATA} and device in self.tables:
            data = codec.decode_data(payload, self.tables[device])
            if data.rejected:  # its NBIRTH did not arrive: aliases of another session say nothing
                return [self.rebirth_request()]
            for i, (binding, value, time_ms) in enumerate(zip(data.bindings, data.values, data.times_ms, strict=True)):
                ordinal = data.properties.get(i, {}).get("ordinal") or 0
                assert isinstance(ordinal, int)
                key = (binding.name, time_ms, ordinal)
                assert self.samples.setdefault(key, value) == value
            self.delivery.count(edge_node, self.session, digest=digest_of(payload))
        elif parsed.message_type is MessageType.DDATA:
            return [self.rebirth_request()]
        return []

    def rebirth_request(self) -> IncomingMessage:
        rebirth = BirthMetric(name=REBIRTH, datatype=DataType.BOOLEAN, value=True)
        command = codec.encode_command([rebirth], timestamp_ms=1)
        return IncomingMessage(self.config.edge_node.topic(MessageType.NCMD), command)


class Connection:
    """In the place of MqttConnection: one per CONNECT, and every one of them bad in its own way."""

    host: Host
    chance: random.Random
    is_good = False
    online: ClassVar[list[Connection]] = []

    def __init__(self, *_: Any, **__: Any) -> None:
        self._incoming: list[IncomingMessage] = []
        self._came = asyncio.Event()
        self._lost = False
        self.seqs: list[int | None] = []
        self.connect_sent = True
        self.taken_over = False

    async def __aenter__(self) -> Self:
        await asyncio.sleep(0)
        Connection.online.append(self)
        return self

    async def __aexit__(self, *_: object) -> None:
        self.cut()

    def cut(self) -> None:
        self._lost = True
        self._came.set()
        if self in Connection.online:
            Connection.online.remove(self)

    async def subscribe(self, _filters: Any) -> None:
        await asyncio.sleep(0)

    def publish_many(self, messages: Iterable[Any]) -> None:
        for message in messages:
            if self._lost:
                raise ConnectionLost("cut", where="test")
            if message.topic.startswith("spBv1.0/") and "NDEATH" not in message.topic:
                seq = codec.decode_seq(message.payload)[1]
                if "NBIRTH" not in message.topic and self.seqs:
                    assert seq == ((self.seqs[-1] or 0) + 1) % 256
                self.seqs.append(seq)
            fate = 1.0 if Connection.is_good else self.chance.random()
            if fate < 0.02:
                self.cut()
                raise ConnectionLost("cut", where="test")
            if fate < 0.05:
                continue  # QoS 0
            answers = self.host.receive(message.topic, message.payload)
            if fate < 0.08:
                continue  # an answer that is lost
            if fate < 0.1:
                answers.append(self.host.rebirth_request())
            self._incoming += answers
        if self._incoming:
            self._came.set()

    async def next_batch(self) -> list[IncomingMessage]:
        while not self._incoming:
            if self._lost:
                raise ConnectionLost("cut", where="test")
            self._came.clear()
            await self._came.wait()
        batch, self._incoming = self._incoming, []
        return batch

    async def writable(self) -> None:
        await asyncio.sleep(0)

    async def drain(self) -> None:
        await asyncio.sleep(0)

    async def disconnect(self, *, timeout_s: float = 1.0, with_will: bool = False) -> None:
        self.cut()


@pytest.mark.parametrize("seed", range(4))
async def test_what_is_confirmed_has_arrived_and_all_arrives_in_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    chance = random.Random(seed)
    config = load(tmp_path, NODE)
    monkeypatch.setattr(module, "MqttConnection", Connection)
    monkeypatch.setattr(cursors, "LIVE_BUFFER_ROWS_MAX", 20)
    monkeypatch.setattr(cursors, "LIVE_ROWS_PER_TURN", 7)
    monkeypatch.setattr(cursors, "HISTORY_ROWS_PER_TURN", 7)
    monkeypatch.setattr(brokers, "PAUSE_FIRST_MS", 4)
    monkeypatch.setattr(brokers, "PAUSE_MAX_MS", 4)
    monkeypatch.setattr(brokers, "answers_in_our_name", _nobody)
    Connection.host, Connection.chance, Connection.is_good, Connection.online = Host(config), chance, False, []
    store = EdgeStore(tmp_path / "s.db", identity=str(config.edge_node))
    definition = Definition(config, store.register(metric_names(config)))
    thread = StoreThread(store)
    publisher = Publisher(config, definition, thread, {}, wall_ns=time.time_ns)
    publisher._delivery._backoff_ns = publisher._delivery._backoff_max_ns = 20 * MS
    intake = Intake(
        thread, Reducer(definition.reductions(), last_samples={}), definition, publisher,
        wall_ns=lambda: 5 * MS, commit_interval_s=0.001,
    )  # fmt: skip
    tasks = [asyncio.create_task(t) for t in (publisher.run(), intake.run(), _delete(publisher))]
    written: dict[tuple[str, int, int], float] = {}
    intake.connected("plc")
    for step in range(150):
        n = chance.randint(1, 12)
        same = chance.random() < 0.3
        times = [(1_000 + step * 20 + (0 if same else i)) for i in range(n)]
        values = [float(step * 100 + i) for i in range(n)]
        for i, (time_ms, value) in enumerate(zip(times, values, strict=True)):
            written["temperature", time_ms, i if same else 0] = value
        await intake.put(Readings([1] * n, list(values), [t * MS for t in times], [0] * n))
        if chance.random() < 0.03:
            for connection in list(Connection.online):
                connection.cut()
        if chance.random() < 0.05:
            Connection.host.delivery.forget_all()
        if chance.random() < 0.05:
            intake.lost("plc", f"gone {step}")
            intake.connected("plc")
        await asyncio.sleep(chance.random() * 0.004)
        gone = written.keys() - Connection.host.samples.keys()
        assert store.counters.confirmed <= len(written) - len(gone & _stored(written, store))
    Connection.is_good = True
    await eventually(lambda: store.counters.stored == len(written) and store.counters.waiting == 0, timeout_s=20)
    intake.drain()
    await publisher.leave()
    await asyncio.wait_for(asyncio.gather(*tasks[:2]), 10)
    tasks[2].cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await thread.close()
    assert Connection.host.samples == written
    assert store.counters.confirmed == len(written)


def _stored(written: dict[tuple[str, int, int], float], store: EdgeStore) -> set[tuple[str, int, int]]:
    """What was stored so far: written in order, counted at the commit."""
    return set(list(written)[: store.counters.stored])


async def _delete(publisher: Publisher) -> None:
    while True:
        await asyncio.sleep(0.005)
        await publisher.deletions.flush()


async def _nobody(*_: Any, **__: Any) -> bool:
    return False
