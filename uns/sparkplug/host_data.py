"""What a host does with DATA: at once and in the order of arrival, whatever is missing before it."""

from __future__ import annotations

from uns.errors import RemoteProtocolError
from uns.sparkplug import codec
from uns.sparkplug.aliases import AliasTable
from uns.sparkplug.codec import Leniency
from uns.sparkplug.host_lives import LifeRules
from uns.sparkplug.host_nodes import NodeState
from uns.sparkplug.host_view import Arrived, HostView, told_bd_seq
from uns.sparkplug.messages import DataReceived
from uns.sparkplug.metrics import DataPayload
from uns.sparkplug.reorder import Arrival
from uns.sparkplug.transitions import HostNodeState

__all__ = ["DataRules"]


class DataRules:
    """NDATA and DDATA."""

    def __init__(self, view: HostView, lives: LifeRules, leniency: Leniency) -> None:
        self._view = view
        self._lives = lives
        self._leniency = leniency

    def receive_data(self, node: NodeState, device_id: str | None, table: AliasTable | None, arrived: Arrived) -> None:
        """DATA to be read with ``table``; None: no birth of the node or device is there to read it with."""
        if not node.online:
            self._view.unreadable(node, device_id, "unknown_session", arrived)
            died = node.state is HostNodeState.OFFLINE
            self._view.ask(node.edge_node, "after_death" if died else "unknown_session", arrived.now_ns)
            return
        try:
            if table is None:
                self._receive_data_without_birth(node, device_id, arrived)
                return
            data = codec.decode_data(arrived.payload, table, self._leniency)
        except RemoteProtocolError as error:
            self._view.unreadable(node, device_id, "malformed", arrived, text=str(error))
            self._view.ask(node.edge_node, "malformed", arrived.now_ns)
            return
        of_before = self._view.is_of_before(node, data.timestamp_ms, data.seq, arrived.now_ns)
        of_older = of_before or self._is_of_older_birth(node, device_id, data, arrived.now_ns)
        arrival = Arrival.LATE if of_before else self._view.track(node, data.seq, arrived)
        if of_older and not node.ours:  # its aliases may have meant something else; ours keep theirs
            self._view.unreadable(node, device_id, "no_birth", arrived)
            return
        if node.devices_awaited and not of_before:
            self._lives.data_followed(node, arrived.now_ns)
        if data.leniencies or data.properties or data.rejected:
            self._view.tally.note_data(data)
        if data.rejected:
            reasons = {metric.reason for metric in data.rejected}
            if not of_before and not reasons.isdisjoint(("unknown_metric", "wrong_type")):
                self._view.ask(node.edge_node, "unknown_metric", arrived.now_ns)
            if node.ours and "unknown_metric" in reasons:
                # A birth was missed; the edge node holds these rows and sends them again.
                self._view.unreadable(node, device_id, "unknown_metric", arrived)
                return
        self._view.events.append(
            DataReceived(
                edge_node=node.edge_node,
                device_id=device_id,
                session_id=node.session_id,
                bd_seq=told_bd_seq(node.bd_seq),
                data=data,
                in_order=arrival is Arrival.IN_ORDER,
                ours=node.ours,
                payload=arrived.payload,
                late=arrival in {Arrival.LATE, Arrival.REPEATED},
                raw=arrived.raw,
            )
        )

    def _is_of_older_birth(self, node: NodeState, device_id: str | None, data: DataPayload, now_ns: int) -> bool:
        """Whether a device sent this before the DBIRTH that it would be read with; look before its seq is tracked."""
        device = None if device_id is None else node.devices.get(device_id)
        if (
            device is None
            or device.birth is None
            or data.timestamp_ms is None
            or self._view.may_be_next(node, data.seq)
        ):
            return False
        born_ms = device.birth.timestamp_ms
        return born_ms is not None and data.timestamp_ms < born_ms and self._view.is_recent(device.since_ns, now_ns)

    def _receive_data_without_birth(self, node: NodeState, device_id: str | None, arrived: Arrived) -> None:
        timestamp_ms, seq = codec.decode_seq(arrived.payload, self._leniency)
        of_before = self._view.is_of_before(node, timestamp_ms, seq, arrived.now_ns)
        if not of_before:
            self._view.track(node, seq, arrived)
        self._view.unreadable(node, device_id, "no_birth", arrived)
        if of_before:
            return
        if not node.tracker.has_gap:  # else the DBIRTH may still come, or the reorder timeout asks
            self._view.ask(node.edge_node, "missed_birth", arrived.now_ns)
