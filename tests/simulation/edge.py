"""A gateway of the simulation: real session, real delivery, real reduction; the store is a dictionary that survives."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import msgspec

from edge_nodes.backlog import sample_properties
from edge_nodes.reduction import Reducer, Reduction, Rows
from edge_nodes.session_clock import SessionClock
from tests.simulation.broker import CONNECT_TIMEOUT_MS, Connection, ConnectionGoneError, SimulatedBroker, give_up
from tests.simulation.edge_store import EdgeStore
from tests.simulation.grouping import Row, batches_of
from tests.simulation.plant import HOST_ID, EdgePlan, Key, Oracle, Plc
from tests.simulation.walking import Walk
from tests.simulation.world import MS, Timer, World
from uns.delivery.edge import DeleteRows, EdgeDelivery, Level, PublishMark, Starved
from uns.delivery.messages import Cursor, confirm_topic, decode_confirm, digest_of, mark_topic
from uns.errors import RemoteProtocolError
from uns.source import Readings
from uns.sparkplug.edge import EdgeNodeSession, WhenHostSilent
from uns.sparkplug.messages import (
    BirthDue,
    CommandReceived,
    Connect,
    Disconnect,
    Message,
    NodeBirth,
    Offline,
    Online,
    OtherMessage,
    Publish,
    Subscribe,
)
from uns.sparkplug.metrics import BirthMetric
from uns.sparkplug.transitions import EdgeState
from uns.sparkplug.walk import SessionEnd

__all__ = ["EdgeOptions", "EdgeStore", "Row", "SimulatedEdge", "batches_of"]

LIVE_ROWS_MAX = 200
HISTORY_ROWS_MAX = 25
CLOCK_LOOK_MS = 1_000  # how often the wall clock is held beside the session's time, at the least


class EdgeOptions(NamedTuple):
    """What a seed sets."""

    level: Level = "host"
    primary_host: bool = False
    host_wait_ms: int = 30_000
    when_host_silent: WhenHostSilent = "wait"
    mark_interval_ms: int = 500
    mark_messages_max: int = 200
    rows_max: int | None = None  # quota of the store; None: it never fills


class SimulatedEdge:
    """The machine: store and PLC survive, processes come and go."""

    def __init__(
        self,
        world: World,
        brokers: Sequence[SimulatedBroker],
        plan: EdgePlan,
        oracle: Oracle,
        options: EdgeOptions,
    ) -> None:
        self.world = world
        self.brokers = brokers
        self.plan = plan
        self.oracle = oracle
        self.options = options
        self.store = EdgeStore()
        self.plc = Plc(world, plan)
        self.process: EdgeProcess | None = None
        self.reading = True  # the PLC is asked; off once the plant has come to rest
        self.starved_told = 0
        self.clock_offset_ns = 0  # of the gateway's clock; the PLC has its own
        self.lost_devices: set[str] = set()
        self.sessions = 0
        self.rows_deleted: Callable[[list[Row]], None] = lambda rows: None  # hooks of the checkers
        self.commanded: Callable[[CommandReceived], None] = lambda event: None

    @property
    def name(self) -> str:
        return self.plan.descriptor.edge_node_id

    def start(self) -> None:
        if self.process is not None:
            return
        self.world.trace(self.name, "starts")
        self.process = EdgeProcess(self)
        self.process.start()

    def crash(self) -> None:
        """kill -9."""
        if self.process is not None:
            self.world.trace(self.name, "crashes")
            self.process.die(deliver_sent=self.world.chance(0.5))
            self.process = None

    def stop(self) -> None:
        """SIGTERM."""
        if self.process is not None:
            self.world.trace(self.name, "stops")
            self.process.close()
            self.process = None

    def say_last_words(self) -> None:
        if self.process is not None:
            self.process.take(self.plc.last_words())

    def key_of(self, row: Row) -> Key:
        metric = self.plan.metrics[row.metric]
        return (metric.device_id, metric.name, row.time_ns // MS, row.ordinal)


class EdgeProcess:
    """One life of the gateway's program."""

    def __init__(self, edge: SimulatedEdge) -> None:
        self.edge = edge
        self.world = edge.world
        self.store = edge.store
        self.alive = True
        plan, options = edge.plan, edge.options
        self.session = EdgeNodeSession(
            plan.descriptor,
            primary_host_id=HOST_ID if options.primary_host else None,
            extra_filters=((confirm_topic(plan.descriptor), 1),),
            command_devices=plan.devices,
            host_wait_max_ms=options.host_wait_ms,
            when_host_silent=options.when_host_silent,
            leaves_offline_host=len(edge.brokers) > 1,
        )
        self.walk = Walk(self.world, edge.brokers, plan.descriptor, host_wait_ms=options.host_wait_ms)
        self.delivery = EdgeDelivery(
            host_id=HOST_ID,
            level=options.level,
            mark_interval_ms=options.mark_interval_ms,
            mark_messages_max=options.mark_messages_max,
        )
        self.reducer = Reducer(
            {number: Reduction(enabled=metric.reduced) for number, metric in enumerate(plan.metrics)},
            last_samples=self.store.recent,
        )
        # As after a change of configuration: aliases of another session mean other metrics.
        self.order = self.world.random.sample(range(len(plan.metrics)), len(plan.metrics))
        self.buffer = Rows()
        self.deletions: list[DeleteRows] = []
        self.connection: Connection | None = None
        self.end: SessionEnd | None = None  # why the connection ended
        self.marks: dict[Message, int] = {}
        self.pumping = False
        self.clock = SessionClock(lambda: self.wall_ns, lambda: self.world.now_ns)
        self._timer: Timer | None = None
        self._timer_ns: int | None = None

    @property
    def wall_ns(self) -> int:
        """The clock on the wall: it may step at any time."""
        return self.world.now_ns + self.edge.clock_offset_ns

    @property
    def now_ns(self) -> int:
        """The clock of this MQTT session: it steps back only between two of them."""
        return self.clock.now_ns()

    # life

    def start(self) -> None:
        self.take(self.edge.plc.subscribe())
        self._later(self.edge.plan.poll_ms, self._poll)
        self._later(self.edge.plan.commit_ms, self._commit)
        self._later(CLOCK_LOOK_MS, self._look_again)
        self._connect()

    def die(self, *, deliver_sent: bool) -> None:
        self.alive = False
        if self.connection is not None:
            self.connection.abort(deliver_sent=deliver_sent)
            self.connection = None

    def close(self) -> None:
        """Commit what was read, NDEATH, DISCONNECT."""
        self._commit_now()
        self.session.close(self.now_ns)
        self._do()
        self.die(deliver_sent=True)

    def _later(self, delay_ms: float, call: Callable[[], None]) -> None:
        self.world.after(delay_ms, lambda: call() if self.alive else None)

    # from the PLC into the store

    def _poll(self) -> None:
        if not self.edge.reading:
            return
        self.take(self.edge.plc.read(without=self.edge.lost_devices))
        self._later(self.edge.plan.poll_ms * self.world.random.uniform(0.5, 1.5), self._poll)

    def take(self, readings: Readings) -> None:
        self.reducer.receive(readings, self.buffer)

    def _commit(self) -> None:
        self._commit_now()
        self._pump_soon()
        self._later(self.edge.plan.commit_ms if self.edge.reading else 300, self._commit)

    def _look_again(self) -> None:
        self._look_at_the_clock()
        self.walk.look()
        self._later(CLOCK_LOOK_MS, self._look_again)

    def _look_at_the_clock(self) -> None:
        """A wall clock that was set forward is followed; one that was set back ends the session."""
        if self.connection is not None:
            self.clock.follow()
            self.session.receive_clock(self.wall_ns, self.now_ns)
            self._do()

    def _commit_now(self) -> None:
        buffer, self.buffer = self.buffer, Rows()
        deletions, self.deletions = self.deletions, []
        stored, deleted, dropped = self.store.commit(buffer, deletions, rows_max=self.edge.options.rows_max)
        self.edge.oracle.dropped.update(map(self.edge.key_of, dropped))
        for row in stored:
            self.edge.oracle.stored(self.edge.plan.metrics[row.metric], *row[1:])
        if deleted:
            self.edge.rows_deleted(deleted)

    # from the store to the broker

    def _pump_soon(self) -> None:
        if not self.pumping:
            self.pumping = True
            self._later(self.world.random.uniform(0, 3), self._pump)

    def _pump(self) -> None:
        self.pumping = False
        delivery, now_ns = self.delivery, self.world.now_ns
        self._look_at_the_clock()
        if self.connection is None or delivery.session_id is None:
            return
        while self._send("live", delivery.live_position, self.store.next_id, LIVE_ROWS_MAX):
            pass
        for _ in range(4):
            room = min(HISTORY_ROWS_MAX, delivery.history_room(now_ns))
            if not room:
                break
            if not self._send("history", delivery.history_position, delivery.live_start, room):
                delivery.history_exhausted(now_ns)
                break
        self._do()
        self._update_devices()
        if delivery.may_send_history(now_ns):
            self._later(20, self._pump_soon)

    def _update_devices(self) -> None:
        """A lost device dies once nothing of it is on its way; one that is back, or has rows to send, is born."""
        if self.connection is None or self.session.state is not EdgeState.ONLINE:
            return
        idle = self.delivery.history_position >= self.delivery.live_start
        for device_id in self.edge.plan.devices:
            born, lost = device_id in self.session.devices, device_id in self.edge.lost_devices
            if lost and born and idle:
                self.session.device_death(device_id, self.now_ns)
            elif not lost and not born:
                self._bear(device_id)
        self._do()

    def _bear(self, device_id: str) -> None:
        self.session.device_birth(device_id, self._births().devices[device_id], self.now_ns)

    def _send(self, cursor: Cursor, from_id: int, below_id: int, limit: int) -> bool:
        rows, next_id = self.store.select(from_id, below_id, limit)
        if not rows or self.connection is None:
            return False
        messages = digest = 0
        for device_id in {self.edge.plan.metrics[row.metric].device_id for row in rows} - self.session.devices:
            self._bear(device_id)
        for device_id, batch in batches_of(self.edge.plan, self.session, rows, is_historical=cursor == "history"):
            digest += digest_of(self.session.publish_data(device_id, batch, self.now_ns).payload)
            messages += 1
        self._publish()
        if self.connection is None:
            return False
        self.delivery.sent(
            cursor, from_id=from_id, next_id=next_id, messages=messages, digest=digest, now_ns=self.world.now_ns
        )
        self._do()
        return True

    # session and delivery

    def _connect(self) -> None:
        bd_seq = self.store.next_bd_seq()
        self.edge.sessions += 1
        self.clock.start()
        self.end = None
        session_id = f"{self.edge.name[:4]}-{self.edge.sessions}-{self.world.random.getrandbits(32):08x}"
        self.session.connect(bd_seq=bd_seq, session_id=session_id, now_ns=self.now_ns, broker=self.walk.name)
        self._do()

    def _do(self) -> None:
        """Carry out actions and look at events until there are none."""
        if not self.alive:
            return
        while True:
            self._publish()
            for action in self.delivery.actions():
                if isinstance(action, PublishMark):
                    payload = msgspec.json.encode(action.mark)
                    message = Message(mark_topic(self.edge.plan.descriptor), payload, qos=1)
                    self.marks[message] = action.mark.n
                    self._write(message)
                elif isinstance(action, DeleteRows):
                    self.deletions.append(action)
                else:
                    self._pump_soon()
            told = self.delivery.events()
            self.edge.starved_told += sum(isinstance(event, Starved) for event in told)
            if told:
                self._pump_soon()
            events = self.session.events()
            if not events:
                break
            for event in events:
                self._receive_event(event)
        self._arm()

    def _publish(self) -> None:
        for action in self.session.actions():
            if isinstance(action, Publish):
                self._write(action.message)
            elif isinstance(action, Connect):
                connection = self.walk.broker.connect(self, action.client_id, action.will)
                self.connection = connection
                self._later(CONNECT_TIMEOUT_MS, partial(give_up, connection))
            elif isinstance(action, Subscribe):
                if self.connection is not None:
                    self.connection.subscribe(action.filters)
            elif isinstance(action, Disconnect) and self.connection is not None:
                connection, self.connection = self.connection, None
                connection.disconnect()
                self._lost()

    def _write(self, message: Message) -> None:
        if self.connection is None:
            return
        try:
            self.connection.publish(message)
        except ConnectionGoneError:
            self._lost()

    def _receive_event(self, event: object) -> None:
        now_ns = self.world.now_ns
        if isinstance(event, BirthDue):
            births = self._births()
            for device_id in self.edge.lost_devices - self.session.devices:
                births.devices.pop(device_id, None)
            self.session.birth(births, self.now_ns)
        elif isinstance(event, Online):
            if event.reborn:
                self.delivery.reborn(now_ns)
            else:
                self.delivery.session_started(event.session_id, head=self.store.next_id, now_ns=now_ns)
            self._pump_soon()
        elif isinstance(event, OtherMessage):
            try:
                confirm = decode_confirm(event.payload, where=event.topic)
            except RemoteProtocolError:
                return
            if self.world.tracing:
                self.world.trace(self.edge.name, f"{confirm}")
            self.delivery.receive_confirm(confirm, now_ns)
            self._pump_soon()
        elif isinstance(event, CommandReceived):
            self.edge.commanded(event)
        elif isinstance(event, Offline) and event.reason != "closed":
            end = self._end_of(event.reason)
            if self.world.tracing:
                self.world.trace(self.edge.name, f"{self.walk.name}: {end.value}")
            self.walk.ended(end, lambda pause_ms: self._later(pause_ms, self._connect))

    def _end_of(self, reason: str) -> SessionEnd:
        """As the gateway sees it: why the session left, or what became of the connection."""
        if reason != "connection_lost":
            return SessionEnd(reason)
        return self.end or SessionEnd.NOT_REACHED

    def _births(self) -> NodeBirth:
        devices: dict[str, list[BirthMetric]] = {device_id: [] for device_id in self.edge.plan.devices}
        for number in self.order:
            metric = self.edge.plan.metrics[number]
            recent = self.store.recent.get(number)
            birth = BirthMetric(name=metric.name, datatype=metric.datatype)
            if recent:
                time_ns, ordinal, value, status_code = recent[-1]
                birth = BirthMetric(
                    name=metric.name,
                    datatype=metric.datatype,
                    value=value,
                    timestamp_ms=time_ns // MS,
                    properties=sample_properties(ordinal, status_code),
                )
            devices[metric.device_id].append(birth)
        return NodeBirth(metrics=[], devices=devices)

    def _arm(self) -> None:
        deadline = self.delivery.next_deadline_ns()
        if (due := self.session.next_deadline_ns()) is not None:
            due -= self.now_ns - self.world.now_ns
            deadline = due if deadline is None else min(deadline, due)
        if deadline == self._timer_ns:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer_ns = deadline
        self._timer = None if deadline is None else self.world.at(deadline, self._fire)

    def _fire(self) -> None:
        self._timer = self._timer_ns = None
        if self.alive:
            self.session.receive_timer(self.now_ns)
            self.delivery.receive_timer(self.world.now_ns)
            self._do()
            self._pump_soon()

    # the client's end of the connection

    def on_connected(self, connection: Connection) -> None:
        if connection is self.connection:
            self.end = SessionEnd.LOST
            self.walk.connected(self.session.session_id)
            self.session.receive_connected(self.now_ns)
            self._do()

    def on_subscribed(self, connection: Connection) -> None:
        if connection is self.connection:
            self.session.receive_subscribed(self.now_ns)
            self._do()

    def on_message(self, connection: Connection, message: Message) -> None:
        if connection is self.connection:
            self.session.receive_message(message.topic, message.payload, self.now_ns, retain=message.retain)
            self._do()

    def on_puback(self, connection: Connection, message: Message) -> None:
        number = self.marks.pop(message, None)
        if connection is self.connection and number is not None:
            self.delivery.receive_puback(number, self.world.now_ns)
            self._do()

    def on_closed(self, connection: Connection) -> None:
        if connection is self.connection:
            if connection.taken_over:
                self.end = SessionEnd.TAKEN_OVER
            self._lost()

    def _lost(self) -> None:
        self.connection = None
        self.marks.clear()
        self.delivery.session_ended()
        self.session.receive_disconnected(self.now_ns)
        self._do()
