"""How a running host does: every term of the equations, its parts, its edge nodes; for people and for Prometheus."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import uns
from uns.adapters.http import PlainText
from uns.adapters.sqlite.raw_log import RawTerms
from uns.adapters.sqlite.record_queries import RecordTerms
from uns.context.times import rfc3339

if TYPE_CHECKING:
    from uns.runtime.host.process import Host

__all__ = ["HostStatus"]

Query = Mapping[str, str]

_TERMS = ("received", "recorded", "duplicates_dropped", "rejected", "unmapped", "unjoined")
_STATUSES = ("resolved", "unassigned", "unresolved")


class HostStatus:
    """Answers over one :class:`Host`. Questions to the logs run in their threads."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self.answers = {"/status": self.status, "/health": self.health, "/metrics": self.metrics}

    async def status(self, _query: Query) -> dict[str, Any]:
        """Everything that is counted, and how the parts do."""
        host = self._host
        # The record log first: what is joined after that still counts as unjoined, in one and the same sum.
        terms: RecordTerms = await host.in_queries(host.queries.terms)
        raw: RawTerms = await host.in_raw_reads(lambda: host.raw.terms(terms.joined))
        own, foreign = _equation_terms(terms, raw)
        return {
            "schema": "uns1.host_status/1",
            "version": uns.__version__,
            "host_id": host.options.host_id,
            "enterprise": host.tree.enterprise,
            "contract_hash": host.tree.contract_hash,
            "pid": os.getpid(),
            "started_at": rfc3339(host.started_ns),
            "connected": host.connected,
            "output_connected": host.output.connected,
            "facts_connected": host.facts.connected,
            "troubles": host.announcer.troubles,
            "counters": own | {"restated_intervals": terms.counters.get("restated_intervals", 0)},
            "foreign": foreign,
            "edge_nodes": self._edge_nodes(terms, raw),
            "log": {
                "raw_head": host.joiner.head,
                "joined": host.joiner.joined,
                "outbox_waiting": terms.outbox,
                "outbox_unacknowledged": host.output.outbox_waiting,
            },
            "orders": host.orders.figures(),
            "activity": {
                **terms.counters,
                **host.receiver.counters,
                **host.writer.counters,
                **host.joiner.counters,
                **host.output.counters,
                **host.facts.counters,
                **host.announcer.counters,
                **host.trail.counters,
                **host.joiner.enricher.board.counters,
                "marks_confirmed": host.gate.delivery.marks_confirmed,
                "marks_refused": host.gate.delivery.marks_refused,
                "marks_mixed": host.gate.delivery.marks_mixed,
                "malformed_topics": host.link.malformed_topics,
                "sparkplug_warnings": sum(host.session.warnings.values()),
                "sparkplug_violations": sum(host.session.violations.values()),
                **_named("sparkplug_forgiven", host.session.leniencies, host.session.warnings),
                **_named("sparkplug_violation", host.session.violations),
                **_named("sparkplug", host.session.counters),
            },
        }

    def _edge_nodes(self, terms: RecordTerms, raw: RawTerms) -> list[dict[str, Any]]:
        nodes = self._host.session.nodes
        names = {str(edge_node): edge_node for edge_node in nodes}
        declared = self._declared()
        found = []
        for name in sorted({*names, *declared, *terms.recorded, *terms.unrecorded, *raw.counters}):
            node = nodes[names[name]] if name in names else None
            online = set() if node is None or not node.online else {d for d in node.devices if node.devices[d].online}
            counted = raw.counters.get(name, {})
            unrecorded = terms.unrecorded.get(name, {})
            group_id, _, edge_node_id = name.partition("/")
            found.append(
                {
                    "group_id": group_id,
                    "edge_node_id": edge_node_id,
                    "online": node is not None and node.online,
                    "state": "unknown" if node is None else node.state.name.lower(),
                    "since": None if node is None else rfc3339(node.since_ns),
                    "reason": "" if node is None else node.reason,
                    "session": None if node is None else node.session_id,
                    "bd_seq": None if node is None else node.bd_seq,
                    "devices": {}
                    if node is None
                    else {device_id: device.online for device_id, device in node.devices.items()},
                    "not_heard": [equipment for equipment in declared.get(name, ()) if equipment not in online],
                    "received": counted.get("received", 0) + counted.get("foreign_received", 0),
                    "recorded": terms.recorded.get(name, 0),
                    "rejected": unrecorded.get("rejected", 0),
                    "unmapped": unrecorded.get("unmapped", 0),
                }
            )
        return found

    def _declared(self) -> dict[str, list[str]]:
        """The edge nodes that the tree names, with the equipment that each of them feeds: its devices."""
        tree = self._host.tree
        found: dict[str, list[str]] = {}
        for equipment in tree.equipment.values():
            for gateway in equipment.gateways:
                found.setdefault(f"{tree.group_id(equipment.site)}/{gateway}", []).append(equipment.id)
        return found

    async def health(self, _query: Query) -> dict[str, Any]:
        """Whether the host does its work: cheap, for probes."""
        host = self._host
        return {
            "ok": host.connected and host.output.connected and not host.announcer.troubles,
            "connected": host.connected,
            "output_connected": host.output.connected,
            "facts_connected": host.facts.connected,
            "troubles": host.announcer.troubles,
        }

    async def metrics(self, query: Query) -> PlainText:
        """The counters for Prometheus."""
        status = await self.status(query)
        lines = ["# TYPE uns_host_connected gauge", f"uns_host_connected {int(status['connected'])}"]
        for group in ("counters", "activity", "log"):
            for name, value in status[group].items():
                if isinstance(value, int):
                    lines += [f"# TYPE uns_host_{name} counter", f"uns_host_{name} {value}"]
        for name, value in status["orders"].items():
            if isinstance(value, int):
                lines += [f"# TYPE uns_host_orders_{name} gauge", f"uns_host_orders_{name} {value}"]
        for node in status["edge_nodes"]:
            labels = f'{{group_id="{_label(node["group_id"])}",edge_node_id="{_label(node["edge_node_id"])}"}}'
            lines.append(f"uns_host_edge_node_online{labels} {int(node['online'])}")
            lines += [f"uns_host_edge_node_{n}{labels} {node[n]}" for n in ("received", "recorded", "rejected")]
        seen: dict[str, None] = dict.fromkeys(lines)  # a name may stand in two groups
        return PlainText("\n".join(seen) + "\n")


def _named(prefix: str, *counts: Mapping[str, int]) -> dict[str, int]:
    """Counters under names that Prometheus takes."""
    return {f"{prefix}_{name.replace('-', '_')}": count for counted in counts for name, count in counted.items()}


def _equation_terms(terms: RecordTerms, raw: RawTerms) -> tuple[dict[str, int], dict[str, int]]:
    """The terms of our own nodes and those of foreign ones."""
    counters = terms.counters
    own = {name: counters.get(name, 0) for name in _TERMS}
    own["received"] = raw.total("received") + counters.get("births_recorded", 0)
    own["unjoined"] = raw.unjoined
    own |= {status: terms.statuses[status] - terms.foreign_statuses.get(status, 0) for status in _STATUSES}
    foreign = {name: counters.get(f"foreign_{name}", 0) for name in _TERMS}
    foreign["received"] = raw.total("foreign_received") + counters.get("foreign_births_recorded", 0)
    foreign["unjoined"] = raw.foreign_unjoined
    foreign |= {status: terms.foreign_statuses.get(status, 0) for status in _STATUSES}
    return own, foreign


def _label(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
