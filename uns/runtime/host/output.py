"""The host's outgoing connection: the outbox in log order until it is acknowledged, and retained state, newest only.

It is a connection of its own, so that a slow output never holds receiving back. What the outbox holds is durable and
is sent again after a lost connection; what is shown (retained) is sent anew from memory then.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Sequence

import msgspec

from uns.adapters.logs import Logger
from uns.adapters.mqtt import BrokerAddress, MqttConnection
from uns.enrichment.plan import OutboxMessage
from uns.errors import ConfigurationError, ConnectionLost, UnreachableError
from uns.runtime.audit import Watch
from uns.runtime.backoff import Backoff
from uns.runtime.host.connecting import ConnectionLog

__all__ = ["Output", "OutputLimits"]

_CHUNK = 64


class OutputLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds of the output. At the outbox bounds joining waits; the raw log takes up what comes meanwhile."""

    outbox_messages_max: int = 20_000
    outbox_bytes_max: int = 128 << 20
    unacknowledged_messages_max: int = 1_000
    notices_max: int = 1_000  # answers and dead letters that wait without a place in the outbox


class Output:
    """Publishes for the host. Fed from the event loop; ``run`` keeps a connection for as long as it runs."""

    def __init__(self, address: BrokerAddress, *, client_id: str, log: Logger, limits: OutputLimits) -> None:
        self._address = address
        self._client_id = client_id
        self._log = log
        self._limits = limits
        self._outbox: deque[tuple[int, OutboxMessage]] = deque()  # not acknowledged, in log order
        self._unsent: deque[tuple[int, OutboxMessage]] = deque()  # … and not handed to this connection
        self._outbox_bytes = 0
        self._shown: dict[str, bytes] = {}
        self._dirty: dict[str, None] = {}
        self._notices: deque[OutboxMessage] = deque()
        self._in_flight = 0
        self._wake = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()
        self.listeners: list[Callable[[Sequence[OutboxMessage]], None]] = []  # see what is committed, in log order
        self.watch: Watch | None = None
        self.connected = False
        self.published = 0  # outbox rows up to here are acknowledged
        self.counters = {"published": 0, "shown": 0, "notices_dropped": 0, "output_connects": 0}

    # --- fed by the other stages ---------------------------------------------------------------------------------

    def enqueue(self, ids: Iterable[int], messages: Sequence[OutboxMessage]) -> None:
        """Take what a commit put into the outbox."""
        for pair in zip(ids, messages, strict=True):
            self._outbox.append(pair)
            self._unsent.append(pair)
            self._outbox_bytes += len(pair[1].payload)
        for listener in self.listeners:
            listener(messages)
        self._measure()
        self._wake.set()

    def show(self, topic: str, payload: bytes) -> None:
        """Let the retained message of a topic be this; an empty one removes it."""
        if self._shown.get(topic) != payload:
            self._shown[topic] = payload
            self._dirty[topic] = None
            self._wake.set()

    def notice(self, message: OutboxMessage) -> bool:
        """Publish once, QoS 1, without a place in the outbox; False where the bound is reached (counted)."""
        if len(self._notices) >= self._limits.notices_max:
            self.counters["notices_dropped"] += 1
            return False
        self._notices.append(message)
        self._wake.set()
        return True

    @property
    def outbox_waiting(self) -> int:
        """Messages of the outbox without acknowledgement."""
        return len(self._outbox)

    def is_idle(self) -> bool:
        """Whether everything is published and acknowledged."""
        return not (self._outbox or self._dirty or self._notices or self._in_flight)

    async def room(self) -> None:
        """Wait until the outbox is below its bounds."""
        await self._room.wait()

    # --- the connection ------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Connect, publish, connect again. Ends by cancellation only."""
        backoff = Backoff()
        said = ConnectionLog(self._log, client_id=self._client_id, broker=self._address.url)
        while True:
            connection = MqttConnection(self._address, client_id=self._client_id)
            try:
                async with connection:
                    self.counters["output_connects"] += 1
                    backoff.works()
                    said.works()
                    self.connected = True
                    reader = asyncio.create_task(self._read(connection), name="output reader")
                    try:
                        await self._publish(connection)
                    finally:
                        reader.cancel()
            except (UnreachableError, ConfigurationError) as error:  # the latter while certificates are replaced
                wait_s = backoff.next_s()
                said.failed(error, wait_s=wait_s)
                self.connected = False
                await asyncio.sleep(wait_s)
            finally:
                self.connected = False

    async def _publish(self, connection: MqttConnection) -> None:
        connection.call_when_lost(self._wake.set)
        self._unsent = deque(self._outbox)
        self._dirty = dict.fromkeys(self._shown)
        self._in_flight = 0
        while True:
            self._wake.clear()
            while self._in_flight < self._limits.unacknowledged_messages_max and self._publish_some(connection):
                await connection.writable()
                await asyncio.sleep(0)
            if connection.lost:
                raise ConnectionLost("the connection to the broker ended", where=self._address.url)
            await self._wake.wait()

    async def _read(self, connection: MqttConnection) -> None:
        """What is published goes on where nothing may be read."""
        watch = self.watch
        if watch is None:
            return
        try:
            await connection.subscribe([(watch.topic, 1)])
            watch.subscribed()
            while True:
                for message in await connection.next_batch():
                    if message.topic == watch.topic:
                        await watch.receive(message.payload)
        except ConnectionLost:
            return
        except UnreachableError as error:
            self._log.warning("the anchor of the audit log cannot be read back", error=str(error))
            watch.subscribed()

    def _publish_some(self, connection: MqttConnection) -> bool:
        """A chunk of each kind; whether there was anything."""
        notices = [self._notices.popleft() for _ in range(min(len(self._notices), _CHUNK))]
        if notices:
            self._track(connection, notices, None)
        rows = [self._unsent.popleft() for _ in range(min(len(self._unsent), _CHUNK))]
        if rows:
            self._track(connection, [message for _, message in rows], rows[-1][0])
        topics = [topic for topic, _ in zip(self._dirty, range(_CHUNK), strict=False)]
        if topics:
            for topic in topics:
                del self._dirty[topic]
            self.counters["shown"] += len(topics)
            self._track(connection, [OutboxMessage(t, self._shown[t], 1, retain=True) for t in topics], None)
            for topic in topics:
                if not self._shown[topic]:
                    del self._shown[topic]
        return bool(notices or rows or topics)

    def _track(self, connection: MqttConnection, messages: list[OutboxMessage], last_id: int | None) -> None:
        count = len(messages)
        done = connection.publish_many_tracked(messages)
        self._in_flight += count
        done.add_done_callback(self._acknowledged(count, last_id))

    def _acknowledged(self, count: int, last_id: int | None) -> Callable[[asyncio.Future[None]], None]:
        def settle(done: asyncio.Future[None]) -> None:
            if done.cancelled() or done.exception() is not None:
                return  # the connection is lost; the next one begins anew
            self._in_flight -= count
            self.counters["published"] += count
            if last_id is not None:
                self.published = last_id
                while self._outbox and self._outbox[0][0] <= last_id:
                    self._outbox_bytes -= len(self._outbox.popleft()[1].payload)
                self._measure()
            self._wake.set()

        return settle

    def _measure(self) -> None:
        limits = self._limits
        if len(self._outbox) < limits.outbox_messages_max and self._outbox_bytes < limits.outbox_bytes_max:
            self._room.set()
        else:
            self._room.clear()
