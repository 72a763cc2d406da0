"""What the host shows of its edge nodes: ``_health``, ``_meta``, ``_unmapped``, ``_dlq``, and lines in its log."""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Literal

import msgspec

from uns.adapters.logs import Logger
from uns.context.times import rfc3339
from uns.enrichment.plan import OutboxMessage
from uns.enrichment.records import GatewayHealth, Health, Meta, MetricMeta
from uns.namespace.mapping import SOURCE_ADDRESS
from uns.namespace.model import Equipment, TopicTree
from uns.namespace.topics import Uns1Topics, dlq_topic, unmapped_topic
from uns.namespace.units import symbol_of
from uns.runtime.host.intake import DeviceReader, unmapped_report
from uns.sparkplug.codec import NANOSECONDS
from uns.sparkplug.host_nodes import NodeState
from uns.sparkplug.messages import (
    ConformanceWarning,
    DataUnreadable,
    DeviceBorn,
    DeviceDied,
    HostEvent,
    HostStateHealed,
    NodeBorn,
    NodeDied,
    NodeResumed,
    RebirthRequested,
    Violation,
)
from uns.sparkplug.metrics import BirthPayload
from uns.sparkplug.topics import EdgeNodeDescriptor

__all__ = ["Announcer", "DeadLetter", "dead_letter"]

State = Literal["online", "offline", "stale", "unknown"]

DEAD_LETTERS_PER_MINUTE_MAX = 60
DEAD_LETTER_BYTES_MAX = 256 * 1024
STEADY_NS = 3_000_000_000
_NAMES_SHOWN_MAX = 5
_NANOSECONDS_HELP = "have the sender say ms, or read ns: `uns host run --accept-nanoseconds`"
_MINUTE_NS = 60_000_000_000
_encode = msgspec.json.Encoder().encode


class DeadLetter(msgspec.Struct, frozen=True, kw_only=True, tag_field="schema", tag="uns1.dead_letter/1"):
    """What could not be processed, whole, with the reason, on ``uns1/_dlq/{component}``."""

    component: str
    topic: str
    reason: str
    received_at: str
    payload: str  # base64
    payload_bytes: int


def dead_letter(component: str, topic: str, reason: str, payload: bytes, now_ns: int) -> OutboxMessage:
    """The message that keeps a payload nobody could process."""
    letter = DeadLetter(
        component=component,
        topic=topic,
        reason=reason,
        received_at=rfc3339(now_ns),
        payload=base64.b64encode(payload[:DEAD_LETTER_BYTES_MAX]).decode(),
        payload_bytes=len(payload),
    )
    return OutboxMessage(dlq_topic(component), _encode(letter))


class Announcer:
    """Follows the events of the host session. ``show`` keeps a retained message, ``notice`` publishes once."""

    def __init__(
        self,
        tree: TopicTree,
        *,
        show: Callable[[str, bytes], None],
        notice: Callable[[OutboxMessage], bool],
        now_ns: Callable[[], int],
        log: Logger,
    ) -> None:
        self._tree = tree
        self._topics = Uns1Topics(tree)
        self._show = show
        self._notice = notice
        self._now_ns = now_ns
        self._log = log
        self._gateways: dict[tuple[str, str], GatewayHealth] = {}  # (equipment, gateway)
        self._trouble: dict[str, str] = {}  # of the host itself: "raw_log", "record_log"
        self._works_since_ns: dict[str, int] = {}
        self._letters_minute = 0
        self._letters_in_minute = 0
        self.counters: Counter[str] = Counter(
            dead_letters=0, dead_letters_suppressed=0, gaps=0, birth_metrics_refused=0
        )
        for equipment in tree.equipment.values():
            for gateway in equipment.gateways:
                self._gateways[equipment.id, gateway] = GatewayHealth(gateway=gateway, state="unknown")

    # --- from the host session -----------------------------------------------------------------------------------

    def receive(self, event: HostEvent, reader: DeviceReader | None) -> None:
        """Take one event; ``reader`` belongs to births."""
        match event:
            case NodeBorn():
                self._log.info(
                    "edge node born" if event.first else "edge node reborn",
                    edge_node=str(event.edge_node),
                    session=event.session_id,
                    bd_seq=event.bd_seq,
                    ours=event.ours,
                )
                self._born(event.edge_node, None, event.birth, reader)
            case DeviceBorn():
                self._log.info("device born", edge_node=str(event.edge_node), device=event.device_id)
                self._born(event.edge_node, event.device_id, event.birth, reader)
            case NodeResumed():
                self._log.info("edge node named its session", edge_node=str(event.edge_node), session=event.session_id)
                for device_id in event.devices:
                    self._set(event.edge_node, device_id, "online", "")
            case NodeDied():
                is_silent = event.reason in {"host_disconnected", "birth_refused"}  # it may well live on
                level = self._log.warning if is_silent else self._log.info
                level("edge node died", edge_node=str(event.edge_node), reason=event.reason)
                state: State = "stale" if is_silent else "offline"
                self._set(event.edge_node, None, state, event.reason, since_ns=event.since_ns)
            case DeviceDied():
                self._log.info(
                    "device died", edge_node=str(event.edge_node), device=event.device_id, reason=event.reason
                )
                self._set(event.edge_node, event.device_id, "offline", event.reason, since_ns=event.since_ns)
            case _:
                self._receive_trouble(event)

    def _receive_trouble(self, event: HostEvent) -> None:
        match event:
            case DataUnreadable(reason="malformed"):
                self._log.warning("malformed data", edge_node=str(event.edge_node), reason=event.text)
                self.dead_letter(_topic_of(event.raw), f"malformed: {event.text}", event.payload)
            case RebirthRequested():
                self._log.warning("rebirth requested", edge_node=str(event.edge_node), cause=event.cause)
            case ConformanceWarning():
                self._log.warning(
                    "rule broken and forgiven",
                    edge_node=None if event.edge_node is None else str(event.edge_node),
                    tck_id=event.tck_id,
                    what=event.text,
                )
            case HostStateHealed():
                self._log.warning("own STATE was spoiled and is restored", what=event.text)
            case Violation():
                if self.dead_letter(event.topic, event.text, event.payload):
                    self._log.warning("message cannot be used", topic=event.topic, what=event.text)
            case _:
                pass

    def dead_letter(self, topic: str, reason: str, payload: bytes) -> bool:
        """Keep a payload on ``_dlq/host``, at a bounded rate; False where it was only counted."""
        now_ns = self._now_ns()
        minute = now_ns // _MINUTE_NS
        if minute != self._letters_minute:
            self._letters_minute, self._letters_in_minute = minute, 0
        if self._letters_in_minute >= DEAD_LETTERS_PER_MINUTE_MAX:
            self.counters["dead_letters_suppressed"] += 1
            return False
        self._letters_in_minute += 1
        self.counters["dead_letters"] += 1
        return self._notice(dead_letter("host", topic, reason, payload, now_ns))

    def gap(self, edge_node: EdgeNodeDescriptor, text: str) -> None:
        """An edge node tells what its quota dropped; the event and the row of it are in the record log."""
        self.counters["gaps"] += 1
        self._log.error("an edge node dropped samples", edge_node=str(edge_node), gap=text)

    # --- from the host itself ------------------------------------------------------------------------------------

    def trouble(self, part: str, text: str | None) -> None:
        """A part of the host cannot do its work, or could just now (None): every ``_health`` says so.

        At the brink of a full disk small things still fit and big ones do not: only what has worked for a while works.
        """
        if text is None:
            if part in self._trouble:
                self._works_since_ns.setdefault(part, self._now_ns())
            return
        self._works_since_ns.pop(part, None)
        if self._trouble.get(part) != text:
            self._trouble[part] = text
            self._show_every_health()

    def follow(self, nodes: Mapping[EdgeNodeDescriptor, NodeState]) -> None:
        """No gateway is shown online whose session is not: some end without an event."""
        for equipment_id, gateway in [key for key, health in self._gateways.items() if health.state == "online"]:
            edge_node = EdgeNodeDescriptor(self._tree.group_id(self._tree.equipment[equipment_id].site), gateway)
            node = nodes.get(edge_node)
            if node is None or not node.online:
                self._set(edge_node, None, "stale", "" if node is None else node.reason)

    def due(self) -> None:
        """Take back what has worked again for long enough."""
        for part, since_ns in list(self._works_since_ns.items()):
            if self._now_ns() - since_ns >= STEADY_NS:
                del self._works_since_ns[part]
                del self._trouble[part]
                self._log.info("works again", part=part)
                self._show_every_health()

    def _show_every_health(self) -> None:
        for equipment in self._tree.equipment.values():
            if equipment.gateways:
                self._show_health(equipment)

    @property
    def troubles(self) -> dict[str, str]:
        """What is wrong with the host now."""
        return dict(self._trouble)

    def show_all(self) -> None:
        """At start: what is known of every equipment, even before its gateways are heard of."""
        for equipment in self._tree.equipment.values():
            self._show(self._topics.meta(equipment.id), _encode(self._meta(equipment)))
            if equipment.gateways:
                self._show_health(equipment)

    def _metrics_refused(self, edge_node: EdgeNodeDescriptor, device_id: str | None, birth: BirthPayload) -> None:
        reasons = Counter(metric.reason for metric in birth.rejected)
        self.counters["birth_metrics_refused"] += len(birth.rejected)
        self._log.warning(
            "metrics of a birth cannot be read: nothing of them is recorded",
            edge_node=str(edge_node),
            device=device_id,
            metrics=[metric.name for metric in birth.rejected[:_NAMES_SHOWN_MAX]],
            reasons=dict(reasons),
            next_step=_NANOSECONDS_HELP if NANOSECONDS in reasons else "mend them at the sender",
        )

    # --- documents -----------------------------------------------------------------------------------------------

    def _born(
        self, edge_node: EdgeNodeDescriptor, device_id: str | None, birth: BirthPayload, reader: DeviceReader | None
    ) -> None:
        if reader is None:
            return
        self._set(edge_node, device_id, "online", "")
        if birth.rejected:
            self._metrics_refused(edge_node, device_id, birth)
        report = unmapped_report(reader.mapping, birth)
        topic = unmapped_topic(edge_node, device_id)
        self._show(topic, b"" if report is None else _encode(report))
        equipment = reader.mapping.equipment
        if equipment is None:
            return
        if device_id is not None and not reader.mapping.follows(self._tree):
            self._log.warning(
                "the gateway works under another topic tree",
                edge_node=str(edge_node),
                device=device_id,
                contract_hash=reader.mapping.contract_hash,
            )
        addresses = reader.addresses(birth, SOURCE_ADDRESS)
        for name, contract in reader.mapping.contracts.items():
            meta = MetricMeta(
                equipment=equipment.id,
                metric=name,
                type=contract.datatype.label,
                unit=contract.unit,
                unit_symbol=symbol_of(contract.unit) if contract.unit else None,
                range=contract.range,
                deadband=contract.deadband,
                role=contract.role,
                provides=contract.provides,
                counts=contract.counts,
                rollover=contract.rollover,
                source_address=addresses.get(name),
                contract_hash=self._tree.contract_hash,
            )
            self._show(self._topics.meta(equipment.id, name), _encode(meta))

    def _meta(self, equipment: Equipment) -> Meta:
        equipment_class = self._tree.class_of(equipment.id)
        return Meta(
            enterprise=self._tree.enterprise,
            equipment=equipment.id,
            path=equipment.path_text,
            level=equipment.level.value,
            class_name=equipment.class_name,
            gateways=equipment.gateways,
            requires=() if equipment_class is None else equipment_class.requires,
            metrics=() if equipment_class is None else tuple(equipment_class.metrics),
            contract_hash=self._tree.contract_hash,
        )

    def _set(
        self,
        edge_node: EdgeNodeDescriptor,
        device_id: str | None,
        state: State,
        reason: str,
        *,
        since_ns: int | None = None,
    ) -> None:
        """An NBIRTH alone says nothing of a device yet; a death of the node takes all of them.

        ``since_ns``: of a death; of a device that is what its DDEATH says.
        """
        if device_id is None and state == "online":
            return
        since = rfc3339(self._now_ns() if since_ns is None else since_ns)
        for equipment in self._equipment_of(edge_node, device_id):
            key = (equipment.id, edge_node.edge_node_id)
            before = self._gateways[key]
            if before.state == "unknown" and state != "online":
                continue
            if (before.state, before.reason) != (state, reason):
                self._gateways[key] = GatewayHealth(
                    gateway=edge_node.edge_node_id, state=state, since=since, reason=reason
                )
                self._show_health(equipment)

    def _equipment_of(self, edge_node: EdgeNodeDescriptor, device_id: str | None) -> list[Equipment]:
        gateway = edge_node.edge_node_id
        return [
            equipment
            for equipment in self._tree.equipment.values()
            if gateway in equipment.gateways
            and edge_node.group_id == self._tree.group_id(equipment.site)
            and (device_id is None or device_id == equipment.id)
        ]

    def _show_health(self, equipment: Equipment) -> None:
        health = Health(
            equipment=equipment.id,
            path=equipment.path_text,
            gateways=tuple(self._gateways[equipment.id, gateway] for gateway in equipment.gateways),
            host=self._trouble,
        )
        self._show(self._topics.health(equipment.id), _encode(health))


def _topic_of(raw: object) -> str:
    return str(getattr(raw, "topic", ""))
