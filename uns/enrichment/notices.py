"""Events about samples and facts, in words that say what to do."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from uns.context.facts import Fact
from uns.context.levels import Overlap
from uns.context.store import valid_ns
from uns.context.times import rfc3339
from uns.enrichment.equipment import EquipmentState
from uns.enrichment.gaps import DroppedGap
from uns.enrichment.samples import Provenance, SampleBatch

__all__ = ["clock_notice", "conflict_notice", "fact_notice", "gap_notice", "overlap_notice"]


def clock_notice(
    state: EquipmentState, batch: SampleBatch, limits: tuple[int, int], samples: int, now_ns: int
) -> bytes:
    """Stamps that are not believed: recorded with ``clock_suspect``, never shown as present values."""
    at = next(i for i, t in enumerate(batch.times_ns) if not limits[0] <= t <= limits[1])
    stamp = rfc3339(batch.times_ns[at])
    return state.documents.event(
        msgspec.structs.replace(
            state.documents.blank_event("clock", now_ns),
            metric=batch.metrics[at].name,
            samples=samples,
            from_time=stamp,
            source=_edge_node(batch),
            what=f"stamped {stamp}, received {rfc3339(batch.provenance.received_at_ns)}: check the source's clock",
        )
    )


def conflict_notice(state: EquipmentState, batch: SampleBatch, which: Sequence[int], now_ns: int) -> bytes:
    """Our own node sent another value under a key that was taken."""
    at = which[0]
    return state.documents.event(
        msgspec.structs.replace(
            state.documents.blank_event("conflict", now_ns),
            metric=batch.metrics[at].name,
            samples=len(which),
            from_time=rfc3339(batch.times_ns[at]),
            source=_edge_node(batch),
            what="another value at the same source time and ordinal: both are kept; check who else feeds this metric",
        )
    )


def fact_notice(state: EquipmentState, fact: Fact, now_ns: int) -> bytes:
    """A job or a lot was stated."""
    start, end = valid_ns(fact)
    return state.documents.event(
        msgspec.structs.replace(
            state.documents.blank_event(fact.kind, now_ns),
            from_time=rfc3339(start),
            to_time=None if end is None else rfc3339(end),
            job_order=fact.job_order,
            work_order=fact.work_order,
            lot=fact.lot,
            material=fact.material,
            state=fact.state,
            action=fact.action,
            source=fact.source,
            facts=(f"{fact.id}@{fact.source_rev}",),
        )
    )


def gap_notice(state: EquipmentState, gap: DroppedGap, provenance: Provenance, now_ns: int) -> bytes:
    """An edge node dropped samples: of which of its equipment it does not say."""
    return state.documents.event(
        msgspec.structs.replace(
            state.documents.blank_event("gap", now_ns),
            samples=gap.count,
            from_time=None if gap.from_ns is None else rfc3339(gap.from_ns),
            to_time=None if gap.to_ns is None else rfc3339(gap.to_ns),
            source=f"{provenance.group_id}/{provenance.edge_node_id}",
            what=f"dropped at the edge: {gap.reason}" if gap.reason else "dropped at the edge",
        )
    )


def overlap_notice(state: EquipmentState, overlap: Overlap, now_ns: int) -> bytes:
    """Two facts of one source say different things of one time."""
    first, second = overlap.first, overlap.second
    return state.documents.event(
        msgspec.structs.replace(
            state.documents.blank_event("conflict", now_ns),
            from_time=rfc3339(overlap.from_ns),
            to_time=rfc3339(overlap.to_ns),
            source=first.source,
            facts=(f"{first.id}@{first.source_rev}", f"{second.id}@{second.source_rev}"),
            what=f"two {first.kind} facts of one source overlap: the later valid_from counts; correct their times",
        )
    )


def _edge_node(batch: SampleBatch) -> str:
    return f"{batch.provenance.group_id}/{batch.provenance.edge_node_id}"
