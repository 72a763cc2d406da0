"""The stages of a host in this process, without a broker: real session, logs and joiner; the test sends."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec

from tests.runtime.plants import NODE, TREE_TEXT, births_of
from tests.servers import eventually
from uns.adapters.logs import get_logger
from uns.adapters.mqtt import BrokerAddress, IncomingMessage
from uns.adapters.sqlite.raw_log import RawLog
from uns.adapters.sqlite.record_log import RecordLog
from uns.adapters.sqlite.record_queries import RecordQueries
from uns.delivery.host import HostDelivery
from uns.delivery.messages import Confirm, Mark, mark_topic
from uns.enrichment.plan import OutboxMessage
from uns.namespace.loader import load_tree
from uns.namespace.model import TopicTree
from uns.runtime.host.joiner import Joiner, JoinerLimits
from uns.runtime.host.output import Output, OutputLimits
from uns.runtime.host.raw_writer import RawWriter
from uns.runtime.host.receiver import DeliveryGate, Receiver
from uns.sparkplug import codec
from uns.sparkplug.aliases import AliasTable
from uns.sparkplug.datatypes import DataType
from uns.sparkplug.host import HostSession
from uns.sparkplug.messages import HeldBirths, HostEvent
from uns.sparkplug.metrics import BirthMetric, DataBatch, Property
from uns.sparkplug.topics import EdgeNodeDescriptor, MessageType

HOST_ID = "uns-host-1"


def now_ms() -> int:
    return time.time_ns() // 1_000_000


class Node:
    """What an edge node says, message by message."""

    def __init__(
        self, tree: TopicTree, *, name: EdgeNodeDescriptor = NODE, session: str = "session-1", ours: bool = True
    ) -> None:
        self.name, self.session, self.ours = name, session, ours
        self.metrics = births_of(tree, "reactor4")
        self.seq = 0
        self.births_made = 0
        self.marks = 0
        self.sent = 0  # DATA messages since the last mark

    def births(self, *, bd_seq: int = 0) -> list[IncomingMessage]:
        about = [BirthMetric(name="bdSeq", datatype=DataType.UINT64, value=bd_seq, timestamp_ms=1)]
        if self.ours:
            about.append(BirthMetric(name="uns/session", datatype=DataType.STRING, value=self.session, timestamp_ms=1))
        self.births_made += 1  # no two births of a node have one time: it would be one birth that came twice
        self.seq = 1  # of the DBIRTH: DATA goes on behind it, or it would be taken for a message that came twice
        return [
            self._message(MessageType.NBIRTH, None, codec.encode_birth(about, timestamp_ms=self.births_made, seq=0)),
            self._message(
                MessageType.DBIRTH, "reactor4", codec.encode_birth(self.metrics, timestamp_ms=self.births_made, seq=1)
            ),
        ]

    def data(
        self, *samples: tuple[str, Any, int], properties: Mapping[int, tuple[Property, ...]] | None = None
    ) -> IncomingMessage:
        """A DDATA of (metric, value, ms)."""
        table = AliasTable(self.metrics)
        batch = DataBatch(
            bindings=[table.by_name[name] for name, _, _ in samples],
            values=[value for _, value, _ in samples],
            times_ms=[ms for _, _, ms in samples],
            properties=dict(properties or {}),
        )
        self.seq = (self.seq + 1) % 256
        self.sent += 1
        return self._message(
            MessageType.DDATA, "reactor4", codec.encode_data(batch, timestamp_ms=now_ms(), seq=self.seq)
        )

    def mark(self) -> IncomingMessage:
        self.marks += 1
        mark = Mark(
            session=self.session,
            host=HOST_ID,
            n=self.marks,
            repeat=False,
            cursor="live",
            mark=1,
            messages=self.sent,
        )
        self.sent = 0
        return IncomingMessage(mark_topic(self.name), msgspec.json.encode(mark))

    def death(self, device_id: str | None = None, *, bd_seq: int = 0) -> IncomingMessage:
        if device_id is None:
            return self._message(MessageType.NDEATH, None, codec.encode_death(bd_seq))
        self.seq += 1
        return self._message(MessageType.DDEATH, device_id, codec.encode_empty(now_ms(), self.seq))

    def _message(self, kind: MessageType, device_id: str | None, payload: bytes) -> IncomingMessage:
        return IncomingMessage(self.name.topic(kind, device_id), payload)


class Stages:
    """One life of a host. Made by :func:`stages`."""

    def __init__(self, directory: Path, tree: TopicTree, **limits: Any) -> None:
        self.tree = tree
        self.threads = {name: ThreadPoolExecutor(1) for name in ("raw-writes", "raw-reads", "record-writes")}
        self.raw = RawLog(directory / "raw.db")
        self.records = RecordLog(directory / "records.db")
        self.queries = RecordQueries(self.records.path)
        self.output = Output(
            BrokerAddress(url="mqtt://127.0.0.1:1"), client_id="out", log=get_logger("out"), limits=OutputLimits()
        )
        self.published: list[OutboxMessage] = []
        self.output.listeners.append(self.published.extend)
        self.troubles: list[str] = []
        self.joiner = Joiner(
            tree,
            self.raw,
            self.records,
            self.output,
            raw_reads=self.threads["raw-reads"],
            record_writes=self.threads["record-writes"],
            log=get_logger("joiner"),
            limits=JoinerLimits(**limits),
            on_health=lambda text: self.troubles.append(text) if text else None,
            on_gap=lambda _node, _text: None,
            unlimited_time=True,
        )
        self.gate = DeliveryGate(HostDelivery(HOST_ID))
        self.session = HostSession(HOST_ID, jitter=lambda _span: 0)
        self.answers: list[Confirm] = []
        self.events: list[HostEvent] = []
        self.tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        await self.joiner.start()
        self.receiver = Receiver(
            self.tree,
            self.session,
            self.gate,
            next_position=self.joiner.head + 1,
            on_event=lambda event, _reader: self.events.append(event),
        )
        loop = asyncio.get_running_loop()
        for held in await loop.run_in_executor(self.threads["raw-reads"], self.raw.held):
            self.session.hold_births(
                HeldBirths(held.edge_node, held.session, held.bd_seq, held.payload, held.devices), time.time_ns()
            )
        self.connect()
        self.writer = RawWriter(
            self.raw,
            self.gate,
            writes=self.threads["raw-writes"],
            log=get_logger("raw"),
            answer=lambda answers: self.answers.extend(confirm for _, confirm in answers),
            hand_over=self.joiner.hand_over,
            on_dropped=lambda _items: None,
            on_health=lambda text: self.troubles.append(text) if text else None,
            joined=lambda: self.joiner.joined,
        )
        self.tasks = [asyncio.create_task(self.writer.run()), asyncio.create_task(self.joiner.run())]

    def connect(self) -> None:
        """As the host does at each CONNECT."""
        self.gate.forget_all()
        if self.session.state != "disconnected":
            self.session.receive_disconnected(time.time_ns())
        self.session.connect(time.time_ns())
        self.session.receive_connected(time.time_ns())
        self.session.receive_subscribed(time.time_ns())
        self.session.actions()

    async def receive(self, *messages: IncomingMessage) -> None:
        await self.writer.put(self.receiver.receive(messages, time.time_ns()))

    async def idle(self, *, timeout_s: float = 10.0) -> None:
        """All is joined; an error that ended a stage is raised here."""
        await eventually(
            lambda: any(task.done() for task in self.tasks) or (self.writer.is_idle() and self.joiner.is_idle()),
            timeout_s=timeout_s,
            what="all is joined",
        )
        for task in self.tasks:
            if task.done():
                task.result()

    def query(self, sql: str, file: str = "records.db") -> Sequence[tuple[Any, ...]]:
        with contextlib.closing(sqlite3.connect(self.records.path.with_name(file))) as connection:
            return connection.execute(sql).fetchall()

    def counters(self) -> dict[str, int]:
        from uns.runtime.host.status import _equation_terms

        terms = self.queries.terms()
        return _equation_terms(terms, self.raw.terms(terms.joined))[0]

    async def close(self) -> None:
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        for thread in self.threads.values():
            thread.shutdown()
        self.joiner.close()
        self.queries.close()
        self.raw.close()
        self.records.close()


def tree_in(directory: Path, text: str = TREE_TEXT) -> TopicTree:
    path = directory / "topic_tree.yaml"
    path.write_text(text)
    return load_tree(path)


@contextlib.asynccontextmanager
async def stages(directory: Path, *, tree_text: str = TREE_TEXT, **limits: Any) -> AsyncIterator[Stages]:
    """A host from what ``directory`` holds; leaving ends it as a kill would, save what a thread has begun."""
    made = Stages(directory, tree_in(directory, tree_text), **limits)
    try:
        await made.start()
        yield made
    finally:
        await made.close()
