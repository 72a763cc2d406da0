"""What a host holds for true of its edge nodes, and how it tells: the ground on which the rules for messages stand.

The rules (:mod:`~uns.sparkplug.host_lives`, :mod:`~uns.sparkplug.host_data`) take in births themselves; nodes change
their state, and lives end, through these methods only, so that each end is told as an event.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Literal

import msgspec

from uns.errors import RemoteProtocolError
from uns.sparkplug.host_bounds import HostBounds, HostDelays
from uns.sparkplug.host_nodes import BirthSize, NodeBook, NodeState
from uns.sparkplug.host_tally import HostTally
from uns.sparkplug.messages import (
    DataUnreadable,
    DeviceDied,
    HostEvent,
    NodeDied,
    NodeForgotten,
    RebirthCause,
    UnreadableReason,
)
from uns.sparkplug.rebirths import RebirthLimiter
from uns.sparkplug.reorder import Arrival
from uns.sparkplug.topics import DeviceTopic, EdgeNodeDescriptor, NodeTopic
from uns.sparkplug.transitions import HostNodeInput, HostNodeState

__all__ = ["Arrived", "HostView", "told_bd_seq"]

_NO_BD_SEQ = -1  # in events, for a birth without one


def told_bd_seq(bd_seq: int | None) -> int:
    """A bdSeq as events tell it."""
    return _NO_BD_SEQ if bd_seq is None else bd_seq


class Arrived(msgspec.Struct, frozen=True):
    """One message of an edge node, at the host."""

    topic: NodeTopic | DeviceTopic
    payload: bytes
    now_ns: int
    raw: object = None  # the caller's own


class HostView:
    """The nodes of one host. ``nodes`` is its memory, bounded by ``bounds``; ``declared`` ones are always kept."""

    def __init__(
        self,
        *,
        rebirths: RebirthLimiter,
        bounds: HostBounds,
        delays: HostDelays,
        declared: Callable[[EdgeNodeDescriptor], bool],
    ) -> None:
        self.book = NodeBook(
            strangers_max=bounds.nodes_max,
            births_max=BirthSize(bounds.strangers_metrics_max, bounds.strangers_birth_bytes_max),
            away_kept_ns=bounds.away_kept_ms * 1_000_000,
            declared=declared,
        )
        self.nodes = self.book.nodes
        self.events: list[HostEvent] = []
        self.tally = HostTally()
        self.gaps: dict[EdgeNodeDescriptor, int] = {}  # node to the end of its reorder timeout
        self.births_end: dict[EdgeNodeDescriptor, int] = {}  # node to when its DBIRTHs should all have come
        self.doubts: dict[EdgeNodeDescriptor, int] = {}  # node that an NDEATH which overtook its NBIRTH may be of
        self.rebirths = rebirths
        self.bounds = bounds
        self.delays = delays

    def node_of(self, edge_node: EdgeNodeDescriptor, now_ns: int) -> NodeState | None:
        """The node, kept or taken in; None: there is no room for it."""
        node = self.book.find(edge_node)
        if node is None:
            node, gone = self.book.take_in(edge_node, now_ns, reason="never born")
            if gone is not None:
                self._forget(gone)
        return node

    def make_room(self, node: NodeState, held: BirthSize, now_ns: int) -> None:
        """Let the births of a node become ``held``; :class:`RemoteProtocolError` if strangers leave no room."""
        gone = self.book.find_room(node, held, now_ns)
        if gone is None:
            bounds = self.bounds
            raise RemoteProtocolError(
                f"no room for births of {held.metrics} metrics and {held.payload_bytes} bytes",
                where=str(node.edge_node),
                expected=f"at most {bounds.strangers_metrics_max} metrics and {bounds.strangers_birth_bytes_max} bytes "
                "in the births of all nodes that the tree does not name",
                next_step="name the node in the topic tree, or take nodes off the broker",
            )
        for edge_node in gone:
            self._forget(edge_node)

    def _forget(self, edge_node: EdgeNodeDescriptor) -> None:
        self.rebirths.forget(edge_node)
        self.gaps.pop(edge_node, None)
        self.births_end.pop(edge_node, None)
        self.doubts.pop(edge_node, None)
        self.tally.counters["nodes_forgotten"] += 1
        self.events.append(NodeForgotten(edge_node))

    def enter(self, node: NodeState, received: HostNodeInput, now_ns: int, reason: str) -> None:
        """The node was born, named, lost or died."""
        node.enter(received, now_ns, reason)
        self.book.moved(node, now_ns)

    def node_died(
        self,
        node: NodeState,
        reason: Literal["ndeath", "superseded", "host_disconnected", "birth_refused"],
        now_ns: int,
        raw: object = None,
    ) -> None:
        """Node and devices are offline at the time of receipt: edge-node-termination-host-action-ndeath-*."""
        was_online = node.online
        # A held session that nobody had named yet ends as well: somebody may still show what the store kept of it.
        held_died = reason == "ndeath" and node.state is HostNodeState.UNKNOWN and node.birth is not None
        if reason in {"ndeath", "superseded"}:
            self.enter(node, HostNodeInput.DIED, now_ns, reason)
        elif was_online:
            node.reason = reason
        for device in node.devices.values():
            if device.online:
                device.online, device.since_ns, device.reason = False, now_ns, reason
        node.devices_awaited.clear()
        if reason != "superseded":  # else it is here again, and its births take the place of the old ones
            node.reserved = BirthSize()
            self.book.resized(node)
        self.gaps.pop(node.edge_node, None)
        self.doubts.pop(node.edge_node, None)
        if was_online or held_died:
            self.events.append(
                NodeDied(edge_node=node.edge_node, session_id=node.session_id, reason=reason, since_ns=now_ns, raw=raw)
            )

    def device_died(
        self,
        node: NodeState,
        device_id: str,
        reason: Literal["ddeath", "rebirth_without_it", "birth_refused"],
        now_ns: int,
        *,
        timestamp_ms: int | None = None,
        raw: object = None,
    ) -> None:
        """The device is offline since the time that its DDEATH says, where there is one, else that of receipt.

        tck-id-operational-behavior-edge-node-termination-host-action-ddeath-devices-offline, -tags-stale.
        """
        since_ns = timestamp_ms * 1_000_000 if timestamp_ms else now_ns  # nobody died in 1970
        node.devices_awaited.discard(device_id)
        device = node.devices[device_id]
        device.online, device.since_ns, device.reason = False, since_ns, reason
        self.events.append(
            DeviceDied(
                edge_node=node.edge_node,
                device_id=device_id,
                session_id=node.session_id,
                reason=reason,
                timestamp_ms=timestamp_ms,
                since_ns=since_ns,
                raw=raw,
            )
        )

    def is_of_before(self, node: NodeState, timestamp_ms: int | None, seq: int | None, now_ns: int) -> bool:
        """Whether the node sent this before its newest NBIRTH: that is what its time says, and its seq does not fit.

        Only for as long as messages may overtake each other: clocks of peers are not to be trusted for more.
        """
        born_ms = None if node.birth is None else node.birth.timestamp_ms
        if node.born_ns is None or born_ms is None or not timestamp_ms or timestamp_ms >= born_ms:  # 0 says nothing
            return False
        # The times of ours never go back; those of others count only where their numbers say the same.
        return (node.ours or not self.may_be_next(node, seq)) and self.is_recent(node.born_ns, now_ns)

    def may_be_next(self, node: NodeState, seq: int | None) -> bool:
        """Whether the number allows that this message comes in its order; one that is missing or wrong says nothing."""
        return seq is None or node.repeats_seq or node.tracker.is_due(seq)

    def is_recent(self, since_ns: int, now_ns: int) -> bool:
        """Whether what was sent before ``since_ns`` may still be on its way."""
        return 0 <= now_ns - since_ns <= self.delays.reorder_timeout_ns

    def track(self, node: NodeState, seq: int | None, arrived: Arrived) -> Arrival:
        """Follow ``seq``; how the message stands in the order. A gap starts the reorder timeout, its end stops it."""
        if seq is None:
            self.warn(node.edge_node, "tck-id-payloads-ndata-seq", "message without seq")
        # Foreign devices may count by themselves: a number that comes again with other bytes says nothing there.
        arrival = node.tracker.receive(seq, zlib.crc32(arrived.payload), may_renumber=node.ours)
        if arrival is Arrival.RENUMBERED:
            self.tally.counters["gaps"] += 1
            self.gaps.pop(node.edge_node, None)
            self.ask(node.edge_node, "missed_birth", arrived.now_ns)
        elif not node.tracker.has_gap:
            if self.gaps and self.gaps.pop(node.edge_node, None) is not None:
                self.tally.counters["gaps_closed"] += 1  # operational-behavior-host-reordering-success
        elif node.edge_node not in self.gaps:
            self.tally.counters["gaps"] += 1
            self.gaps[node.edge_node] = arrived.now_ns + self.delays.reorder_timeout_ns  # …-reordering-start
        if self.doubts and arrival in {Arrival.IN_ORDER, Arrival.AHEAD}:
            since_ns = self.doubts.get(node.edge_node, arrived.now_ns)
            if not self.is_recent(since_ns, arrived.now_ns):  # what a dead node sent would have come by now
                self.doubts.pop(node.edge_node, None)
        if arrival is Arrival.REPEATED:
            self.tally.counters["repeated"] += 1
            node.repeats_seq = node.repeats_seq or not (node.ours or node.tracker.is_copy)
            if not (node.ours or node.tracker.is_copy) and self.rebirths.is_unanswered(
                node.edge_node
            ):  # or the answer was lost, and this is its
                self.ask(node.edge_node, "missed_birth", arrived.now_ns)
        return arrival

    def ask(self, edge_node: EdgeNodeDescriptor, cause: RebirthCause, now_ns: int) -> None:
        """There is cause to ask the node for its births: within the limits, and spread."""
        node = self.nodes[edge_node]
        # A session of ours whose births are held names itself with its next mark: wait for it a little.
        waits = cause == "unknown_session" and node.ours and not node.online
        delay_ns = self.delays.mark_wait_ns if waits else 0
        self.rebirths.ask(edge_node, cause, now_ns, delay_ns=delay_ns, spread_ns=self.delays.rebirth_spread_ns)

    def unreadable(
        self, node: NodeState, device_id: str | None, reason: UnreadableReason, arrived: Arrived, *, text: str = ""
    ) -> None:
        """DATA came that cannot be decoded now."""
        self.events.append(
            DataUnreadable(
                edge_node=node.edge_node,
                device_id=device_id,
                reason=reason,
                payload=arrived.payload,
                session_id=node.session_id,
                bd_seq=told_bd_seq(node.bd_seq),
                ours=node.ours,
                text=text,
                raw=arrived.raw,
            )
        )

    def warn(self, edge_node: EdgeNodeDescriptor | None, tck_id: str, text: str) -> None:
        """Count a forgiven fault; report it once per node and session."""
        node = None if edge_node is None else self.nodes.get(edge_node)
        event = self.tally.warn(node, edge_node, tck_id, text)
        if event is not None:
            self.events.append(event)

    def violation(
        self,
        kind: str,
        topic: str,
        error: RemoteProtocolError | str,
        *,
        edge_node: EdgeNodeDescriptor | None = None,
        arrived: Arrived | None = None,
    ) -> None:
        """Count and report a message that was dropped."""
        if arrived is None:
            event = self.tally.violation(kind, topic, error, edge_node=edge_node)
        else:
            source = arrived.topic.edge_node
            event = self.tally.violation(kind, topic, error, edge_node=source, payload=arrived.payload, raw=arrived.raw)
        self.events.append(event)
