"""From received messages to groups: Sparkplug events become log rows, counts, answers and work. No I/O.

Messages are taken strictly in order of arrival, marks among them: a mark answers for the DATA before it and opens the
way for the DATA behind it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

from uns.adapters.mqtt import IncomingMessage
from uns.adapters.sqlite.raw_log import RawBirth, RawMessage
from uns.delivery.host import HostDelivery
from uns.delivery.messages import MARK_ROOT, decode_mark, digest_of, parse_mark_topic
from uns.enrichment.samples import Provenance
from uns.errors import RemoteProtocolError
from uns.namespace.mapping import SOURCE_ADDRESS
from uns.namespace.model import TopicTree
from uns.runtime.host.groups import AliveItem, DeathItem, Group, WorkItem
from uns.runtime.host.intake import DeviceReader, Work, malformed_work
from uns.sparkplug.host import HostSession
from uns.sparkplug.messages import (
    DataReceived,
    DataUnreadable,
    DeviceBorn,
    DeviceDied,
    HostEvent,
    NodeBorn,
    NodeDied,
    NodeForgotten,
    NodeResumed,
    Violation,
)
from uns.sparkplug.metrics import BirthPayload
from uns.sparkplug.topics import EdgeNodeDescriptor

__all__ = ["DeliveryGate", "Readers", "Receiver"]


class DeliveryGate:
    """The delivery rules of the host, and the epoch in which an answer is valid."""

    def __init__(self, delivery: HostDelivery) -> None:
        self.delivery = delivery
        self.epoch = 0

    def forget_all(self) -> None:
        """At each CONNECT and after a failed commit: answers that wait are void, counting starts again."""
        self.epoch += 1
        self.delivery.forget_all()


class Readers:
    """One :class:`DeviceReader` per node and device, made anew at each birth, kept until the node is forgotten."""

    def __init__(self, tree: TopicTree) -> None:
        self._tree = tree
        self._readers: dict[EdgeNodeDescriptor, dict[str | None, DeviceReader]] = {}

    def born(
        self, edge_node: EdgeNodeDescriptor, device_id: str | None, birth: BirthPayload, *, ours: bool
    ) -> DeviceReader:
        """Take a birth; its reader."""
        reader = DeviceReader(self._tree, edge_node, device_id, birth, ours=ours)
        self._readers.setdefault(edge_node, {})[device_id] = reader
        return reader

    def of(self, edge_node: EdgeNodeDescriptor, device_id: str | None) -> DeviceReader | None:
        """The reader of the newest birth, if there was one."""
        readers = self._readers.get(edge_node)
        return None if readers is None else readers.get(device_id)

    def forget(self, edge_node: EdgeNodeDescriptor) -> None:
        """Nothing more is read with the births of this node: it gave way to another, or all its births come anew."""
        self._readers.pop(edge_node, None)


class Receiver:
    """Feeds the host session and fills groups. ``on_event`` sees every event of the session, in order."""

    def __init__(
        self,
        tree: TopicTree,
        session: HostSession,
        gate: DeliveryGate,
        *,
        next_position: int,
        on_event: Callable[[HostEvent, DeviceReader | None], None],
    ) -> None:
        self.session = session
        self._gate = gate
        self._readers = Readers(tree)
        self._next_position = next_position
        self._on_event = on_event
        self.counters: Counter[str] = Counter(messages=0, unread=0, marks=0, violations=0)

    def receive(self, messages: Sequence[IncomingMessage], now_ns: int) -> Group:
        """Take what arrived together."""
        group = Group(epoch=self._gate.epoch)
        receive = self.session.receive_message
        for message in messages:
            if message.topic.startswith(MARK_ROOT):
                self._drain(group, now_ns)
                self._receive_mark(message, group, now_ns)
            else:
                receive(message.topic, message.payload, retain=message.retain, now_ns=now_ns, raw=message)
        self.counters["messages"] += len(messages)
        self._drain(group, now_ns)
        return group

    def drain(self, now_ns: int) -> Group:
        """Events that came without a message: timers, a lost connection."""
        group = Group(epoch=self._gate.epoch)
        self._drain(group, now_ns)
        return group

    def _receive_mark(self, message: IncomingMessage, group: Group, now_ns: int) -> None:
        self.counters["marks"] += 1
        if message.retain:  # stored, hence of some time ago: it would name a session that may be over
            self.counters["violations"] += 1
            return
        try:
            edge_node = parse_mark_topic(message.topic)
            mark = decode_mark(message.payload, where=message.topic)
        except RemoteProtocolError as error:
            self.counters["violations"] += 1
            self._on_event(Violation(None, message.topic, str(error), "", message.payload, message), None)
            return
        if mark.host != self._gate.delivery.host_id:
            return
        held = self.session.name_session(edge_node, mark.session, now_ns)
        self._drain(group, now_ns)
        if edge_node not in self.session.nodes:  # kept out by a quota: nothing is counted for it either
            return
        # A digest tells what came; without it, from a gateway of before, seq has to tell what the count cannot.
        if self.session.lost_since_mark(edge_node) and mark.digest is None:
            held = False
        confirm = self._gate.delivery.receive_mark(edge_node, mark, session_held=held)
        if confirm is not None:
            group.answers.append((edge_node, confirm))

    def _drain(self, group: Group, now_ns: int) -> None:  # noqa: C901 - one branch for each event
        for event in self.session.events():
            match event:
                case DataReceived():
                    self._data(event, group, now_ns)
                    continue
                case DataUnreadable():
                    self._unreadable(event, group, now_ns)
                case NodeBorn():
                    self._readers.forget(event.edge_node)
                    self._born(event, None, group, now_ns)
                    continue
                case DeviceBorn():
                    self._born(event, event.device_id, group, now_ns)
                    continue
                case NodeResumed():
                    self._readers.forget(event.edge_node)
                    self._readers.born(event.edge_node, None, event.birth, ours=event.ours)
                    for device_id, birth in event.devices.items():
                        self._readers.born(event.edge_node, device_id, birth, ours=event.ours)
                    group.items.append(AliveItem(event.edge_node, tuple(event.devices)))
                case NodeDied(reason="ndeath"):
                    self._died(event, None, group, now_ns)
                case DeviceDied(reason="ddeath"):
                    self._died(event, event.device_id, group, now_ns)
                case NodeForgotten():
                    self._readers.forget(event.edge_node)
                    self._gate.delivery.forget(event.edge_node)
                case _:
                    self.counters["violations"] += isinstance(event, Violation)
            self._on_event(event, None)

    def _data(self, event: DataReceived, group: Group, now_ns: int) -> None:
        reader = self._readers.of(event.edge_node, event.device_id)
        message = event.raw
        if reader is None or not isinstance(message, IncomingMessage):
            return
        data = event.data
        provenance = Provenance(
            group_id=event.edge_node.group_id,
            edge_node_id=event.edge_node.edge_node_id,
            device_id=event.device_id,
            session=event.session_id if event.ours else "",
            bd_seq=event.bd_seq,
            seq=-1 if data.seq is None else data.seq,
            historical=data.is_historical is not None and any(data.is_historical),
            received_at_ns=now_ns,
            raw_position=self._next_position,
        )
        work = reader.read_data(data, provenance)
        self._log(message, event.edge_node, event.session_id, work, group)
        digest = digest_of(message.payload)
        self._gate.delivery.count(event.edge_node, event.session_id, digest=digest, late=event.late)

    def _unreadable(self, event: DataUnreadable, group: Group, now_ns: int) -> None:
        message = event.raw
        if event.reason != "malformed" or not isinstance(message, IncomingMessage):
            self.counters["unread"] += 1
            return
        provenance = Provenance(
            group_id=event.edge_node.group_id,
            edge_node_id=event.edge_node.edge_node_id,
            device_id=event.device_id,
            session=event.session_id if event.ours else "",
            bd_seq=event.bd_seq,
            seq=-1,
            historical=False,
            received_at_ns=now_ns,
            raw_position=self._next_position,
        )
        work = malformed_work(event.payload, event.text, provenance)
        self._log(message, event.edge_node, event.session_id, work, group)
        self._gate.delivery.count(event.edge_node, event.session_id, digest=digest_of(message.payload))

    def _born(self, event: NodeBorn | DeviceBorn, device_id: str | None, group: Group, now_ns: int) -> None:
        reader = self._readers.born(event.edge_node, device_id, event.birth, ours=event.ours)
        message = event.raw
        if isinstance(message, IncomingMessage):
            position = self._next_position
            provenance = birth_provenance(event, device_id, now_ns, position)
            work = reader.read_birth(event.birth, provenance)
            item = self._log(message, event.edge_node, event.session_id, work, group)
            item.addresses = address_rows(reader, event.birth, now_ns)
            group.births.append(
                RawBirth(position, now_ns, event.edge_node, device_id, event.session_id, event.bd_seq, event.payload)
            )
        if isinstance(event, NodeBorn):
            self._gate.delivery.receive_birth(event.edge_node, event.session_id)
        self._on_event(event, reader)

    def _died(self, event: NodeDied | DeviceDied, device_id: str | None, group: Group, now_ns: int) -> None:
        message = event.raw
        if not isinstance(message, IncomingMessage):
            return
        position = self._next_position
        self._next_position += 1
        group.messages.append(RawMessage(position, now_ns, message.topic, event.session_id, 0, message.payload))
        group.births.append(RawBirth(position, now_ns, event.edge_node, device_id, event.session_id, None, None))
        group.items.append(DeathItem(position, event.edge_node, device_id, event.since_ns))

    def _log(
        self,
        message: IncomingMessage,
        edge_node: EdgeNodeDescriptor,
        session_id: str,
        work: Work,
        group: Group,
    ) -> WorkItem:
        now_ns = work.provenance.received_at_ns
        position = self._next_position
        self._next_position += 1
        group.messages.append(RawMessage(position, now_ns, message.topic, session_id, work.samples, message.payload))
        item = WorkItem(position, work)
        group.items.append(item)
        group.payload_bytes += len(message.payload)
        if work.samples:
            key = (str(edge_node), "received" if work.provenance.session else "foreign_received")
            group.counts[key] = group.counts.get(key, 0) + work.samples
        return item


def birth_provenance(event: NodeBorn | DeviceBorn, device_id: str | None, now_ns: int, position: int) -> Provenance:
    """By which way the values of a birth came."""
    return Provenance(
        group_id=event.edge_node.group_id,
        edge_node_id=event.edge_node.edge_node_id,
        device_id=device_id,
        session=event.session_id if event.ours else "",
        bd_seq=event.bd_seq,
        seq=-1 if event.birth.seq is None else event.birth.seq,
        historical=False,
        received_at_ns=now_ns,
        raw_position=position,
    )


def address_rows(reader: DeviceReader, birth: BirthPayload, now_ns: int) -> list[tuple[str, str, str, str, str, int]]:
    """Where the metrics of a birth are read from, as it tells."""
    node = reader.edge_node
    return [
        (node.group_id, node.edge_node_id, reader.device_id or "", metric, address, now_ns)
        for metric, address in reader.addresses(birth, SOURCE_ADDRESS).items()
    ]
