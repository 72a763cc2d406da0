"""What a host makes of the messages of edge nodes: births, data, deaths, order, and causes for a rebirth.

:class:`HostSession` owns the connection and the STATE; this owns the nodes. It says what happened through ``events``
and puts causes for a rebirth into ``rebirths``; it sends nothing.
"""

from __future__ import annotations

import contextlib
import zlib
from collections.abc import Callable
from typing import Literal

import msgspec

from uns.errors import RemoteProtocolError
from uns.sparkplug import codec
from uns.sparkplug.aliases import AliasTable
from uns.sparkplug.codec import Leniency
from uns.sparkplug.host_bounds import HostBounds, HostDelays
from uns.sparkplug.host_nodes import DeviceState, NodeBook, NodeState, session_key
from uns.sparkplug.host_tally import HostTally, faults_of_birth
from uns.sparkplug.messages import (
    DataReceived,
    DataUnreadable,
    DeviceBorn,
    DeviceDied,
    HeldBirths,
    HostEvent,
    NodeBorn,
    NodeDied,
    NodeForgotten,
    NodeResumed,
    RebirthCause,
    UnreadableReason,
)
from uns.sparkplug.metrics import BirthPayload
from uns.sparkplug.rebirths import RebirthLimiter
from uns.sparkplug.reorder import Arrival
from uns.sparkplug.topics import DeviceTopic, EdgeNodeDescriptor, MessageType, NodeTopic
from uns.sparkplug.transitions import HostNodeInput, HostNodeState

__all__ = ["Arrived", "HostRules"]

_CLOCK_STEP_MIN_NS = 1_000_000_000  # back; less is drift
_NO_BD_SEQ = -1  # in events, for a birth without one
_ENDED = frozenset({"ddeath", "rebirth_without_it"})  # reasons for which a device is dead by its own word


class Arrived(msgspec.Struct, frozen=True):
    """One message of an edge node, at the host."""

    topic: NodeTopic | DeviceTopic
    payload: bytes
    now_ns: int
    raw: object = None  # the caller's own


class HostRules:
    """The nodes of one host. ``nodes`` is its memory, bounded by ``bounds``; ``declared`` ones are always kept."""

    def __init__(
        self,
        *,
        rebirths: RebirthLimiter,
        bounds: HostBounds,
        delays: HostDelays,
        leniency: Leniency,
        declared: Callable[[EdgeNodeDescriptor], bool],
    ) -> None:
        self._book = NodeBook(
            strangers_max=bounds.nodes_max, away_kept_ns=bounds.away_kept_ms * 1_000_000, declared=declared
        )
        self.nodes = self._book.nodes
        self.events: list[HostEvent] = []
        self.tally = HostTally()
        self.gaps: dict[EdgeNodeDescriptor, int] = {}  # node to the end of its reorder timeout
        self._births_end: dict[EdgeNodeDescriptor, int] = {}  # node to when its DBIRTHs should all have come
        self._newest_ns = 0  # of what arrived
        self._rebirths = rebirths
        self._bounds = bounds
        self._delays = delays
        self._leniency = leniency

    # ── the host's connection ────────────────────────────────────────────────────────────────────────────────────

    def hold_births(self, held: HeldBirths, now_ns: int) -> None:
        """Take in what the store kept of one node; its session stays unknown until it is named."""
        if held.edge_node in self.nodes and self.nodes[held.edge_node].online:
            return
        try:
            birth = codec.decode_birth(held.birth, self._leniency)
            devices = {
                device_id: codec.decode_birth(payload, self._leniency) for device_id, payload in held.devices.items()
            }
        except RemoteProtocolError as error:
            self.violation("held_births", str(held.edge_node), error, edge_node=held.edge_node)
            return
        node = self._node(held.edge_node, now_ns)
        if node is None:
            self.violation("nodes_max", str(held.edge_node), "too many edge nodes", edge_node=held.edge_node)
            return
        node.session_id, node.bd_seq, node.reason = held.session_id, held.bd_seq, "held"
        node.ours = bool(birth.session_id)
        node.birth, node.table, node.birth_bytes = birth, AliasTable.of_birth(birth), len(held.birth)
        node.devices = {
            device_id: DeviceState(
                False, now_ns, "held", device, AliasTable.of_birth(device), len(held.devices[device_id])
            )
            for device_id, device in devices.items()
        }
        self._book.moved(node, now_ns)

    def receive_host_online(self, now_ns: int) -> None:
        """The host is born: every node heard of is to name itself, or is asked for a rebirth."""
        for edge_node in self.nodes:
            self._rebirths.ask(
                edge_node,
                "host_start",
                now_ns,
                delay_ns=self._delays.mark_wait_ns,
                spread_ns=self._delays.host_start_spread_ns,
            )

    def receive_host_lost(self, now_ns: int) -> None:
        """The host's connection is gone or begins anew: all that was known through it is stale (specification 5.3)."""
        for node in self.nodes.values():
            self._node_died(node, "host_disconnected", now_ns)
            self._enter(node, HostNodeInput.HOST_LOST, now_ns, node.reason)
        self.gaps.clear()
        self._births_end.clear()
        self._rebirths.cancel_all()

    def receive_timer(self, now_ns: int) -> None:
        """Reorder timeouts that are over: operational-behavior-host-reordering-rebirth."""
        for edge_node in [edge_node for edge_node, deadline in self.gaps.items() if deadline <= now_ns]:
            del self.gaps[edge_node]
            self.tally.counters["reorder_timeouts"] += 1
            self.nodes[edge_node].tracker.give_up()
            self._ask(edge_node, "reorder_timeout", now_ns)

        for edge_node in [edge_node for edge_node, deadline in self._births_end.items() if deadline <= now_ns]:
            del self._births_end[edge_node]
            self._births_are_over(self.nodes.get(edge_node), now_ns)

    def _births_are_over(self, node: NodeState | None, now_ns: int) -> None:
        """DBIRTHs follow their NBIRTH at once. One that did not is lost, or its device is gone: no seq tells a silence.

        Dead until it is heard, so that the one question asked here is not asked again of a device that is gone.
        """
        if node is None or not node.devices_awaited or node.tracker.has_gap:
            return  # a gap has a deadline of its own, and asks at its end
        for device_id in sorted(node.devices_awaited):
            self._device_died(node, device_id, "rebirth_without_it", now_ns)
        self._ask(node.edge_node, "missed_birth", now_ns)

    def next_deadline_ns(self) -> int | None:
        """When ``receive_timer`` has something to conclude."""
        return min((*self.gaps.values(), *self._births_end.values()), default=None)

    def name_session(self, edge_node: EdgeNodeDescriptor, session_id: str, now_ns: int) -> bool:
        """A mark of this session came. True: its births are held, DATA that follows is decoded."""
        node = self._node(edge_node, now_ns)
        if node is None:
            return False
        held = node.birth is not None and node.ours and node.session_id == session_id
        if not held or node.state is HostNodeState.OFFLINE:
            # Another session, or one that died: only a birth tells what it says now.
            self._rebirths.receive_session(edge_node, session_id)
            self._ask(edge_node, "after_death" if held else "unknown_session", now_ns)
            if node.online and node.ours:
                # Its NBIRTH was lost: what follows is of that session, and wrong if it is read with these births.
                self._enter(node, HostNodeInput.HOST_LOST, now_ns, "another session was named")
                self.gaps.pop(edge_node, None)
            return False
        if not node.online:
            self._resume(node, now_ns)
        return True

    def _resume(self, node: NodeState, now_ns: int) -> None:
        if node.birth is None:
            return
        self._enter(node, HostNodeInput.NAMED, now_ns, "named")
        node.tracker.start(None)
        births: dict[str, BirthPayload] = {}
        dead = False
        for device_id, device in node.devices.items():
            if device.reason in _ENDED:
                dead = True
            elif device.birth is not None:
                births[device_id] = device.birth
                device.online, device.since_ns, device.reason = True, now_ns, "named"
        # A birth or death that passed by while the session was unknown still asks: "missed_birth" stays.
        self._rebirths.cancel(node.edge_node, ("host_start", "unknown_session"))
        if dead:  # its next birth may have passed by while nobody listened; the raw log, too, knows it as dead
            self._ask(node.edge_node, "missed_birth", now_ns)
        self.events.append(
            NodeResumed(
                edge_node=node.edge_node,
                session_id=node.session_id,
                bd_seq=_told(node.bd_seq),
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
        node = self._node(topic.edge_node, arrived.now_ns)
        if node is None:
            self.violation("nodes_max", str(topic), "too many edge nodes", arrived=arrived)
            return
        device_id = topic.device_id if isinstance(topic, DeviceTopic) else None
        match topic.message_type:
            case MessageType.NDATA:
                self._receive_data(node, None, node.table, arrived)
            case MessageType.DDATA if device_id is not None:
                device = node.devices.get(device_id)
                table = device.table if device is not None and device.online else None
                self._receive_data(node, device_id, table, arrived)
            case MessageType.NBIRTH:
                self._receive_node_birth(node, arrived)
            case MessageType.DBIRTH if device_id is not None:
                self._receive_device_birth(node, device_id, arrived)
            case MessageType.NDEATH:
                self._receive_node_death(node, arrived)
            case MessageType.DDEATH if device_id is not None:
                self._receive_device_death(node, device_id, arrived)
            case _:
                return  # commands of another host

    def _receive_clock_set_back(self, step_ns: int) -> None:
        """What was to be concluded in seconds must not wait until the clock is where it was."""
        for deadlines in (self.gaps, self._births_end):
            for edge_node in deadlines:
                deadlines[edge_node] -= step_ns
        self._rebirths.receive_clock_set_back(step_ns)

    def _receive_node_birth(self, node: NodeState, arrived: Arrived) -> None:
        edge_node, now_ns = node.edge_node, arrived.now_ns
        try:
            birth = codec.decode_birth(arrived.payload, self._leniency)
            self._check_quota(len(birth.metrics), len(arrived.payload))
        except RemoteProtocolError as error:
            self.violation("nbirth", str(arrived.topic), error, arrived=arrived)
            self._node_birth_refused(node, arrived)
            return
        key = session_key(birth.session_id, birth.bd_seq)
        same = node.birth is not None and (node.session_id, node.bd_seq) == (key, birth.bd_seq)
        if not same:
            # The old session ended unheard: an implicit death. Its NDEATH may still come, and is then ignored.
            self._node_died(node, "superseded", now_ns, arrived.raw)
        # A session of ours is told by its uuid. A foreign one has only its bdSeq, which some never change.
        first = not same if birth.session_id else not (same and node.online)
        if first:
            node.warned.clear()
        node.devices_awaited |= {device_id for device_id, device in node.devices.items() if device.online}
        node.devices = {device_id: DeviceState(False, now_ns, "awaited") for device_id in node.devices_awaited}
        repeats_bd_seq = first and node.state is HostNodeState.OFFLINE and node.bd_seq == birth.bd_seq is not None
        node.session_id, node.bd_seq, node.ours = key, birth.bd_seq, bool(birth.session_id)
        node.birth, node.table, node.birth_bytes = birth, AliasTable.of_birth(birth), len(arrived.payload)
        self._enter(node, HostNodeInput.BORN, now_ns, "born")
        # 3.0 says 0, in another chapter 0 to 255; a proto3 peer cannot write a 0 (peers.md 1, 8).
        node.tracker.start(birth.seq or 0)
        self.gaps.pop(edge_node, None)
        self._births_end.pop(edge_node, None)
        if node.devices_awaited:
            self._births_end[edge_node] = now_ns + self._delays.reorder_timeout_ns
        self._rebirths.cancel(edge_node)
        self._rebirths.receive_session(edge_node, key)
        self.events.append(
            NodeBorn(
                edge_node=edge_node,
                session_id=key,
                bd_seq=_told(birth.bd_seq),
                birth=birth,
                payload=arrived.payload,
                first=first,
                ours=node.ours,
                raw=arrived.raw,
            )
        )
        self._warn_of_birth(node, birth, node.table, of_node=True)
        if repeats_bd_seq:
            self.warn(edge_node, "tck-id-topics-nbirth-bdseq-increment", f"bdSeq {birth.bd_seq} again after a death")

    def _node_birth_refused(self, node: NodeState, arrived: Arrived) -> None:
        """What it says from now on belongs to a birth that is not known: read with the old one it could be wrong."""
        if node.online:
            self._node_died(node, "birth_refused", arrived.now_ns, arrived.raw)
            self._enter(node, HostNodeInput.HOST_LOST, arrived.now_ns, "birth_refused")
        self._ask(node.edge_node, "birth_refused", arrived.now_ns)

    def _receive_device_birth(self, node: NodeState, device_id: str, arrived: Arrived) -> None:
        if not node.online:  # message-flow-device-birth-publish-nbirth-wait; or its NBIRTH came before our CONNECT
            self._ask(node.edge_node, "missed_birth", arrived.now_ns)
            return
        try:
            birth = codec.decode_birth(arrived.payload, self._leniency)
            self._check_device(node, device_id, birth, len(arrived.payload))
        except RemoteProtocolError as error:
            self.violation("dbirth", str(arrived.topic), error, arrived=arrived)
            self._device_birth_refused(node, device_id, arrived)
            return
        arrival = self._track(node, birth.seq, arrived)
        known = node.devices.get(device_id)
        # Only of ours: foreign ones may count by a device of their own, or not at all, and be right about their life.
        if arrival is Arrival.REPEATED and node.ours and known is not None and known.reason == "ddeath":
            return
        node.devices_awaited.discard(device_id)
        if not node.devices_awaited:
            self._births_end.pop(node.edge_node, None)
        table = AliasTable.of_birth(birth)
        node.devices[device_id] = DeviceState(True, arrived.now_ns, "born", birth, table, len(arrived.payload))
        self.events.append(
            DeviceBorn(
                edge_node=node.edge_node,
                device_id=device_id,
                session_id=node.session_id,
                bd_seq=_told(node.bd_seq),
                birth=birth,
                payload=arrived.payload,
                ours=node.ours,
                raw=arrived.raw,
            )
        )
        self._warn_of_birth(node, birth, table, of_node=False)

    def _device_birth_refused(self, node: NodeState, device_id: str, arrived: Arrived) -> None:
        with contextlib.suppress(RemoteProtocolError):  # it has its place in the order, whatever else it has
            self._track(node, codec.decode_seq(arrived.payload, self._leniency)[1], arrived)
        device = node.devices.get(device_id)
        if device is not None:
            if device.online or device_id in node.devices_awaited:
                self._device_died(node, device_id, "birth_refused", arrived.now_ns, raw=arrived.raw)
            device.birth, device.table, device.birth_bytes = None, None, 0
        self._ask(node.edge_node, "birth_refused", arrived.now_ns)

    def _receive_data(self, node: NodeState, device_id: str | None, table: AliasTable | None, arrived: Arrived) -> None:
        if not node.online:
            self._unreadable(node, device_id, "unknown_session", arrived)
            died = node.state is HostNodeState.OFFLINE
            self._ask(node.edge_node, "after_death" if died else "unknown_session", arrived.now_ns)
            return
        try:
            if table is None:
                self._receive_data_without_birth(node, device_id, arrived)
                return
            data = codec.decode_data(arrived.payload, table, self._leniency)
        except RemoteProtocolError as error:
            self._unreadable(node, device_id, "malformed", arrived, text=str(error))
            self._ask(node.edge_node, "malformed", arrived.now_ns)
            return
        arrival = self._track(node, data.seq, arrived)
        if node.devices_awaited:
            self._end_of_births(node, arrived.now_ns)
        if data.leniencies or data.properties or data.rejected:
            self.tally.note_data(data)
        if data.rejected:
            reasons = {metric.reason for metric in data.rejected}
            if not reasons.isdisjoint(("unknown_metric", "wrong_type")):
                self._ask(node.edge_node, "unknown_metric", arrived.now_ns)
            if node.ours and "unknown_metric" in reasons:
                # A birth was missed; the edge node holds these rows and sends them again.
                self._unreadable(node, device_id, "unknown_metric", arrived)
                return
        self.events.append(
            DataReceived(
                edge_node=node.edge_node,
                device_id=device_id,
                session_id=node.session_id,
                bd_seq=_told(node.bd_seq),
                data=data,
                in_order=arrival is Arrival.IN_ORDER,
                ours=node.ours,
                payload=arrived.payload,
                late=arrival in {Arrival.LATE, Arrival.REPEATED},
                raw=arrived.raw,
            )
        )

    def _receive_data_without_birth(self, node: NodeState, device_id: str | None, arrived: Arrived) -> None:
        self._track(node, codec.decode_seq(arrived.payload, self._leniency)[1], arrived)
        self._unreadable(node, device_id, "no_birth", arrived)
        if not node.tracker.has_gap:  # else the DBIRTH may still come, or the reorder timeout asks
            self._ask(node.edge_node, "missed_birth", arrived.now_ns)

    def _receive_node_death(self, node: NodeState, arrived: Arrived) -> None:
        try:
            bd_seq = codec.decode_death(arrived.payload)
            with_seq = codec.decode_seq(arrived.payload, self._leniency)[1] is not None
        except RemoteProtocolError as error:
            self.violation("ndeath", str(arrived.topic), error, arrived=arrived)
            return
        if with_seq:
            self.warn(node.edge_node, "tck-id-topics-ndeath-seq", "NDEATH with seq")
        if bd_seq is None:
            self.warn(node.edge_node, "tck-id-topics-ndeath-payload", "NDEATH without bdSeq: obeyed")
        elif node.bd_seq != bd_seq and (node.birth is None or node.bd_seq is not None):  # else: a birth without one
            self.tally.counters["late_deaths_ignored"] += 1
            return  # a late will of an older connection
        self._node_died(node, "ndeath", arrived.now_ns, arrived.raw)

    def _receive_device_death(self, node: NodeState, device_id: str, arrived: Arrived) -> None:
        if not node.online:
            self._ask(node.edge_node, "missed_birth", arrived.now_ns)
            return
        try:
            timestamp_ms, seq = codec.decode_seq(arrived.payload, self._leniency)
        except RemoteProtocolError as error:
            self.violation("ddeath", str(arrived.topic), error, arrived=arrived)
            return
        self._track(node, seq, arrived)
        device = node.devices.get(device_id)
        if device is not None and (device.online or device_id in node.devices_awaited):
            self._device_died(node, device_id, "ddeath", arrived.now_ns, timestamp_ms=timestamp_ms, raw=arrived.raw)

    # ── what was learned ─────────────────────────────────────────────────────────────────────────────────────────

    def _node(self, edge_node: EdgeNodeDescriptor, now_ns: int) -> NodeState | None:
        node = self._book.find(edge_node)
        if node is None:
            node, gone = self._book.take_in(edge_node, now_ns, reason="never born")
            if gone is not None:
                self._rebirths.forget(gone)
                self.tally.counters["nodes_forgotten"] += 1
                self.events.append(NodeForgotten(gone))
        return node

    def _enter(self, node: NodeState, received: HostNodeInput, now_ns: int, reason: str) -> None:
        node.enter(received, now_ns, reason)
        self._book.moved(node, now_ns)

    def _node_died(
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
            self._enter(node, HostNodeInput.DIED, now_ns, reason)
        elif was_online:
            node.reason = reason
        for device in node.devices.values():
            if device.online:
                device.online, device.since_ns, device.reason = False, now_ns, reason
        node.devices_awaited.clear()
        self.gaps.pop(node.edge_node, None)
        if was_online or held_died:
            self.events.append(
                NodeDied(edge_node=node.edge_node, session_id=node.session_id, reason=reason, since_ns=now_ns, raw=raw)
            )

    def _device_died(
        self,
        node: NodeState,
        device_id: str,
        reason: Literal["ddeath", "rebirth_without_it", "birth_refused"],
        now_ns: int,
        *,
        timestamp_ms: int | None = None,
        raw: object = None,
    ) -> None:
        node.devices_awaited.discard(device_id)
        device = node.devices[device_id]
        device.online, device.since_ns, device.reason = False, now_ns, reason
        self.events.append(
            DeviceDied(
                edge_node=node.edge_node,
                device_id=device_id,
                session_id=node.session_id,
                reason=reason,
                timestamp_ms=timestamp_ms,
                since_ns=now_ns,
                raw=raw,
            )
        )

    def _end_of_births(self, node: NodeState, now_ns: int) -> None:
        """DATA follows the births (payloads-dbirth-order): a device not born again by now is gone."""
        if not node.tracker.has_gap:
            for device_id in sorted(node.devices_awaited):
                self._device_died(node, device_id, "rebirth_without_it", now_ns)

    def _track(self, node: NodeState, seq: int | None, arrived: Arrived) -> Arrival:
        """Follow ``seq``; how the message stands in the order. A gap starts the reorder timeout, its end stops it."""
        if seq is None:
            self.warn(node.edge_node, "tck-id-payloads-ndata-seq", "message without seq")
        # Foreign devices may count by themselves: a number that comes again with other bytes says nothing there.
        arrival = node.tracker.receive(seq, zlib.crc32(arrived.payload) if node.ours else None)
        if arrival is Arrival.RENUMBERED:
            self.tally.counters["gaps"] += 1
            self.gaps.pop(node.edge_node, None)
            self._ask(node.edge_node, "missed_birth", arrived.now_ns)
        elif not node.tracker.has_gap:
            if self.gaps and self.gaps.pop(node.edge_node, None) is not None:
                self.tally.counters["gaps_closed"] += 1  # operational-behavior-host-reordering-success
        elif node.edge_node not in self.gaps:
            self.tally.counters["gaps"] += 1
            self.gaps[node.edge_node] = arrived.now_ns + self._delays.reorder_timeout_ns  # …-reordering-start
        if arrival is Arrival.REPEATED:
            self.tally.counters["repeated"] += 1
        return arrival

    def _check_quota(self, metrics: int, payload_bytes: int) -> None:
        bounds = self._bounds
        if metrics > bounds.metrics_per_node_max:
            raise RemoteProtocolError(f"{metrics} metrics", expected=f"at most {bounds.metrics_per_node_max} a node")
        if payload_bytes > bounds.birth_bytes_per_node_max:
            raise RemoteProtocolError(
                f"births of {payload_bytes} bytes", expected=f"at most {bounds.birth_bytes_per_node_max} a node"
            )

    def _check_device(self, node: NodeState, device_id: str, birth: BirthPayload, payload_bytes: int) -> None:
        known = node.devices.get(device_id)
        if known is None and len(node.devices) >= self._bounds.devices_per_node_max:
            raise RemoteProtocolError(
                "too many devices", expected=f"at most {self._bounds.devices_per_node_max} per edge node"
            )
        replaced = len(known.birth.metrics) if known is not None and known.birth is not None else 0
        replaced_bytes = 0 if known is None else known.birth_bytes
        self._check_quota(
            node.metrics_held() - replaced + len(birth.metrics), node.bytes_held() - replaced_bytes + payload_bytes
        )

    def _ask(self, edge_node: EdgeNodeDescriptor, cause: RebirthCause, now_ns: int) -> None:
        node = self.nodes[edge_node]
        # A session of ours whose births are held names itself with its next mark: wait for it a little.
        waits = cause == "unknown_session" and node.ours and not node.online
        delay_ns = self._delays.mark_wait_ns if waits else 0
        self._rebirths.ask(edge_node, cause, now_ns, delay_ns=delay_ns, spread_ns=self._delays.rebirth_spread_ns)

    def _unreadable(
        self, node: NodeState, device_id: str | None, reason: UnreadableReason, arrived: Arrived, *, text: str = ""
    ) -> None:
        self.events.append(
            DataUnreadable(
                edge_node=node.edge_node,
                device_id=device_id,
                reason=reason,
                payload=arrived.payload,
                session_id=node.session_id,
                bd_seq=_told(node.bd_seq),
                ours=node.ours,
                text=text,
                raw=arrived.raw,
            )
        )

    def _warn_of_birth(self, node: NodeState, birth: BirthPayload, table: AliasTable, *, of_node: bool) -> None:
        self.tally.note_birth(birth, table)
        for tck_id, text in faults_of_birth(birth, table, of_node=of_node):
            self.warn(node.edge_node, tck_id, text)

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


def _told(bd_seq: int | None) -> int:
    return _NO_BD_SEQ if bd_seq is None else bd_seq
