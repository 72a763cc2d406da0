"""From the store to the broker: one MQTT session after the other, live rows first, history behind, marks and answers.

All decisions are the sessions' (:class:`EdgeNodeSession`, :class:`EdgeDelivery`); here they are carried out. Whatever
puts messages on the connection does so without waiting, so that order on the wire is the order of decisions.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable
from uuid import uuid4

import msgspec
import structlog

from edge_nodes.audit import EdgeAudit
from edge_nodes.backlog import plan_payloads
from edge_nodes.brokers import Brokers
from edge_nodes.definition import Definition, metric_names
from edge_nodes.deletions import Deletions
from edge_nodes.intake import StoreThread
from edge_nodes.node_file import NodeConfig
from edge_nodes.reduction import Rows
from edge_nodes.rows import LastSample, StoredRows
from edge_nodes.session_clock import SessionClock
from edge_nodes.store import Committed
from uns.adapters.mqtt import BrokerAddress, MqttConnection
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
from uns.errors import (
    ConfigurationError,
    ConnectionLost,
    LocalProtocolError,
    RemoteProtocolError,
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
    Online,
    OtherMessage,
    Publish,
    Subscribe,
)
from uns.sparkplug.metrics import MetricBinding
from uns.sparkplug.transitions import EdgeState
from uns.sparkplug.walk import SessionEnd

__all__ = ["Publisher", "PublisherCounters"]

LIVE_BUFFER_ROWS_MAX = 50_000  # committed rows kept in memory until they are sent; beyond, they are read again
LIVE_ROWS_PER_TURN = 5_000
HISTORY_ROWS_PER_TURN = 500
HISTORY_BURST_S = 0.1  # of rows that may go out at once
CLOCK_LOOK_S = 1.0  # how often the wall clock is held beside the session's time
KEEP_ALIVE_S = 15
LEAVE_TIMEOUT_S = 2.0
STARVED_TOLD_AFTER_NS = 4_000_000_000


class PublisherCounters(msgspec.Struct):
    """What happened toward the broker."""

    connects: int = 0
    births: int = 0
    device_births: int = 0
    device_deaths: int = 0
    data_messages: int = 0
    marks: int = 0
    confirms: int = 0
    refusals: int = 0
    unanswered: int = 0
    clock_steps: int = 0


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
        self._definition = definition
        self._store = store
        self._last = last
        self._clock = SessionClock(wall_ns)
        self._log = structlog.get_logger(component="publisher")
        self._confirm_topic = confirm_topic(config.edge_node)
        self._mark_topic = mark_topic(config.edge_node)
        delivery = config.delivery
        self._delivery = EdgeDelivery(
            level=delivery.level,
            host_id=delivery.confirm_host_id,
            mark_interval_ms=delivery.mark_interval_ms,
            mark_messages_max=delivery.mark_messages_max,
            confirm_timeout_ms=delivery.confirm_timeout_ms,
        )
        extra = ((self._confirm_topic, 1),) if delivery.level == "host" else ()
        self._session = EdgeNodeSession(
            config.edge_node,
            primary_host_id=config.primary_host,
            extra_filters=extra,
            host_wait_max_ms=config.primary_host_wait_ms,
            when_host_silent=config.when_host_silent,
            leaves_offline_host=len(config.brokers) > 1,
        )
        self._brokers = Brokers(
            config.brokers, config.edge_node, wall_ns=wall_ns, pause_max_ms=config.primary_host_wait_ms
        )
        self._end: SessionEnd | None = None  # why we leave
        self._connection: MqttConnection | None = None
        self._wake = asyncio.Event()
        self._head: int = store.store.next_id
        self._live: deque[StoredRows] = deque()
        self._live_rows = 0
        self._bindings: dict[int, MetricBinding] = {}
        self._up_sources: set[str] = set()
        self._history_devices: set[str] = set()  # born only because rows of theirs wait
        self._current_names = metric_names(config)
        self.deletions = Deletions(store, after=self._look_for_retired)
        self._tokens = 0.0
        self._tokens_at = 0.0
        self._leaving = False
        self._must_disconnect = False
        self._left = asyncio.Event()
        self.counters = PublisherCounters()
        self.broker = "not connected yet"
        self._starvation = ""
        self._host_trouble = ""
        self._starved: tuple[int, str] | None = None  # since when history rests, and what to say of it

    # ── what the intake says ────────────────────────────────────────────────────────────────────────────────────

    def committed(self, rows: Rows, commit: Committed) -> None:
        """Rows are on disk: they may be sent now."""
        from_id, self._head = self._head, commit.next_id
        is_stored = commit.holds(rows)
        if is_stored:
            self._last.update(
                zip(
                    rows.metrics,
                    zip(rows.times_ns, rows.ordinals, rows.values, rows.status_codes, rows.time_sources, strict=True),
                    strict=True,
                )
            )
        if rows.metrics and is_stored and commit.first_id == from_id and self.is_online:
            times_ms = [time_ns // 1_000_000 for time_ns in rows.times_ns]
            self._live.append(
                StoredRows(
                    commit.next_id,
                    rows.metrics,
                    times_ms,
                    rows.ordinals,
                    rows.values,
                    rows.status_codes,
                    rows.time_sources,
                    commit.first_id,
                )
            )
            self._live_rows += len(rows)
            while self._live_rows > LIVE_BUFFER_ROWS_MAX:
                self._live_rows -= len(self._live.popleft())
        self._wake.set()

    def source_changed(self, source: str, *, is_up: bool) -> None:
        """A source came or went; devices are born and die with their sources."""
        (self._up_sources.add if is_up else self._up_sources.discard)(source)
        self._wake.set()

    # ── one session after the other ─────────────────────────────────────────────────────────────────────────────

    async def run(self) -> None:
        """Be online at one of the brokers, again and again, until :meth:`leave`."""
        while True:
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
        return "; ".join(filter(None, (self._brokers.trouble, self._host_trouble, self._starvation)))

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
            self._session.receive_subscribed(self._clock.now_ns())
            await self._watch_anchor(connection)
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
        self._live.clear()
        self._live_rows = 0
        self._history_devices.clear()
        self._must_disconnect = False

    # ── receiving ───────────────────────────────────────────────────────────────────────────────────────────────

    async def _read(self, connection: MqttConnection) -> None:
        try:
            while True:
                for message in await connection.next_batch():
                    if self._audit is not None and message.topic == self._audit.topic:
                        await self._audit.receive(message.payload)
                        continue
                    self._session.receive_message(
                        message.topic, message.payload, self._clock.now_ns(), retain=message.retain
                    )
                self._take_events(connection)
                self._wake.set()
        except ConnectionLost:
            if not self._leaving:
                raise

    def _take_events(self, connection: MqttConnection) -> None:
        for event in self._session.events():
            if isinstance(event, BirthDue):
                self._birth(connection, event.reason)
            elif isinstance(event, OtherMessage) and event.topic == self._confirm_topic:
                self._receive_confirm(event)
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
                    self._tell_clock_step(self._clock.wall_ns() - self._clock.now_ns())
            elif isinstance(event, Online):
                pass
        self._flush(connection)

    def _tell_silent_host(self, event: HostAwaited) -> None:
        waited_s = self._config.primary_host_wait_ms // 1000
        self._host_trouble = (
            f"no STATE says that primary host {self._config.primary_host!r} is online, for {waited_s} s: start it, or"
            f" look at the retained message on spBv1.0/STATE/{self._config.primary_host}"
        )
        self._log.warning(self._host_trouble, then=event.then)

    def _refuse_command(self, event: CommandReceived | CommandIgnored) -> None:
        if isinstance(event, CommandReceived):
            names = [*(metric.name for metric in event.metrics), *(metric.name for metric in event.rejected)]
            reason = "this gateway only reads"
            target = event.device_id or str(self._config.edge_node)
            self._log.warning("command refused: this gateway only reads", metrics=names)
        else:
            names, reason, target = [], event.reason, event.topic
            self._log.warning("message ignored", topic=event.topic, reason=event.reason)
        if self._audit is not None:
            self._audit.command_refused(target, names, reason)

    def _receive_confirm(self, event: OtherMessage) -> None:
        try:
            confirm = decode_confirm(event.payload, where=event.topic)
        except RemoteProtocolError as error:
            self._log.warning("confirmation ignored", reason=str(error))
            return
        if not event.retain:
            self._delivery.receive_confirm(confirm, self._clock.steady_ns())

    # ── births ──────────────────────────────────────────────────────────────────────────────────────────────────

    def _birth(self, connection: MqttConnection, reason: str) -> None:
        if reason == "rebirth" and self._audit is not None:
            self._audit.command_executed("rebirth")
        is_first = self._delivery.session_id != self._session.session_id
        devices = set(self._definition.devices)
        alive = {device for device in devices if self._is_up(device)} | (self._session.devices & devices)
        self._session.birth(self._definition.node_birth(sorted(alive), self._last), self._clock.now_ns())
        self.counters.births += 1
        self.counters.device_births += len(alive)
        self._bindings = self._definition.bind(None, self._session.bindings(None))
        for device in alive:
            self._bindings |= self._definition.bind(device, self._session.bindings(device))
        self._flush(connection)
        if is_first:
            self._delivery.session_started(self._session.session_id, head=self._head, now_ns=self._clock.steady_ns())
        else:
            self._delivery.reborn(self._clock.steady_ns())
        self._log.info("born", reason=reason, session=self._session.session_id, devices=sorted(alive))

    def _is_up(self, device: str) -> bool:
        return not self._definition.sources_of_device[device].isdisjoint(self._up_sources)

    async def _look_for_retired(self) -> None:
        """Retired metrics whose last value was just confirmed are not announced again."""
        if self._definition.retired:
            waiting = await self._store.call(self._store.store.orphans, self._current_names)
            self._definition.keep_retired(waiting)

    def _bear_device(self, device: str) -> None:
        self._session.device_birth(device, self._definition.device_birth(device, self._last), self._clock.now_ns())
        self._bindings |= self._definition.bind(device, self._session.bindings(device))
        self.counters.device_births += 1

    def _update_devices(self) -> None:
        """Bear devices whose source came; end those whose sources are all gone and whose rows are on their way."""
        history_done = self._delivery.history_position >= self._delivery.live_start
        for device in sorted(self._session.devices.union(self._definition.devices)):
            is_born, is_up = device in self._session.devices, self._is_up(device)
            if is_up:
                self._history_devices.discard(device)
            if is_up and not is_born:
                self._bear_device(device)
                self._log.info("device born", device=device)
            elif is_born and not is_up and (history_done or device not in self._history_devices):
                self._session.device_death(device, self._clock.now_ns())
                self._history_devices.discard(device)
                self.counters.device_deaths += 1
                self._log.warning("device died: no source reaches it", device=device)

    # ── sending ─────────────────────────────────────────────────────────────────────────────────────────────────

    async def _send(self, connection: MqttConnection) -> None:
        while not self._leaving:
            self._wake.clear()
            more = False
            if self.is_online:
                more = await self._send_live(connection)
                if not more:
                    self._update_devices()
                    self._flush(connection)
                    more = await self._send_history(connection)
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

    def _tell_clock_step(self, step_ns: int) -> None:
        self.counters.clock_steps += 1
        self._log.warning("clock_step", seconds=round(step_ns / 1e9, 3))

    def _wait_s(self) -> float:
        waits = [int(CLOCK_LOOK_S * 1e9)]
        if (due := self._session.next_deadline_ns()) is not None:
            waits.append(due - self._clock.now_ns())
        if (due := self._delivery.next_deadline_ns()) is not None:
            waits.append(due - self._clock.steady_ns())
        if self.is_online and self._delivery.may_send_history(self._clock.steady_ns()):
            waits.append(int(HISTORY_BURST_S * 1e9))
        return max(0.0, min(waits) / 1e9)

    async def _send_live(self, connection: MqttConnection) -> bool:
        """Send one turn of live rows; True if there are more."""
        position = self._delivery.live_position
        if position >= self._head:
            return False
        while self._live and self._live[0].next_id <= position:
            self._live_rows -= len(self._live.popleft())
        if self._live and self._live[0].first_id == position:
            rows = self._live.popleft()
            self._live_rows -= len(rows)
        else:
            below = self._live[0].first_id if self._live else self._head
            rows = await self._store.call(self._store.store.read, position, below, rows_max=LIVE_ROWS_PER_TURN)
            if position != self._delivery.live_position or not self.is_online:
                return True
            if not len(rows):  # dropped in the meantime
                if not self._live:
                    return False
                rows = self._live.popleft()
                self._live_rows -= len(rows)
        messages = self._publish(rows, is_historical=False)
        self._delivery.sent(
            "live", from_id=position, next_id=rows.next_id, messages=messages, now_ns=self._clock.steady_ns()
        )
        self._flush(connection)
        return self._delivery.live_position < self._head

    async def _send_history(self, connection: MqttConnection) -> bool:
        """Send one turn of history if it may go now; True if there may be more."""
        now = self._clock.steady_ns()
        if not self._delivery.may_send_history(now):
            return False
        rate = self._config.delivery.history_metrics_per_second
        self._tokens = min(max(1.0, rate * HISTORY_BURST_S), self._tokens + (now - self._tokens_at) / 1e9 * rate)
        self._tokens_at = now
        rows_max = 1 if self._delivery.starved else min(HISTORY_ROWS_PER_TURN, max(1, int(rate * HISTORY_BURST_S)))
        if self._tokens < rows_max:
            return False
        position, below = self._delivery.history_position, self._delivery.live_start
        rows = await self._store.call(self._store.store.read, position, below, rows_max=rows_max)
        if position != self._delivery.history_position or below != self._delivery.live_start or not self.is_online:
            return True
        if not len(rows):
            self._delivery.history_exhausted(self._clock.steady_ns())
            self._flush(connection)
            return False
        self._tokens -= len(rows)
        messages = self._publish(rows, is_historical=True)
        self._delivery.sent(
            "history", from_id=position, next_id=rows.next_id, messages=messages, now_ns=self._clock.steady_ns()
        )
        self._flush(connection)
        return True

    def _publish(self, rows: StoredRows, *, is_historical: bool) -> int:
        devices = {self._definition.device_of[metric] for metric in set(rows.metrics)}
        for device in devices - self._session.devices - {None}:
            assert device is not None  # noqa: S101 taken out above
            self._history_devices.add(device)
            self._bear_device(device)
        payloads = plan_payloads(
            rows,
            device_of=self._definition.device_of,
            time_source_of=self._definition.time_source_of,
            bindings=self._bindings,
            is_historical=is_historical,
            metrics_max=self._config.delivery.metrics_per_payload_max,
        )
        for payload in payloads:
            self._session.publish_data(payload.device_id, payload.batch, self._clock.now_ns())
        self.counters.data_messages += len(payloads)
        return len(payloads)

    # ── carrying out ────────────────────────────────────────────────────────────────────────────────────────────

    def _flush(self, connection: MqttConnection) -> None:
        """Put on the connection what the sessions have decided: data first, then the mark that counts it."""
        messages = [action.message for action in self._session.actions() if isinstance(action, Publish)]
        if messages:
            connection.publish_many(messages)
        for action in self._delivery.actions():
            if isinstance(action, PublishMark):
                self._publish_mark(connection, action.mark)
            elif isinstance(action, DeleteRows):
                self.deletions.add(action.from_id, action.below_id)
            elif isinstance(action, RestartHistory):
                self._tokens = 0.0
        self._delivery_events()

    def _publish_mark(self, connection: MqttConnection, mark: Mark) -> None:
        self.counters.marks += 1
        message = Message(self._mark_topic, msgspec.json.encode(mark), qos=1)
        if self._config.delivery.level != "broker":
            connection.publish_many([message])
            return
        done = connection.publish_tracked(message)

        def acknowledged(future: asyncio.Future[None]) -> None:
            if not future.cancelled() and future.exception() is None and self._connection is connection:
                self._delivery.receive_puback(mark.n, self._clock.steady_ns())
                self._wake.set()

        done.add_done_callback(acknowledged)

    def _delivery_events(self) -> None:
        for event in self._delivery.events():
            if isinstance(event, Confirmed):
                self.counters.confirms += 1
            elif isinstance(event, Refused):
                self.counters.refusals += 1
                self._tell_starved()
            elif isinstance(event, Unanswered):
                self.counters.unanswered += 1
                if event.repeats == 1:
                    self._log.warning("no confirmation", host=self._config.delivery.confirm_host_id, mark=event.n)
            elif isinstance(event, Starved):
                self._starved = (self._clock.steady_ns(), event.text)
            elif isinstance(event, Recovered):
                self._starved = None
                if self._starvation:
                    self._starvation = ""
                    self._log.info("DATA arrives again")

    def _tell_starved(self) -> None:
        """Accuse the broker's ACL once refusals have lasted: a host that has just started refuses for a moment, too."""
        if self._starved is None or self._starvation:
            return
        since_ns, text = self._starved
        if self._clock.steady_ns() - since_ns >= STARVED_TOLD_AFTER_NS:
            self._starvation = text
            self._log.warning(text, refusals=self.counters.refusals)


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
