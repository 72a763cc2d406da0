"""The host of the simulation: real session, receiver, delivery and enricher; the logs are lists that survive.

receive → decode → raw log commit (group) → answer marks → join → records in one commit. A crash may fall between any
two of these. The stages stand in for those of ``uns.runtime`` that need an event loop: raw writer, joiner, connection.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from functools import partial

import msgspec

from tests.simulation.broker import CONNECT_TIMEOUT_MS, Connection, ConnectionGoneError, SimulatedBroker, give_up
from tests.simulation.host_checkers import HostWatch
from tests.simulation.join import Answer, HostStore, Joiner
from tests.simulation.plant import HOST_ID, EdgePlan, MetricPlan
from tests.simulation.world import Timer, World
from uns.adapters.mqtt import IncomingMessage
from uns.context.facts import Fact
from uns.delivery.host import HostDelivery
from uns.delivery.messages import MARK_FILTER, confirm_topic
from uns.errors import LocalProtocolError
from uns.namespace.model import TopicTree
from uns.runtime.host.groups import Group
from uns.runtime.host.intake import DeviceReader
from uns.runtime.host.liveness import Liveness
from uns.runtime.host.raw_writer import OwedBirths
from uns.runtime.host.receiver import DeliveryGate, Receiver
from uns.sparkplug.datatypes import Value
from uns.sparkplug.host import HostSession
from uns.sparkplug.messages import Connect, Disconnect, HostEvent, HostStateHealed, Message, Publish, Subscribe
from uns.sparkplug.metrics import BirthMetric
from uns.sparkplug.topics import EdgeNodeDescriptor
from uns.sparkplug.transitions import HostSessionState

__all__ = ["HostProcess", "SimulatedHost"]


class SimulatedHost:
    """The machine: logs survive, processes come and go."""

    def __init__(
        self,
        world: World,
        broker: SimulatedBroker,
        tree: TopicTree,
        plans: Sequence[EdgePlan] = (),
        *,
        host_id: str = HOST_ID,
    ) -> None:
        self.world = world
        self.host_id = host_id
        self.broker = broker
        self.tree = tree
        self.plans = plans  # for checkers: who has which metrics
        self.store = HostStore()
        self.watch = HostWatch()
        self.thawed_ns = 0
        self.process: HostProcess | None = None
        self.raw_full = False
        self.records_full = False
        self.failed_commits = 0
        self.clock_offset_ns = 0
        self.commands: set[tuple[str, str | None, str, Value]] = set()  # written, by node, device and metric
        self.shown: dict[str, bytes] = {}  # what is retained under uns1/…

    def start(self) -> None:
        if self.process is not None:
            return
        self.world.trace("host", "starts")
        self.process = HostProcess(self)
        self.process.start()

    @property
    def is_online(self) -> bool:
        process = self.process
        return process is not None and not process.frozen and process.session.state is HostSessionState.ONLINE

    def topics_of(self, process: HostProcess, edge_node: str, device_id: str | None) -> list[str]:
        """Where values of that node, or of that device of it, are shown."""
        return [
            topic
            for plan in self.plans
            if str(plan.descriptor) == edge_node
            for metric in plan.metrics
            if device_id in (None, metric.device_id)
            and (topic := process.joiner.enricher.topics.of(metric.device_id).pv[metric.name]) in self.shown
        ]

    def crash(self) -> None:
        """kill -9."""
        if self.process is not None:
            self.world.trace("host", "crashes")
            self.process.die()
            self.process = None

    def move(self, broker: SimulatedBroker) -> None:
        """It is to work at another broker: it ends here, well or badly, and starts there when :meth:`start` says."""
        (self.stop if self.world.chance(0.6) else self.crash)()
        self.world.trace("host", "moves")
        self.broker = broker

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
        self.session = HostSession(
            host.host_id,
            jitter=rng.randrange,
            extra_filters=((MARK_FILTER, 0),),
            state_seen_ms=host.store.state_seen_ms,
        )
        self.gate = DeliveryGate(HostDelivery(host.host_id))
        self.receiver = Receiver(
            host.tree, self.session, self.gate, next_position=host.store.head + 1, on_event=self._told
        )
        self.joiner = Joiner(host.tree, host.store, self.now_ns)
        self.liveness = Liveness(lambda: self.session.nodes, on_sweep=lambda nodes: None)
        self.connection: Connection | None = None
        self.inbox: list[IncomingMessage] = []
        self.groups: list[Group] = []  # received, not yet committed
        self.owed = OwedBirths()
        self.busy = False
        self.joining = False
        self._timer: Timer | None = None
        self._timer_ns: int | None = None

    @property
    def now_ns(self) -> int:
        """The clock on the host's wall: it may step at any time."""
        return self.world.now_ns + self.host.clock_offset_ns

    wall_ns = now_ns

    # life

    def start(self) -> None:
        for held in self.store.held():
            self.session.hold_births(held, self.now_ns)
        self._join_soon()
        self._show()
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
        self.session.close(self.now_ns)
        self._keep_state()
        self._do()
        self.die()

    def freeze(self) -> None:
        self.frozen = True
        if self.connection is not None:
            self.connection.stop_reading()

    def thaw(self) -> None:
        self.frozen = False
        self.host.thawed_ns = self.world.now_ns
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
        if inbox:
            online = {str(edge_node) for edge_node, node in self.session.nodes.items() if node.online}
            self.groups.append(self.receiver.receive(inbox, self.now_ns))
            self.host.watch.look(self, inbox, online)

    def _commit(self) -> None:
        groups, self.groups = [self.owed.group(self.gate.epoch), *self.groups], []
        messages = [message for group in groups for message in group.messages]
        items = [item for group in groups for item in group.items]
        if messages and self.host.raw_full:
            self.host.failed_commits += 1
            self.gate.forget_all()
            self.owed.keep(groups)
            return
        if messages:
            self.owed.clear()
            self.store.append(messages, [birth for group in groups for birth in group.births], items)
        if self.session.state is HostSessionState.ONLINE:
            answers = [answer for group in groups if group.epoch == self.gate.epoch for answer in group.answers]
            for edge_node, confirm in answers:
                if self.world.tracing:
                    self.world.trace("host", f"{edge_node} {confirm}")
                self._write(Message(confirm_topic(edge_node), msgspec.json.encode(confirm), qos=1))
        self.joiner.waiting += items
        self._join_soon()

    def _join_soon(self) -> None:
        """Records are committed a little later than the raw log: a crash may fall between."""
        if not self.joining:
            self.joining = True
            self._later(self.world.random.uniform(0, 20), self._join)

    def _join(self) -> None:
        self.joining = False
        failed = self.joiner.reloads
        self.joiner.commit(self.now_ns, fails=self.host.records_full)
        if self.joiner.reloads != failed:
            self._later(200, self._join_soon)

    def _show(self) -> None:
        """Present values and contexts that are due."""
        board = self.joiner.enricher.board
        self.liveness.due(board, self.now_ns, behind=self.joiner.behind)
        for message in board.due(self.now_ns):
            self.host.shown[message.topic] = message.payload
        self.host.watch.look_at_values(self)
        self._later(200, self._show)

    def command(self, edge_node: EdgeNodeDescriptor, metric: MetricPlan, value: Value) -> None:
        """A person writes a value; where no birth is known that has it, the session refuses."""
        written = BirthMetric(name=metric.name, datatype=metric.datatype, value=value)
        with contextlib.suppress(LocalProtocolError):
            self.session.publish_command(edge_node, metric.device_id, [written], self.now_ns)
            self.host.commands.add((str(edge_node), metric.device_id, metric.name, value))
            self._do()

    def submit(self, fact: Fact, answer: Answer) -> None:
        """A fact came on its own connection; the answer follows its commit."""
        self.joiner.facts.append((fact, answer))
        self._join_soon()

    # session

    def _connect(self) -> None:
        if self.session.state is not HostSessionState.DISCONNECTED:
            return
        self.gate.forget_all()
        self.session.connect(self.now_ns)
        self._keep_state()
        self._do()

    def _keep_state(self) -> None:
        self.store.state_seen_ms = max(self.store.state_seen_ms, self.session.state_seen_ms)

    def _told(self, event: HostEvent, reader: DeviceReader | None) -> None:
        self.liveness.receive(event)
        self.host.watch.order.told(self, event)
        if isinstance(event, HostStateHealed):
            self._keep_state()
        if self.world.tracing:
            self.world.trace("host", f"{event}"[:150])

    def _do(self) -> None:
        for action in self.session.actions():
            if isinstance(action, Publish):
                if "/NCMD/" in action.message.topic:
                    self.host.watch.order.asked(self, action.message.topic)
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
        if deadline is not None:
            deadline -= self.host.clock_offset_ns
        if deadline == self._timer_ns:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer_ns = deadline
        self._timer = None if deadline is None else self.world.at(deadline, self._fire)

    def _fire(self) -> None:
        self._timer = self._timer_ns = None
        if self.alive and not self.frozen:
            self.session.receive_timer(self.now_ns)
            self.groups.append(self.receiver.drain(self.now_ns))
            self._do()

    # the client's end of the connection

    def on_connected(self, connection: Connection) -> None:
        if connection is self.connection and self.alive:
            self.session.receive_connected(self.now_ns)
            self._do()

    def on_subscribed(self, connection: Connection) -> None:
        if connection is self.connection and self.alive:
            self.session.receive_subscribed(self.now_ns)
            self._do()
            self.liveness.receive_connected(self.now_ns)

    def on_message(self, connection: Connection, message: Message) -> None:
        if connection is self.connection and self.alive:
            self.inbox.append(IncomingMessage(message.topic, message.payload, message.qos, message.retain))
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
        self.session.receive_disconnected(self.now_ns)
        self.receiver.drain(self.now_ns)
        self.liveness.receive_disconnected()
        self._do()
        self._later(self.world.random.uniform(200, 2_000), self._connect)
