"""A tree as an outline for people, and as a document for programs: what ``uns tree show`` prints."""

from __future__ import annotations

from typing import Any

import msgspec

from uns.namespace.model import ContextSource, Equipment, MetricContract, TopicTree
from uns.namespace.topics import Uns1Topics
from uns.namespace.units import symbol_of
from uns.sparkplug.topics import EdgeNodeDescriptor, MessageType

__all__ = ["Outline", "describe", "outline"]

_SECOND_NS = 1_000_000_000


class Outline(msgspec.Struct, frozen=True):
    """One line and what is below it. ``kind``: enterprise, site, equipment, metric, topic, heading or source."""

    kind: str
    name: str
    detail: str = ""
    children: tuple[Outline, ...] = ()


def outline(tree: TopicTree, *, topics: bool = False) -> Outline:
    """The plant from the enterprise down; with ``topics``, each metric's place in ``uns1`` and in Sparkplug."""
    uns1 = Uns1Topics(tree) if topics else None
    below: dict[tuple[str, ...], list[Equipment]] = {}
    for equipment in tree.equipment.values():
        below.setdefault(equipment.path[:-1], []).append(equipment)
    sites = tuple(
        Outline(
            "site",
            site.id,
            f"Site · {site.time_zone} · Sparkplug group {tree.group_id(site.id)}",
            tuple(_equipment(tree, equipment, below, uns1) for equipment in below.get((tree.enterprise, site.id), ())),
        )
        for site in tree.sites.values()
    )
    sources = tuple(Outline("source", source.name, _source_text(source)) for source in tree.context.values())
    context = (Outline("heading", "context", "who may say what the plant is doing", sources),) if sources else ()
    return Outline(
        "enterprise", tree.enterprise, f"Enterprise · contract {tree.contract_hash[:12]}", (*sites, *context)
    )


def describe(tree: TopicTree) -> dict[str, Any]:
    """The same as one JSON-ready document, always with topics."""
    uns1 = Uns1Topics(tree)
    return {
        "enterprise": tree.enterprise,
        "contract_hash": tree.contract_hash,
        "sites": [
            {"site": site.id, "time_zone": site.time_zone, "group_id": tree.group_id(site.id)}
            for site in tree.sites.values()
        ],
        "equipment": [_describe_equipment(tree, equipment, uns1) for equipment in tree.equipment.values()],
        "context": [
            {
                "source": source.name,
                "provides": list(source.provides),
                "precedence": source.precedence,
                "grace_s": source.grace_ns / _SECOND_NS,
                "bridge_s": source.bridge_ns / _SECOND_NS,
            }
            for source in tree.context.values()
        ],
    }


def _equipment(
    tree: TopicTree, equipment: Equipment, below: dict[tuple[str, ...], list[Equipment]], uns1: Uns1Topics | None
) -> Outline:
    parts = [equipment.level.value]
    if equipment.class_name is not None:
        parts.append(f"class {equipment.class_name}")
    if equipment.gateways:
        parts.append(f"fed by {', '.join(equipment.gateways)}")
    if equipment.id != equipment.path[-1]:
        parts.append(f"id {equipment.id}")
    equipment_class = tree.class_of(equipment.id)
    children: list[Outline] = []
    if equipment_class is not None:
        if equipment_class.requires:
            parts.append(f"wants {', '.join(equipment_class.requires)}")
        if uns1 is not None:
            children += _equipment_topics(tree, equipment, uns1)
        children += [_metric(equipment, metric, uns1) for metric in equipment_class.metrics.values()]
    children += [_equipment(tree, child, below, uns1) for child in below.get(equipment.path, ())]
    return Outline("equipment", equipment.path[-1], " · ".join(parts), tuple(children))


def _equipment_topics(tree: TopicTree, equipment: Equipment, uns1: Uns1Topics) -> list[Outline]:
    of = uns1.of(equipment.id)
    return [
        *(Outline("topic", topic, what) for what, topic in _sparkplug_topics(tree, equipment)),
        Outline("topic", of.data, "ticks"),
        Outline("topic", of.pv_snapshot, "newest values"),
        Outline("topic", of.ctx, "what runs here"),
    ]


def _sparkplug_topics(tree: TopicTree, equipment: Equipment) -> list[tuple[str, str]]:
    group_id = tree.group_id(equipment.site)
    return [
        (f"from {gateway}", EdgeNodeDescriptor(group_id, gateway).topic(MessageType.DDATA, equipment.id))
        for gateway in equipment.gateways
    ]


def _metric(equipment: Equipment, metric: MetricContract, uns1: Uns1Topics | None) -> Outline:
    topic = () if uns1 is None else (Outline("topic", uns1.pv(equipment.id, metric.name), "newest value"),)
    return Outline("metric", metric.name, _metric_text(metric), topic)


def _metric_text(metric: MetricContract) -> str:
    symbol = symbol_of(metric.unit)
    unit = f" {symbol}" if symbol else ""
    parts = [f"{metric.datatype.label}{unit}"]
    if metric.range is not None:
        parts.append(f"{metric.range[0]:g} to {metric.range[1]:g}")
    if metric.deadband is not None:
        parts.append(f"deadband {metric.deadband:g}")
    if metric.role == "context":
        parts.append(f"provides {metric.provides}")
    elif metric.role == "counter":
        parts.append(f"counts {metric.counts}" if metric.counts else "counter")
    elif metric.role != "measurement":
        parts.append(metric.role)
    return " · ".join(parts)


def _source_text(source: ContextSource) -> str:
    provides = ", ".join(source.provides) or "nothing"
    return f"provides {provides} · precedence {source.precedence} · grace {source.grace_ns / _SECOND_NS:g} s"


def _describe_equipment(tree: TopicTree, equipment: Equipment, uns1: Uns1Topics) -> dict[str, Any]:
    of = uns1.of(equipment.id)
    equipment_class = tree.class_of(equipment.id)
    topics = {"place": of.place, "data": of.data, "res": of.res, "pv": of.pv_snapshot, "ctx": of.ctx}
    return {
        "equipment": equipment.id,
        "level": equipment.level.value,
        "path": equipment.path_text,
        "class": equipment.class_name,
        "requires": [] if equipment_class is None else list(equipment_class.requires),
        "gateways": list(equipment.gateways),
        "owner": equipment.owner,
        "topics": {**topics, "meta": of.meta, "health": of.health},
        "sparkplug": [topic for _, topic in _sparkplug_topics(tree, equipment)],
        "metrics": []
        if equipment_class is None
        else [
            {
                "metric": metric.name,
                "type": metric.datatype.label,
                "unit": metric.unit,
                "range": metric.range,
                "deadband": metric.deadband,
                "role": metric.role,
                "provides": metric.provides,
                "counts": metric.counts,
                "topic": of.pv[metric.name],
            }
            for metric in equipment_class.metrics.values()
        ],
    }
