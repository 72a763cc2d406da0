"""A second gateway with the name of another: it connects, is born, is taken over, comes back, and goes in the end."""

from __future__ import annotations

from functools import partial

from tests.simulation.broker import Connection, ConnectionGoneError, SimulatedBroker, give_up
from uns.sparkplug.edge import EdgeNodeSession
from uns.sparkplug.messages import BirthDue, Connect, Disconnect, Message, NodeBirth, Publish, Subscribe
from uns.sparkplug.topics import EdgeNodeDescriptor

__all__ = ["Twin"]


class Twin:
    """It has no devices, and no patience: it comes back after a second, and never looks for a double."""

    def __init__(self, broker: SimulatedBroker, edge_node: EdgeNodeDescriptor) -> None:
        self._world = broker.world
        self._broker = broker
        self._session = EdgeNodeSession(edge_node)
        self._connection: Connection | None = None
        self._alive = True

    @property
    def now_ns(self) -> int:
        return self._world.now_ns

    wall_ns = now_ns

    def start(self, lives_ms: float) -> None:
        self._world.after(lives_ms, self._go)
        self._connect()

    def _go(self) -> None:
        self._alive = False
        if self._connection is not None:
            self._session.close(self.now_ns)
            self._do()

    def _connect(self) -> None:
        if self._alive:
            rng = self._world.random
            self._session.connect(
                bd_seq=rng.randrange(256), session_id=f"twin-{rng.getrandbits(32):08x}", now_ns=self.now_ns
            )
            self._do()

    def _do(self) -> None:
        for event in self._session.events():
            if isinstance(event, BirthDue):
                self._session.birth(NodeBirth(metrics=[], devices={}), self.now_ns)
        for action in self._session.actions():
            if isinstance(action, Connect):
                self._connection = self._broker.intrude(self, action.client_id, action.will)
                self._world.after(2_000, partial(give_up, self._connection))
            elif self._connection is not None:
                try:
                    self._carry_out(self._connection, action)
                except ConnectionGoneError:
                    return

    def _carry_out(self, connection: Connection, action: object) -> None:
        if isinstance(action, Subscribe):
            connection.subscribe(action.filters)
        elif isinstance(action, Publish):
            connection.publish(action.message)
        elif isinstance(action, Disconnect):
            connection.disconnect()
            self._connection = None

    def on_connected(self, connection: Connection) -> None:
        if connection is self._connection:
            self._session.receive_connected(self.now_ns)
            self._do()

    def on_subscribed(self, connection: Connection) -> None:
        if connection is self._connection:
            self._session.receive_subscribed(self.now_ns)
            self._do()

    def on_message(self, connection: Connection, message: Message) -> None:
        if connection is self._connection:
            self._session.receive_message(message.topic, message.payload, self.now_ns, retain=message.retain)
            self._do()

    def on_puback(self, connection: Connection, message: Message) -> None: ...

    def on_closed(self, connection: Connection) -> None:
        if connection is self._connection:
            self._connection = None
            self._session.receive_disconnected(self.now_ns)
            self._session.events()
            self._world.after(self._world.random.uniform(500, 1_500), self._connect)
