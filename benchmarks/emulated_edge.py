"""An edge node without PLC and disk: the real session and delivery rules over a real connection, rows in memory.

Loads and tests of the host use it. One row is one payload, so that making load costs little.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Sequence
from uuid import uuid4

import msgspec

from uns.adapters.mqtt import BrokerAddress, MqttConnection
from uns.delivery.edge import DeleteRows, EdgeDelivery, PublishMark, RestartHistory
from uns.delivery.messages import Cursor, confirm_topic, decode_confirm, digest_of, mark_topic
from uns.errors import UnreachableError
from uns.sparkplug.datatypes import DataType, Value
from uns.sparkplug.edge import EdgeNodeSession
from uns.sparkplug.messages import (
    BirthDue,
    Connect,
    Disconnect,
    Message,
    NodeBirth,
    OtherMessage,
    Publish,
    Subscribe,
)
from uns.sparkplug.metrics import BirthMetric, DataBatch, Property
from uns.sparkplug.topics import EdgeNodeDescriptor

__all__ = ["EmulatedEdge", "Row"]

TURN_S = 0.02


class Row(msgspec.Struct):
    """One payload that waits for its confirmation."""

    device_id: str | None
    metrics: list[str]
    values: list[Value]
    times_ms: list[int]
    properties: dict[int, tuple[Property, ...]] = {}


class EmulatedEdge:
    """One gateway. ``devices``: per device the metrics of its birth. ``put`` stores a payload; ``run`` delivers."""

    def __init__(
        self,
        address: BrokerAddress,
        edge_node: EdgeNodeDescriptor,
        devices: dict[str, list[BirthMetric]],
        *,
        host_id: str = "uns-host-1",
        mark_interval_ms: int = 500,
        confirm_timeout_ms: int = 2_000,
    ) -> None:
        self.edge_node = edge_node
        self.rows: dict[int, Row] = {}
        self.stored = 0  # samples
        self.confirmed = 0
        self.bd_seq = 0
        self.births = 0
        self.sessions: list[str] = []
        self._devices = devices
        self._address = address
        self._head = 0
        self._session = EdgeNodeSession(edge_node, extra_filters=((confirm_topic(edge_node), 1),))
        self._delivery = EdgeDelivery(
            host_id=host_id, mark_interval_ms=mark_interval_ms, confirm_timeout_ms=confirm_timeout_ms
        )
        self._wake = asyncio.Event()
        self.connection: MqttConnection | None = None

    def put(
        self,
        device_id: str | None,
        samples: Sequence[tuple[str, Value, int]],
        *,
        properties: dict[int, tuple[Property, ...]] | None = None,
    ) -> None:
        """Store one payload: (metric, value, time in ms)."""
        names, values, times = (list(column) for column in zip(*samples, strict=True))
        self.put_columns(device_id, names, values, times, properties=properties)

    def put_columns(
        self,
        device_id: str | None,
        names: Sequence[str],
        values: Sequence[Value],
        times: Sequence[int],
        *,
        properties: dict[int, tuple[Property, ...]] | None = None,
    ) -> None:
        """The same, as columns."""
        self.rows[self._head] = Row(device_id, list(names), list(values), list(times), properties or {})
        self._head += 1
        self.stored += sum(not name.startswith("uns/") for name in names)
        self._wake.set()

    @property
    def waiting(self) -> int:
        """Samples without confirmation."""
        return self.stored - self.confirmed

    @property
    def online(self) -> bool:
        """Whether births are out."""
        return self.connection is not None and self._delivery.session_id is not None

    async def run(self) -> None:
        """Connect, deliver, connect again. Ends by cancellation, leaving cleanly."""
        while True:
            self.bd_seq = (self.bd_seq + 1) % 256
            self._session.connect(bd_seq=self.bd_seq, session_id=str(uuid4()), now_ns=time.time_ns())
            with contextlib.suppress(UnreachableError):
                await self._serve()
            self.connection = None
            self._session.receive_disconnected(time.time_ns())
            self._delivery.session_ended()
            await asyncio.sleep(0.1)

    async def _serve(self) -> None:
        (connect,) = self._session.actions()
        assert isinstance(connect, Connect)
        async with MqttConnection(self._address, client_id=connect.client_id, will=connect.will) as connection:
            self._session.receive_connected(time.time_ns())
            for action in self._session.actions():
                if isinstance(action, Subscribe):
                    await connection.subscribe(action.filters)
            self._session.receive_subscribed(time.time_ns())
            self.connection = connection
            receiving = asyncio.create_task(self._receive(connection))
            try:
                while not receiving.done():
                    self._turn(connection)
                    await connection.writable()
                    self._wake.clear()
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(TURN_S):  # wait_for may swallow a cancellation before 3.12
                            await self._wake.wait()
                receiving.result()
            except asyncio.CancelledError:
                with contextlib.suppress(UnreachableError):  # or a lost connection would take the cancellation's place
                    self._session.close(time.time_ns())
                    await self._carry_out(connection)
                raise
            finally:
                receiving.cancel()

    async def _receive(self, connection: MqttConnection) -> None:
        while True:
            for message in await connection.next_batch():
                now_ns = time.time_ns()
                self._session.receive_message(message.topic, message.payload, now_ns, retain=message.retain)
            self._wake.set()

    def _turn(self, connection: MqttConnection) -> None:
        now_ns = time.time_ns()
        self._session.receive_timer(now_ns)
        self._delivery.receive_timer(now_ns)
        for event in self._session.events():
            match event:
                case BirthDue():
                    self._birth(now_ns)
                case OtherMessage(topic=topic, payload=payload) if topic == confirm_topic(self.edge_node):
                    self._delivery.receive_confirm(decode_confirm(payload), now_ns)
                case _:
                    pass
        if self._delivery.session_id is not None:
            self._flush(connection)
            self._send_live(now_ns)
            self._flush(connection)
            self._send_history(now_ns)
        self._flush(connection)

    def _birth(self, now_ns: int) -> None:
        first = self._session.session_id not in self.sessions
        gap = BirthMetric(name="uns/gap", datatype=DataType.STRING)
        self._session.birth(NodeBirth(metrics=[gap], devices=self._devices), now_ns)
        self.births += 1
        if first:
            self.sessions.append(self._session.session_id)
            self._delivery.session_started(self._session.session_id, head=self._head, now_ns=now_ns)

    def _send_live(self, now_ns: int) -> None:
        start = position = self._delivery.live_position
        digests: list[int] = []
        while position < self._head and len(digests) < 200:
            digests += self._send(position, now_ns, historical=False)
            position += 1
        self._sent("live", start, position, digests, now_ns)

    def _send_history(self, now_ns: int) -> None:
        room = self._delivery.history_room(now_ns)
        start = position = self._delivery.history_position
        digests: list[int] = []
        while position < self._delivery.live_start and len(digests) < room:
            digests += self._send(position, now_ns, historical=True)
            position += 1
        if not self._sent("history", start, position, digests, now_ns) and room:
            self._delivery.history_exhausted(now_ns)

    def _sent(self, cursor: Cursor, start: int, position: int, digests: list[int], now_ns: int) -> bool:
        if digests:
            self._delivery.sent(
                cursor, from_id=start, next_id=position, messages=len(digests), digest=sum(digests), now_ns=now_ns
            )
        return bool(digests)

    def _send(self, row_id: int, now_ns: int, *, historical: bool) -> list[int]:
        """Publish a row that is still there; the digests of what was published."""
        row = self.rows.get(row_id)
        if row is None:
            return []
        table = self._session.bindings(row.device_id)
        batch = DataBatch(
            bindings=[table[name] for name in row.metrics],
            values=row.values,
            times_ms=row.times_ms,
            is_historical=historical,
            properties=row.properties,
        )
        return [digest_of(self._session.publish_data(row.device_id, batch, now_ns).payload)]

    def _flush(self, connection: MqttConnection) -> None:
        """DATA first, then the mark that counts it: after every call of the delivery rules."""
        self._publish(connection)
        self._deliver(connection)

    def _publish(self, connection: MqttConnection) -> None:
        messages = [action.message for action in self._session.actions() if isinstance(action, Publish)]
        if messages:
            connection.publish_many(messages)

    def _deliver(self, connection: MqttConnection) -> None:
        for action in self._delivery.actions():
            match action:
                case PublishMark(mark=mark):
                    connection.publish_many([Message(mark_topic(self.edge_node), msgspec.json.encode(mark), qos=1)])
                case DeleteRows(from_id=from_id, below_id=below_id):
                    for row_id in range(from_id, below_id):
                        row = self.rows.pop(row_id, None)
                        if row is not None:
                            self.confirmed += sum(not name.startswith("uns/") for name in row.metrics)
                case RestartHistory():
                    pass
        self._delivery.events()

    async def _carry_out(self, connection: MqttConnection) -> None:
        for action in self._session.actions():
            if isinstance(action, Publish):
                connection.publish_many([action.message])
            elif isinstance(action, Disconnect):
                await connection.disconnect()
