"""Which edge nodes and devices live, as the session stands, for the present values and their health.

Level-triggered: deaths that no message tells (the host lost its broker, a node died while the host was away, a newer
session took the place of one) are in no log, and news of a life may be lost with a joiner that falls behind or begins
anew. So what is shown follows the state of the session, not the events that led to it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from uns.enrichment.live import PvBoard, Way, Why
from uns.sparkplug.host_nodes import NodeState
from uns.sparkplug.messages import HostEvent
from uns.sparkplug.topics import EdgeNodeDescriptor
from uns.sparkplug.transitions import HostNodeState

__all__ = ["GRACE_NS", "Liveness"]

# After the first CONNECT, for the sessions that are held: a mark names them at once, a rebirth is asked for after 2 s
# and up to 10 s of spreading. Longer than both, or the values of a quiet node would flap at each start.
GRACE_NS = 15_000_000_000
NOT_HEARD = "not_heard"  # since this host started
_NEVER_HEARD = frozenset({"held", "never born", ""})  # reasons of nodes that this host was not told of by themselves
SWEEP_NS = 1_000_000_000  # not every change of a node has an event; and one pass over all values a second at most


class Liveness:
    """Keeps the set of live ways and the board that follows it. Told of events; :meth:`due` does the work.

    Until the host was connected for ``grace_ns``, nothing is said of a node that was not heard. A host that loses its
    broker loses all that came through it (specification 5.3): from then on a node lives when it is heard again.
    """

    def __init__(
        self,
        nodes: Callable[[], Mapping[EdgeNodeDescriptor, NodeState]],
        *,
        on_sweep: Callable[[Mapping[EdgeNodeDescriptor, NodeState]], None],
        grace_ns: int = GRACE_NS,
    ) -> None:
        self._nodes = nodes
        self._on_sweep = on_sweep
        self._grace_ns = grace_ns
        self._connected_ns: int | None = None
        self._in_grace = True
        self._of_node: dict[EdgeNodeDescriptor, frozenset[Way]] = {}
        self._named_of_node: dict[EdgeNodeDescriptor, frozenset[Way]] = {}
        self._live: set[Way] = set()
        self._named: set[Way] = set()
        self._heard: set[EdgeNodeDescriptor] = set()
        self._touched: dict[EdgeNodeDescriptor, None] = {}
        self._changed = True
        self._board: PvBoard | None = None
        self._behind = False
        self._swept_ns: int | None = None

    def receive(self, event: HostEvent) -> None:
        """An event of the session: that node is looked at before anything of it is shown."""
        edge_node = getattr(event, "edge_node", None)
        if isinstance(edge_node, EdgeNodeDescriptor):
            self._touched[edge_node] = None

    def receive_connected(self, now_ns: int) -> None:
        """The host is online at its broker."""
        if self._connected_ns is None:
            self._connected_ns = now_ns

    def receive_disconnected(self) -> None:
        """The host has no connection; before the first one nothing was known that could be lost."""
        if self._connected_ns is not None and self._in_grace:
            self._end_grace()

    def due(self, board: PvBoard, now_ns: int, *, behind: bool) -> None:
        """Bring the board to what the session knows. ``behind``: the joiner reads what happened before now."""
        if self._touched:
            nodes = self._nodes()
            for edge_node in self._touched:
                self._look_at(edge_node, nodes.get(edge_node))
            self._touched.clear()
        if board is not self._board:
            self._board = board
            board.follow(self._live, heard=self._heard if self._in_grace else None, why=self._why)
            self._changed = True
        if behind is not self._behind:  # deaths and lives may have been joined, or lost, out of their turn
            self._behind = behind
            self._changed = True
        if self._swept_ns is None or not 0 <= now_ns - self._swept_ns < SWEEP_NS:
            self._swept_ns = now_ns
            self._sweep(board, now_ns)

    def _sweep(self, board: PvBoard, now_ns: int) -> None:
        nodes = self._nodes()
        for edge_node, node in nodes.items():
            self._look_at(edge_node, node)
        since = self._connected_ns
        if self._in_grace and since is not None and not 0 <= now_ns - since < self._grace_ns:
            self._end_grace()
        if self._changed:
            self._changed = False
            board.reconcile(self._named)
        self._on_sweep(nodes)

    def _end_grace(self) -> None:
        self._in_grace = False
        self._changed = True
        if self._board is not None:
            self._board.follow(self._live, why=self._why)

    def _why(self, way: Way) -> Why:
        edge_node, device_id = way
        node = self._nodes().get(edge_node)
        if node is None or node.reason in _NEVER_HEARD:
            return None, NOT_HEARD
        device = None if device_id is None else node.devices.get(device_id)
        if node.online:  # then it is the device that does not live
            return (None, NOT_HEARD) if device is None else (device.since_ns, device.reason)
        return node.since_ns, node.reason

    def _look_at(self, edge_node: EdgeNodeDescriptor, node: NodeState | None) -> None:
        live: frozenset[Way] = frozenset()
        named: frozenset[Way] = frozenset()
        if node is not None and node.online:
            # Between the births of a rebirth its devices live on.
            devices = {device_id for device_id, device in node.devices.items() if device.online}
            live = frozenset(((edge_node, None), *((edge_node, one) for one in devices | node.devices_awaited)))
            named = frozenset((edge_node, one) for one in devices if node.devices[one].reason == "named")
        told = node is not None and node.state is not HostNodeState.UNKNOWN
        if told and self._in_grace and edge_node not in self._heard:
            self._heard.add(edge_node)
            self._changed = True
        before = self._of_node.get(edge_node, frozenset())
        if live != before:
            _keep(self._of_node, edge_node, live)
            self._live -= before - live
            self._live |= live
            self._changed = True
        named_before = self._named_of_node.get(edge_node, frozenset())
        if named != named_before:
            _keep(self._named_of_node, edge_node, named)
            self._named -= named_before - named
            self._named |= named
            self._changed = True


def _keep(ways: dict[EdgeNodeDescriptor, frozenset[Way]], edge_node: EdgeNodeDescriptor, found: frozenset[Way]) -> None:
    """Of a node without any nothing is kept: names come and go."""
    if found:
        ways[edge_node] = found
    else:
        ways.pop(edge_node, None)
