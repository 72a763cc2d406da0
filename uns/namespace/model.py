"""The topic tree after loading: what every other part of the house asks.

Files and their findings live in :mod:`uns.namespace.loader`; here are only the frozen results.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Literal

import msgspec

from uns.sparkplug.datatypes import DataType
from uns.sparkplug.topics import DeviceDescriptor, EdgeNodeDescriptor

__all__ = [
    "ContextSource",
    "Equipment",
    "EquipmentClass",
    "EquipmentLevel",
    "MetricContract",
    "Role",
    "Site",
    "TimeKind",
    "TopicTree",
]


class EquipmentLevel(StrEnum):
    """ISA-95 / B2MML equipment levels, spelled as B2MML spells them."""

    ENTERPRISE = "Enterprise"
    SITE = "Site"
    AREA = "Area"
    PROCESS_CELL = "ProcessCell"
    UNIT = "Unit"
    PRODUCTION_LINE = "ProductionLine"
    WORK_CELL = "WorkCell"
    PRODUCTION_UNIT = "ProductionUnit"
    STORAGE_ZONE = "StorageZone"
    STORAGE_UNIT = "StorageUnit"
    WORK_CENTER = "WorkCenter"
    WORK_UNIT = "WorkUnit"
    EQUIPMENT_MODULE = "EquipmentModule"
    CONTROL_MODULE = "ControlModule"
    OTHER = "Other"


Role = Literal["measurement", "quality", "counter", "state", "context"]
TimeKind = Literal["machine", "setup", "labour"]  # the times that a job response tells


class MetricContract(msgspec.Struct, frozen=True, kw_only=True):
    """What the tree says of one metric of a class."""

    name: str  # "folder/name"
    datatype: DataType
    unit: str | None = None  # UNECE Rec 20 code, e.g. CEL
    range: tuple[float, float] | None = None
    deadband: float | None = None  # absolute, in the metric's unit
    role: Role = "measurement"
    provides: str | None = None  # context kind, for role "context"
    counts: str | None = None  # good | scrap | rework, for role "counter"
    rollover: int | None = None
    step_max: float | None = None  # the most that a counter shows at once: tells a rollover from a reset
    times: dict[TimeKind, tuple[int | str, ...]] | None = None  # for role "state": which values are which time
    quality_wait: bool = False
    description: str | None = None


class EquipmentClass(msgspec.Struct, frozen=True, kw_only=True):
    """A class of equipment: its metrics and the context its records need."""

    name: str
    metrics: dict[str, MetricContract]
    requires: tuple[str, ...] = ()
    allow_parallel: bool = False
    pv: bool = True  # False: no retained ``_pv`` topics for equipment of this class


class Equipment(msgspec.Struct, frozen=True, kw_only=True):
    """One equipment at its place. ``id`` is unique in the enterprise; ``path`` runs from the enterprise to it."""

    id: str
    level: EquipmentLevel
    path: tuple[str, ...]
    site: str
    class_name: str | None = None
    parent: str | None = None  # the equipment above, None directly under a site
    gateways: tuple[str, ...] = ()
    owner: str | None = None  # who answers for it; inherited from the nearest above that names one
    description: str | None = None

    @property
    def path_text(self) -> str:
        """The path as records show it: ``acme/dallas/reaction/line2/reactor4``."""
        return "/".join(self.path)


class Site(msgspec.Struct, frozen=True, kw_only=True):
    """A site with the time zone in which its people read clocks (IANA name)."""

    id: str
    time_zone: str


class ContextSource(msgspec.Struct, frozen=True, kw_only=True):
    """Who may state which kinds of fact, and how its word weighs."""

    name: str
    provides: tuple[str, ...]
    precedence: int = 0
    grace_ns: int = 300_000_000_000
    bridge_ns: int = 0  # a gap up to this, with the same content on both sides, is bridged (hold: true)


class TopicTree(msgspec.Struct, frozen=True, kw_only=True):
    """The whole declared plant."""

    enterprise: str
    sites: dict[str, Site]
    classes: dict[str, EquipmentClass]
    equipment: dict[str, Equipment]
    context: dict[str, ContextSource]
    contract_hash: str  # sha256 over the canonical form, hex

    def lineage(self, equipment_id: str) -> tuple[Equipment, ...]:
        """The equipment and all above it, nearest first (site and enterprise are not equipment)."""
        found: list[Equipment] = []
        current: str | None = equipment_id
        while current is not None:
            equipment = self.equipment[current]
            found.append(equipment)
            current = equipment.parent
        return tuple(found)

    def subtree(self, equipment_id: str) -> tuple[Equipment, ...]:
        """The equipment and all below it."""
        prefix = self.equipment[equipment_id].path
        return tuple(e for e in self.equipment.values() if e.path[: len(prefix)] == prefix)

    def class_of(self, equipment_id: str) -> EquipmentClass | None:
        """The class of an equipment; None for a mere folder."""
        name = self.equipment[equipment_id].class_name
        return None if name is None else self.classes[name]

    def group_id(self, site: str) -> str:
        """Sparkplug group of a site: the access boundary."""
        return f"{self.enterprise}.{site}"

    def edge_node(self, gateway: str) -> EdgeNodeDescriptor:
        """Sparkplug name of a gateway; raises ``KeyError`` for a gateway that no equipment names."""
        for equipment in self.equipment.values():
            if gateway in equipment.gateways:
                return EdgeNodeDescriptor(self.group_id(equipment.site), gateway)
        raise KeyError(gateway)

    def gateways(self) -> tuple[str, ...]:
        """Every gateway that some equipment names, in the tree's order."""
        return tuple(dict.fromkeys(name for equipment in self.equipment.values() for name in equipment.gateways))

    def fed_by(self, gateway: str) -> tuple[Equipment, ...]:
        """The equipment that a gateway feeds, in the tree's order: its Sparkplug devices."""
        return tuple(equipment for equipment in self.equipment.values() if gateway in equipment.gateways)

    def equipment_of(self, device: DeviceDescriptor) -> Equipment | None:
        """The equipment a Sparkplug device stands for under the default mapping; None if the tree knows none."""
        equipment = self.equipment.get(device.device_id)
        if (
            equipment is None
            or device.edge_node.edge_node_id not in equipment.gateways
            or device.edge_node.group_id != self.group_id(equipment.site)
        ):
            return None
        return equipment
