"""Facts that a bridge brings in, told to the host over MQTT until they are answered."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from uns.adapters.mqtt import MqttConnection
from uns.context.facts import Fact, FactAnswer
from uns.errors import UnreachableError
from uns.namespace.loader import load_tree
from uns.runtime.audit import Watch
from uns.runtime.bridge.config import BridgeConfig
from uns.runtime.fact_sender import FactSender

__all__ = ["FactEmitter"]


class FactEmitter:
    """Connects when there is something to tell, and again after a loss. :attr:`tell` is the port's ``emit``."""

    def __init__(self, config: BridgeConfig) -> None:
        assert config.broker is not None  # noqa: S101 - by its caller
        assert config.tree is not None  # noqa: S101
        self._broker = config.broker
        self._tree = load_tree(config.tree)
        self._client_id = f"uns-bridge-{config.name}"
        self._sender: FactSender | None = None
        self.watch: Watch | None = None  # read over the same connection
        self._connecting = asyncio.Lock()

    async def tell(self, fact: Fact) -> FactAnswer:
        """The host's answer; :class:`UnreachableError` where it gives none now. Many may be told at a time."""
        sender = await self._connected()
        try:
            return await sender.tell(fact)
        except UnreachableError:
            await self._leave(sender)
            raise

    @contextlib.asynccontextmanager
    async def connection(self) -> AsyncIterator[MqttConnection]:
        """The connection itself, to publish something else over; :class:`UnreachableError` where there is none."""
        sender = await self._connected()
        try:
            yield sender.connection
        except UnreachableError:
            await self._leave(sender)
            raise

    async def close(self) -> None:
        """Leave the broker."""
        if self._sender is not None:
            await self._leave(self._sender)

    async def _connected(self) -> FactSender:
        async with self._connecting:
            if self._sender is None:
                sender = FactSender(self._broker, self._tree, client_id=self._client_id, watch=self.watch)
                self._sender = await sender.__aenter__()
            return self._sender

    async def _leave(self, sender: FactSender) -> None:
        """Close a connection, once: those who tell beside us find out by themselves."""
        if self._sender is not sender:
            return
        self._sender = None
        with contextlib.suppress(UnreachableError):
            await sender.__aexit__(None, None, None)
