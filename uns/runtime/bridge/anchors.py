"""The anchor of a bridge's audit log at the broker, over the one connection that a credential has.

A bridge that brings facts in shows it over the connection of the facts; another one has a connection for this alone.
"""

from __future__ import annotations

import asyncio
import contextlib

from uns.adapters.logs import Logger
from uns.adapters.mqtt import MqttConnection
from uns.errors import ConfigurationError, ConnectionLost, UnreachableError
from uns.runtime.audit import Watch
from uns.runtime.backoff import Backoff
from uns.runtime.bridge.config import BridgeConfig
from uns.runtime.bridge.emitter import FactEmitter
from uns.sparkplug.messages import Message

__all__ = ["AnchorKeeper"]


class AnchorKeeper:
    """Give it the watch of the audit trail; :meth:`show` is its way out. Fed from the event loop."""

    def __init__(self, config: BridgeConfig, emitter: FactEmitter | None, *, log: Logger) -> None:
        assert config.broker is not None  # noqa: S101 - by its caller
        self._broker = config.broker
        self._client_id = f"uns-bridge-{config.name}"
        self._emitter = emitter
        self._log = log
        self._watch: Watch | None = None
        self._wanted: Message | None = None
        self._shown: Message | None = None
        self._wake = asyncio.Event()

    def watch(self, watch: Watch) -> None:
        """What is to be read over the connection; before :meth:`run`."""
        self._watch = watch
        if self._emitter is not None:
            self._emitter.watch = watch

    def show(self, topic: str, payload: bytes) -> None:
        """Let the retained message of the topic be this."""
        self._wanted = Message(topic, payload, qos=1, retain=True)
        self._wake.set()

    async def run(self) -> None:
        """Connect, show, connect again. Ends by cancellation only."""
        backoff = Backoff(first_s=1.0, max_s=60.0)
        while True:
            try:
                await (self._alone(backoff) if self._emitter is None else self._beside_facts(self._emitter, backoff))
            except (UnreachableError, ConfigurationError) as error:
                wait_s = backoff.next_s()
                self._log.warning(
                    "no connection for the anchor, trying again", error=str(error), wait_s=round(wait_s, 2)
                )
                await asyncio.sleep(wait_s)

    async def drained(self) -> None:
        """Wait until what is to be shown is acknowledged."""
        while self._wanted is not self._shown:  # noqa: ASYNC110 - at a stop, once
            await asyncio.sleep(0.01)

    async def _alone(self, backoff: Backoff) -> None:
        async with MqttConnection(self._broker, client_id=self._client_id) as connection:
            backoff.works()
            reader = asyncio.create_task(self._read(connection), name="anchor reader")
            try:
                await self._publish(connection)
            finally:
                reader.cancel()

    async def _beside_facts(self, emitter: FactEmitter, backoff: Backoff) -> None:
        async with emitter.connection() as connection:
            backoff.works()
            await self._publish(connection)

    async def _read(self, connection: MqttConnection) -> None:
        watch = self._watch
        if watch is None:
            return
        with contextlib.suppress(ConnectionLost):
            try:
                await connection.subscribe([(watch.topic, 1)])
            except ConnectionLost:
                raise
            except UnreachableError as error:
                self._log.warning("the anchor of the audit log cannot be read back", error=str(error))
                watch.subscribed()
                return
            watch.subscribed()
            while True:
                for message in await connection.next_batch():
                    if message.topic == watch.topic:
                        await watch.receive(message.payload)

    async def _publish(self, connection: MqttConnection) -> None:
        connection.call_when_lost(self._wake.set)
        self._shown = None
        while not connection.lost:
            self._wake.clear()
            wanted = self._wanted
            if wanted is not None and wanted is not self._shown:
                await connection.publish_acknowledged(wanted)
                self._shown = wanted
                continue
            await self._wake.wait()
        raise ConnectionLost("the connection to the broker ended", where=self._broker.url)
