"""The host of the simulation: real session, real delivery; raw log and record log are lists that survive.

receive → decode → raw log commit (group) → answer marks → join → records in one commit. A crash may fall between any
two of these.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial

import msgspec

from tests.simulation.broker import CONNECT_TIMEOUT_MS, Connection, ConnectionGoneError, SimulatedBroker, give_up
from tests.simulation.join import Joiner, RecordStore, keys_of
from tests.simulation.plant import HOST_ID, Key, Sample
from tests.simulation.world import Timer, World
from uns.delivery.host import HostDelivery
from uns.delivery.messages import (
    MARK_FILTER,
    MARK_ROOT,
    Confirm,
    confirm_topic,
    decode_mark,
    parse_mark_topic,
)
from uns.errors import RemoteProtocolError
from uns.namespace.model import TopicTree
from uns.sparkplug.host import HostSession
from uns.sparkplug.messages import (
    Connect,
    DataReceived,
    DataUnreadable,
    DeviceBorn,
    Disconnect,
    HeldBirths,
    Message,
    NodeBorn,
    NodeDied,
    OtherMessage,
    Publish,
    Subscribe,
)
from uns.sparkplug.metrics import BirthPayload, DataPayload
from uns.sparkplug.topics import EdgeNodeDescriptor
from uns.sparkplug.transitions import HostSessionState

__all__ = ["HostStore", "RawRow", "SimulatedHost"]


class RawRow(msgspec.Struct, kw_only=True):
    """One message of the raw log. ``birth`` and ``data`` are what was read of it; they do not survive a crash."""

    kind: str  # nbirth, dbirth, data
    edge_node: EdgeNodeDescriptor
    device_id: str | None
    session_id: str
    bd_seq: int
    payload: bytes
    received_at_ns: int
    position: int = 0
    birth: BirthPayload | None = None
    data: DataPayload | None = None


@dataclass
class HostStore:
    """What survives a crash of the host."""

    raw: list[RawRow] = field(default_factory=list)
    raw_samples: dict[Key, Sample] = field(default_factory=dict)
    records: RecordStore = field(default_factory=RecordStore)

    def commit_raw(self, rows: Iterable[RawRow]) -> None:
        for row in rows:
            row.position = len(self.raw) + 1
            self.raw.append(row)
            if row.data is not None:
                for key, sample in keys_of(row.device_id or "", row.data):
                    self.raw_samples.setdefault(key, sample)

    def held_births(self) -> list[HeldBirths]:
        """The newest births of each node."""
        held: dict[EdgeNodeDescriptor, HeldBirths] = {}
        for row in self.raw:
            if row.kind == "nbirth":
                before = held.get(row.edge_node)
                same = before is not None and before.session_id == row.session_id
                held[row.edge_node] = HeldBirths(
                    row.edge_node, row.session_id, row.bd_seq, row.payload, before.devices if before and same else {}
                )
            elif row.kind == "dbirth" and row.edge_node in held:
                held[row.edge_node].devices[row.device_id or ""] = row.payload
        return list(held.values())


class SimulatedHost:
    """The machine: logs survive, processes come and go."""

    def __init__(self, world: World, broker: SimulatedBroker, tree: TopicTree) -> None:
        self.world = world
        self.broker = broker
        self.tree = tree
        self.store = HostStore()
        self.process: HostProcess | None = None
        self.disk_full = False
        self.failed_commits = 0

    def start(self) -> None:
        if self.process is not None:
            return
        self.world.trace("host", "starts")
        self.process = HostProcess(self)
        self.process.start()

    def crash(self) -> None:
        """kill -9."""
        if self.process is not None:
            self.world.trace("host", "crashes")
            self.process.die()
            self.process = None

    def stop(self) -> None:
        """SIGTERM."""
        if self.process is not None:
            self.world.trace("host", "stops")
            self.process.close()
            self.process = None

    def freeze(self, milliseconds: float) -> None:
        """SIGSTOP, and SIGCONT later."""
        process = self.process
        if process is None or process.frozen:
            return
        self.world.trace("host", f"frozen for {milliseconds:.0f} ms")
        process.freeze()
        self.world.after(milliseconds, lambda: process.thaw() if process.alive else None)


class HostProcess:
    """One life of the host's program."""

    def __init__(self, host: SimulatedHost) -> None:
        self.host = host
        self.world = host.world
        self.store = host.store
        self.alive = True
        self.frozen = False
        rng = self.world.random
        self.session = HostSession(HOST_ID, jitter=rng.randrange, extra_filters=((MARK_FILTER, 0),))
        self.delivery = HostDelivery(HOST_ID)
        self.joiner = Joiner(host.tree, host.store.records, self.world.now_ns)
        self.connection: Connection | None = None
        self.inbox: list[Message] = []
        self.rows: list[RawRow] = []  # of the group being gathered
        self.answers: list[tuple[EdgeNodeDescriptor, Confirm]] = []
        self.busy = False
        self._timer: Timer | None = None
        self._timer_ns: int | None = None

    # life

    def start(self) -> None:
        for held in self.store.held_births():
            self.session.hold_births(held, self.world.now_ns)
        self.joiner.replay(self.store.raw, self.world.now_ns)
        self._join()
        self._connect()

    def die(self) -> None:
        self.alive = False
        if self.connection is not None:
            self.connection.abort(deliver_sent=self.world.chance(0.5))
            self.connection = None

    def close(self) -> None:
        """Commit what was received, STATE offline, DISCONNECT."""
        self._take_in()
        self._commit()
        self.session.close(self.world.now_ns)
        self._do()
        self.die()

    def freeze(self) -> None:
        self.frozen = True
        if self.connection is not None:
            self.connection.stop_reading()

    def thaw(self) -> None:
        self.frozen = False
        if self.connection is not None:
            self.connection.go_on_reading()
        self._work_soon()
        self._fire()

    def _later(self, delay_ms: float, call: Callable[[], None]) -> None:
        def run() -> None:
            if self.alive and self.frozen:
                self._later(5, call)
            elif self.alive:
                call()

        self.world.after(delay_ms, run)

    # the order of work

    def _work_soon(self) -> None:
        if not self.busy:
            self.busy = True
            self._later(self.world.random.uniform(1, 30), self._work)

    def _work(self) -> None:
        self._take_in()
        self._do()
        self._later(self.world.random.uniform(0.5, 15), self._commit_and_go_on)

    def _commit_and_go_on(self) -> None:
        self._commit()
        self.busy = False
        if self.inbox:
            self._work_soon()

    def _take_in(self) -> None:
        inbox, self.inbox = self.inbox, []
        for message in inbox:
            self.session.receive_message(
                message.topic, message.payload, retain=message.retain, now_ns=self.world.now_ns
            )
            self._look()

    def _commit(self) -> None:
        rows, self.rows = self.rows, []
        answers, self.answers = self.answers, []
        if self.host.disk_full and rows:
            # The group is lost and so are its answers; births are needed to read what comes later, so they wait.
            self.host.failed_commits += 1
            self.rows = [row for row in rows if row.kind != "data"]
            self.delivery.forget_all()
            return
        self.store.commit_raw(rows)
        if self.session.state is not HostSessionState.ONLINE:
            answers = []  # of a connection that is over; on a new one nothing goes before STATE
        for edge_node, confirm in answers:
            if self.world.tracing:
                self.world.trace("host", f"{edge_node} {confirm}")
            self._write(Message(confirm_topic(edge_node), msgspec.json.encode(confirm), qos=1))
        for row in rows:
            self.joiner.receive(row, self.world.now_ns)
        self._join()

    def _join(self) -> None:
        """Records are committed a little later than the raw log: a crash may fall between."""
        self._later(self.world.random.uniform(0, 20), lambda: self.joiner.commit(self.world.now_ns))

    # session

    def _connect(self) -> None:
        if self.session.state is not HostSessionState.DISCONNECTED:
            return
        self.delivery.forget_all()
        self.session.connect(self.world.now_ns)
        self._do()

    def _look(self) -> None:
        """What one message caused, before the next is received."""
        now_ns = self.world.now_ns
        for event in self.session.events():
            if isinstance(event, NodeBorn):
                self.delivery.receive_birth(event.edge_node, event.session_id)
                self._raw("nbirth", event, None, birth=event.birth)
            elif isinstance(event, DeviceBorn):
                self._raw("dbirth", event, event.device_id, birth=event.birth)
            elif isinstance(event, DataReceived):
                self.delivery.count(event.edge_node, event.session_id)
                self._raw("data", event, event.device_id, data=event.data)
            elif isinstance(event, DataUnreadable):
                self.joiner.unreadable(event)
                if self.world.tracing:
                    self.world.trace("host", f"unreadable: {event.reason} from {event.edge_node}")
            elif isinstance(event, OtherMessage) and event.topic.startswith(MARK_ROOT):
                self._receive_mark(event, now_ns)
            elif isinstance(event, NodeDied):
                self.world.trace("host", f"{event.edge_node} died: {event.reason}")
            elif self.world.tracing:
                self.world.trace("host", f"{event}"[:150])

    def _receive_mark(self, event: OtherMessage, now_ns: int) -> None:
        try:
            edge_node = parse_mark_topic(event.topic)
            mark = decode_mark(event.payload, where=event.topic)
        except RemoteProtocolError:
            self.joiner.records.garbage += 1
            return
        held = self.session.name_session(edge_node, mark.session, now_ns)
        confirm = self.delivery.receive_mark(edge_node, mark, session_held=held)
        if confirm is not None:
            self.answers.append((edge_node, confirm))

    def _raw(
        self,
        kind: str,
        event: NodeBorn | DeviceBorn | DataReceived,
        device_id: str | None,
        *,
        birth: BirthPayload | None = None,
        data: DataPayload | None = None,
    ) -> None:
        self.rows.append(
            RawRow(
                kind=kind,
                edge_node=event.edge_node,
                device_id=device_id,
                session_id=event.session_id,
                bd_seq=getattr(event, "bd_seq", 0),
                payload=event.payload,
                received_at_ns=self.world.now_ns,
                birth=birth,
                data=data,
            )
        )

    def _do(self) -> None:
        for action in self.session.actions():
            if isinstance(action, Publish):
                self._write(action.message)
            elif isinstance(action, Connect):
                connection = self.host.broker.connect(self, action.client_id, action.will)
                self.connection = connection
                self._later(CONNECT_TIMEOUT_MS, partial(give_up, connection))
            elif isinstance(action, Subscribe):
                if self.connection is not None:
                    self.connection.subscribe(action.filters)
            elif isinstance(action, Disconnect) and self.connection is not None:
                connection, self.connection = self.connection, None
                connection.disconnect()
                self._lost()
        self._look()
        self._arm()

    def _write(self, message: Message) -> None:
        if self.connection is None:
            return
        try:
            self.connection.publish(message)
        except ConnectionGoneError:
            self._lost()

    def _arm(self) -> None:
        deadline = self.session.next_deadline_ns()
        if deadline == self._timer_ns:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer_ns = deadline
        self._timer = None if deadline is None else self.world.at(deadline, self._fire)

    def _fire(self) -> None:
        self._timer = self._timer_ns = None
        if self.alive and not self.frozen:
            self.session.receive_timer(self.world.now_ns)
            self._do()

    # the client's end of the connection

    def on_connected(self, connection: Connection) -> None:
        if connection is self.connection and self.alive:
            self.session.receive_connected(self.world.now_ns)
            self._do()

    def on_subscribed(self, connection: Connection) -> None:
        if connection is self.connection and self.alive:
            self.session.receive_subscribed(self.world.now_ns)
            self._do()

    def on_message(self, connection: Connection, message: Message) -> None:
        if connection is self.connection and self.alive:
            self.inbox.append(message)
            self._work_soon()

    def on_puback(self, connection: Connection, message: Message) -> None: ...

    def on_closed(self, connection: Connection) -> None:
        if connection is self.connection and self.alive:
            self.connection = None
            self._take_in()  # what was received before the end
            self._lost()

    def _lost(self) -> None:
        self.connection = None
        self.inbox.clear()
        self.session.receive_disconnected(self.world.now_ns)
        self._do()
        self._later(self.world.random.uniform(200, 2_000), self._connect)
