"""The ``uns1/…`` topics: one reversible escape, one place that builds them, one that reads them.

    uns1/{enterprise}/{site}[/{area}/…]/_pv/{metric}     state of a thing, where people browse
    uns1/{enterprise}/{site}/_data/{area}/…              a stream, one root per site

A level that starts with ``_`` is a class. Everything else is a name: ``[A-Za-z0-9~][A-Za-z0-9_~-]*``, where ``~XX``
stands for the byte XX of its UTF-8. Sparkplug ids stand raw below ``_mark``, ``_confirm``,
``_online`` and ``_unmapped``.
"""

from __future__ import annotations

import re
from typing import Literal

import msgspec

from uns.errors import LocalProtocolError, RemoteProtocolError
from uns.namespace.model import Equipment, TopicTree
from uns.sparkplug.topics import EdgeNodeDescriptor

__all__ = [
    "ALL_FILTER",
    "LEVEL_CHARACTERS_MAX",
    "ROOT",
    "EquipmentTopics",
    "FactTopic",
    "Uns1Topic",
    "Uns1Topics",
    "audit_topic",
    "dlq_topic",
    "escape",
    "is_level",
    "metric_level",
    "metric_name",
    "online_topic",
    "parse_fact_topic",
    "parse_uns1_topic",
    "unescape",
    "unmapped_topic",
]

ROOT = "uns1"
ALL_FILTER = f"{ROOT}/#"
LEVEL_CHARACTERS_MAX = 64
TOPIC_CHARACTERS_MAX = 65_535  # MQTT's own bound; what is longer was never a topic

_LEVEL = re.compile(r"[A-Za-z0-9~][A-Za-z0-9_~-]*")
_FIRST = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789")
_LATER = _FIRST | frozenset(b"_-")
_HEX = frozenset("0123456789ABCDEF")

StreamClass = Literal["data", "res", "event"]


def escape(level: str) -> str:
    """One topic level from any text. A leading ``_`` or ``-`` is escaped too, so that no name looks like a class.

    Raises :class:`LocalProtocolError` for the empty text, which no level can stand for.
    """
    if _LEVEL.fullmatch(level) and "~" not in level:
        return level
    if not level:
        raise LocalProtocolError("an empty name cannot be a topic level", expected="at least one character")
    raw = level.encode("utf-8", "surrogatepass")
    head, tail = raw[0], raw[1:]
    first = chr(head) if head in _FIRST else f"~{head:02X}"
    return first + "".join(chr(byte) if byte in _LATER else f"~{byte:02X}" for byte in tail)


def unescape(level: str) -> str:
    """Inverse of :func:`escape`; raises :class:`RemoteProtocolError` for what it never writes."""
    raw = bytearray()
    position = 0
    while position < len(level):
        character = level[position]
        if character != "~":
            raw += character.encode("utf-8", "surrogatepass")
            position += 1
            continue
        pair = level[position + 1 : position + 3]
        if len(pair) != 2 or not _HEX.issuperset(pair):
            raise RemoteProtocolError(
                f"escape ~{pair} in topic level {level!r}", expected="~ and two of 0-9A-F, such as ~2E"
            )
        raw.append(int(pair, 16))
        position += 3
    try:
        text = raw.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError as error:
        raise RemoteProtocolError(f"topic level {level!r} is not UTF-8 after unescaping") from error
    # Only one spelling of each name: a second one would be a second topic for the same thing.
    if not text or escape(text) != level:
        raise RemoteProtocolError(f"topic level {level!r} is not as we write it", expected=escape(text or "~"))
    return text


def is_level(level: str) -> bool:
    """Whether a text can stand as a level without a change, in the bound."""
    return len(level) <= LEVEL_CHARACTERS_MAX and escape(level) == level if level else False


def metric_level(name: str) -> str:
    """The one topic level of a metric: ``batch/count`` gives ``batch.count``; a literal ``.`` is ``~2E``."""
    if "/" not in name:
        return escape(name)
    return ".".join(escape(segment) for segment in name.split("/"))


def metric_name(level: str) -> str:
    """Inverse of :func:`metric_level`."""
    return "/".join(unescape(segment) for segment in level.split("."))


class EquipmentTopics(msgspec.Struct, frozen=True, kw_only=True):
    """Every topic of one equipment, made once."""

    place: str  # uns1/acme/dallas/reaction/line2/reactor4
    pv_snapshot: str
    pv: dict[str, str]  # metric name to topic
    ctx: str
    meta: str
    meta_of: dict[str, str]  # metric name to topic
    health: str
    data: str
    res: str
    event: str  # without the type


class Uns1Topics:
    """The topics of a tree, precomputed; raises ``KeyError`` for equipment, metrics or sites it does not have."""

    def __init__(self, tree: TopicTree) -> None:
        enterprise = f"{ROOT}/{escape(tree.enterprise)}"
        self._sites = {site: f"{enterprise}/{escape(site)}" for site in tree.sites}
        self._equipment = {e.id: self._topics_of(tree, e) for e in tree.equipment.values()}
        self.fact_filter = f"{enterprise}/+/_fact/#"
        self.fact_result_filter = f"{enterprise}/+/_fact_result/#"

    def of(self, equipment: str) -> EquipmentTopics:
        """All topics of one equipment, for hot paths."""
        return self._equipment[equipment]

    def place(self, equipment: str) -> str:
        """Where people browse to."""
        return self._equipment[equipment].place

    def pv(self, equipment: str, metric: str) -> str:
        """Newest value of one metric."""
        return self._equipment[equipment].pv[metric]

    def pv_snapshot(self, equipment: str) -> str:
        """Newest values of all metrics in one object."""
        return self._equipment[equipment].pv_snapshot

    def ctx(self, equipment: str) -> str:
        """What runs here now."""
        return self._equipment[equipment].ctx

    def meta(self, equipment: str, metric: str | None = None) -> str:
        """What the equipment, or one metric of it, is."""
        topics = self._equipment[equipment]
        return topics.meta if metric is None else topics.meta_of[metric]

    def health(self, equipment: str) -> str:
        """Which gateways of this equipment are online: one object with every gateway in it."""
        return self._equipment[equipment].health

    def data(self, equipment: str) -> str:
        """Ticks of the equipment."""
        return self._equipment[equipment].data

    def res(self, equipment: str) -> str:
        """Interval restatements of the equipment."""
        return self._equipment[equipment].res

    def event(self, equipment: str, event_type: str) -> str:
        """Events of one type at the equipment."""
        return f"{self._equipment[equipment].event}/{escape(event_type)}"

    def site_stream_filter(self, site: str, stream: StreamClass) -> str:
        """One subscription for a whole site: ``uns1/acme/dallas/_data/#``."""
        return f"{self._sites[site]}/_{stream}/#"

    def fact(self, site: str, source: str, kind: str) -> str:
        """Where a source states facts of a kind."""
        return f"{self._sites[site]}/_fact/{escape(source)}/{escape(kind)}"

    def fact_result(self, site: str, source: str, kind: str) -> str:
        """Where it is answered."""
        return f"{self._sites[site]}/_fact_result/{escape(source)}/{escape(kind)}"

    def work_order(self, site: str, work_order: str) -> str:
        """State and actuals of an order."""
        return f"{self._sites[site]}/_wo/{escape(work_order)}"

    def lot(self, site: str, lot: str) -> str:
        """State and actuals of a lot."""
        return f"{self._sites[site]}/_lot/{escape(lot)}"

    def unmapped(self, edge_node: EdgeNodeDescriptor, device_id: str | None = None) -> str:
        """What a birth announces and the tree does not know; Sparkplug ids stand raw."""
        return unmapped_topic(edge_node, device_id)

    def dlq(self, component: str) -> str:
        """What a component could not process."""
        return dlq_topic(component)

    def _topics_of(self, tree: TopicTree, equipment: Equipment) -> EquipmentTopics:
        levels = [escape(level) for level in equipment.path]
        place = "/".join((ROOT, *levels))
        site, below = self._sites[equipment.site], "/".join(levels[2:])
        equipment_class = tree.class_of(equipment.id)
        metrics = () if equipment_class is None else tuple(equipment_class.metrics)
        return EquipmentTopics(
            place=place,
            pv_snapshot=f"{place}/_pv",
            pv={metric: f"{place}/_pv/{metric_level(metric)}" for metric in metrics},
            ctx=f"{place}/_ctx",
            meta=f"{place}/_meta",
            meta_of={metric: f"{place}/_meta/{metric_level(metric)}" for metric in metrics},
            health=f"{place}/_health",
            data=f"{site}/_data/{below}",
            res=f"{site}/_res/{below}",
            event=f"{site}/_event/{below}",
        )


def unmapped_topic(edge_node: EdgeNodeDescriptor, device_id: str | None = None) -> str:
    """``uns1/_unmapped/group/node[/device]``; needs no tree."""
    base = f"{ROOT}/_unmapped/{edge_node.group_id}/{edge_node.edge_node_id}"
    return base if device_id is None else f"{base}/{device_id}"


def dlq_topic(component: str) -> str:
    """``uns1/_dlq/component``; needs no tree."""
    return f"{ROOT}/_dlq/{escape(component)}"


def online_topic(edge_node: EdgeNodeDescriptor) -> str:
    """``uns1/_online/group/node``, the retained word of the gateway that was online last; needs no tree."""
    return f"{ROOT}/_online/{edge_node.group_id}/{edge_node.edge_node_id}"


def audit_topic(component: str) -> str:
    """``uns1/_audit/component``, the retained anchor of its audit log; needs no tree."""
    return f"{ROOT}/_audit/{escape(component)}"


class FactTopic(msgspec.Struct, frozen=True):
    """A parsed ``_fact`` or ``_fact_result`` topic, unescaped."""

    enterprise: str
    site: str
    source: str
    kind: str
    is_result: bool = False


def parse_fact_topic(topic: str) -> FactTopic:
    """Read ``uns1/{enterprise}/{site}/_fact[_result]/{source}/{kind}``, else :class:`RemoteProtocolError`."""
    levels = _levels(topic)
    if len(levels) != 6 or levels[0] != ROOT or levels[3] not in ("_fact", "_fact_result"):
        raise RemoteProtocolError("not a fact topic", where=topic, expected=f"{ROOT}/enterprise/site/_fact/source/kind")
    enterprise, site, source, kind = (unescape(levels[i]) for i in (1, 2, 4, 5))
    return FactTopic(enterprise, site, source, kind, is_result=levels[3] == "_fact_result")


class Uns1Topic(msgspec.Struct, frozen=True):
    """Any ``uns1`` topic: the place before the class, the class without its ``_``, and what follows.

    ``place`` is unescaped; ``rest`` is raw, since a metric level, a path and Sparkplug ids unescape differently.
    ``class_name`` is empty for a topic without a class.
    """

    place: tuple[str, ...]
    class_name: str
    rest: tuple[str, ...]


def parse_uns1_topic(topic: str) -> Uns1Topic:
    """Read any topic below ``uns1/``, else :class:`RemoteProtocolError`."""
    levels = _levels(topic)
    if levels[0] != ROOT:
        raise RemoteProtocolError("not a topic of this namespace", where=topic, expected=f"{ROOT}/…")
    for position, level in enumerate(levels):
        if level.startswith("_"):
            place = tuple(unescape(name) for name in levels[1:position])
            return Uns1Topic(place, level[1:], tuple(levels[position + 1 :]))
    return Uns1Topic(tuple(unescape(name) for name in levels[1:]), "", ())


def _levels(topic: str) -> list[str]:
    if len(topic) > TOPIC_CHARACTERS_MAX:
        raise RemoteProtocolError(f"a topic of {len(topic)} characters", expected=f"at most {TOPIC_CHARACTERS_MAX}")
    levels = topic.split("/")
    if not all(levels):
        raise RemoteProtocolError("empty topic level", where=topic)
    return levels
