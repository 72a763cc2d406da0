"""Reading the raw log again: after a restart, a failed commit, or when joining fell behind. No I/O.

DATA is decoded with the births of its own session, as they stood at its place in the log.
"""

from __future__ import annotations

import contextlib
from bisect import bisect_right
from collections.abc import Iterable, Sequence

from uns.adapters.sqlite.raw_log import RawBirth, RawMessage
from uns.enrichment.samples import Provenance
from uns.errors import LocalProtocolError, RemoteProtocolError
from uns.namespace.model import TopicTree
from uns.runtime.host.groups import DeathItem, Item, WorkItem
from uns.runtime.host.intake import DeviceReader, malformed_work
from uns.runtime.host.receiver import Readers, address_rows
from uns.sparkplug import codec
from uns.sparkplug.aliases import AliasTable
from uns.sparkplug.codec import DEFAULT_LENIENCY, Leniency
from uns.sparkplug.metrics import BirthPayload
from uns.sparkplug.topics import DeviceTopic, EdgeNodeDescriptor, MessageType, StateTopic, parse_topic

__all__ = ["Leniencies", "RawReader", "died_ns"]

Leniencies = Sequence[tuple[int, Leniency]]  # from which position on messages were read with which, in order

_BIRTHS = frozenset({MessageType.NBIRTH, MessageType.DBIRTH})
_DEATHS = frozenset({MessageType.NDEATH, MessageType.DDEATH})
_FOREIGN_PREFIX = "foreign:"


class RawReader:
    """Gives for each raw message what the receiver gave for it. ``births``: those that hold where reading begins.

    ``leniencies``: each message is read as it was when it came, whatever the installation says now; it was counted so.
    """

    def __init__(self, tree: TopicTree, births: Iterable[RawBirth], leniencies: Leniencies = ()) -> None:
        self._leniencies = leniencies
        self._readers = Readers(tree)
        self._tables: dict[tuple[EdgeNodeDescriptor, str | None], AliasTable] = {}
        self._bd_seqs: dict[EdgeNodeDescriptor, int] = {}
        self._sessions: dict[EdgeNodeDescriptor, str] = {}
        for birth in births:
            if birth.payload is not None:
                read = codec.decode_birth(birth.payload, leniency_at(leniencies, birth.position))
                self._born(birth.edge_node, birth.device_id, read, birth.session)
                if birth.device_id is None and birth.bd_seq is not None:
                    self._bd_seqs[birth.edge_node] = birth.bd_seq

    def read(self, message: RawMessage) -> Item:
        """The item of a logged message."""
        topic = parse_topic(message.topic)
        if isinstance(topic, StateTopic):
            raise LocalProtocolError("a STATE is never logged", where=message.topic)
        device_id = topic.device_id if isinstance(topic, DeviceTopic) else None
        if topic.message_type in _DEATHS:
            since_ns = died_ns(message, device_id, self._leniencies)
            return DeathItem(message.position, topic.edge_node, device_id, since_ns)
        if topic.message_type in _BIRTHS:
            return self._birth(message, topic.edge_node, device_id)
        return self._data(message, topic.edge_node, device_id)

    def set_aside(self, message: RawMessage, reason: str) -> Item:
        """The item of a message that :meth:`read` failed on: its samples are rejected."""
        topic = parse_topic(message.topic)
        if isinstance(topic, StateTopic):
            raise LocalProtocolError("a STATE is never logged", where=message.topic)
        device_id = topic.device_id if isinstance(topic, DeviceTopic) else None
        return self._malformed(message, topic.edge_node, device_id, reason)

    def _birth(self, message: RawMessage, edge_node: EdgeNodeDescriptor, device_id: str | None) -> Item:
        birth = codec.decode_birth(message.payload, leniency_at(self._leniencies, message.position))
        if device_id is None:
            self._bd_seqs[edge_node] = -1 if birth.bd_seq is None else birth.bd_seq
        reader = self._born(edge_node, device_id, birth, message.session)
        provenance = self._provenance(message, edge_node, device_id, seq=birth.seq, historical=False)
        work = reader.read_birth(birth, provenance)
        return WorkItem(message.position, work, address_rows(reader, birth, message.received_at_ns))

    def _data(self, message: RawMessage, edge_node: EdgeNodeDescriptor, device_id: str | None) -> Item:
        reader = self._readers.of(edge_node, device_id)
        table = self._tables.get((edge_node, device_id))
        if reader is None or table is None:
            return self._malformed(message, edge_node, device_id, "its birth is not in the raw log")
        try:
            data = codec.decode_data(message.payload, table, leniency_at(self._leniencies, message.position))
        except RemoteProtocolError as error:
            return self._malformed(message, edge_node, device_id, str(error))
        historical = data.is_historical is not None and any(data.is_historical)
        provenance = self._provenance(message, edge_node, device_id, seq=data.seq, historical=historical)
        return WorkItem(message.position, reader.read_data(data, provenance))

    def _malformed(
        self, message: RawMessage, edge_node: EdgeNodeDescriptor, device_id: str | None, reason: str
    ) -> Item:
        provenance = self._provenance(message, edge_node, device_id, seq=None, historical=False)
        return WorkItem(message.position, malformed_work(message.payload, reason, provenance, samples=message.samples))

    def _born(
        self, edge_node: EdgeNodeDescriptor, device_id: str | None, birth: BirthPayload, session: str
    ) -> DeviceReader:
        """A birth; the devices of a session outlive its rebirths here.

        A host that began anew in the middle of a rebirth resumed the session with their births of before.
        """
        if self._sessions.get(edge_node) != session:
            self._sessions[edge_node] = session
            self._readers.forget(edge_node)
        self._tables[edge_node, device_id] = AliasTable.of_birth(birth)
        return self._readers.born(edge_node, device_id, birth, ours=not session.startswith(_FOREIGN_PREFIX))

    def _provenance(
        self,
        message: RawMessage,
        edge_node: EdgeNodeDescriptor,
        device_id: str | None,
        *,
        seq: int | None,
        historical: bool,
    ) -> Provenance:
        return Provenance(
            group_id=edge_node.group_id,
            edge_node_id=edge_node.edge_node_id,
            device_id=device_id,
            session="" if message.session.startswith(_FOREIGN_PREFIX) else message.session,
            bd_seq=self._bd_seqs.get(edge_node, -1),
            seq=-1 if seq is None else seq,
            historical=historical,
            received_at_ns=message.received_at_ns,
            raw_position=message.position,
        )


def leniency_at(leniencies: Leniencies, position: int) -> Leniency:
    """With what the message at that position was read."""
    at = bisect_right(leniencies, position, key=lambda one: one[0])
    return leniencies[at - 1][1] if at else DEFAULT_LENIENCY


def died_ns(message: RawMessage, device_id: str | None, leniencies: Leniencies) -> int:
    """Since when its sender is dead: a device since the time that its DDEATH says, a node since the receipt."""
    timestamp_ms = None
    if device_id is not None:
        with contextlib.suppress(RemoteProtocolError):
            timestamp_ms, _ = codec.decode_seq(message.payload, leniency_at(leniencies, message.position))
    return timestamp_ms * 1_000_000 if timestamp_ms else message.received_at_ns
