"""The brokers of a gateway, one connection at a time: where it goes next, when, and who else goes by its name.

Two ways tell of another gateway with our name. Where client ids are free, :func:`answers_in_our_name` asks it. Where
the broker makes the credential the client id, as our listener does, nobody can ask while the other one is connected:
there each leaves a retained word of itself on a topic of its own, and finds the word of the other one in its place.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Callable, Collection, Sequence
from uuid import uuid4

import structlog

from uns.adapters.mqtt import BrokerAddress, IncomingMessage, MqttConnection
from uns.errors import ConfigurationError, ConnectionLost, RemoteProtocolError, UnreachableError
from uns.namespace.topics import online_topic
from uns.sparkplug import codec
from uns.sparkplug.datatypes import DataType
from uns.sparkplug.messages import Message
from uns.sparkplug.metrics import REBIRTH, BirthMetric
from uns.sparkplug.topics import EdgeNodeDescriptor, MessageType
from uns.sparkplug.walk import BrokerWalk, SessionEnd

__all__ = ["Brokers", "answers_in_our_name"]

PAUSE_FIRST_MS, PAUSE_MAX_MS = 500, 5_000
SESSIONS_REMEMBERED = 8  # of ours, whose births may still be on their way
PRESENCES_KNOWN_MAX = 16
PROOF_S = 2.5  # a node answers a rebirth request within its interval of a second


class Brokers:
    """The walk over the brokers, with the clock, the chance and the log that it has not."""

    def __init__(
        self,
        addresses: Sequence[BrokerAddress],
        edge_node: EdgeNodeDescriptor,
        *,
        wall_ns: Callable[[], int],
        pause_max_ms: int = PAUSE_MAX_MS,
    ) -> None:
        self._wall_ns = wall_ns
        self._addresses = tuple(addresses)
        self._edge_node = edge_node
        self._walk = BrokerWalk(
            len(self._addresses),
            jitter=random.randrange,
            pause_first_ms=PAUSE_FIRST_MS,
            pause_max_ms=min(PAUSE_MAX_MS, pause_max_ms),
        )
        self._log = structlog.get_logger(component="brokers")
        self._double_told = False
        self._reached = False
        self._own_sessions: deque[str] = deque(maxlen=SESSIONS_REMEMBERED)
        self._presence_topic = online_topic(edge_node)
        self._presence = uuid4().hex.encode()  # ours as long as this process lives
        self._shown_at: set[str] = set()  # brokers that have it, as they told us
        self._known_before: set[bytes] = set()  # of others, from before ours: of our last life, or out of an old backup

    @property
    def address(self) -> BrokerAddress:
        """Where to connect now."""
        return self._addresses[self._walk.broker]

    @property
    def trouble(self) -> str:
        """What a person has to mend, or nothing."""
        if not self._walk.has_double:
            return ""
        return f"another client is online as {self._edge_node}: look for a second gateway or device with this name"

    def connected(self, session_id: str) -> None:
        """CONNACK came, in this session."""
        self._own_sessions.append(session_id)
        self._reached = True
        self._walk.receive_connected(_steady_ns())

    async def watch(self, connection: MqttConnection) -> None:
        """Read who was online in our name last. A broker that refuses it leaves us as wise as before."""
        try:
            await connection.subscribe([(self._presence_topic, 1)])
        except ConnectionLost:
            raise
        except UnreachableError as error:
            self._log.info("a second gateway of this name may stay unseen", reason=str(error))

    def show(self, connection: MqttConnection) -> None:
        """Say that it is us who is online."""
        connection.publish_many([Message(self._presence_topic, self._presence, qos=1, retain=True)])

    def receive_presence(self, message: IncomingMessage) -> bool:
        """Take a message if it is somebody's presence, ours or another's; tell whether it was."""
        if message.topic != self._presence_topic:
            return False
        url = self.address.url
        if message.payload == self._presence:
            self._shown_at.add(url)
        elif url not in self._shown_at:
            if len(self._known_before) < PRESENCES_KNOWN_MAX:
                self._known_before.add(message.payload)
        elif message.payload and message.payload not in self._known_before:
            self._walk.receive_proof(found=True)
            self._tell()
        return True

    def look(self) -> None:
        """Call now and then: an alarm ends when nobody has taken a connection over for long."""
        self._walk.receive_timer(_steady_ns())
        self._tell()

    async def ended(self, end: SessionEnd) -> float:
        """The connection ended. Gives the seconds to wait before the next one."""
        address = self.address
        pause_ms = self._walk.receive_end(end, _steady_ns())
        if self._walk.wants_proof:
            found = await answers_in_our_name(
                address, self._edge_node, now_ns=self._wall_ns(), own_sessions=self._own_sessions
            )
            self._walk.receive_proof(found=found)
        reached, self._reached = self._reached, False
        if self._walk.has_double and reached:  # a broker that is away took nobody's connection
            pause_ms = self._walk.pause_for_double_ms()
        self._tell()
        if self.address != address:
            self._log.info("next broker", url=self.address.url, after=end.value)
        return pause_ms / 1000

    def _tell(self) -> None:
        if self._walk.has_double and not self._double_told:
            self._log.error("duplicate identity", reason=self.trouble)
        elif self._double_told and not self._walk.has_double:
            self._log.info("nobody else goes by this name any more")
        self._double_told = self._walk.has_double


def _steady_ns() -> int:
    return int(asyncio.get_running_loop().time() * 1e9)


async def answers_in_our_name(
    address: BrokerAddress, edge_node: EdgeNodeDescriptor, *, now_ns: int, own_sessions: Collection[str] = ()
) -> bool | None:
    """Whether somebody is online as ``edge_node`` though we are not: ask for a rebirth, and look for an NBIRTH.

    Not one of ``own_sessions``: it was still on the connection that was cut, and the broker reads it only now.

    False where nobody answers or no broker is there, and where an access list denies silently; None where the broker
    refuses the subscription.
    """
    birth_topic = edge_node.topic(MessageType.NBIRTH)
    ask = BirthMetric(name=REBIRTH, datatype=DataType.BOOLEAN, value=True)
    # Whoever it is may be of any make: docs/decisions/0015-a-rebirth-request-says-its-type.md
    payload = codec.encode_command([ask], timestamp_ms=now_ns // 1_000_000, with_datatype=True)
    connected = False
    try:
        # Under another client id: with the node's own it would only end the other one's connection once more.
        async with asyncio.timeout(PROOF_S), MqttConnection(address, client_id=f"who:{uuid4().hex[:12]}") as connection:
            connected = True
            await connection.subscribe([(birth_topic, 0)])
            connection.publish_many([Message(edge_node.topic(MessageType.NCMD), payload)])
            while True:
                births = [m for m in await connection.next_batch() if m.topic == birth_topic and not m.retain]
                if any(_session_of(birth.payload) not in own_sessions for birth in births):
                    return True
    except (TimeoutError, ConnectionLost):
        return False
    except (UnreachableError, ConfigurationError):
        return None if connected else False


def _session_of(birth: bytes) -> str:
    try:
        return codec.decode_birth(birth).session_id or ""
    except RemoteProtocolError:
        return ""
