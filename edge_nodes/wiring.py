"""What every kind of source says alike in a node file: metrics, reduction, time limits. Pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import msgspec

from uns.namespace.findings import Findings, Position, nearest
from uns.namespace.model import MetricContract, TopicTree
from uns.namespace.nodes import MappingNode, ScalarNode, kind_of
from uns.namespace.yaml_file import Entry, Fields
from uns.source import UNLIMITED
from uns.sparkplug.datatypes import SCALARS

__all__ = ["MetricKey", "MetricWiring", "SourceOptions", "TimeLimits", "WiringReader"]

MetricKey = tuple[str, str]  # equipment id, metric name

METRICS_MAX = 100_000  # of one gateway
COMMON_KEYS = ("reduction", "limits")


class TimeLimits(msgspec.Struct, frozen=True):
    """How far from the host's clock a source's stamps may lie. None: what the host does by itself; -1: anything."""

    past_max_ms: int | None = None
    future_max_ms: int | None = None


class SourceOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What a source of any kind may say."""

    name: str
    reduction: bool = True
    limits: TimeLimits = TimeLimits()


class MetricWiring(msgspec.Struct, frozen=True, kw_only=True):
    """One metric of this gateway and what feeds it."""

    equipment: str
    contract: MetricContract
    source: str
    address: str  # NodeId or register, as the node file writes it

    @property
    def key(self) -> MetricKey:
        """Its name within the gateway."""
        return self.equipment, self.contract.name


_Point = TypeVar("_Point")


class WiringReader:
    """Reads the ``equipment:`` part of all sources of one node file against the tree."""

    def __init__(self, tree: TopicTree, gateway: str, findings: Findings) -> None:
        self._tree = tree
        self._gateway = gateway
        self._findings = findings
        self._fed: dict[MetricKey, tuple[str, Position]] = {}
        self.metrics: list[MetricWiring] = []

    def options(self, name: str, fields: Fields) -> SourceOptions:
        """Reduction and limits."""
        return SourceOptions(
            name=name,
            reduction=fields.choice("reduction", {"on": True, "off": False}, default=True),
            limits=self._limits(fields),
        )

    def _limits(self, fields: Fields) -> TimeLimits:
        entry = fields.node.entries.get("limits")
        if entry is not None and isinstance(entry.node, ScalarNode):
            unlimited = fields.choice("limits", {"unlimited": UNLIMITED}, default=None)
            return TimeLimits(unlimited, unlimited)
        limits = fields.fields("limits", optional=("past_max", "future_max"))
        past_ns = limits.duration_ns("past_max", default=None)
        future_ns = limits.duration_ns("future_max", default=None)
        return TimeLimits(
            None if past_ns is None else past_ns // 1_000_000, None if future_ns is None else future_ns // 1_000_000
        )

    def points(
        self,
        source: str,
        fields: Fields,
        *,
        keys: tuple[str, ...],
        read: Callable[[Fields, MetricContract], tuple[str, _Point] | None],
    ) -> list[tuple[MetricKey, _Point]]:
        """All metrics of a source. ``read`` gives the address as text and the point, or None after a finding."""
        found: list[tuple[MetricKey, _Point]] = []
        for equipment in fields.entries("equipment"):
            contracts = self._contracts(equipment)
            for entry in self._metric_entries(equipment):
                contract = None if contracts is None else self._contract(equipment.key, entry, contracts, source)
                point_fields = fields.of(entry, what=f"the wiring of {entry.key!r}", optional=keys)
                if contract is None or point_fields is None:
                    continue
                point = read(point_fields, contract)
                if point is not None:
                    address, value = point
                    self.metrics.append(
                        MetricWiring(equipment=equipment.key, contract=contract, source=source, address=address)
                    )
                    found.append(((equipment.key, contract.name), value))
        if not found and not self._findings.has_errors:
            self._findings.error(
                "no-metrics", f"source {source!r} feeds no metric", fields.position, "add `equipment:`"
            )
        return found

    def _metric_entries(self, equipment: Entry) -> list[Entry]:
        if isinstance(equipment.node, MappingNode):
            return list(equipment.node.entries.values())
        self._findings.error(
            "wrong-value",
            f"equipment {equipment.key!r} is {kind_of(equipment.node)}, expected its metrics",
            equipment.position,
        )
        return []

    def _contracts(self, entry: Entry) -> dict[str, MetricContract] | None:
        equipment = self._tree.equipment.get(entry.key)
        if equipment is None:
            self._findings.error(
                "unknown-equipment",
                f"the tree has no equipment {entry.key!r}",
                entry.position,
                nearest(entry.key, self._tree.equipment) or "declare it in the tree first",
            )
            return None
        if self._gateway not in equipment.gateways:
            self._findings.error(
                "not-my-equipment",
                f"equipment {entry.key!r} is not fed by gateway {self._gateway!r} in the tree",
                entry.position,
                f"add {self._gateway!r} to its `gateways:` in the tree",
            )
            return None
        found = self._tree.class_of(entry.key)
        if found is None:
            self._findings.error(
                "no-class",
                f"equipment {entry.key!r} has no class, so it has no metrics",
                entry.position,
                "give it a `class:` in the tree",
            )
            return None
        return found.metrics

    def _contract(
        self, equipment: str, entry: Entry, contracts: dict[str, MetricContract], source: str
    ) -> MetricContract | None:
        contract = contracts.get(entry.key)
        if contract is None:
            self._findings.error(
                "unknown-metric",
                f"the class of {equipment!r} has no metric {entry.key!r}",
                entry.position,
                nearest(entry.key, contracts) or "declare it in the tree first: types stand there",
            )
            return None
        if contract.datatype not in SCALARS:
            self._findings.error(
                "datatype", f"{contract.datatype.label} is not published by this release", entry.position
            )
            return None
        other = self._fed.setdefault((equipment, entry.key), (source, entry.position))
        if other[1] is not entry.position:
            self._findings.error(
                "fed-twice",
                f"{equipment}/{entry.key} is fed a second time here",
                entry.position,
                f"source {other[0]!r} feeds it in line {other[1].line}: keep one",
            )
            return None
        if len(self._fed) == METRICS_MAX + 1:
            self._findings.error("metrics-max", f"more than {METRICS_MAX} metrics", entry.position, "add a gateway")
        return contract
