"""The Sparkplug connection of a host: the session's actions carried out, what arrives handed to the log, in order."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Sequence

from uns.adapters.broker_address import BrokerAddress
from uns.adapters.logs import Logger
from uns.adapters.mqtt import MqttConnection
from uns.errors import ConfigurationError, ConnectionLost, UnreachableError
from uns.runtime.backoff import Backoff
from uns.runtime.host.connecting import ConnectionLog
from uns.runtime.host.kept_state import KeptState
from uns.runtime.host.liveness import Liveness
from uns.runtime.host.raw_writer import RawWriter
from uns.runtime.host.receiver import DeliveryGate, Receiver
from uns.sparkplug.host import HostSession
from uns.sparkplug.messages import Connect, Disconnect, Message, Publish, Subscribe

__all__ = ["SparkplugLink"]


class SparkplugLink:
    """Connects again and again until it is cancelled; then the session says that this host is offline.

    ``broker`` names the credential of this connection. :meth:`look` is called by the host's timer.
    """

    def __init__(
        self,
        broker: BrokerAddress,
        *,
        session: HostSession,
        receiver: Receiver,
        writer: RawWriter,
        gate: DeliveryGate,
        kept_state: KeptState,
        liveness: Liveness,
        log: Logger,
    ) -> None:
        self._broker = broker
        self._session = session
        self._receiver = receiver
        self._writer = writer
        self._gate = gate
        self._kept_state = kept_state
        self._liveness = liveness
        self._said = ConnectionLog(log, client_id=f"host:{session.sparkplug_host_id}", broker=broker.url)
        self._connection: MqttConnection | None = None
        self._malformed_topics = 0  # of connections that are over
        self.connected = False

    async def run(self) -> None:
        """Connect, serve, wait, forever."""
        backoff = Backoff()
        try:
            while True:
                self._gate.forget_all()
                self._session.connect(time.time_ns())
                self._kept_state.keep(self._session.state_seen_ms)
                trouble: Exception | None = None
                try:
                    await self.serve_connection(backoff)
                except (UnreachableError, ConfigurationError) as error:  # the latter while certificates are replaced
                    trouble = error
                finally:
                    self.connected = False
                    self._malformed_topics = self.malformed_topics
                    self._connection = None
                    self._session.receive_disconnected(time.time_ns())
                    self._receiver.drain(time.time_ns())
                    self._liveness.receive_disconnected()
                wait_s = backoff.next_s()
                if trouble is not None:
                    self._said.failed(trouble, wait_s=wait_s)
                await asyncio.sleep(wait_s)
        finally:
            self.connected = False

    async def serve_connection(self, backoff: Backoff) -> None:
        """One CONNECT, from the session's wish for it to the end of the connection, which is raised."""
        (connect,) = self._session.actions()
        if not isinstance(connect, Connect):
            raise ConnectionLost("the session did not ask for a connection")
        connection = MqttConnection(self._broker, client_id=connect.client_id, will=connect.will)
        async with connection:
            self._session.receive_connected(time.time_ns())
            for action in self._session.actions():
                if isinstance(action, Subscribe):
                    await connection.subscribe(action.filters)
            self._connection = connection
            self._session.receive_subscribed(time.time_ns())
            await self._carry_out(connection)
            self.connected = True
            self._liveness.receive_connected(time.time_ns())
            backoff.works()
            self._said.works()
            try:
                while True:
                    batch = await connection.next_batch()
                    group = self._receiver.receive(batch, time.time_ns())
                    try:
                        await self._carry_out(connection)
                    finally:  # a lost connection takes nothing back: the session decodes with these births from now on
                        await self._writer.put(group)
            except asyncio.CancelledError:
                self._session.close(time.time_ns())
                self._kept_state.keep(self._session.state_seen_ms)  # our death has a timestamp of its own
                with contextlib.suppress(ConnectionLost):  # it must not take the place of the cancellation
                    await self._carry_out(connection)
                raise

    async def look(self, now_ns: int) -> None:
        """Do what the session's deadlines ask for."""
        deadline = self._session.next_deadline_ns()
        connection = self._connection
        if deadline is not None and deadline <= now_ns and self.connected and connection is not None:
            self._session.receive_timer(now_ns)
            group = self._receiver.drain(now_ns)
            with contextlib.suppress(ConnectionLost):
                await self._carry_out(connection)
            await self._writer.put(group)

    def publish(self, messages: Sequence[Message]) -> None:
        """Publish now or not at all: an answer is of no use on a later connection."""
        connection = self._connection
        if connection is None or connection.lost:
            return
        with contextlib.suppress(ConnectionLost):
            connection.publish_many(messages)

    @property
    def malformed_topics(self) -> int:
        """Messages whose topic is no UTF-8; they never get as far as the session."""
        connection = self._connection
        return self._malformed_topics + (0 if connection is None else connection.malformed_topics)

    async def _carry_out(self, connection: MqttConnection) -> None:
        """Do what the session asks for, in its order."""
        messages: list[Message] = []
        for action in self._session.actions():
            if isinstance(action, Publish):
                messages.append(action.message)
            elif isinstance(action, Disconnect):
                connection.publish_many(messages)
                messages = []
                await connection.disconnect()
        if messages:
            connection.publish_many(messages)
