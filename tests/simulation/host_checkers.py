"""What a host makes of what it hears: deaths, values that are stale, messages that are missing.

Told of each batch of messages after the host took it in, of what it asks for, and of each look at its present values.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import TYPE_CHECKING

import msgspec
from google.protobuf.message import DecodeError

from schemas.sparkplug_b_pb2 import Payload
from tests.simulation.checking import BIRTHS, EDGE_TYPES, BrokenPromiseError
from tests.simulation.world import MS, SECOND
from uns.adapters.mqtt import IncomingMessage
from uns.sparkplug.messages import HostEvent, RebirthRequested

if TYPE_CHECKING:
    from tests.simulation.host import HostProcess

__all__ = ["HOST_CHECKERS", "HostOrderChecker", "HostViewChecker", "HostWatch", "StaleChecker"]

STALE = b'"quality":"stale"'
STALE_WITHIN_MS = 5_000
REORDER_TIMEOUT_MS = 5_000  # as the host's is by default
REBIRTH_SPREAD_MS = 2_500  # its jitter, and the work under way
REBIRTH_INTERVAL_MAX_S = 300  # a node that was asked so short a time ago may be left in peace
CLOCKS_APART_MAX_MS = 2 * 86_400_000
LATE_WINDOW = 16  # numbers behind the newest: repeated


class HostViewChecker:
    """What a host makes of deaths: whoever said it is dead is offline, with all its devices.

    Told of each batch of messages after the host took it in. A death whose birth this connection did not bring says
    nothing here: its bdSeq has to match.
    """

    tck_ids = (
        "tck-id-operational-behavior-edge-node-termination-host-action-ndeath-node-offline",
        "tck-id-operational-behavior-edge-node-termination-host-action-ndeath-devices-offline",
        "tck-id-operational-behavior-edge-node-termination-host-action-ddeath-devices-offline",
    )

    def __init__(self) -> None:
        self.connection = 0
        self.bd_seqs: dict[str, int | None] = {}
        self.born_ns = 0  # the newest birth of all
        self.birth_ms: dict[str, int] = {}  # what the newest NBIRTH of a node says
        self.dead: set[str] = set()
        self.dead_devices: set[tuple[str, str]] = set()

    def look(self, process: HostProcess, messages: Iterable[IncomingMessage], online_before: set[str]) -> None:
        number = 0 if process.connection is None else process.connection.number
        if number != self.connection:
            self.connection = number
            self.bd_seqs.clear()
            self.birth_ms.clear()
            self.dead.clear()
            self.dead_devices.clear()
        for message in messages:
            if message.topic.startswith("spBv1.0/") and not message.retain:
                self._receive(message, online_before, process.world.now_ns)
        for edge_node, node in process.session.nodes.items():
            name = str(edge_node)
            living = [device_id for device_id, device in node.devices.items() if device.online]
            if name in self.dead:
                self._require(not node.online, self.tck_ids[0], name)
                self._require(not living, self.tck_ids[1], f"{name}: {living}")
            for device_id in living:
                self._require((name, device_id) not in self.dead_devices, self.tck_ids[2], f"{name}/{device_id}")

    def _receive(self, message: IncomingMessage, online_before: set[str], now_ns: int) -> None:
        levels = message.topic.split("/")
        if len(levels) < 4:
            return
        name, kind = f"{levels[1]}/{levels[3]}", levels[2]
        if kind in BIRTHS:
            self.born_ns = now_ns
            self.dead_devices -= {(name, device) for named, device in self.dead_devices if named == name}
        if kind == "DDEATH" and name in online_before and name not in self.dead:
            if (_timestamp(message.payload) or 0) >= self.birth_ms.get(name, 0):  # else it is of before that birth
                self.dead_devices.add((name, levels[4]))
        elif kind == "NBIRTH":
            self.dead.discard(name)
            self.bd_seqs[name] = _bd_seq(message.payload)
            self.birth_ms[name] = max(self.birth_ms.get(name, 0), _timestamp(message.payload) or 0)
            online_before.discard(name)  # whether it was taken is not for this checker to say
        elif kind == "NDEATH":
            bd_seq = _bd_seq(message.payload)
            if bd_seq is not None and bd_seq == self.bd_seqs.get(name):
                self.dead.add(name)

    def _require(self, condition: object, rule: str, text: str) -> None:
        if not condition:
            raise BrokenPromiseError(type(self).__name__, rule, f"{text} is online at the host")


def _timestamp(payload: bytes) -> int | None:
    try:
        return Payload.FromString(payload).timestamp
    except DecodeError:
        return None


def _bd_seq(payload: bytes) -> int | None:
    try:
        metrics = Payload.FromString(payload).metrics
    except DecodeError:
        return None
    return next((metric.long_value for metric in metrics if metric.name == "bdSeq"), None)


class StaleChecker:
    """Values of what is dead are shown stale, within moments of a host that is not busy with older things."""

    tck_ids = (
        "tck-id-operational-behavior-edge-node-termination-host-action-ndeath-node-tags-stale",
        "tck-id-operational-behavior-edge-node-termination-host-action-ndeath-devices-tags-stale",
        "tck-id-operational-behavior-edge-node-termination-host-action-ddeath-devices-tags-stale",
    )

    def __init__(self) -> None:
        self.since: dict[tuple[str, str | None], int] = {}
        self.looked_ns = 0
        self.settled_ns = 0

    def look(self, process: HostProcess, dead: Iterable[tuple[str, str | None]]) -> None:
        """After each look of the host at its present values; ``dead``: nodes, and devices."""
        now_ns, host = process.world.now_ns, process.host
        if now_ns - self.looked_ns > SECOND or process.joiner.behind or host.records_full or host.raw_full:
            self.settled_ns = now_ns
        self.looked_ns = now_ns
        self.since = {one: self.since.get(one, now_ns) for one in dead}
        for (name, device_id), since_ns in self.since.items():
            if now_ns - max(since_ns, self.settled_ns) < STALE_WITHIN_MS * MS:
                continue
            for topic in host.topics_of(process, name, device_id):
                if STALE not in host.shown[topic]:
                    text = f"{topic} shows {host.shown[topic]!r}, {name}/{device_id or '*'} died"
                    raise BrokenPromiseError("StaleChecker", self.tck_ids[1 if device_id is None else 2], text)


class _Order(msgspec.Struct, eq=False):
    """What came of one node since its birth."""

    expected: int
    born_ms: int  # as the NBIRTH says
    missing: set[int] = msgspec.field(default_factory=set)
    open_ns: int | None = None
    clock_offset_ns: int | None = None  # of the host, when the newest gap was found
    timed_out: bool = False  # a gap has lasted


class HostOrderChecker:
    """A gap in ``seq`` that lasts makes the host ask for a rebirth; one that closes in time does not.

    Judged for nodes whose birth this connection brought.
    """

    tck_ids = (
        "tck-id-operational-behavior-host-reordering-start",
        "tck-id-operational-behavior-host-reordering-rebirth",
        "tck-id-operational-behavior-host-reordering-success",
        "tck-id-operational-behavior-data-commands-ncmd-rebirth-verb",
    )

    def __init__(self) -> None:
        self.connection = 0
        self.orders: dict[str, _Order] = {}
        self.asked_ns: dict[str, int] = {}
        self.disturbed_ns = 0

    def look(self, process: HostProcess, messages: Iterable[IncomingMessage]) -> None:
        number = 0 if process.connection is None else process.connection.number
        if number != self.connection:
            self.connection = number
            self.orders.clear()
        for message in messages:
            if message.topic.startswith("spBv1.0/") and not message.retain:
                self._receive(process, message)

    def asked(self, process: HostProcess, topic: str) -> None:
        """An NCMD goes out."""
        _, group_id, _, edge_node_id = topic.split("/")[:4]
        self.asked_ns[f"{group_id}/{edge_node_id}"] = process.world.now_ns

    def told(self, process: HostProcess, event: HostEvent) -> None:
        if isinstance(event, RebirthRequested) and event.cause == "reorder_timeout":
            order = self.orders.get(str(event.edge_node))
            stepped = order is not None and order.clock_offset_ns != process.host.clock_offset_ns
            if order is not None and not order.timed_out and not stepped:  # a clock set forward ends what waits
                text = f"{event.edge_node} is asked, though nothing was missing for long"
                raise BrokenPromiseError("HostOrderChecker", self.tck_ids[2], text)

    def _receive(self, process: HostProcess, message: IncomingMessage) -> None:
        levels = message.topic.split("/")
        if len(levels) < 4 or levels[2] not in EDGE_TYPES:
            return
        name, kind = f"{levels[1]}/{levels[3]}", levels[2]
        try:
            payload = Payload.FromString(message.payload)
        except DecodeError:
            return
        if kind == "NDEATH":
            self.orders.pop(name, None)
        elif abs(payload.timestamp - process.world.now_ns // MS) > CLOCKS_APART_MAX_MS:
            return  # somebody's garbage: what the host makes of its seq is not judged
        elif (order := self.orders.get(name)) is not None and payload.timestamp < order.born_ms:
            del self.orders[name]  # of before that birth: what the host makes of both is not judged
        elif kind == "NBIRTH" and order is not None and payload.timestamp == order.born_ms:
            del self.orders[name]  # the network sent it twice: nor what it makes of that
        elif kind == "NBIRTH":
            self.orders[name] = _Order((payload.seq + 1) % 256, payload.timestamp)
        elif order is not None and payload.HasField("seq"):
            self._place(order, payload.seq)
            self._follow(process, name, order)

    def _place(self, order: _Order, seq: int) -> None:
        ahead = (seq - order.expected) % 256
        if seq in order.missing:
            order.missing.discard(seq)
        elif 128 <= ahead < 256 - LATE_WINDOW:  # very late, or far ahead: what the host makes of it is not judged
            order.timed_out = True
        elif ahead < 128:
            order.missing.update((order.expected + step) % 256 for step in range(ahead))
            order.expected = (seq + 1) % 256

    def _follow(self, process: HostProcess, name: str, order: _Order) -> None:
        world = process.world
        if not order.missing:
            order.open_ns = None
        elif order.open_ns is None:
            order.open_ns = world.now_ns
            order.clock_offset_ns = process.host.clock_offset_ns
            timed_out = partial(self._time_out, order, order.open_ns)
            world.after(REORDER_TIMEOUT_MS - 1, timed_out)
            judged = partial(self._judge, process, name, order, order.open_ns, process.host.clock_offset_ns)
            world.after(REORDER_TIMEOUT_MS + REBIRTH_SPREAD_MS, judged)

    def _time_out(self, order: _Order, open_ns: int) -> None:
        order.timed_out = order.timed_out or order.open_ns == open_ns

    def _judge(self, process: HostProcess, name: str, order: _Order, open_ns: int, clock_offset_ns: int) -> None:
        host = process.host
        if (
            order.open_ns != open_ns
            or self.orders.get(name) is not order
            or host.process is not process
            or process.connection is None
            or process.connection.number != self.connection
            or not process.connection.client_open
            or host.clock_offset_ns != clock_offset_ns
            or host.thawed_ns >= open_ns
            or process.frozen
        ):
            return
        asked_ns = self.asked_ns.get(name)
        if asked_ns is None or asked_ns < open_ns - REBIRTH_INTERVAL_MAX_S * SECOND:
            text = f"{name}: {sorted(order.missing)} missing, and no rebirth asked for"
            raise BrokenPromiseError("HostOrderChecker", self.tck_ids[1], text)
        order.missing.clear()  # the host goes on after the newest
        order.open_ns = None


class HostWatch:
    """All of them, at one host."""

    def __init__(self) -> None:
        self.view = HostViewChecker()
        self.stale = StaleChecker()
        self.order = HostOrderChecker()

    def look(self, process: HostProcess, messages: Iterable[IncomingMessage], online_before: set[str]) -> None:
        messages = list(messages)
        self.view.look(process, messages, online_before)
        self.order.look(process, messages)

    def look_at_values(self, process: HostProcess) -> None:
        self.stale.look(process, [*((name, None) for name in self.view.dead), *self.view.dead_devices])


HOST_CHECKERS: tuple[type[HostViewChecker | StaleChecker | HostOrderChecker], ...] = (
    HostViewChecker,
    StaleChecker,
    HostOrderChecker,
)
