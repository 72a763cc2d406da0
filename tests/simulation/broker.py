"""An MQTT 3.1.1 broker and its TCP connections in virtual time, with what goes wrong between them.

What it does like a real one: Wills when a connection ends without DISCONNECT (after the time the broker takes to
notice), retained messages, takeover by client id, the smaller of two QoS, order per connection and QoS, QoS 0 dropped
towards a subscriber whose queue is full, an ACL that denies silently, a restart that loses everything.
What it adds: a message at QoS 1 may come later than QoS 0 messages sent after it, as mosquitto does when its
in-flight window is full; and for a while, towards one client, messages come twice and overtake each other, as through
a bridge or a cluster.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Protocol

from tests.simulation.world import MS, World
from uns.sparkplug.messages import Message

__all__ = [
    "CONNECT_TIMEOUT_MS",
    "Client",
    "Connection",
    "ConnectionGoneError",
    "SimulatedBroker",
    "Tap",
    "give_up",
    "matches",
]

CONNECT_TIMEOUT_MS = 5_000
QOS1_QUEUE_MESSAGES_MAX = 1_000


class ConnectionGoneError(Exception):
    """The client knows that its connection is over."""


class Client(Protocol):
    """Who sits at the client's end. ``now_ns`` is the time it stamps with, ``wall_ns`` the clock on its wall."""

    @property
    def now_ns(self) -> int: ...
    @property
    def wall_ns(self) -> int: ...
    def on_connected(self, connection: Connection) -> None: ...
    def on_subscribed(self, connection: Connection) -> None: ...
    def on_message(self, connection: Connection, message: Message) -> None: ...
    def on_puback(self, connection: Connection, message: Message) -> None: ...
    def on_closed(self, connection: Connection) -> None: ...


class Tap(Protocol):
    """Sees what clients put on the wire, in their order. Raises to report a broken rule."""

    def on_connect(self, connection: Connection, now_ns: int) -> None: ...
    def on_subscribe(self, connection: Connection, filters: tuple[tuple[str, int], ...], now_ns: int) -> None: ...
    def on_granted(self, connection: Connection) -> None: ...
    def on_publish(self, connection: Connection, message: Message, now_ns: int) -> None: ...
    def on_disconnect(self, connection: Connection, now_ns: int) -> None: ...
    def on_deliver(self, connection: Connection, message: Message) -> None: ...


class Connection:
    """One TCP connection with MQTT on it. Each end has its own belief whether it is open."""

    def __init__(
        self,
        broker: SimulatedBroker,
        client: Client,
        client_id: str,
        will: Message | None,
        *,
        number: int,
        clean_session: bool,
    ) -> None:
        self.broker = broker
        self.world = broker.world
        self.client = client
        self.client_id = client_id
        self.will = will
        self.number = number
        self.clean_session = clean_session
        self.path_alive = True
        self.lingers = False  # taken over, and what it sent before still comes through
        self.client_open = True
        self.broker_open = False
        self.foreign = False  # of somebody who goes by a name that is another's
        self.taken_over = False  # and the broker said so, as MQTT 5 brokers do
        self.reached_ns: int | None = None  # CONNACK
        self.ended_ns: int | None = None  # at the client's end
        self.reading = True
        self.filters: list[tuple[list[str], int]] = []
        self.tricks_until_ns = 0  # DATA towards the client and the mark behind it change places, or DATA is lost
        self._held: Message | None = None
        self.disorder_until_ns = 0  # messages towards the client come twice and out of order
        self.backlog: deque[Message] = deque()
        self.queued = 0  # under way to the client or waiting for it
        self._up_ns = self._down_ns = self._down_qos1_ns = 0

    # the client's end

    def subscribe(self, filters: tuple[tuple[str, int], ...]) -> None:
        self._check_open()
        for tap in self.broker.taps:
            tap.on_subscribe(self, filters, self.client.now_ns)
        self._up(lambda: self.broker.receive_subscribe(self, filters))

    def publish(self, message: Message) -> None:
        self._check_open()
        for tap in self.broker.taps:
            tap.on_publish(self, message, self.client.now_ns)
        if self.world.tracing:
            self.world.trace(self.client_id, f"publish {message.topic} {self.broker.describe(message)}")
        self._up(lambda: self.broker.receive_publish(self, message))

    def disconnect(self) -> None:
        """DISCONNECT, and close."""
        self._check_open()
        for tap in self.broker.taps:
            tap.on_disconnect(self, self.client.now_ns)
        self._up(lambda: self.broker.receive_disconnect(self))
        self._end_here()

    def abort(self, *, deliver_sent: bool = True) -> None:
        """The client died: its machine ends the connection, with or without what was sent before."""
        self._end_here()
        if not deliver_sent:
            self.path_alive = False
            self.world.after(self.broker.latency_ms(), lambda: self.broker.connection_ended(self))
        else:
            self._up(lambda: self.broker.connection_ended(self))

    def _end_here(self) -> None:
        if self.client_open:
            self.client_open = False
            self.ended_ns = self.world.now_ns

    def _check_open(self) -> None:
        if not self.client_open:
            raise ConnectionGoneError(self.client_id)

    def stop_reading(self) -> None:
        self.reading = False

    def go_on_reading(self) -> None:
        self.reading = True
        while self.backlog and self.reading and self.client_open:
            self._hand_over(self.backlog.popleft())

    def _hand_over(self, message: Message) -> None:
        self.queued -= 1
        for tap in self.broker.taps:
            tap.on_deliver(self, message)
        self.client.on_message(self, message)

    # the way

    def cut(self, *, broker_notices_ms: float, client_notices_ms: float) -> None:
        """Nothing passes any more; each end finds out in its own time."""
        self.path_alive = False
        self.world.after(broker_notices_ms, lambda: self.broker.connection_ended(self))
        self.world.after(client_notices_ms, self.close_client_end)

    def close_client_end(self) -> None:
        if self.client_open:
            self._end_here()
            self.client.on_closed(self)

    def freeze(self, milliseconds: float, *, up: bool, down: bool) -> None:
        """Nothing gets lost and nothing arrives for a while: a route that comes back before TCP gives up."""
        until_ns = self.world.now_ns + int(milliseconds * MS)
        if up:
            self._up_ns = max(self._up_ns, until_ns)
        if down:
            self._down_ns, self._down_qos1_ns = max(self._down_ns, until_ns), max(self._down_qos1_ns, until_ns)

    def _up(self, arrive: Callable[[], None]) -> None:
        if not self.path_alive:
            return  # into the void
        self._up_ns = max(self._up_ns, self.world.now_ns + int(self.broker.latency_ms() * MS))
        self.world.at(self._up_ns, lambda: arrive() if self.path_alive or self.lingers else None)

    def down(self, arrive: Callable[[], None], *, qos: int = 0) -> None:
        """The broker sends; QoS 1 keeps its own order, and what is at QoS 0 its own, but for times of disorder."""
        arrival_ns = self.world.now_ns + int(self.broker.latency_ms() * MS)
        if self.world.now_ns < self.disorder_until_ns and self.world.chance(0.3):
            arrival_ns += int(self.world.random.uniform(0, 40) * MS)  # others pass it
        elif qos:
            if self.world.chance(0.2):
                arrival_ns += int(self.world.random.uniform(0, 60) * MS)
            arrival_ns = self._down_qos1_ns = max(self._down_qos1_ns, arrival_ns)
        else:
            arrival_ns = self._down_ns = max(self._down_ns, arrival_ns)
        self.world.at(arrival_ns, lambda: arrive() if self.path_alive and self.client_open else None)

    def deliver(self, message: Message) -> None:
        """The broker hands a message over; in bad times what comes before a mark comes behind it, or never."""
        held, self._held = self._held, None
        is_data = "/DDATA/" in message.topic
        if held is not None and message.topic.startswith("uns1/_mark/"):
            lost = self.world.chance(0.5)
            self._deliver(message)
            if not lost:
                self._deliver(held)
            return
        if held is not None:
            self._deliver(held)
        if is_data and self.world.now_ns < self.tricks_until_ns:
            self._held = message
        else:
            self._deliver(message)

    def _deliver(self, message: Message) -> None:
        """The broker hands a message over, or drops it because the queue is full."""
        if self.queued >= (QOS1_QUEUE_MESSAGES_MAX if message.qos else self.broker.queue_messages_max):
            self.broker.dropped += 1
            if self.world.tracing:
                self.world.trace("broker", f"queue of {self.client_id} is full: drops {message.topic}")
            return
        self.queued += 1

        def arrive() -> None:
            if not self.reading or self.backlog:
                self.backlog.append(message)
                return
            self._hand_over(message)

        self.down(arrive, qos=message.qos)
        if self.world.now_ns < self.disorder_until_ns and self.world.chance(0.1):
            self.queued += 1
            self.down(arrive, qos=message.qos)


class SimulatedBroker:
    """Call :meth:`connect`; everything else happens on connections."""

    def __init__(self, world: World, *, queue_messages_max: int = 1_000, will_on_takeover: bool = True) -> None:
        self.world = world
        self.queue_messages_max = queue_messages_max
        self.will_on_takeover = will_on_takeover
        self.will_delay_ms: Callable[[], float] = lambda: 0.0
        self.lets_old_connections_linger = False  # as nodes of a cluster may, where a session moves
        self.tells_takeovers = False
        self.up = True
        self.spoiled = False  # somebody has lied here, or order was lost: what its STATE says may be wrong for good
        self.connections: dict[str, Connection] = {}
        self.retained: dict[str, Message] = {}
        self.taps: list[Tap] = []
        self.denies: Callable[[str, str], bool] = lambda client_id, topic: False
        self.describe: Callable[[Message], str] = lambda message: f"{len(message.payload)} bytes"
        self.dropped = 0
        self.denied = 0

    def latency_ms(self) -> float:
        """How long one packet takes; now and then much longer."""
        dice = self.world.random.random()
        return 0.2 + 6 * dice if dice < 0.97 else 250 * (dice - 0.96)

    def connect(
        self, client: Client, client_id: str, will: Message | None, *, clean_session: bool = True
    ) -> Connection:
        """A client sends CONNECT; ``on_connected`` or ``on_closed`` follows."""
        connection = self._open(client, client_id, will, clean_session=clean_session)
        for tap in self.taps:
            tap.on_connect(connection, client.now_ns)
        if self.world.tracing:
            self.world.trace(client_id, f"CONNECT #{connection.number}")
        self.world.after(self.latency_ms(), lambda: self._receive_connect(connection))
        return connection

    def intrude(self, client: Client, client_id: str, will: Message | None = None) -> Connection:
        """Somebody comes with a client id that is another's; checkers look at the rightful ones only."""
        self.spoiled = True  # the end of a connection may have been swallowed, and the will with it
        connection = self._open(client, client_id, will, clean_session=True)
        connection.foreign = True
        self.world.after(self.latency_ms(), lambda: self._receive_connect(connection))
        return connection

    def _open(self, client: Client, client_id: str, will: Message | None, *, clean_session: bool) -> Connection:
        self.world.connections += 1
        return Connection(self, client, client_id, will, number=self.world.connections, clean_session=clean_session)

    def _receive_connect(self, connection: Connection) -> None:
        if not connection.path_alive or not connection.client_open:
            return
        if not self.up:
            self.world.after(self.latency_ms(), connection.close_client_end)
            connection.path_alive = False
            return
        old = self.connections.get(connection.client_id)
        if old is not None:
            self.connection_ended(old, taken_over=True)
        self.connections[connection.client_id] = connection
        connection.broker_open = True
        connection.down(partial(self._acknowledge, connection))

    def _acknowledge(self, connection: Connection) -> None:
        connection.reached_ns = self.world.now_ns
        connection.client.on_connected(connection)

    def _grant(self, connection: Connection) -> None:
        for tap in self.taps:
            tap.on_granted(connection)
        connection.client.on_subscribed(connection)

    def connection_ended(self, connection: Connection, *, taken_over: bool = False) -> None:
        """The broker finds that a connection is gone without DISCONNECT."""
        if not connection.broker_open:
            return
        self._forget(connection)
        connection.taken_over = taken_over and self.tells_takeovers
        if connection.will is not None and (self.will_on_takeover or not taken_over):
            # A cluster of brokers may publish it after the new connection's first messages.
            delay_ms = self.will_delay_ms() if taken_over else 0
            self.world.after(delay_ms, partial(self._publish_will, connection))
        if connection.path_alive:
            connection.lingers = taken_over and self.lets_old_connections_linger
            self.world.after(self.latency_ms(), connection.close_client_end)
            connection.path_alive = False

    def _publish_will(self, connection: Connection) -> None:
        self.world.trace("broker", f"will of {connection.client_id} #{connection.number}")
        if connection.will is not None and self.up:
            self.route(connection.will)

    def receive_disconnect(self, connection: Connection) -> None:
        self._forget(connection)

    def _forget(self, connection: Connection) -> None:
        connection.broker_open = False
        if self.connections.get(connection.client_id) is connection:
            del self.connections[connection.client_id]

    def receive_subscribe(self, connection: Connection, filters: tuple[tuple[str, int], ...]) -> None:
        if not connection.broker_open:
            return
        connection.filters += [(topic_filter.split("/"), qos) for topic_filter, qos in filters]
        connection.down(partial(self._grant, connection))
        for topic_filter, qos in filters:
            levels = topic_filter.split("/")
            for topic, message in self.retained.items():
                if matches(levels, topic.split("/")):
                    connection.deliver(Message(topic, message.payload, min(qos, message.qos), retain=True))

    def receive_publish(self, connection: Connection, message: Message) -> None:
        if not connection.broker_open and not connection.lingers:
            return
        if message.qos:
            connection.down(lambda: connection.client.on_puback(connection, message))
        if self.denies(connection.client_id, message.topic):
            self.denied += 1  # acknowledged and gone, as MQTT 3.1.1 brokers do
            return
        self.route(message)

    def route(self, message: Message) -> None:
        """To everyone who asked for it."""
        if message.retain:
            if message.payload:
                self.retained[message.topic] = message
            else:
                self.retained.pop(message.topic, None)
        levels = message.topic.split("/")
        for connection in list(self.connections.values()):
            granted = [qos for topic_filter, qos in connection.filters if matches(topic_filter, levels)]
            if granted:
                connection.deliver(Message(message.topic, message.payload, min(max(granted), message.qos)))

    def stop(self) -> None:
        """The broker is killed: connections, retained messages and Wills are gone."""
        self.up = False
        self.retained.clear()
        for connection in list(self.connections.values()):
            self._forget(connection)
            connection.path_alive = False
            self.world.after(self.world.random.uniform(0, 500), connection.close_client_end)

    def start(self) -> None:
        self.up = True


def give_up(connection: Connection) -> None:
    """A client's time-out: no CONNACK came."""
    if not connection.broker_open:
        connection.close_client_end()


def matches(topic_filter: list[str], topic: list[str]) -> bool:
    """MQTT's filter rule, for levels."""
    for index, level in enumerate(topic_filter):
        if level == "#":
            return True
        if index >= len(topic) or level not in ("+", topic[index]):
            return False
    return len(topic) == len(topic_filter)
