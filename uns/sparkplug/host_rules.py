"""What a host makes of its connection, of time and of the messages of edge nodes: each goes to the rules it belongs to.

:class:`HostSession` owns the connection and the STATE; this owns the nodes. It says what happened through the events of
its view and puts causes for a rebirth into ``rebirths``; it sends nothing.
"""

from __future__ import annotations

from collections.abc import Callable

from uns.errors import RemoteProtocolError
from uns.sparkplug import codec
from uns.sparkplug.aliases import AliasTable
from uns.sparkplug.codec import Leniency
from uns.sparkplug.host_bounds import HostBounds, HostDelays
from uns.sparkplug.host_data import DataRules
from uns.sparkplug.host_lives import STRANGERS_FULL, LifeRules
from uns.sparkplug.host_nodes import AWAITED, BirthSize, DeviceState, NodeState
from uns.sparkplug.host_view import Arrived, HostView, told_bd_seq
from uns.sparkplug.messages import HeldBirths, NodeResumed
from uns.sparkplug.metrics import BirthPayload
from uns.sparkplug.rebirths import RebirthLimiter
from uns.sparkplug.topics import DeviceTopic, EdgeNodeDescriptor, MessageType
from uns.sparkplug.transitions import HostNodeInput, HostNodeState

__all__ = ["Arrived", "HostRules"]

_CLOCK_STEP_MIN_NS = 1_000_000_000  # back; less is drift
_DOUBT_TIMEOUTS = 3  # reorder timeouts, in which a node answers that is alive although it was said to be dead
# Reasons for which a device is dead by its own word, or by silence; one that is awaited was born since, or is gone.
_NOT_THERE = frozenset({"ddeath", "rebirth_without_it", AWAITED})


class HostRules:
    """The nodes of one host, and what happens to them."""

    def __init__(
        self,
        *,
        rebirths: RebirthLimiter,
        bounds: HostBounds,
        delays: HostDelays,
        leniency: Leniency,
        declared: Callable[[EdgeNodeDescriptor], bool],
    ) -> None:
        self.view = HostView(rebirths=rebirths, bounds=bounds, delays=delays, declared=declared)
        self._lives = LifeRules(self.view, leniency)
        self._data = DataRules(self.view, self._lives, leniency)
        self._leniency = leniency
        self._newest_ns = 0  # of what arrived
        self._doubt_ns = _DOUBT_TIMEOUTS * delays.reorder_timeout_ns

    # ── the host's connection and time ───────────────────────────────────────────────────────────────────────────

    def hold_births(self, held: HeldBirths, now_ns: int) -> None:
        """Take in what the store kept of one node; its session stays unknown until it is named."""
        if held.edge_node in self.view.nodes and self.view.nodes[held.edge_node].online:
            return
        try:
            birth = codec.decode_birth(held.birth, self._leniency)
            devices = {
                device_id: codec.decode_birth(payload, self._leniency) for device_id, payload in held.devices.items()
            }
        except RemoteProtocolError as error:
            self.view.violation("held_births", str(held.edge_node), error, edge_node=held.edge_node)
            return
        node = self.view.node_of(held.edge_node, now_ns)
        if node is None:
            self.view.violation("nodes_max", str(held.edge_node), "too many edge nodes", edge_node=held.edge_node)
            return
        kept = {
            device_id: DeviceState(
                False, now_ns, "held", device, AliasTable.of_birth(device), len(held.devices[device_id])
            )
            for device_id, device in devices.items()
        }
        size = sum((device.size() for device in kept.values()), BirthSize(len(birth.metrics), len(held.birth)))
        try:
            self.view.make_room(node, size, now_ns)
        except RemoteProtocolError as error:
            self.view.violation(STRANGERS_FULL, str(held.edge_node), error, edge_node=held.edge_node)
            return
        node.session_id, node.reason = held.session_id, "held"
        node.bd_seq = None if held.bd_seq < 0 else held.bd_seq  # a birth without one is told so
        node.ours = bool(birth.session_id)
        node.hold_birth(birth, len(held.birth), kept)
        node.reserved = BirthSize()
        self.view.book.resized(node)
        self.view.book.moved(node, now_ns)

    def receive_host_online(self, now_ns: int) -> None:
        """The host is born: every node heard of is to name itself, or is asked for a rebirth."""
        for edge_node in self.view.nodes:
            self.view.rebirths.ask(
                edge_node,
                "host_start",
                now_ns,
                delay_ns=self.view.delays.mark_wait_ns,
                spread_ns=self.view.delays.host_start_spread_ns,
            )

    def receive_host_lost(self, now_ns: int) -> None:
        """The host's connection is gone or begins anew: all that was known through it is stale (specification 5.3)."""
        for edge_node, node in self.view.nodes.items():
            # What was missing stays so, if the node goes on in the same session.
            if node.online and (
                edge_node in self.view.gaps or edge_node in self.view.births_end or self.view.rebirths.waits(edge_node)
            ):
                node.misses_births = True
            self.view.node_died(node, "host_disconnected", now_ns)
            self.view.enter(node, HostNodeInput.HOST_LOST, now_ns, node.reason)
        self.view.gaps.clear()
        self.view.births_end.clear()
        self.view.doubts.clear()
        self.view.rebirths.cancel_all()

    def receive_timer(self, now_ns: int) -> None:
        """Reorder timeouts that are over: operational-behavior-host-reordering-rebirth."""
        for edge_node in [edge_node for edge_node, deadline in self.view.gaps.items() if deadline <= now_ns]:
            del self.view.gaps[edge_node]
            self.view.tally.counters["reorder_timeouts"] += 1
            node = self.view.nodes[edge_node]
            node.tracker.give_up()
            node.turns.clear()
            self.view.ask(edge_node, "reorder_timeout", now_ns)

        for edge_node in [edge_node for edge_node, deadline in self.view.births_end.items() if deadline <= now_ns]:
            del self.view.births_end[edge_node]
            self._lives.births_are_over(self.view.nodes.get(edge_node), now_ns)

        due = [edge_node for edge_node, since_ns in self.view.doubts.items() if since_ns + self._doubt_ns <= now_ns]
        for edge_node in due:
            self._lives.nobody_answered(self.view.nodes[edge_node], now_ns)

    def next_deadline_ns(self) -> int | None:
        """When ``receive_timer`` has something to conclude."""
        doubts = (since_ns + self._doubt_ns for since_ns in self.view.doubts.values())
        return min((*self.view.gaps.values(), *self.view.births_end.values(), *doubts), default=None)

    def name_session(self, edge_node: EdgeNodeDescriptor, session_id: str, now_ns: int) -> bool:
        """A mark of this session came. True: its births are held, DATA that follows is decoded."""
        node = self.view.node_of(edge_node, now_ns)
        if node is None:
            return False
        if node.online and node.ours and session_id in node.former_sessions and session_id != node.session_id:
            self.view.tally.counters["late_marks_ignored"] += 1
            return False
        held = node.birth is not None and node.ours and node.session_id == session_id
        if not held or node.state is HostNodeState.OFFLINE:
            # Another session, or one that died: only a birth tells what it says now.
            self.view.rebirths.receive_session(edge_node, session_id)
            self.view.ask(edge_node, "after_death" if held else "unknown_session", now_ns)
            if node.online and node.ours:
                # Its NBIRTH was lost: what follows is of that session, and wrong if it is read with these births.
                self.view.enter(node, HostNodeInput.HOST_LOST, now_ns, "other_session")
                self.view.gaps.pop(edge_node, None)
            return False
        if not node.online:
            self._resume(node, now_ns)
        return True

    def _resume(self, node: NodeState, now_ns: int) -> None:
        if node.birth is None:
            return
        self.view.enter(node, HostNodeInput.NAMED, now_ns, "named")
        node.tracker.start(None)
        births: dict[str, BirthPayload] = {}
        missing, node.misses_births = node.misses_births, False
        for device_id, device in node.devices.items():
            if device.reason in _NOT_THERE:
                missing = True
            elif device.birth is not None:
                births[device_id] = device.birth
                device.online, device.since_ns, device.reason = True, now_ns, "named"
        # A birth or death that passed by while the session was unknown still asks: "missed_birth" stays.
        self.view.rebirths.cancel(node.edge_node, ("host_start", "unknown_session"))
        if missing:  # its next birth may have passed by while nobody listened; the raw log, too, has none
            self.view.ask(node.edge_node, "missed_birth", now_ns)
        self.view.events.append(
            NodeResumed(
                edge_node=node.edge_node,
                session_id=node.session_id,
                bd_seq=told_bd_seq(node.bd_seq),
                birth=node.birth,
                devices=births,
            )
        )

    # ── messages ─────────────────────────────────────────────────────────────────────────────────────────────────

    def receive(self, arrived: Arrived) -> None:
        """Take in one message that was not retained."""
        topic = arrived.topic
        if arrived.now_ns < self._newest_ns - _CLOCK_STEP_MIN_NS:
            self._receive_clock_set_back(self._newest_ns - arrived.now_ns)
        self._newest_ns = arrived.now_ns
        node = self.view.node_of(topic.edge_node, arrived.now_ns)
        if node is None:
            self.view.violation("nodes_max", str(topic), "too many edge nodes", arrived=arrived)
            return
        device_id = topic.device_id if isinstance(topic, DeviceTopic) else None
        match topic.message_type:
            case MessageType.NDATA:
                self._data.receive_data(node, None, node.table, arrived)
            case MessageType.DDATA if device_id is not None:
                device = node.devices.get(device_id)
                table = device.table if device is not None and device.online else None
                self._data.receive_data(node, device_id, table, arrived)
            case MessageType.NBIRTH:
                self._lives.receive_node_birth(node, arrived)
            case MessageType.DBIRTH if device_id is not None:
                self._lives.receive_device_birth(node, device_id, arrived)
            case MessageType.NDEATH:
                self._lives.receive_node_death(node, arrived)
            case MessageType.DDEATH if device_id is not None:
                self._lives.receive_device_death(node, device_id, arrived)
            case _:
                return  # commands of another host
        if node.turns and not node.tracker.has_gap:
            node.turns.clear()  # nothing is missing that they could have overtaken

    def _receive_clock_set_back(self, step_ns: int) -> None:
        """What was to be concluded in seconds must not wait until the clock is where it was."""
        for deadlines in (self.view.gaps, self.view.births_end, self.view.doubts):
            for edge_node in deadlines:
                deadlines[edge_node] -= step_ns
        self.view.rebirths.receive_clock_set_back(step_ns)
