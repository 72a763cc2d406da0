"""Facts come over a connection of their own: the broker keeps the session, and each fact is acknowledged after commit.

A Sparkplug host must connect clean and would lose facts that were published while it was away.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import Callable

import msgspec

from uns.adapters.logs import Logger
from uns.adapters.mqtt import BrokerAddress, IncomingMessage, MqttConnection
from uns.context.facts import Fact, FactAnswer
from uns.enrichment.plan import OutboxMessage
from uns.errors import ConfigurationError, RemoteProtocolError, UnreachableError
from uns.namespace.model import TopicTree
from uns.namespace.topics import FactTopic, Uns1Topics, parse_fact_topic
from uns.runtime.backoff import Backoff
from uns.runtime.host.connecting import ConnectionLog
from uns.runtime.host.fact_audit import FactAudit
from uns.runtime.host.joiner import Joiner
from uns.runtime.host.output import Output

__all__ = ["FactIntake"]

FACT_BYTES_MAX = 64 * 1024
_decoder = msgspec.json.Decoder(Fact)
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)  # the last: nested without end


class _Name(msgspec.Struct):
    """As much of a broken fact as an answer needs."""

    id: str = "?"
    source_rev: str = "?"


class FactIntake:
    """Receives facts, submits them in order, acknowledges what is committed and answered."""

    def __init__(
        self,
        address: BrokerAddress,
        tree: TopicTree,
        *,
        client_id: str,
        joiner: Joiner,
        output: Output,
        log: Logger,
        dead_letter: Callable[[str, str, bytes], bool],
        audit: FactAudit | None = None,
    ) -> None:
        self._address = address
        self._tree = tree
        self._topics = Uns1Topics(tree)
        self._client_id = client_id
        self._joiner = joiner
        self._output = output
        self._log = log
        self._dead_letter = dead_letter
        self._audit = audit
        self.connected = False
        self.counters: Counter[str] = Counter(facts_received=0, facts_unreadable=0)

    async def run(self) -> None:
        """Receive for as long as it runs. Ends by cancellation only."""
        backoff = Backoff()
        said = ConnectionLog(self._log, client_id=self._client_id, broker=self._address.url)
        while True:
            connection = MqttConnection(
                self._address,
                client_id=self._client_id,
                clean_session=False,
                manual_ack=True,
                incoming_messages_max=1_000,
            )
            try:
                async with connection:
                    await connection.subscribe([(self._topics.fact_filter, 1)])
                    backoff.works()
                    said.works()
                    self.connected = True
                    await self._receive(connection)
            except (UnreachableError, ConfigurationError) as error:  # the latter while certificates are replaced
                wait_s = backoff.next_s()
                said.failed(error, wait_s=wait_s)
                self.connected = False
                await asyncio.sleep(wait_s)
            finally:
                self.connected = False

    async def _receive(self, connection: MqttConnection) -> None:
        while True:
            batch = await connection.next_batch()
            # Together, so that they share commits; acknowledged in their order.
            submitted = [asyncio.ensure_future(self._take(message)) for message in batch]
            try:
                for message, taken in zip(batch, submitted, strict=True):
                    await taken
                    connection.ack(message)
            finally:
                for taken in submitted:
                    taken.cancel()

    async def _take(self, message: IncomingMessage) -> None:
        self.counters["facts_received"] += 1
        try:
            topic = parse_fact_topic(message.topic)
            if topic.enterprise != self._tree.enterprise or topic.site not in self._tree.sites:
                raise RemoteProtocolError(f"the tree has no site {topic.enterprise}/{topic.site}")  # noqa: TRY301
        except RemoteProtocolError as error:
            self._unreadable(message, "", str(error))
            return
        answer_topic = self._topics.fact_result(topic.site, topic.source, topic.kind)
        try:
            fact = self._decode(message, topic)
        except (*_UNREADABLE, RemoteProtocolError) as error:
            self._unreadable(message, topic.source, str(error))
            self._refuse(message, answer_topic, str(error))
            return
        answer = await self._joiner.submit(fact, source_of_topic=topic.source, answer_topic=answer_topic)
        if not answer.accepted:
            self._log.warning("fact refused", source=fact.source, id=fact.id, reason=answer.reason)

    def _decode(self, message: IncomingMessage, topic: FactTopic) -> Fact:
        if len(message.payload) > FACT_BYTES_MAX:
            raise RemoteProtocolError(f"{len(message.payload)} bytes", expected=f"at most {FACT_BYTES_MAX}")
        fact = _decoder.decode(message.payload)
        if fact.kind != topic.kind:
            raise RemoteProtocolError(
                f"a fact of kind {fact.kind!r} on the topic of kind {topic.kind!r}",
                next_step="publish it on the topic of its kind",
            )
        equipment = self._tree.equipment.get(fact.equipment)
        if equipment is not None and equipment.site != topic.site:  # brokers grant rights by site
            raise RemoteProtocolError(
                f"a fact about {fact.equipment!r} of site {equipment.site!r} on a topic of site {topic.site!r}",
                next_step="publish it under the site of its equipment",
            )
        return fact

    def _unreadable(self, message: IncomingMessage, source: str, reason: str) -> None:
        self.counters["facts_unreadable"] += 1
        if self._audit is not None:
            self._audit.unreadable(message.topic, source, reason, message.payload, time.time_ns())
        self._log.warning("fact cannot be read", topic=message.topic, reason=reason)
        self._dead_letter(message.topic, reason, message.payload)

    def _refuse(self, message: IncomingMessage, answer_topic: str, reason: str) -> None:
        name = _Name()
        if len(message.payload) <= FACT_BYTES_MAX:
            with contextlib.suppress(*_UNREADABLE):
                name = msgspec.json.decode(message.payload, type=_Name)
        answer = FactAnswer(
            id=name.id,
            source_rev=name.source_rev,
            accepted=False,
            reason=f"{reason}; schemas/fact.schema.json tells the form",
        )
        self._output.notice(OutboxMessage(answer_topic, msgspec.json.encode(answer)))
