"""The connection to the broker: one MQTT session after the other, what comes in on it, and what goes out.

All decisions are the sessions' (:class:`EdgeNodeSession`, :class:`EdgeDelivery`); here they are carried out. Whatever
puts messages on the connection does so without waiting, so that order on the wire is the order of decisions.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import structlog

from edge_nodes.audit import EdgeAudit
from edge_nodes.births import Births
from edge_nodes.brokers import Brokers
from edge_nodes.counters import PublisherCounters
from edge_nodes.cursors import HISTORY_BURST_S, Cursors
from edge_nodes.definition import Definition
from edge_nodes.deletions import Deletions
from edge_nodes.intake import StoreThread
from edge_nodes.marks import Marks
from edge_nodes.node_file import NodeConfig
from edge_nodes.reduction import Rows
from edge_nodes.rows import LastSample
from edge_nodes.session_clock import SessionClock
from edge_nodes.store import Committed
from uns.adapters.mqtt import BrokerAddress, MqttConnection
from uns.delivery.edge import EdgeDelivery
from uns.delivery.messages import confirm_topic
from uns.errors import (
    ConfigurationError,
    ConnectionLost,
    LocalProtocolError,
    StorageFullError,
    UnreachableError,
)
from uns.sparkplug.edge import EdgeNodeSession
from uns.sparkplug.messages import (
    BirthDue,
    CommandIgnored,
    CommandReceived,
    Connect,
    HostAwaited,
    HostStateChanged,
    Message,
    Offline,
    OtherMessage,
    Publish,
    Subscribe,
)
from uns.sparkplug.transitions import EdgeState
from uns.sparkplug.walk import SessionEnd

__all__ = ["Publisher"]

CLOCK_LOOK_S = 1.0  # how often the wall clock is held beside the session's time
KEEP_ALIVE_S = 15
LEAVE_TIMEOUT_S = 2.0
LARGE_MESSAGE_BYTES = 64 << 10  # takes long to read: others have a turn before the next
REFUSAL_TOLD_EVERY_S = 10.0  # of each kind; all of them are counted, and the audit log has its own bound
NAMES_TOLD_MAX = 20


class Publisher:
    """Keeps one Sparkplug edge node online, and the store's rows on their way."""

    def __init__(
        self,
        config: NodeConfig,
        definition: Definition,
        store: StoreThread,
        last: dict[int, LastSample],
        *,
        wall_ns: Callable[[], int],
        audit: EdgeAudit | None = None,
    ) -> None:
        self._config = config
        self._audit = audit
        self._anchor_shown: Message | None = None
        self._store = store
        self._last = last
        self._clock = SessionClock(wall_ns)
        self._log = structlog.get_logger(component="publisher")
        self.counters = PublisherCounters()
        delivery = config.delivery
        self._delivery = EdgeDelivery(
            level=delivery.level,
            host_id=delivery.confirm_host_id,
            mark_interval_ms=delivery.mark_interval_ms,
            mark_messages_max=delivery.mark_messages_max,
            confirm_timeout_ms=delivery.confirm_timeout_ms,
        )
        self._session = EdgeNodeSession(
            config.edge_node,
            primary_host_id=config.primary_host,
            extra_filters=((confirm_topic(config.edge_node), 1),) if delivery.level == "host" else (),
            host_wait_max_ms=config.primary_host_wait_ms,
            when_host_silent=config.when_host_silent,
            leaves_offline_host=len(config.brokers) > 1,
        )
        self._brokers = Brokers(
            config.brokers, config.edge_node, wall_ns=wall_ns, pause_max_ms=config.primary_host_wait_ms
        )
        self._births = Births(config, definition, self._session, store=store, last=last, counters=self.counters)
        self._cursors = Cursors(
            delivery,
            definition,
            self._session,
            self._delivery,
            store=store,
            births=self._births,
            clock=self._clock,
            counters=self.counters,
        )
        self.deletions = Deletions(store, after=self._births.look_for_retired)
        self._marks = Marks(
            config,
            self._delivery,
            self.deletions,
            self._clock,
            self.counters,
            on_restart=self._cursors.history_restarted,
        )
        self._end: SessionEnd | None = None  # why we leave
        self._connection: MqttConnection | None = None
        self._wake = asyncio.Event()
        self._leaving = False
        self._must_disconnect = False
        self._left = asyncio.Event()
        self.broker = "not connected yet"
        self._host_trouble = ""
        self._refusal_told_at: dict[str, float] = {}

    # ── what the intake says ────────────────────────────────────────────────────────────────────────────────────

    def committed(self, rows: Rows, commit: Committed) -> None:
        """Rows are on disk: they may be sent now."""
        if commit.holds(rows):
            self._last.update(
                zip(
                    rows.metrics,
                    zip(rows.times_ns, rows.ordinals, rows.values, rows.status_codes, rows.time_sources, strict=True),
                    strict=True,
                )
            )
        self._cursors.committed(rows, commit)
        self._wake.set()

    def source_changed(self, source: str, *, is_up: bool) -> None:
        """A source came or went; devices are born and die with their sources."""
        self._births.source_changed(source, is_up=is_up)
        self._wake.set()

    # ── one session after the other ─────────────────────────────────────────────────────────────────────────────

    async def run(self) -> None:
        """Be online at one of the brokers, again and again, until :meth:`leave`."""
        while not self._left.is_set():
            end = await self._one_session()
            self._end_session()
            if self._left.is_set():
                return
            pause_s = await self._brokers.ended(end)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause_s):
                    await self._left.wait()

    @property
    def health(self) -> str:
        """What a person has to mend, or nothing."""
        return "; ".join(filter(None, (self._brokers.trouble, self._host_trouble, self._marks.trouble)))

    def wake(self) -> None:
        """There is something to send."""
        self._wake.set()

    async def wait_confirmed(self) -> None:
        """Until every stored row is confirmed and deleted, or the connection is gone."""
        while self.is_online and self._store.store.counters.waiting:
            await asyncio.sleep(0.02)
            await self.deletions.flush()

    async def leave(self) -> None:
        """NDEATH, DISCONNECT, and let :meth:`run` return; what is confirmed is deleted."""
        self._leaving = True
        self._left.set()
        self._wake.set()
        connection = self._connection
        if connection is not None:
            self._session.close(self._clock.now_ns())
            with contextlib.suppress(ConnectionLost):
                self._show_anchor(connection)
                self._flush(connection)
                await connection.drain()
            await connection.disconnect(timeout_s=LEAVE_TIMEOUT_S, with_will=True)
        await self.deletions.flush()

    @property
    def is_online(self) -> bool:
        """Whether births are out and data may follow."""
        return self._session.state is EdgeState.ONLINE

    @property
    def bd_seq(self) -> int | None:
        """Of the newest CONNECT."""
        return self._session.bd_seq

    async def _one_session(self) -> SessionEnd:
        address = self._brokers.address
        opening: MqttConnection | None = None
        self._end = None
        try:
            opening = await self._open(address)
            await self._hold_session(opening)
        except* ConnectionLost as group:
            self._tell_offline(str(_first(group)))
            taken_over = opening is not None and opening.taken_over
            self._end = self._end or (SessionEnd.TAKEN_OVER if taken_over else SessionEnd.LOST)
        except* (UnreachableError, ConfigurationError) as group:
            if opening is not None and not opening.connect_sent:
                await self._give_back_bd_seq()
            self._tell_offline(str(_first(group)))
            self._end = SessionEnd.NOT_REACHED
        except* StorageFullError as group:
            self._tell_offline(str(_first(group)))
            self._end = SessionEnd.FAILED
        except* LocalProtocolError as group:
            # A bug of ours, or values too large for any payload: reading and storing go on all the same.
            self._log.exception("nothing can be published", reason=str(_first(group)))
            self.broker = str(_first(group))
            self._end = SessionEnd.FAILED
        return self._end or SessionEnd.LOST

    async def _open(self, address: BrokerAddress) -> MqttConnection:
        bd_seq = await self._store.call(self._store.store.next_bd_seq)  # on disk before CONNECT
        self._clock.start()
        self._session.connect(bd_seq=bd_seq, session_id=str(uuid4()), now_ns=self._clock.now_ns(), broker=address.url)
        (connect,) = (action for action in self._session.actions() if isinstance(action, Connect))
        return MqttConnection(address, client_id=connect.client_id, will=connect.will, keep_alive_s=KEEP_ALIVE_S)

    async def _give_back_bd_seq(self) -> None:
        with contextlib.suppress(StorageFullError):  # then there is a hole, which harms nobody
            await self._store.call(self._store.store.give_back_bd_seq)

    async def _hold_session(self, opening: MqttConnection) -> None:
        async with opening as connection:
            self.counters.connects += 1
            self._brokers.connected(self._session.session_id)
            self._connection = connection
            self._session.receive_connected(self._clock.now_ns())
            for action in self._session.actions():
                assert isinstance(action, Subscribe)  # noqa: S101 nothing else is due here
                await connection.subscribe(action.filters)
            if self._leaving:  # told so while the broker was slow to answer: nothing is born any more
                await connection.disconnect(timeout_s=LEAVE_TIMEOUT_S)
                return
            self._session.receive_subscribed(self._clock.now_ns())
            await self._watch_anchor(connection)
            if self._config.delivery.level == "host":  # there the access list knows the topic
                await self._brokers.watch(connection)
            self._log.info("broker connected", url=self._brokers.address.url, bd_seq=self.bd_seq)
            self.broker = "connected"
            self._take_events(connection)
            async with asyncio.TaskGroup() as group:
                group.create_task(self._read(connection), name="mqtt read")
                group.create_task(self._send(connection), name="mqtt send")

    async def _watch_anchor(self, connection: MqttConnection) -> None:
        """Where our own host confirms, its access list knows the anchor's topic; a refusal there stops nothing."""
        self._anchor_shown = None
        if self._audit is None or self._config.delivery.level != "host":
            return
        try:
            await connection.subscribe([(self._audit.topic, 1)])
        except ConnectionLost:
            raise
        except UnreachableError as error:
            self._log.warning("the anchor of the audit log cannot be read back", reason=str(error))
        self._audit.connected()

    def _show_anchor(self, connection: MqttConnection) -> None:
        anchor = None if self._audit is None else self._audit.anchor
        if anchor is not None and anchor is not self._anchor_shown:
            connection.publish_many([anchor])
            self._anchor_shown = anchor

    def _tell_offline(self, reason: str) -> None:
        if not self._leaving and reason != self.broker:
            self._log.warning("no broker", reason=reason)
        self.broker = reason

    def _end_session(self) -> None:
        self._connection = None
        self._session.receive_disconnected(self._clock.now_ns())
        self._session.events()
        self._delivery.session_ended()
        self._cursors.session_ended()
        self._births.session_ended()
        self._must_disconnect = False

    # ── receiving ───────────────────────────────────────────────────────────────────────────────────────────────

    async def _read(self, connection: MqttConnection) -> None:
        try:
            while True:
                for message in await connection.next_batch():
                    if self._audit is not None and message.topic == self._audit.topic:
                        await self._audit.receive(message.payload)
                        continue
                    if self._brokers.receive_presence(message):
                        continue
                    self._session.receive_message(
                        message.topic, message.payload, self._clock.now_ns(), retain=message.retain
                    )
                    if len(message.payload) >= LARGE_MESSAGE_BYTES:
                        await asyncio.sleep(0)
                self._take_events(connection)
                self._wake.set()
        except ConnectionLost:
            if not self._leaving:
                raise

    def _take_events(self, connection: MqttConnection) -> None:
        for event in self._session.events():
            if isinstance(event, BirthDue):
                self._birth(connection, event.reason)
            elif isinstance(event, OtherMessage) and event.topic == self._marks.confirm_topic:
                self._marks.receive_confirm(event)
            elif isinstance(event, CommandReceived | CommandIgnored):
                self._refuse_command(event)
            elif isinstance(event, HostStateChanged):
                self._log.info("primary host", online=event.online)
                self._host_trouble = ""
            elif isinstance(event, HostAwaited):
                self._tell_silent_host(event)
            elif isinstance(event, Offline) and event.reason in _ENDS:
                self._must_disconnect = True
                self._end = _ENDS[event.reason]
                if event.reason == "clock_set_back":
                    self.counters.clock_set_back += 1
                    self._tell_clock_step(self._clock.wall_ns() - self._clock.now_ns(), ended=self._session.session_id)
        self._flush(connection)

    def _tell_silent_host(self, event: HostAwaited) -> None:
        waited_s = self._config.primary_host_wait_ms // 1000
        self._host_trouble = (
            f"no STATE says that primary host {self._config.primary_host!r} is online, for {waited_s} s: start it, or"
            f" look at the retained message on spBv1.0/STATE/{self._config.primary_host}"
        )
        self._log.warning(self._host_trouble, then="next_broker" if event.then == "leave" else event.then)

    def _refuse_command(self, event: CommandReceived | CommandIgnored) -> None:
        if isinstance(event, CommandReceived):
            names = [*(metric.name for metric in event.metrics), *(metric.name for metric in event.rejected)]
            reason = "this gateway only reads"
            target = event.device_id or str(self._config.edge_node)
            self.counters.commands_refused += 1
            told, count = names[:NAMES_TOLD_MAX], self.counters.commands_refused
            self._tell_refusal("command refused: this gateway only reads", metrics=told, of=len(names), so_far=count)
        else:
            names, reason, target = [], event.reason, event.topic
            self.counters.messages_ignored += 1
            count = self.counters.messages_ignored
            self._tell_refusal("message ignored", topic=event.topic, reason=event.reason, so_far=count)
        if self._audit is not None:
            self._audit.command_refused(target, names, reason)

    def _tell_refusal(self, text: str, **about: Any) -> None:
        """Others can cause as many as they like: the log gets one of each kind in a while."""
        now, told_at = asyncio.get_running_loop().time(), self._refusal_told_at.get(text)
        if told_at is None or now - told_at >= REFUSAL_TOLD_EVERY_S:
            self._refusal_told_at[text] = now
            self._log.warning(text, **about)

    def _birth(self, connection: MqttConnection, reason: str) -> None:
        if reason == "rebirth" and self._audit is not None:
            self._audit.command_executed("rebirth")
        is_first = self._delivery.session_id != self._session.session_id
        alive = self._births.bear_node(self._clock.now_ns())
        self._flush(connection)
        now_ns = self._clock.steady_ns()
        if is_first:
            self._delivery.session_started(self._session.session_id, head=self._cursors.head, now_ns=now_ns)
            if self._config.delivery.level == "host":
                self._brokers.show(connection)
        else:
            self._delivery.reborn(now_ns)
        self._log.info("born", reason=reason, session=self._session.session_id, devices=alive)

    # ── sending ─────────────────────────────────────────────────────────────────────────────────────────────────

    async def _send(self, connection: MqttConnection) -> None:
        while not self._leaving:
            self._wake.clear()
            more = False
            if self.is_online:
                more = await self._cursors.send_live()
                self._flush(connection)
                if not more:
                    history_done = self._delivery.history_position >= self._delivery.live_start
                    self._births.update_devices(self._clock.now_ns(), history_done=history_done)
                    self._flush(connection)
                    more = await self._cursors.send_history()
                    self._flush(connection)
            self._show_anchor(connection)
            self._look_at_clock()
            self._brokers.look()
            self._session.receive_timer(self._clock.now_ns())
            self._delivery.receive_timer(self._clock.steady_ns())
            self._take_events(connection)
            if self._must_disconnect:
                self._must_disconnect = False
                await connection.disconnect(with_will=True)
                raise ConnectionLost(_REASONS[self._end or SessionEnd.HOST_OFFLINE], where=self._brokers.address.url)
            await connection.writable()
            if more:
                await asyncio.sleep(0)
            else:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self._wait_s()):
                        await self._wake.wait()

    def _look_at_clock(self) -> None:
        """A wall clock that was set forward is followed at once; one that was set back ends the session."""
        if step_ns := self._clock.follow():
            self._tell_clock_step(step_ns)
        self._session.receive_clock(self._clock.wall_ns(), self._clock.now_ns())

    def _tell_clock_step(self, step_ns: int, *, ended: str = "") -> None:
        self.counters.clock_steps += 1
        self._log.warning("clock_step", seconds=round(step_ns / 1e9, 3))
        if self._audit is not None:
            to_ns = self._clock.wall_ns()
            self._audit.clock_stepped(to_ns - step_ns, to_ns, ended=ended)

    def _wait_s(self) -> float:
        waits = [int(CLOCK_LOOK_S * 1e9)]
        if (due := self._session.next_deadline_ns()) is not None:
            waits.append(due - self._clock.now_ns())
        if (due := self._delivery.next_deadline_ns()) is not None:
            waits.append(due - self._clock.steady_ns())
        if self.is_online and self._delivery.may_send_history(self._clock.steady_ns()):
            waits.append(int(HISTORY_BURST_S * 1e9))
        return max(0.0, min(waits) / 1e9)

    def _flush(self, connection: MqttConnection) -> None:
        """Put on the connection what the sessions have decided: data first, then the mark that counts it."""
        messages = [action.message for action in self._session.actions() if isinstance(action, Publish)]
        if messages:
            connection.publish_many(messages)
        self._marks.carry_out(connection, on_puback=lambda: self._is_current(connection))

    def _is_current(self, connection: MqttConnection) -> bool:
        self._wake.set()
        return self._connection is connection


_ENDS = {
    "primary_host_offline": SessionEnd.HOST_OFFLINE,
    "primary_host_silent": SessionEnd.HOST_SILENT,
    "clock_set_back": SessionEnd.CLOCK_SET_BACK,
}
_REASONS = {
    SessionEnd.HOST_OFFLINE: "the primary host is offline",
    SessionEnd.HOST_SILENT: "the primary host is not heard of",
    SessionEnd.CLOCK_SET_BACK: "the clock was set back, so a new session begins",
}


def _first(group: BaseException) -> BaseException:
    while isinstance(group, BaseExceptionGroup):
        group = group.exceptions[0]
    return group
