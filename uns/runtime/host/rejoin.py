"""Reading the raw log again: after a restart, a failed commit, or when joining fell behind. No I/O.

DATA is decoded with the births of its own session, as they stood at its place in the log.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable

from uns.adapters.sqlite.raw_log import RawBirth, RawMessage
from uns.enrichment.samples import Provenance
from uns.errors import LocalProtocolError, RemoteProtocolError
from uns.namespace.model import TopicTree
from uns.runtime.host.groups import DeathItem, Item, WorkItem
from uns.runtime.host.intake import DeviceReader, malformed_work
from uns.runtime.host.receiver import Readers, address_rows
from uns.sparkplug import codec
from uns.sparkplug.aliases import AliasTable
from uns.sparkplug.codec import COMPRESSED, DEFAULT_LENIENCY, PAYLOAD_BYTES_MAX, Leniency
from uns.sparkplug.metrics import BirthPayload, DataPayload
from uns.sparkplug.topics import DeviceTopic, EdgeNodeDescriptor, MessageType, StateTopic, parse_topic

__all__ = ["RawReader"]

_BIRTHS = frozenset({MessageType.NBIRTH, MessageType.DBIRTH})
_DEATHS = frozenset({MessageType.NDEATH, MessageType.DDEATH})
_MILDEST = Leniency(scale_nanoseconds=True, inflate_bytes_max=PAYLOAD_BYTES_MAX)
_FOREIGN_PREFIX = "foreign:"


class RawReader:
    """Gives for each raw message what the receiver gave for it. ``births``: those that hold where reading begins.

    ``leniency`` is the installation's, as for receiving. It may have been stricter or milder when a message came: a
    logged birth was read then, so it is read in any case; DATA is what it was counted as.
    """

    def __init__(self, tree: TopicTree, births: Iterable[RawBirth], leniency: Leniency = DEFAULT_LENIENCY) -> None:
        self._leniency = leniency
        self._readers = Readers(tree)
        self._tables: dict[tuple[EdgeNodeDescriptor, str | None], AliasTable] = {}
        self._bd_seqs: dict[EdgeNodeDescriptor, int] = {}
        for birth in births:
            if birth.payload is not None:
                self._born(birth.edge_node, birth.device_id, self._read_birth(birth.payload), birth.session)
                if birth.device_id is None and birth.bd_seq is not None:
                    self._bd_seqs[birth.edge_node] = birth.bd_seq

    def read(self, message: RawMessage) -> Item:
        """The item of a logged message."""
        topic = parse_topic(message.topic)
        if isinstance(topic, StateTopic):
            raise LocalProtocolError("a STATE is never logged", where=message.topic)
        device_id = topic.device_id if isinstance(topic, DeviceTopic) else None
        if topic.message_type in _DEATHS:
            return DeathItem(message.position, topic.edge_node, device_id, self._died_ns(message, device_id))
        if topic.message_type in _BIRTHS:
            return self._birth(message, topic.edge_node, device_id)
        return self._data(message, topic.edge_node, device_id)

    def _died_ns(self, message: RawMessage, device_id: str | None) -> int:
        timestamp_ms = None
        if device_id is not None:
            with contextlib.suppress(RemoteProtocolError):
                timestamp_ms, _ = codec.decode_seq(message.payload, self._leniency)
        return message.received_at_ns if timestamp_ms is None else timestamp_ms * 1_000_000

    def set_aside(self, message: RawMessage, reason: str) -> Item:
        """The item of a message that :meth:`read` failed on: its samples are rejected."""
        topic = parse_topic(message.topic)
        if isinstance(topic, StateTopic):
            raise LocalProtocolError("a STATE is never logged", where=message.topic)
        device_id = topic.device_id if isinstance(topic, DeviceTopic) else None
        return self._malformed(message, topic.edge_node, device_id, reason)

    def _birth(self, message: RawMessage, edge_node: EdgeNodeDescriptor, device_id: str | None) -> Item:
        birth = self._read_birth(message.payload)
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
            data = self._read_data(message.payload, table)
        except RemoteProtocolError as error:
            return self._malformed(message, edge_node, device_id, str(error))
        historical = data.is_historical is not None and any(data.is_historical)
        provenance = self._provenance(message, edge_node, device_id, seq=data.seq, historical=historical)
        work = reader.read_data(data, provenance)
        if COMPRESSED in data.leniencies and work.samples != message.samples:
            return self._malformed(message, edge_node, device_id, "compressed, which was refused when it came")
        return WorkItem(message.position, work)

    def _read_birth(self, payload: bytes) -> BirthPayload:
        try:
            return codec.decode_birth(payload, self._leniency)
        except RemoteProtocolError:
            return codec.decode_birth(payload, _MILDEST)

    def _read_data(self, payload: bytes, table: AliasTable) -> DataPayload:
        try:
            return codec.decode_data(payload, table, self._leniency)
        except RemoteProtocolError:
            return codec.decode_data(payload, table, _MILDEST)

    def _malformed(
        self, message: RawMessage, edge_node: EdgeNodeDescriptor, device_id: str | None, reason: str
    ) -> Item:
        provenance = self._provenance(message, edge_node, device_id, seq=None, historical=False)
        return WorkItem(message.position, malformed_work(message.payload, reason, provenance, samples=message.samples))

    def _born(
        self, edge_node: EdgeNodeDescriptor, device_id: str | None, birth: BirthPayload, session: str
    ) -> DeviceReader:
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
