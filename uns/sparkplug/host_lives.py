"""What births and deaths of edge nodes and devices do to what a host holds for true."""

from __future__ import annotations

from uns.errors import RemoteProtocolError
from uns.sparkplug import codec
from uns.sparkplug.aliases import AliasTable
from uns.sparkplug.codec import Leniency
from uns.sparkplug.host_nodes import AWAITED, BirthSize, DeviceState, DeviceTurn, NodeState, session_key
from uns.sparkplug.host_tally import faults_of_birth
from uns.sparkplug.host_view import Arrived, HostView, told_bd_seq
from uns.sparkplug.messages import DeviceBorn, NodeBorn
from uns.sparkplug.metrics import BirthPayload
from uns.sparkplug.reorder import LATE_WINDOW, Arrival
from uns.sparkplug.sequences import SEQ_MODULUS, seq_distance
from uns.sparkplug.topics import MessageType
from uns.sparkplug.transitions import HostNodeInput, HostNodeState

__all__ = ["STRANGERS_FULL", "LifeRules"]


STRANGERS_FULL = "strangers_births_max"  # in `violations`
_DEATHS_REMEMBERED_MAX = 2  # of one node
_SESSIONS_REMEMBERED_MAX = 4
_DEATH_BYTES_KEPT_MAX = 1024  # of a DDEATH that waits for the DBIRTH that it overtook; it holds a time and a seq


def _is_same_session(node: NodeState, birth: BirthPayload) -> bool:
    key = session_key(birth.session_id, birth.bd_seq)
    return node.birth is not None and (node.session_id, node.bd_seq) == (key, birth.bd_seq)


def _devices_to_await(node: NodeState, birth: BirthPayload) -> set[str]:
    """Those that were online in this session, and are to be born again after this birth."""
    if not _is_same_session(node, birth):
        return set()
    return node.devices_awaited | {device_id for device_id, device in node.devices.items() if device.online}


def _bears_bd_seq(node: NodeState, birth: BirthPayload) -> bool:
    has_aliases = any(metric.alias is not None for metric in birth.metrics)
    return node.ours and has_aliases and _may_bear(birth.bd_seq, birth)


def _may_bear(bd_seq: int | None, birth: BirthPayload) -> bool:
    """Whether all aliases are above the first 256 and end in ``bd_seq``, as those of our edge sessions do."""
    aliases = [metric.alias for metric in birth.metrics if metric.alias is not None]
    return all(alias >= SEQ_MODULUS and alias % SEQ_MODULUS == bd_seq for alias in aliases)


def _remember_death(node: NodeState, bd_seq: int, arrived: Arrived) -> None:
    node.deaths.pop(bd_seq, None)
    is_short = len(arrived.payload) <= _DEATH_BYTES_KEPT_MAX
    node.deaths[bd_seq] = (arrived.now_ns, arrived.raw if is_short else None)
    if len(node.deaths) > _DEATHS_REMEMBERED_MAX:
        del node.deaths[next(iter(node.deaths))]


class LifeRules:
    """NBIRTH, DBIRTH, NDEATH, DDEATH, and the end of the births."""

    def __init__(self, view: HostView, leniency: Leniency) -> None:
        self._view = view
        self._leniency = leniency

    def receive_node_birth(self, node: NodeState, arrived: Arrived) -> None:
        """A node is born, or born again, with whatever its births defined before gone."""
        edge_node, now_ns = node.edge_node, arrived.now_ns
        birth = self._read_node_birth(node, arrived)
        if birth is None:
            return
        if self._is_late(node, birth, now_ns):
            self._view.tally.counters["late_births_ignored"] += 1
            return
        key = session_key(birth.session_id, birth.bd_seq)
        same = _is_same_session(node, birth)
        if not same:
            # The old session ended unheard: an implicit death. Its NDEATH may still come, and is then ignored.
            self._view.node_died(node, "superseded", now_ns, arrived.raw)
        # A session of ours is told by its uuid. A foreign one has only its bdSeq, which some never change.
        first = not same if birth.session_id else not (same and node.online)
        if first:
            node.warned.clear()
            node.repeats_seq = False
        node.devices_awaited = _devices_to_await(node, birth)
        repeats_bd_seq = first and node.state is HostNodeState.OFFLINE and node.bd_seq == birth.bd_seq is not None
        if node.ours and node.session_id != key:
            # Unless this is the old one itself, taken for new by a host that began anew.
            newer = node.birth is not None and (node.birth.timestamp_ms or 0) < (birth.timestamp_ms or 0)
            node.former_sessions = (*node.former_sessions, node.session_id)[-_SESSIONS_REMEMBERED_MAX:] if newer else ()
        node.session_id, node.bd_seq, node.ours = key, birth.bd_seq, bool(birth.session_id)
        awaited = {device_id: DeviceState(False, now_ns, AWAITED) for device_id in node.devices_awaited}
        node.hold_birth(birth, len(arrived.payload), awaited)
        self._view.enter(node, HostNodeInput.BORN, now_ns, "born")
        # 3.0 says 0, in another chapter 0 to 255; a proto3 peer cannot write a 0.
        node.tracker.start(birth.seq or 0)
        self._view.gaps.pop(edge_node, None)
        self._view.births_end.pop(edge_node, None)
        self._view.doubts.pop(edge_node, None)
        node.born_ns, node.bears_bd_seq = now_ns, _bears_bd_seq(node, birth)
        node.misses_births = self._misses_births(node, birth, now_ns)
        if not self._all_is_back(node):
            self._view.births_end[edge_node] = now_ns + self._view.delays.reorder_timeout_ns
        self._view.rebirths.cancel(edge_node)
        self._view.rebirths.receive_session(edge_node, key, ours=node.ours)
        self._view.events.append(
            NodeBorn(
                edge_node=edge_node,
                session_id=key,
                bd_seq=told_bd_seq(birth.bd_seq),
                birth=birth,
                payload=arrived.payload,
                first=first,
                ours=node.ours,
                raw=arrived.raw,
            )
        )
        self._warn_of_birth(node, birth, AliasTable.of_birth(birth), of_node=True)
        if repeats_bd_seq:
            text = f"bdSeq {birth.bd_seq} again after a death"
            self._view.warn(edge_node, "tck-id-topics-nbirth-bdseq-increment", text)
        died = None if birth.bd_seq is None else node.deaths.pop(birth.bd_seq, None)
        if died is not None and self._view.is_recent(died[0], now_ns):
            node.doubted_death = died[1]
            # An NDEATH has no seq. Was it of this birth, nobody answers; else the bdSeq comes again, as some let it.
            self._view.doubts[edge_node] = now_ns
            self._view.ask(edge_node, "after_death", now_ns)

    def _is_late(self, node: NodeState, birth: BirthPayload, now_ns: int) -> bool:
        """Whether an NBIRTH was sent before the one that is held, or is a copy of it."""
        held = node.birth
        if held is None or not held.timestamp_ms or not birth.timestamp_ms:  # 0 is what a node without a clock says
            return False
        is_former = birth.session_id in node.former_sessions
        if not is_former and (node.born_ns is None or not self._view.is_recent(node.born_ns, now_ns)):
            return False
        if (held.bd_seq is None) != (birth.bd_seq is None):
            return False
        sessions = seq_distance(birth.bd_seq or 0, held.bd_seq or 0)
        if sessions > LATE_WINDOW:
            return False  # a newer session, whatever its clock says
        if birth.timestamp_ms == held.timestamp_ms:
            return sessions > 0 or birth == held
        return birth.timestamp_ms < held.timestamp_ms

    def _misses_births(self, node: NodeState, birth: BirthPayload, now_ns: int) -> bool:
        """Whether a DBIRTH came already that was sent behind this NBIRTH: what it said went with the births before."""
        if node.newest_dbirth is None or birth.timestamp_ms is None:
            return False
        sent_ms, came_ns = node.newest_dbirth
        return sent_ms >= birth.timestamp_ms and self._view.is_recent(came_ns, now_ns)

    def nobody_answered(self, node: NodeState, now_ns: int) -> None:
        """The node said nothing since its birth that a dead one could not have sent: its NDEATH overtook its NBIRTH."""
        self._view.doubts.pop(node.edge_node, None)
        if node.online:
            self._view.node_died(node, "ndeath", now_ns, node.doubted_death)
        node.doubted_death = None

    def _all_is_back(self, node: NodeState) -> bool:
        """Whether no more DBIRTHs are expected after an NBIRTH; what was reserved for them is then free."""
        if not self._view.book.resized(node) or node.devices_awaited or node.misses_births:
            return False
        node.reserved = BirthSize()
        return True

    def _read_node_birth(self, node: NodeState, arrived: Arrived) -> BirthPayload | None:
        """The birth, and room for it; None if it is refused."""
        kind = "nbirth"
        try:
            birth = codec.decode_birth(arrived.payload, self._leniency)
            size = BirthSize(len(birth.metrics), len(arrived.payload))
            self._check_quota(size.metrics, size.payload_bytes)
            kind = STRANGERS_FULL
            self._view.make_room(node, size + BirthSize(len(_devices_to_await(node, birth))), arrived.now_ns)
        except RemoteProtocolError as error:
            self._view.violation(kind, str(arrived.topic), error, arrived=arrived)
            self._node_birth_refused(node, arrived)
            return None
        return birth

    def _node_birth_refused(self, node: NodeState, arrived: Arrived) -> None:
        """What it says from now on belongs to a birth that is not known: read with the old one it could be wrong."""
        if node.online:
            self._view.node_died(node, "birth_refused", arrived.now_ns, arrived.raw)
            self._view.enter(node, HostNodeInput.HOST_LOST, arrived.now_ns, "birth_refused")
        self._view.ask(node.edge_node, "birth_refused", arrived.now_ns)

    def receive_device_birth(self, node: NodeState, device_id: str, arrived: Arrived) -> None:
        """A device of a node that is online is born."""
        if not node.online:  # message-flow-device-birth-publish-nbirth-wait; or its NBIRTH came before our CONNECT
            self._before_birth(node, arrived)
            return
        try:
            birth = codec.decode_birth(arrived.payload, self._leniency)
        except RemoteProtocolError as error:
            self._view.violation("dbirth", str(arrived.topic), error, arrived=arrived)
            self._device_birth_refused(node, device_id, arrived)
            return
        if self._view.is_of_before(node, birth.timestamp_ms, birth.seq, arrived.now_ns):
            self._view.tally.counters["late_births_ignored"] += 1
            return
        if node.bears_bd_seq and not _may_bear(node.bd_seq, birth):
            self._before_birth(node, arrived)
            return
        self._note_dbirth(node, birth.timestamp_ms, arrived.now_ns)
        arrival = self._view.track(node, birth.seq, arrived)
        known = node.devices.get(device_id)
        # Not by its number alone: foreign devices may count by themselves or not at all, and be right about their life.
        comes_again = arrival is Arrival.REPEATED and (node.ours or node.tracker.is_copy)
        if comes_again and known is not None and known.birth is not None:
            return
        newer = self._overtaken_by(node, device_id, arrival, birth.timestamp_ms, arrived)
        if newer is not None and (not newer.is_death or (known is not None and known.online)):
            return  # its birth after this one is in force, or was refused
        device = DeviceState(True, arrived.now_ns, "born", birth, AliasTable.of_birth(birth), len(arrived.payload))
        if self._has_room(node, device_id, device, arrived):
            self._device_born(node, device_id, device, birth, arrived)
            if newer is not None:
                self._view.device_died(
                    node, device_id, "ddeath", arrived.now_ns, timestamp_ms=newer.timestamp_ms, raw=newer.raw
                )

    def _before_birth(self, node: NodeState, arrived: Arrived) -> None:
        """A DBIRTH came whose NBIRTH did not: it is lost, or it was overtaken."""
        self._view.tally.counters["before_birth"] += 1
        try:
            timestamp_ms, _ = codec.decode_seq(arrived.payload, self._leniency)
        except RemoteProtocolError as error:
            self._view.violation("dbirth", str(arrived.topic), error, arrived=arrived)
        else:
            self._note_dbirth(node, timestamp_ms, arrived.now_ns)
        self._view.ask(node.edge_node, "missed_birth", arrived.now_ns)

    def _note_dbirth(self, node: NodeState, sent_ms: int | None, now_ns: int) -> None:
        """Of those that came just now the newest says whether an NBIRTH was overtaken."""
        known = node.newest_dbirth
        if sent_ms is None or (known is not None and known[0] > sent_ms and self._view.is_recent(known[1], now_ns)):
            return
        node.newest_dbirth = (sent_ms, now_ns)

    def _has_room(self, node: NodeState, device_id: str, device: DeviceState, arrived: Arrived) -> bool:
        kind = "dbirth"
        try:
            self._check_device(node, device_id, device.size())
            kind = STRANGERS_FULL
            self._view.make_room(node, node.held_without(device_id) + device.size(), arrived.now_ns)
        except RemoteProtocolError as error:
            self._view.violation(kind, str(arrived.topic), error, arrived=arrived)
            self._device_birth_refused(node, device_id, arrived)
            return False
        return True

    def _device_born(
        self, node: NodeState, device_id: str, device: DeviceState, birth: BirthPayload, arrived: Arrived
    ) -> None:
        node.devices_awaited.discard(device_id)
        node.hold_device(device_id, device)
        if self._all_is_back(node):
            self._view.births_end.pop(node.edge_node, None)
        self._view.events.append(
            DeviceBorn(
                edge_node=node.edge_node,
                device_id=device_id,
                session_id=node.session_id,
                bd_seq=told_bd_seq(node.bd_seq),
                birth=birth,
                payload=arrived.payload,
                ours=node.ours,
                raw=arrived.raw,
            )
        )
        self._warn_of_birth(node, birth, AliasTable.of_birth(birth), of_node=False)

    def _overtaken_by(
        self, node: NodeState, device_id: str, arrival: Arrival, timestamp_ms: int | None, arrived: Arrived
    ) -> DeviceTurn | None:
        """What came of the device already and was sent after this DBIRTH or DDEATH; None: this one is the newest.

        By seq, within the reorder window. A later timestamp says that the numbers of a foreign node are wrong.
        """
        position = node.tracker.position
        if position is None or node.repeats_seq or arrival not in {Arrival.AHEAD, Arrival.LATE}:
            return None
        newer = node.turns.get(device_id)
        if newer is not None and newer.position > position and (timestamp_ms or 0) <= (newer.timestamp_ms or 0):
            self._view.tally.counters["overtaken"] += 1
            return newer
        is_death = arrived.topic.message_type is MessageType.DDEATH and len(arrived.payload) <= _DEATH_BYTES_KEPT_MAX
        node.turns[device_id] = DeviceTurn(position, timestamp_ms, is_death, arrived.raw if is_death else None)
        return None

    def _device_birth_refused(self, node: NodeState, device_id: str, arrived: Arrived) -> None:
        device = node.devices.get(device_id)
        if device is not None:
            if device.online or device_id in node.devices_awaited:
                self._view.device_died(node, device_id, "birth_refused", arrived.now_ns, raw=arrived.raw)
            node.refuse_device(device_id)
            self._view.book.resized(node)
        self._view.ask(node.edge_node, "birth_refused", arrived.now_ns)

    def receive_node_death(self, node: NodeState, arrived: Arrived) -> None:
        """A node died, if the death belongs to the birth that is known."""
        try:
            bd_seq = codec.decode_death(arrived.payload)
            with_seq = codec.decode_seq(arrived.payload, codec.DEATH_LENIENCY)[1] is not None
        except RemoteProtocolError as error:
            self._view.violation("ndeath", str(arrived.topic), error, arrived=arrived)
            return
        if with_seq:
            self._view.warn(node.edge_node, "tck-id-topics-ndeath-seq", "NDEATH with seq")
        if bd_seq is None:
            self._view.warn(node.edge_node, "tck-id-topics-ndeath-payload", "NDEATH without bdSeq: obeyed")
        elif node.bd_seq != bd_seq and (node.birth is None or node.bd_seq is not None):  # else: a birth without one
            self._view.tally.counters["late_deaths_ignored"] += 1
            _remember_death(node, bd_seq, arrived)
            return  # a late will of an older connection; or it overtook its NBIRTH
        if node.state is HostNodeState.OFFLINE:
            self._view.tally.counters["deaths_of_the_dead"] += 1  # published, and then the will
        if node.ours and bd_seq is not None:
            _remember_death(node, bd_seq, arrived)  # it may have overtaken a rebirth; foreign bdSeq come again
        self._view.node_died(node, "ndeath", arrived.now_ns, arrived.raw)

    def receive_device_death(self, node: NodeState, device_id: str, arrived: Arrived) -> None:
        """A device died."""
        if not node.online:
            self._view.tally.counters["before_birth"] += 1
            self._view.ask(node.edge_node, "missed_birth", arrived.now_ns)
            return
        try:
            timestamp_ms, seq = codec.decode_seq(arrived.payload, self._leniency)
        except RemoteProtocolError as error:
            self._view.violation("ddeath", str(arrived.topic), error, arrived=arrived)
            return
        if self._view.is_of_before(node, timestamp_ms, seq, arrived.now_ns):
            self._view.tally.counters["late_deaths_ignored"] += 1
            return
        arrival = self._view.track(node, seq, arrived)
        if arrival is Arrival.REPEATED and (node.ours or node.tracker.is_copy):
            return  # it may be born again by now
        if self._overtaken_by(node, device_id, arrival, timestamp_ms, arrived) is not None:
            return
        device = node.devices.get(device_id)
        if device is not None and (device.online or device_id in node.devices_awaited):
            self._view.device_died(
                node, device_id, "ddeath", arrived.now_ns, timestamp_ms=timestamp_ms, raw=arrived.raw
            )
        else:
            self._view.tally.counters["deaths_of_the_dead"] += 1

    def data_followed(self, node: NodeState, now_ns: int) -> None:
        """DATA follows the births (payloads-dbirth-order): a device not born again by now is gone."""
        if not node.tracker.has_gap:
            for device_id in sorted(node.devices_awaited):
                self._view.device_died(node, device_id, "rebirth_without_it", now_ns)

    def births_are_over(self, node: NodeState | None, now_ns: int) -> None:
        """DBIRTHs follow their NBIRTH at once. One that did not is lost, or its device is gone: no seq tells a silence.

        Dead until it is heard, so that the one question asked here is not asked again of a device that is gone.
        """
        if node is None:
            return
        node.reserved = BirthSize()
        self._view.book.resized(node)
        if not node.devices_awaited and not node.misses_births:
            return
        gap_ends_ns = self._view.gaps.get(node.edge_node)
        if gap_ends_ns is not None:  # what is missing may be a DBIRTH; once nothing is, no DATA need follow to tell
            self._view.births_end[node.edge_node] = gap_ends_ns
            return
        for device_id in sorted(node.devices_awaited):
            self._view.device_died(node, device_id, "rebirth_without_it", now_ns)
        node.misses_births = False
        self._view.ask(node.edge_node, "missed_birth", now_ns)

    def _check_quota(self, metrics: int, payload_bytes: int) -> None:
        bounds = self._view.bounds
        if metrics > bounds.metrics_per_node_max:
            raise RemoteProtocolError(f"{metrics} metrics", expected=f"at most {bounds.metrics_per_node_max} a node")
        if payload_bytes > bounds.birth_bytes_per_node_max:
            raise RemoteProtocolError(
                f"births of {payload_bytes} bytes", expected=f"at most {bounds.birth_bytes_per_node_max} a node"
            )

    def _check_device(self, node: NodeState, device_id: str, size: BirthSize) -> None:
        if device_id not in node.devices and len(node.devices) >= self._view.bounds.devices_per_node_max:
            raise RemoteProtocolError(
                "too many devices", expected=f"at most {self._view.bounds.devices_per_node_max} per edge node"
            )
        held = node.held_without(device_id) + size
        devices = len(node.devices) + (device_id not in node.devices)
        self._check_quota(held.metrics - devices, held.payload_bytes)

    def _warn_of_birth(self, node: NodeState, birth: BirthPayload, table: AliasTable, *, of_node: bool) -> None:
        self._view.tally.note_birth(birth, table)
        for tck_id, text in faults_of_birth(birth, table, of_node=of_node):
            self._view.warn(node.edge_node, tck_id, text)
