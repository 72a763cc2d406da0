"""What a host knows of each edge node and device."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from uns.sparkplug.aliases import AliasTable
from uns.sparkplug.metrics import BirthPayload
from uns.sparkplug.reorder import SeqTracker
from uns.sparkplug.topics import EdgeNodeDescriptor
from uns.sparkplug.transitions import HOST_NODE_TRANSITIONS, HostNodeInput, HostNodeState, next_state

__all__ = ["AWAITED", "BirthSize", "DeviceState", "DeviceTurn", "NodeBook", "NodeState", "session_key"]

AWAITED = "awaited"  # the reason of a device in ``devices_awaited``
_FOREIGN_PREFIX = "foreign:bd"  # a uns/session holds no colon


def session_key(session_id: str, bd_seq: int | None) -> str:
    """The session of an NBIRTH: what the node says, or for a foreign one what its bdSeq tells."""
    return session_id or f"{_FOREIGN_PREFIX}{'' if bd_seq is None else bd_seq}"


class BirthSize(msgspec.Struct, frozen=True):
    """What births take: metrics, of which each device is one more, and bytes of their payloads."""

    metrics: int = 0
    payload_bytes: int = 0

    def __add__(self, other: BirthSize) -> BirthSize:
        return BirthSize(self.metrics + other.metrics, self.payload_bytes + other.payload_bytes)

    def __sub__(self, other: BirthSize) -> BirthSize:
        return BirthSize(self.metrics - other.metrics, self.payload_bytes - other.payload_bytes)

    def fits(self, bound: BirthSize) -> bool:
        """Whether it is within ``bound`` in both."""
        return self.metrics <= bound.metrics and self.payload_bytes <= bound.payload_bytes

    def largest(self, other: BirthSize) -> BirthSize:
        """In each the larger one."""
        return BirthSize(max(self.metrics, other.metrics), max(self.payload_bytes, other.payload_bytes))


_NOTHING = BirthSize()
_DEVICE = BirthSize(metrics=1)


class DeviceState(msgspec.Struct):
    """One device under a node. ``table`` stays None until its DBIRTH of the node's newest birth has come."""

    online: bool
    since_ns: int
    reason: str = ""
    birth: BirthPayload | None = None
    table: AliasTable | None = None
    birth_bytes: int = 0  # of the payload that is held

    def size(self) -> BirthSize:
        """What it takes."""
        return BirthSize(1 + (len(self.birth.metrics) if self.birth else 0), self.birth_bytes)


class DeviceTurn(msgspec.Struct, frozen=True):
    """A DBIRTH or DDEATH that came while something sent before it was missing, and may have overtaken another."""

    position: int  # in the order of sending
    timestamp_ms: int | None
    is_death: bool = False  # and short enough for ``raw`` to be kept
    raw: object = None  # of a DDEATH, the caller's own


class NodeState(msgspec.Struct):
    """One edge node. While ``state`` is not ONLINE, what it said is stale."""

    edge_node: EdgeNodeDescriptor
    since_ns: int
    state: HostNodeState = HostNodeState.UNKNOWN
    session_id: str = ""  # of the newest birth that is held; "" where none is
    bd_seq: int | None = None
    ours: bool = False
    former_sessions: tuple[str, ...] = ()  # of ours, the last few before this one: they never come back
    reason: str = ""
    birth: BirthPayload | None = None
    table: AliasTable | None = None
    birth_bytes: int = 0  # of the payload that is held
    devices: dict[str, DeviceState] = {}  # changed by hold_birth, hold_device and refuse_device only
    held: BirthSize = _NOTHING  # the births of node and devices
    reserved: BirthSize = _NOTHING  # what was held before this birth, until its DBIRTHs should all have come
    tracker: SeqTracker = msgspec.field(default_factory=SeqTracker)
    warned: set[str] = set()
    holes_at_mark: int = 0
    turns: dict[str, DeviceTurn] = {}  # of devices, the newest while there is a gap in seq
    repeats_seq: bool = False  # seen of a foreign node: its numbers do not tell the order of sending
    devices_awaited: set[str] = set()  # online before the NBIRTH of this rebirth, and not born again yet
    born_ns: int | None = None  # when the newest NBIRTH came on this connection
    bears_bd_seq: bool = False  # its aliases end in its bdSeq, as those of our edge sessions do
    newest_dbirth: tuple[int, int] | None = None  # its time in ms, and when it came
    misses_births: bool = False  # or a death: something is missing that may be one; to be asked for when all is quiet
    # bdSeq of NDEATHs of births that are not known, with when they came and the caller's own; the newest few
    deaths: dict[int, tuple[int, object]] = {}
    doubted_death: object = None  # the caller's own of the NDEATH that may be of the present birth

    @property
    def online(self) -> bool:
        """Whether the node is born and alive."""
        return self.state is HostNodeState.ONLINE

    @property
    def seq(self) -> int | None:
        """The newest seq up to which nothing is missing."""
        expected = self.tracker.expected
        return None if expected is None else (expected - 1) % 256

    def enter(self, received: HostNodeInput, now_ns: int, reason: str) -> None:
        """Follow the table; note since when and why."""
        following = next_state(HOST_NODE_TRANSITIONS, self.state, received)
        if following is not self.state:
            self.since_ns = now_ns
            self.turns.clear()
        if received is HostNodeInput.HOST_LOST:
            self.born_ns = None
        self.state = following
        self.reason = reason

    def hold_birth(self, birth: BirthPayload, payload_bytes: int, devices: dict[str, DeviceState]) -> None:
        """The newest NBIRTH, in place of all births before, and the devices that are there with it.

        What was held before stays reserved: DBIRTHs of devices that were there will need it again.
        """
        self.reserved = self.held.largest(self.reserved)
        self.birth, self.table, self.birth_bytes = birth, AliasTable.of_birth(birth), payload_bytes
        self.devices = devices
        self.held = BirthSize(len(birth.metrics), payload_bytes)
        for device in devices.values():
            self.held += device.size()

    def hold_device(self, device_id: str, device: DeviceState) -> None:
        """The newest DBIRTH of a device."""
        self.held = self.held_without(device_id) + device.size()
        self.devices[device_id] = device

    def refuse_device(self, device_id: str) -> None:
        """What the device says from now on belongs to a birth that is not held."""
        device = self.devices[device_id]
        self.held -= device.size()
        device.birth, device.table, device.birth_bytes = None, None, 0
        self.held += device.size()

    def metrics_held(self) -> int:
        """How many metrics the births of node and devices define."""
        return self.held.metrics - len(self.devices)

    def held_without(self, device_id: str) -> BirthSize:
        """What the births of the node and of all other devices take."""
        device = self.devices.get(device_id)
        return self.held if device is None else self.held - device.size()


class NodeBook:
    """Every node that is kept, and who gives way when there are too many.

    ``declared`` says whether the installation names a node: such a node is always taken in, and does not count. Of the
    others, the strangers, ``strangers_max`` are kept. One that is online is never sent away. A new one takes the place
    of the one that was never born and is known longest; else of the one that is away longest, if that is for
    ``away_kept_ns`` or more; else it is kept out. So neither names that are made up nor a crowd of newcomers can take
    the place of a node that works, and nodes that are gone for good do not keep others out for ever.

    The births of the strangers together are kept within ``births_max``, by the same rules: for a birth that does not
    fit, those that are away long enough give way if that helps; else it is refused. What a node held before it was born
    again stays reserved for it until its DBIRTHs have had their time, so that nobody comes in between.
    """

    def __init__(
        self,
        *,
        strangers_max: int,
        births_max: BirthSize,
        away_kept_ns: int,
        declared: Callable[[EdgeNodeDescriptor], bool],
    ) -> None:
        self.nodes: dict[EdgeNodeDescriptor, NodeState] = {}
        self._strangers_max = strangers_max
        self._away_kept_ns = away_kept_ns
        self._declared = declared
        self._strangers = 0
        self._births_max = births_max
        self._births: dict[EdgeNodeDescriptor, BirthSize] = {}  # of each stranger, as counted in births_held
        self.births_held = _NOTHING  # of all strangers, with what is reserved
        self._unborn: dict[EdgeNodeDescriptor, None] = {}  # strangers without a birth, the longest known first
        self._away: dict[EdgeNodeDescriptor, int] = {}  # born strangers that are not online, with since when

    def find(self, edge_node: EdgeNodeDescriptor) -> NodeState | None:
        """The node, if it is kept."""
        return self.nodes.get(edge_node)

    def take_in(
        self, edge_node: EdgeNodeDescriptor, now_ns: int, *, reason: str
    ) -> tuple[NodeState | None, EdgeNodeDescriptor | None]:
        """A node that is not kept yet: its new entry, or None if there is no room; and who gave way for it."""
        gone: EdgeNodeDescriptor | None = None
        if not self._declared(edge_node):
            if self._strangers >= self._strangers_max:
                gone = self._who_gives_way(now_ns)
                if gone is None:
                    return None, None
                self._forget(gone)
            self._strangers += 1
            self._unborn[edge_node] = None
        node = self.nodes[edge_node] = NodeState(edge_node, now_ns, reason=reason)
        return node, gone

    def find_room(self, node: NodeState, held: BirthSize, now_ns: int) -> list[EdgeNodeDescriptor] | None:
        """Who gave way so that the births of ``node`` may become ``held``; None if there is no room for that."""
        if self._declared(node.edge_node):
            return []
        before = self._births.get(node.edge_node, _NOTHING)
        after = held.largest(node.reserved)
        wanted = self.births_held - before + after
        if wanted.fits(self._births_max) or after.fits(before):
            return []
        going: list[EdgeNodeDescriptor] = []
        for edge_node, since_ns in self._away.items():  # they stand in the order of leaving
            if now_ns - since_ns < self._away_kept_ns:
                break
            held_there = self._births.get(edge_node)  # None: its birth was empty, so to send it away helps nobody
            if held_there is None or edge_node == node.edge_node:
                continue
            going.append(edge_node)
            wanted -= held_there
            if wanted.fits(self._births_max):
                for gone in going:
                    self._forget(gone)
                return going
        return None

    def resized(self, node: NodeState) -> bool:
        """Other births of the node are held: call after each. False: more is reserved for it than it holds."""
        if self._declared(node.edge_node):
            return True
        before, after = self._births.get(node.edge_node, _NOTHING), node.held.largest(node.reserved)
        if before != after:
            self._births[node.edge_node] = after
            self.births_held = self.births_held - before + after
        return after == node.held

    def moved(self, node: NodeState, now_ns: int) -> None:
        """The node was born, came or went: call after each."""
        edge_node = node.edge_node
        if node.online:
            self._unborn.pop(edge_node, None)
            self._away.pop(edge_node, None)
        elif node.birth is not None and edge_node not in self._away and not self._declared(edge_node):
            self._unborn.pop(edge_node, None)
            self._away[edge_node] = now_ns

    def _who_gives_way(self, now_ns: int) -> EdgeNodeDescriptor | None:
        if self._unborn:
            return next(iter(self._unborn))
        for edge_node, since_ns in self._away.items():  # one look: they stand in the order of leaving
            return edge_node if now_ns - since_ns >= self._away_kept_ns else None
        return None

    def _forget(self, edge_node: EdgeNodeDescriptor) -> None:
        del self.nodes[edge_node]
        self._unborn.pop(edge_node, None)
        self._away.pop(edge_node, None)
        self._strangers -= 1
        self.births_held -= self._births.pop(edge_node, _NOTHING)
