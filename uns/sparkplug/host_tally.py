"""What a host forgives its peers and what it drops: by name, counted each time, told seldom.

The names are tck-ids where the standard has one; ``uns host status`` shows every counter. What the codec forgives in a
payload comes with the payload; the rest of what real peers do is found here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from uns.errors import RemoteProtocolError
from uns.sparkplug.aliases import AliasTable
from uns.sparkplug.datatypes import DataType
from uns.sparkplug.host_nodes import NodeState
from uns.sparkplug.messages import ConformanceWarning, Violation
from uns.sparkplug.metrics import BD_SEQ, PROPERTY_QUALITY, REBIRTH, BirthMetric, BirthPayload, DataPayload
from uns.sparkplug.topics import EdgeNodeDescriptor

__all__ = ["HostTally", "faults_of_birth"]

_BD_SEQ_MAX = 255
_QUALITY_CODES = frozenset({0, 192, 500})  # all that the standard has


class HostTally:
    """Counters by name. Methods give back an event where it is to be told."""

    def __init__(self) -> None:
        self.warnings: Counter[str] = Counter()  # by tck-id
        self.violations: Counter[str] = Counter()  # by kind
        self.leniencies: Counter[str] = Counter()  # what no tck-id names
        self.counters: Counter[str] = Counter(
            gaps=0, gaps_closed=0, reorder_timeouts=0, repeated=0, overtaken=0, late_deaths_ignored=0, nodes_forgotten=0
        )
        self._told: set[str] = set()  # tck-ids told of nodes that are not kept

    def warn(
        self, node: NodeState | None, edge_node: EdgeNodeDescriptor | None, tck_id: str, text: str
    ) -> ConformanceWarning | None:
        """Count a forgiven fault; to be told once per node and session, and once for all nodes that are not kept."""
        self.warnings[tck_id] += 1
        told = self._told if node is None else node.warned
        if tck_id in told and edge_node is not None:
            return None
        told.add(tck_id)
        return ConformanceWarning(edge_node, tck_id, text)

    def violation(
        self,
        kind: str,
        topic: str,
        error: RemoteProtocolError | str,
        *,
        edge_node: EdgeNodeDescriptor | None = None,
        payload: bytes = b"",
        raw: object = None,
    ) -> Violation:
        """Count a message that is dropped."""
        self.violations[kind] += 1
        tck_id = error.tck_id if isinstance(error, RemoteProtocolError) else ""
        return Violation(edge_node, topic, str(error), tck_id, payload, raw)

    def note_birth(self, birth: BirthPayload, table: AliasTable) -> None:
        """What a birth does otherwise without breaking a rule that has a name."""
        if birth.leniencies:
            self.leniencies.update(birth.leniencies)
        if 0 in table.by_alias:
            self.leniencies["alias_zero"] += 1
        if birth.bd_seq is not None and birth.bd_seq > _BD_SEQ_MAX:
            self.leniencies["bd_seq_beyond_255"] += 1
        if (bd_seq := table.by_name.get(BD_SEQ)) is not None and bd_seq.alias is not None:
            self.leniencies["alias_on_bd_seq"] += 1
        for metric in birth.metrics:
            if metric.properties and _has_other_quality(metric):
                self.leniencies["other_quality_code"] += 1

    def note_data(self, data: DataPayload) -> None:
        """What DATA does otherwise."""
        if data.leniencies:
            self.leniencies.update(data.leniencies)
        for properties in data.properties.values():
            if properties.get(PROPERTY_QUALITY, 0) not in _QUALITY_CODES:
                self.leniencies["other_quality_code"] += 1
        for metric in data.rejected:
            if metric.reason in {"unknown_metric", "wrong_type"}:
                self.leniencies[f"data_with_{metric.reason}"] += 1


def _has_other_quality(metric: BirthMetric) -> bool:
    return any(p.key == PROPERTY_QUALITY and p.value not in _QUALITY_CODES for p in metric.properties)


def faults_of_birth(birth: BirthPayload, table: AliasTable, *, of_node: bool) -> Iterator[tuple[str, str]]:
    """The rules that a birth breaks and is forgiven, as tck-id and text."""
    for tck_id in birth.warnings:
        yield tck_id, "forgiven in a birth"
    rebirth = table.by_name.get(REBIRTH)
    if rebirth is not None and rebirth.alias is not None:
        yield "tck-id-operational-behavior-data-commands-rebirth-name-aliases", f"{REBIRTH} has an alias"
    if not of_node:
        return
    if birth.bd_seq is None:
        yield "tck-id-topics-nbirth-bdseq-included", "NBIRTH without bdSeq"
    bd_seq = table.by_name.get(BD_SEQ)
    if bd_seq is not None and bd_seq.datatype is not DataType.INT64:
        yield "tck-id-payloads-nbirth-bdseq", f"bdSeq of type {bd_seq.datatype.name}"
    if birth.seq != 0:
        yield "tck-id-topics-nbirth-seq-num", f"NBIRTH with seq {birth.seq}"
