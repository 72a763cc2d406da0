"""Facts told over MQTT as a MES tells them: published, answered, and told again until they are answered."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from types import TracebackType
from typing import Self

import msgspec

from uns.adapters.mqtt import BrokerAddress, MqttConnection
from uns.context.facts import Fact, FactAnswer
from uns.errors import ConnectionLost, UnreachableError
from uns.namespace.model import TopicTree
from uns.namespace.topics import Uns1Topics
from uns.runtime.audit import Watch
from uns.sparkplug.messages import Message

__all__ = ["FactSender"]

REPEAT_AFTER_S = 3.0
ANSWER_TIMEOUT_S = 30.0

_Name = tuple[str, str, str]  # source, id, source_rev


class FactSender:
    """A connection that tells facts of any source and waits for each answer; an async context manager.

    ``watch`` is another topic that is read over :attr:`connection`, for whoever publishes over it too.
    """

    def __init__(
        self,
        address: BrokerAddress,
        tree: TopicTree,
        *,
        client_id: str,
        keep_session: bool = True,
        watch: Watch | None = None,
    ) -> None:
        self._tree = tree
        self._watch = watch
        self._topics = Uns1Topics(tree)
        # A session that the broker keeps: an answer that comes while we are away waits for us. With a client id that
        # never comes again it would stay at the broker for ever.
        self.connection = MqttConnection(address, client_id=client_id, clean_session=not keep_session)
        self._waiting: dict[_Name, asyncio.Future[FactAnswer]] = {}
        self._receiver: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        await self.connection.__aenter__()
        await self.connection.subscribe([(self._topics.fact_result_filter, 1)])
        if self._watch is not None:
            with suppress(UnreachableError):  # an access list may refuse it; the facts go on
                await self.connection.subscribe([(self._watch.topic, 1)])
            self._watch.subscribed()
        self._receiver = asyncio.create_task(self._receive(), name="fact answers")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._receiver is not None:
            self._receiver.cancel()
            with suppress(asyncio.CancelledError, ConnectionLost):
                await self._receiver
        await self.connection.__aexit__(kind, error, traceback)

    async def tell(self, fact: Fact, *, timeout_s: float = ANSWER_TIMEOUT_S) -> FactAnswer:
        """Tell a fact until it is answered; raise :class:`UnreachableError` if that takes longer than ``timeout_s``."""
        equipment = self._tree.equipment.get(fact.equipment)
        site = next(iter(self._tree.sites)) if equipment is None else equipment.site
        message = Message(self._topics.fact(site, fact.source, fact.kind), msgspec.json.encode(fact), qos=1)
        name = (fact.source, fact.id, fact.source_rev)
        answer = self._waiting.setdefault(name, asyncio.get_running_loop().create_future())
        deadline = asyncio.get_running_loop().time() + timeout_s
        try:
            while (left_s := deadline - asyncio.get_running_loop().time()) > 0:
                self.connection.publish_many([message])
                with suppress(TimeoutError):
                    async with asyncio.timeout(min(REPEAT_AFTER_S, left_s)):
                        return await asyncio.shield(answer)
        finally:
            self._waiting.pop(name, None)
        raise UnreachableError(
            f"fact {fact.id} is not answered after {timeout_s:g} s",
            where=message.topic,
            next_step="check that the host runs and may read and write this topic",
        )

    async def _receive(self) -> None:
        decoder = msgspec.json.Decoder(FactAnswer)
        try:
            while True:
                for message in await self.connection.next_batch():
                    if self._watch is not None and message.topic == self._watch.topic:
                        await self._watch.receive(message.payload)
                        continue
                    source = message.topic.split("/")[-2]
                    with suppress(msgspec.DecodeError):
                        answer = decoder.decode(message.payload)
                        waiting = self._waiting.get((source, answer.id, answer.source_rev))
                        if waiting is not None and not waiting.done():
                            waiting.set_result(answer)
        except ConnectionLost as error:
            for waiting in self._waiting.values():
                if not waiting.done():
                    waiting.set_exception(error)
            raise
