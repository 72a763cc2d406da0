"""Samples that are no records, kept by key like records, so that a resend does not count them twice."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from uns.enrichment.plan import UnrecordedRow
from uns.enrichment.samples import Provenance, RecordIndex, UnrecordedSample

__all__ = ["Unrecorded", "UnrecordedKind"]

UnrecordedKind = Literal["rejected", "unmapped"]

_Key = tuple[str, str, str, str, int]
RAW_BYTES_MAX = 4096  # kept of each such sample


class Unrecorded:
    """Tells new rejected and unmapped samples from ones that were kept before."""

    def __init__(self, index: RecordIndex) -> None:
        self._index = index
        self._pending: dict[_Key, dict[int, bytes]] = {}
        self._in_flight: dict[_Key, dict[int, bytes]] = {}

    def plan_started(self) -> None:
        """What is pending goes into flight."""
        self._in_flight, self._pending = self._pending, {}

    def committed(self) -> None:
        """What was in flight is in the index now."""
        self._in_flight = {}

    def receive(
        self, kind: UnrecordedKind, samples: Sequence[UnrecordedSample], provenance: Provenance, known_ns: int
    ) -> list[UnrecordedRow]:
        """The rows of those that are new."""
        rows: list[UnrecordedRow] = []
        places: dict[_Key, int] = {}
        device_id = provenance.device_id or ""
        for sample in samples:
            time_ns = 0 if sample.source_time_ns is None else sample.source_time_ns
            key = (provenance.group_id, provenance.edge_node_id, device_id, sample.metric, time_ns)
            place = places.get(key, 0)
            places[key] = place + 1
            raw = sample.raw[:RAW_BYTES_MAX]
            ordinal = self._settle(key, place if sample.ordinal is None else sample.ordinal, raw)
            if ordinal is not None:
                rows.append((kind, *key, ordinal, sample.reason, raw, known_ns))
        return rows

    def _settle(self, key: _Key, start: int, raw: bytes) -> int | None:
        existing = {stored.ordinal: stored.raw for stored in self._index.unrecorded_at(*key)}
        existing.update(self._in_flight.get(key, ()))
        existing.update(self._pending.get(key, ()))
        ordinal = start
        while ordinal in existing:
            if existing[ordinal] == raw:
                return None
            ordinal += 1
        self._pending.setdefault(key, {})[ordinal] = raw
        return ordinal
