"""What a host knows of each edge node and device."""

from __future__ import annotations

import msgspec

from uns.sparkplug.aliases import AliasTable
from uns.sparkplug.metrics import BirthPayload
from uns.sparkplug.reorder import SeqTracker
from uns.sparkplug.topics import EdgeNodeDescriptor
from uns.sparkplug.transitions import HOST_NODE_TRANSITIONS, HostNodeInput, HostNodeState, next_state

__all__ = ["DeviceState", "NodeState", "session_key"]

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
    devices: dict[str, DeviceState] = {}
    tracker: SeqTracker = msgspec.field(default_factory=SeqTracker)
    warned: set[str] = set()
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
