"""Marks and confirmations on the connection, and what a person should know of them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import msgspec
import structlog

from edge_nodes.counters import PublisherCounters
from edge_nodes.deletions import Deletions
from edge_nodes.node_file import NodeConfig
from edge_nodes.session_clock import SessionClock
from uns.adapters.mqtt import MqttConnection
from uns.delivery.edge import (
    Confirmed,
    DeleteRows,
    EdgeDelivery,
    PublishMark,
    Recovered,
    Refused,
    RestartHistory,
    Starved,
    Unanswered,
)
from uns.delivery.messages import Mark, confirm_topic, decode_confirm, mark_topic
from uns.errors import RemoteProtocolError
from uns.sparkplug.messages import Message, OtherMessage

__all__ = ["Marks"]

STARVED_TOLD_AFTER_NS = 4_000_000_000


class Marks:
    """Carries out what the delivery decides. ``trouble`` is what a person has to mend, or nothing."""

    def __init__(
        self,
        config: NodeConfig,
        delivery: EdgeDelivery,
        deletions: Deletions,
        clock: SessionClock,
        counters: PublisherCounters,
        *,
        on_restart: Callable[[], None],
    ) -> None:
        self._config = config.delivery
        self._delivery = delivery
        self._deletions = deletions
        self._clock = clock
        self._counters = counters
        self._on_restart = on_restart
        self._mark_topic = mark_topic(config.edge_node)
        self._starved: tuple[int, str] | None = None  # since when history rests, and what to say of it
        self._log = structlog.get_logger(component="publisher")
        self.confirm_topic = confirm_topic(config.edge_node)
        self.trouble = ""

    def receive_confirm(self, message: OtherMessage) -> None:
        """A message on :attr:`confirm_topic`."""
        try:
            confirm = decode_confirm(message.payload, where=message.topic)
        except RemoteProtocolError as error:
            self._log.warning("confirmation ignored", reason=str(error))
            return
        if not message.retain:
            self._delivery.receive_confirm(confirm, self._clock.steady_ns())

    def carry_out(self, connection: MqttConnection, *, on_puback: Callable[[], bool]) -> None:
        """Do what the delivery has decided, now that the data before it are on ``connection``.

        ``on_puback`` is called for a mark that the broker took (level ``broker``); False: the connection is over.
        """
        for action in self._delivery.actions():
            if isinstance(action, PublishMark):
                self._publish(connection, action.mark, on_puback)
            elif isinstance(action, DeleteRows):
                self._deletions.add(action.from_id, action.below_id)
            elif isinstance(action, RestartHistory):
                self._on_restart()
        self._take_events()

    def _publish(self, connection: MqttConnection, mark: Mark, on_puback: Callable[[], bool]) -> None:
        self._counters.marks += 1
        message = Message(self._mark_topic, msgspec.json.encode(mark), qos=1)
        if self._config.level != "broker":
            connection.publish_many([message])
            return

        def acknowledged(future: asyncio.Future[None]) -> None:
            if not future.cancelled() and future.exception() is None and on_puback():
                self._delivery.receive_puback(mark.n, self._clock.steady_ns())

        connection.publish_tracked(message).add_done_callback(acknowledged)

    def _take_events(self) -> None:
        for event in self._delivery.events():
            if isinstance(event, Confirmed):
                self._counters.confirms += 1
            elif isinstance(event, Refused):
                self._counters.refusals += 1
                self._tell_starved()
            elif isinstance(event, Unanswered):
                self._counters.unanswered += 1
                if event.repeats == 1:
                    self._log.warning("no confirmation", host=self._config.confirm_host_id, mark=event.n)
            elif isinstance(event, Starved):
                self._starved = (self._clock.steady_ns(), event.text)
            elif isinstance(event, Recovered):
                self._starved = None
                if self.trouble:
                    self.trouble = ""
                    self._log.info("DATA arrives again")

    def _tell_starved(self) -> None:
        """Accuse the broker's ACL once refusals have lasted: a host that has just started refuses for a moment, too."""
        if self._starved is None or self.trouble:
            return
        since_ns, text = self._starved
        if self._clock.steady_ns() - since_ns >= STARVED_TOLD_AFTER_NS:
            self.trouble = text
            self._log.warning(text, refusals=self._counters.refusals)
