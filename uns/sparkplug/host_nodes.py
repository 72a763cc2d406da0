"""What a host knows of each edge node and device."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from uns.sparkplug.aliases import AliasTable
from uns.sparkplug.metrics import BirthPayload
from uns.sparkplug.reorder import SeqTracker
from uns.sparkplug.topics import EdgeNodeDescriptor
from uns.sparkplug.transitions import HOST_NODE_TRANSITIONS, HostNodeInput, HostNodeState, next_state

__all__ = ["DeviceState", "NodeBook", "NodeState", "session_key"]

_FOREIGN_PREFIX = "foreign:bd"  # a uns/session holds no colon


def session_key(session_id: str, bd_seq: int | None) -> str:
    """The session of an NBIRTH: what the node says, or for a foreign one what its bdSeq tells."""
    return session_id or f"{_FOREIGN_PREFIX}{'' if bd_seq is None else bd_seq}"


class DeviceState(msgspec.Struct):
    """One device under a node. ``table`` stays None until its DBIRTH of the node's newest birth has come."""

    online: bool
    since_ns: int
    reason: str = ""
    birth: BirthPayload | None = None
    table: AliasTable | None = None
    birth_bytes: int = 0  # of the payload that is held


class NodeState(msgspec.Struct):
    """One edge node. While ``state`` is not ONLINE, what it said is stale."""

    edge_node: EdgeNodeDescriptor
    since_ns: int
    state: HostNodeState = HostNodeState.UNKNOWN
    session_id: str = ""  # of the newest birth that is held; "" where none is
    bd_seq: int | None = None
    ours: bool = False
    reason: str = ""
    birth: BirthPayload | None = None
    table: AliasTable | None = None
    birth_bytes: int = 0  # of the payload that is held
    devices: dict[str, DeviceState] = {}
    tracker: SeqTracker = msgspec.field(default_factory=SeqTracker)
    warned: set[str] = set()
    holes_at_mark: int = 0
    devices_awaited: set[str] = set()  # online before the NBIRTH of this rebirth, and not born again yet

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
        self.state = following
        self.reason = reason

    def metrics_held(self) -> int:
        """How many metrics the births of node and devices define."""
        count = len(self.birth.metrics) if self.birth else 0
        return count + sum(len(device.birth.metrics) for device in self.devices.values() if device.birth)

    def bytes_held(self) -> int:
        """How many bytes the births of node and devices had: what is kept of them grows with it."""
        return self.birth_bytes + sum(device.birth_bytes for device in self.devices.values())


class NodeBook:
    """Every node that is kept, and who gives way when there are too many.

    ``declared`` says whether the installation names a node: such a node is always taken in, and does not count. Of the
    others, the strangers, ``strangers_max`` are kept. One that is online is never sent away. A new one takes the place
    of the one that was never born and is known longest; else of the one that is away longest, if that is for
    ``away_kept_ns`` or more; else it is kept out. So neither names that are made up nor a crowd of newcomers can take
    the place of a node that works, and nodes that are gone for good do not keep others out for ever.
    """

    def __init__(
        self, *, strangers_max: int, away_kept_ns: int, declared: Callable[[EdgeNodeDescriptor], bool]
    ) -> None:
        self.nodes: dict[EdgeNodeDescriptor, NodeState] = {}
        self._strangers_max = strangers_max
        self._away_kept_ns = away_kept_ns
        self._declared = declared
        self._strangers = 0
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
