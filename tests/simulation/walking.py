"""Where a gateway of the simulation goes next: the real walk, with the clock and the chance of the world.

As in :mod:`edge_nodes.brokers`, where the same is done with an event loop: what the walk asks is answered by a look for
a double under another client id.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Sequence
from functools import partial

from edge_nodes.brokers import PAUSE_FIRST_MS, PAUSE_MAX_MS, PROOF_S, SESSIONS_REMEMBERED
from schemas.sparkplug_b_pb2 import Payload
from tests.simulation.broker import Connection, ConnectionGoneError, SimulatedBroker
from tests.simulation.world import MS, World
from uns.sparkplug import codec
from uns.sparkplug.datatypes import DataType
from uns.sparkplug.messages import Message
from uns.sparkplug.metrics import REBIRTH, BirthMetric
from uns.sparkplug.topics import EdgeNodeDescriptor, MessageType
from uns.sparkplug.walk import BrokerWalk, SessionEnd

__all__ = ["PROOF_CLIENT", "Proof", "Walk", "pause_max_ms"]

PROOF_CLIENT = "who:"


def pause_max_ms(host_wait_ms: int) -> int:
    """Pauses stay inside what births may wait for the primary host."""
    return min(PAUSE_MAX_MS, host_wait_ms)


class Walk:
    """The brokers of one life of a gateway's program."""

    def __init__(
        self, world: World, brokers: Sequence[SimulatedBroker], edge_node: EdgeNodeDescriptor, *, host_wait_ms: int
    ) -> None:
        self.world = world
        self.brokers = brokers
        self.edge_node = edge_node
        self.core = BrokerWalk(
            len(brokers),
            jitter=world.random.randrange,
            pause_first_ms=PAUSE_FIRST_MS,
            pause_max_ms=pause_max_ms(host_wait_ms),
        )
        self._own_sessions: deque[str] = deque(maxlen=SESSIONS_REMEMBERED)
        self._reached = False

    @property
    def broker(self) -> SimulatedBroker:
        return self.brokers[self.core.broker]

    @property
    def name(self) -> str:
        return f"broker {self.core.broker}"

    def connected(self, session_id: str) -> None:
        self._own_sessions.append(session_id)
        self._reached = True
        self.core.receive_connected(self.world.now_ns)

    def look(self) -> None:
        self.core.receive_timer(self.world.now_ns)

    def ended(self, end: SessionEnd, go_on: Callable[[int], None]) -> None:
        """The connection ended; ``go_on`` gets the pause in ms, at once or after the look for a double."""
        place = self.broker
        pause_ms = self.core.receive_end(end, self.world.now_ns)
        if self.core.wants_proof:
            Proof(place, self.edge_node, tuple(self._own_sessions), partial(self._proved, pause_ms, go_on)).start()
        else:
            self._pause(pause_ms, go_on)

    def _proved(self, pause_ms: int, go_on: Callable[[int], None], found: bool) -> None:
        self.core.receive_proof(found=found)
        self._pause(pause_ms, go_on)

    def _pause(self, pause_ms: int, go_on: Callable[[int], None]) -> None:
        reached, self._reached = self._reached, False
        if self.core.has_double and reached:
            pause_ms = self.core.pause_for_double_ms()
        go_on(pause_ms)


class Proof:
    """Asks for a rebirth, and looks for an NBIRTH that is not of ``own_sessions``; tells once what it found."""

    def __init__(
        self,
        broker: SimulatedBroker,
        edge_node: EdgeNodeDescriptor,
        own_sessions: Collection[str],
        tell: Callable[[bool], None],
    ) -> None:
        self._world = broker.world
        self._broker = broker
        self._edge_node = edge_node
        self._own_sessions = own_sessions
        self._tell: Callable[[bool], None] | None = tell
        self._connection: Connection | None = None

    def start(self) -> None:
        name = f"{PROOF_CLIENT}{self._world.random.getrandbits(48):012x}"
        self._connection = self._broker.connect(self, name, None)
        self._world.after(PROOF_S * 1_000, partial(self._found, found=False))

    def _found(self, *, found: bool) -> None:
        tell, self._tell = self._tell, None
        if tell is not None and self._connection is not None:
            if self._connection.client_open:
                self._connection.disconnect()
            self._world.trace("proof", f"somebody else is {self._edge_node}: {found}")
            tell(found)

    @property
    def now_ns(self) -> int:
        return self._world.now_ns

    wall_ns = now_ns

    def on_connected(self, connection: Connection) -> None:
        if connection.client_open:
            connection.subscribe(((self._edge_node.topic(MessageType.NBIRTH), 0),))

    def on_subscribed(self, connection: Connection) -> None:
        ask = BirthMetric(name=REBIRTH, datatype=DataType.BOOLEAN, value=True)
        payload = codec.encode_command([ask], timestamp_ms=self.now_ns // MS)
        try:
            connection.publish(Message(self._edge_node.topic(MessageType.NCMD), payload))
        except ConnectionGoneError:
            self._found(found=False)

    def on_message(self, connection: Connection, message: Message) -> None:
        if not message.retain and _session_of(message.payload) not in self._own_sessions:
            self._found(found=True)

    def on_puback(self, connection: Connection, message: Message) -> None: ...

    def on_closed(self, connection: Connection) -> None:
        self._found(found=False)


def _session_of(birth: bytes) -> str:
    try:
        metrics = Payload.FromString(birth).metrics
    except Exception:  # noqa: BLE001 somebody's garbage is nobody's session
        return ""
    return next((metric.string_value for metric in metrics if metric.name == "uns/session"), "")
